// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/problem"
)

// client returns a request of a token that has proven nothing.
func client(change func(*policy.Request)) policy.Request {
	return request(func(r *policy.Request) {
		r.Who, r.Via, r.Proven, r.DNS = "svc", "api", false, nil
		change(r)
	})
}

// evasions are requests for what a rule about the DNS names of a service did not mean
// to grant.
func evasions() map[string]policy.Request {
	of := map[string]policy.Request{}
	for profile, names := range map[string]policy.Request{
		"postgresql": {CommonName: "postgres"},
		"spiffe":     {URIs: []string{"spiffe://prod.bank/admin/x.svc.lab.test"}},
		"mail":       {Emails: []string{"boss@svc.lab.test"}},
		"pkinit":     {Principals: []string{"administrator@SVC.LAB.TEST"}},
		"ssh-user":   {Principals: []string{"root"}},
		"server":     {IPs: []string{"10.0.0.1"}},
		"client":     {CommonName: "postgres .svc.lab.test"},
	} {
		alone := client(func(r *policy.Request) {
			r.Profile, r.CommonName, r.URIs, r.Emails, r.Principals, r.IPs = profile, names.CommonName, names.URIs, names.Emails, names.Principals, names.IPs
		})
		beside := alone
		beside.DNS = []string{"a.svc.lab.test"}
		of[profile], of[profile+" beside a name of its own"] = alone, beside
	}
	return of
}

// What a rule says nothing of it does not grant, and under is for host names.
func TestGrantsAreNotEvaded(t *testing.T) {
	for _, rule := range []policy.Rule{
		{Name: "svc", When: "who == 'svc'", Require: "dns.all(n, under(n, 'svc.lab.test'))"},
		{Name: "svc", When: "who == 'svc'", Require: "dns.all(n, under(n, 'svc.lab.test'))", Approve: true},
		{Name: "svc", When: "who == 'svc' && dns.all(n, under(n, 'svc.lab.test'))", Require: "lifetime <= duration('24h')"},
		{Name: "svc", When: "who == 'svc'", Require: "dns.all(n, under(n, 'svc.lab.test')) && names.size() < 5"},
		{Name: "svc", When: "who == 'svc'", Require: "names.all(n, under(n, 'svc.lab.test'))"},
		{Name: "svc", When: "who == 'svc' && profile == 'server'", Require: "names.all(n, under(n, 'svc.lab.test'))"},
	} {
		rule.Grants = true
		p := compile(t, rule)
		for name, r := range evasions() {
			if d := p.Decide(r); d.Allowed {
				t.Errorf("%s %s: %s is allowed", rule.When, rule.Require, name)
			}
		}
		if d := p.Decide(client(func(r *policy.Request) { r.DNS = []string{"a.svc.lab.test", "*.svc.lab.test"} })); !d.Allowed {
			t.Errorf("%s %s: its own names: %s", rule.When, rule.Require, d.Why())
		}
	}
}

// Two rules that are about a sort each do not add up.
func TestGrantsDoNotAddUp(t *testing.T) {
	p := compile(t, policy.Rule{Name: "hosts", Require: "dns.all(n, under(n, 'lab.test'))", Grants: true},
		policy.Rule{Name: "workloads", Require: "uris.all(u, u.startsWith('spiffe://lab.test/'))", Grants: true})
	dns, uris := []string{"a.lab.test"}, []string{"spiffe://lab.test/a"}
	for _, row := range []struct {
		dns, uris []string
		allowed   bool
	}{{dns, nil, true}, {nil, uris, true}, {dns, uris, false}} {
		if d := p.Decide(client(func(r *policy.Request) { r.DNS, r.URIs = row.dns, row.uris })); d.Allowed != row.allowed {
			t.Errorf("%v %v: allowed %t: %s", row.dns, row.uris, d.Allowed, d.Why())
		}
	}
}

// Whoever is refused reads what the rule says nothing of. A rule that does not grant
// takes nothing from those who need no grant.
func TestWithheldGrantsAreExplained(t *testing.T) {
	p := compile(t, policy.Rule{Name: "svc", Require: "dns.all(n, under(n, 'lab.test'))", Grants: true})
	r := client(func(r *policy.Request) {
		r.DNS, r.URIs, r.CommonName = []string{"a.lab.test"}, []string{"spiffe://prod.bank/admin"}, "postgres"
	})
	d := p.Decide(r)
	says := `it grants dns, and says nothing of uris: "spiffe://prod.bank/admin", nor of common_name: "postgres"`
	if v := d.Verdicts[0]; v.Outcome != policy.Allowed || v.Explanation != says {
		t.Errorf("%+v", v)
	}
	if why := d.Why(); d.Allowed || !strings.HasSuffix(why, "; rule svc grants nothing here: "+says) {
		t.Errorf("allowed %t: %s", d.Allowed, why)
	}
	for _, change := range []func(*policy.Request){func(r *policy.Request) { r.Proven = true }, func(r *policy.Request) { r.Role = "operator" }} {
		other := r
		change(&other)
		if d := p.Decide(other); !d.Allowed {
			t.Error(d.Why())
		}
	}
}

// What an expression says what all names of a sort must be of, and what it does not.
func TestWhatRulesSpeakOf(t *testing.T) {
	for _, row := range []struct{ require, speaksOf string }{
		{"names.all(n, under(n, 'x'))", "dns, ips, emails, uris, principals, common_name"},
		{"dns.all(n, under(n, 'x')) && ips.all(i, inside(i, '10.0.0.0/8'))", "dns, ips"},
		{"(dns + uris).all(n, n == 'x')", "dns, uris"},
		{"[dns, emails].all(l, l.all(n, n == 'x'))", "dns, emails"},
		{"dns.map(n, n + '.').all(n, n == 'x')", "dns"},
		{"['x', 'y'].exists(d, dns.all(n, under(n, d)))", "dns"},
		{"!dns.all(n, n == 'x') || principals == ['x']", "dns, principals"},
		{"common_name in ['x'] && uris.size() == 0", "common_name"},
		{"role == 'admin' ? true : common_name == 'x'", "common_name"},
		{"dns.exists(n, n == common_name)", "common_name"},
		{"who == 'x' && !proven", ""},
		{"names.size() < 5 && size(dns) > 0", ""},
		{"names.exists(n, n == 'x') || dns.exists_one(n, n == 'x')", ""},
		{"names.filter(n, hostname(n)).all(n, under(n, 'x'))", ""},
		{"dns[0] == 'x' && 'x' in names && common_name != ''", ""},
	} {
		p, err := policy.Compile([]policy.Rule{{Name: "r", When: row.require, Require: "true", Grants: true}})
		if row.speaksOf == "" {
			if !errors.Is(err, tallystick.ErrInvalid) || err.Error() != "rule r: it grants names and does not say which" ||
				!strings.Contains(problem.Of(err).Hint, "names.all(") {
				t.Errorf("%s: %v", row.require, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", row.require, err)
			continue
		}
		if got := p.SpeaksOf("r"); got != row.speaksOf {
			t.Errorf("%s: speaks of %q, want %q", row.require, got, row.speaksOf)
		}
	}
}
