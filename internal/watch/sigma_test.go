// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/sigma"
)

const usersRules = `title: A script signs in
id: 0d7f1111-2222-4333-8444-555566667777
level: high
logsource:
  product: tallystick
  service: uses
detection:
  selection:
    '@agent|contains': python
  condition: selection
---
title: Many sign-ins from one address
name: many
level: medium
correlation:
  type: event_count
  rules: [any]
  group-by: ['@address']
  timespan: 10m
  condition:
    gte: 5
---
title: Any
name: any
logsource:
  product: tallystick
  service: uses
detection:
  selection:
    '@side': relying
  condition: selection
`

func TestRulesOfUsersFindUses(t *testing.T) {
	rules, err := sigma.Compile([]byte(usersRules), sigma.Options{MappedOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	if b.detection, err = newDetection(rules); err != nil {
		t.Fatal(err)
	}
	for n := range 6 {
		u := relied(noon.Add(time.Duration(n)*time.Minute), token(n), "198.51.100.9")
		if n == 3 {
			u.Agent = "python-requests/2.31"
		}
		b.append(t, u)
	}
	b.append(t, relied(noon.Add(time.Hour), token(9), "203.0.113.7")) // time goes on
	b.rest(t)
	got := b.findings(t)
	if got["sigma-a-script-signs-in-0d7f1111"] != key+" high" {
		t.Errorf("findings are %v; want the script's", got)
	}
	if got["sigma-many-sign-ins-from-one-address"] != key+" medium" {
		t.Errorf("findings are %v; want the correlation's", got)
	}
}
