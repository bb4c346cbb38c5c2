// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/config"
)

func TestMistakesOfEnrolment(t *testing.T) {
	const workload = "issuing:\n  spiffe:\n    socket: /run/x/s\n    authority: mesh\n    workloads:\n      - "
	for _, row := range []struct{ text, want string }{
		{"issuing: {est: {retry: 1ms}}\n", `1:24: issuing.est.retry: it is between 1s and 24h`},
		{"issuing: {est: {authority: A}}\n", `1:28: issuing.est.authority: it is the name of a CA`},
		{"issuing: {spiffe: {socket: /x}}\n", `1:28: issuing.spiffe.socket: set authority as well, to the CA that signs`},
		{"issuing: {spiffe: {workloads: [{id: 'spiffe://a/b', user: root}]}}\n", `1:31: issuing.spiffe.workloads: nobody can ask: set socket as well`},
		{workload + "{id: 'https://a/b', user: root}\n", `6:14: issuing.spiffe.workloads[0].id: it is an identity such as spiffe://example.org/shop/backend`},
		{workload + "{id: 'spiffe://a', user: root}\n", `6:14: issuing.spiffe.workloads[0].id: it is an identity such as spiffe://example.org/shop/backend`},
		{workload + "{id: 'spiffe://a/b', user: root}\n      - {id: 'spiffe://c/b', user: root}\n",
			`7:14: issuing.spiffe.workloads[1].id: it is of another trust domain than those before it, which are of a`},
		{workload + "{id: 'spiffe://a/b'}\n", `6:9: issuing.spiffe.workloads[0]: it would be any program: set user, group, path or sha256`},
		{workload + "{id: 'spiffe://a/b', path: bin/x}\n", `6:36: issuing.spiffe.workloads[0].path: it is an absolute path without . and ..`},
		{workload + "{id: 'spiffe://a/b', sha256: abc}\n", `6:38: issuing.spiffe.workloads[0].sha256: it has 64 hexadecimal digits, as sha256sum writes them`},
		{workload + "{id: 'spiffe://a/b', user: x, lifetime: 1s}\n", `6:49: issuing.spiffe.workloads[0].lifetime: it is at least 1m`},
	} {
		_, err := config.Parse("c.yaml", []byte(row.text))
		if err == nil {
			t.Errorf("%q: there is no error", row.text)
			continue
		}
		if diff := cmp.Diff("invalid input: c.yaml:"+row.want, err.Error()); diff != "" {
			t.Errorf("%q: %s", row.text, diff)
		}
	}
}

func TestEnrolment(t *testing.T) {
	c, err := config.Parse("c.yaml", []byte(`issuing:
  est: {on: true, authority: devices, profile: client, retry: 30s}
  spiffe:
    socket: /run/tallystick/spiffe.sock
    authority: mesh
    workloads:
      - {id: 'spiffe://example.org/shop', user: shop, lifetime: 15m}
      - {id: 'spiffe://example.org/job', group: '100', path: /usr/bin/job, profile: short}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Issuing{
		EST: config.EST{On: true, Authority: "devices", Profile: "client", Retry: 30 * time.Second},
		SPIFFE: config.SPIFFE{Socket: "/run/tallystick/spiffe.sock", Authority: "mesh", Workloads: []config.Workload{
			{ID: "spiffe://example.org/shop", User: "shop", Lifetime: 15 * time.Minute},
			{ID: "spiffe://example.org/job", Group: "100", Path: "/usr/bin/job", Profile: "short"},
		}},
	}
	if diff := cmp.Diff(want, c.Issuing); diff != "" {
		t.Error(diff)
	}
}
