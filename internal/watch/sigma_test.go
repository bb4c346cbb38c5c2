// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/sigma"
	"github.com/tallystick/tallystick/internal/uses"
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

// A source has the name that people gave it, and its format is often recognised:
// the use itself shows that it is a sign-in.
func TestASignInOfAnySourceFindsRulesOfUsers(t *testing.T) {
	rules, err := sigma.Compile([]byte(`title: Scripted sign-in
logsource: {product: azure, service: signinlogs}
detection: {s: {ServicePrincipalName: Mail sync, 'UserAgent|startswith': python}, condition: s}
`), sigma.Options{MappedOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	if b.detection, err = newDetection(rules); err != nil {
		t.Fatal(err)
	}
	stream, err := uses.NewStream("entra-signin", uses.Settings{})
	if err != nil {
		t.Fatal(err)
	}
	sink := sinkOf(func(u *tallystick.Use) {
		k := *uses.Keep(u)
		k.Source = "our-tenant"
		b.append(t, k)
	})
	if err := stream.Read(`{"id": "d5935dca-86f2-4ac9-a42c-3593b00af801", "createdDateTime": "`+noon.Format(time.RFC3339)+`", "ipAddress": "203.0.113.7",
		"appId": "6131d760-7fda-4db5-8bb1-b771898e9f15", "servicePrincipalId": "b029d485-a308-4311-8720-fb3192e5284e", "servicePrincipalName": "Mail sync",
		"userAgent": "python-requests/2.31", "resourceId": "00000003-0000-0000-c000-000000000000", "servicePrincipalCredentialKeyId": "7f1d5c1e-6a1f-4d0e-9b5e-2f6f3b0a9c11"}`, sink); err != nil {
		t.Fatal(err)
	}
	b.append(t, relied(noon.Add(time.Hour), token(9), "203.0.113.7")) // time goes on
	b.rest(t)
	if got := b.findings(t); got["sigma-scripted-sign-in"] == "" {
		t.Errorf("findings are %v; want the sign-in's", got)
	}
}

type sinkOf func(*tallystick.Use)

func (f sinkOf) Use(u *tallystick.Use)      { f(u) }
func (sinkOf) Close(tallystick.ClosingMark) {}
func (sinkOf) Lost(*tallystick.Use)         {}

// keeper is a directory that keeps nothing.
type keeper struct{}

func (keeper) Take(context.Context, []tallystick.Change) error { return nil }

func (keeper) Changed([]string, time.Time) time.Time { return time.Time{} }

func (keeper) Used(context.Context, []string, []string, time.Time, string) error { return nil }

func TestRulesOfUsersFindChanges(t *testing.T) {
	const text = `title: A credential was added
id: 0d7f2222-2222-4333-8444-555566667777
level: high
logsource:
  product: tallystick
  service: changes
detection:
  selection:
    '@kind': credential-added
  condition: selection
`
	rules, err := sigma.Compile([]byte(text), sigma.Options{MappedOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(t)
	b.Directory = keeper{}
	if b.detection, err = newDetection(rules); err != nil {
		t.Fatal(err)
	}
	change := tallystick.Change{Kind: tallystick.ChangeCredentialAdded, Time: noon, Source: "audit", Target: "entra-app:t/1"}
	if _, err := b.Append(t.Context(), "audit", ledger.Batch{}, []tallystick.Change{change}); err != nil {
		t.Fatal(err)
	}
	b.rest(t)
	if got := b.findings(t)["sigma-a-credential-was-added-0d7f2222"]; got != "entra-app:t/1 high" {
		t.Errorf("the finding is %q", got)
	}
}
