// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"testing"

	"github.com/tallystick/tallystick/internal/policy"
)

// Each line is an expression that is true.
func TestFunctions(t *testing.T) {
	for _, expression := range []string{
		"under('lab.test', 'lab.test')", "under('a.b.LAB.test', 'lab.test')", "under('*.lab.test', 'lab.test')", "under('a.lab.test', '.lab.test')",
		"!under('evillab.test', 'lab.test')", "!under('.lab.test', 'lab.test')", "!under('test', 'lab.test')", "!under('a.test', '')", "!under('', '')",
		"!under('spiffe://prod.bank/admin/x.lab.test', 'lab.test')", "!under('administrator@CORP.LAB.TEST', 'lab.test')", "!under('postgres .lab.test', 'lab.test')",
		"!under('host/a.lab.test', 'lab.test')", "!under('a@.lab.test', 'lab.test')", "!under('a\\n.lab.test', 'lab.test')", "!under('a*.lab.test', 'lab.test')",
		"!under('*.*.lab.test', 'lab.test')", "!under('a..lab.test', 'lab.test')", "!under('me@lab.test', 'lab.test')", "!under('a\\x00.lab.test', 'lab.test')",
		"under('*.a.lab.test', 'lab.test')", "!under('ä.lab.test', 'lab.test')", "!under('@x', '@x')",
		"inside('10.1.2.3', '10.0.0.0/8')", "!inside('11.0.0.1', '10.0.0.0/8')", "inside('::ffff:10.0.0.1', '10.0.0.0/8')", "inside('2001:db8::1', '2001:db8::/32')",
		"inside('10.0.0.1', '10.0.0.1')", "!inside('10.0.0.1', '::/0')",
		"glob('web-1.lab.test', 'web-*.lab.test')", "!glob('web-1.x.lab.test', 'web-*.lab.test')", "glob('web-1.x.lab.test', 'web-**.lab.test')",
		"glob('', '*')", "glob('', '**')", "!glob('a', '')", "glob('a', '***')", "!glob('a.b', '*')", "glob('a.b', '**')", "glob('a.b', 'a**b')", "!glob('ab', 'a*c')",
		"hostname('a')", "hostname('a-b.c1')", "hostname('*.a.b')", "!hostname('*')", "!hostname('a.*.b')", "!hostname('a_b')", "!hostname('-a')", "!hostname('a-')",
		"!hostname('a..b')", "!hostname('a.')", "!hostname('')", "!hostname('ä')", "hostname('A')", "!hostname('a@b')", "!hostname('[a')",
		"key.bits == 256 && key.kind == 'ecdsa' && key.type == 'ecdsa-p256' && key.id.size() == 64",
		"names == dns && names.size() == 1 && ips.size() + emails.size() + uris.size() + principals.size() == 0",
		"now == timestamp('2026-11-22T12:00:00Z') && now.getFullYear() == 2026", "lifetime == duration('24h')",
		"who == 'acme/7' && via == 'acme' && authority == 'lab' && profile == 'server' && binding == '' && common_name == '' && !renewal && !granted",
		"dns.exists_one(n, n.matches('^a\\\\.[a-z.]+$'))",
	} {
		d := compile(t, policy.Rule{Name: "f", Require: expression}).Decide(request())
		if !d.Allowed {
			t.Errorf("%s: %s", expression, d.Why())
		}
	}
}

// Explanations of all forms.
func TestExplanations(t *testing.T) {
	for _, row := range []struct{ require, want string }{
		{"who == 'svc'", `who == "svc" is false, where who is "acme/7"`},
		{"!proven", "!proven is false"},
		{"profile == 'client' && lifetime < duration('90m')",
			`profile == "client" is false, where profile is "server"; lifetime < duration("90m") is false, where lifetime is 24h`},
		{"profile == 'client' || lifetime < duration('90m')",
			`profile == "client" is false, where profile is "server", and lifetime < duration("90m") is false, where lifetime is 24h`},
		{"dns.exists(n, n.startsWith('x'))", `no n of dns has n.startsWith("x"): "a.lab.test", "b.lab.test"`},
		{"uris.exists(u, u.startsWith('x'))", `no u of uris has u.startsWith("x"): empty`},
		{"dns.all(n, under(n, 'x.test') || glob(n, 'b.*.test'))",
			`under(n, "x.test") is false, where n is "a.lab.test", and glob(n, "b.*.test") is false, where n is "a.lab.test"`},
		{"dns.all(n, ['x', 'y'].exists(d, under(n, d)))", `no d of ["x", "y"] has under(n, d): "x", "y"; and so for 1 more of dns`},
		{"dns.filter(n, under(n, 'lab.test')).size() < 2", `dns.filter(n, under(n, "lab.test")).size() < 2 is false, where dns is "a.lab.test", "b.lab.test"`},
		{"now.getFullYear() > 2026", `now.getFullYear() > 2026 is false, where now is 2026-11-22T12:00:00Z`},
		{"false", "false is false"},
	} {
		d := compile(t, policy.Rule{Name: "e", Require: row.require}).Decide(request(func(r *policy.Request) { r.DNS = []string{"a.lab.test", "b.lab.test"} }))
		if got := d.Verdicts[0].Explanation; got != row.want {
			t.Errorf("%s:\n got %s\nwant %s", row.require, got, row.want)
		}
	}
}
