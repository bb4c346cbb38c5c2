// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/policy"
)

// tooLong is more than an expression or a decision may take on a busy machine.
const tooLong = 5 * time.Second

// FuzzExpression compiles what a stranger wrote and decides with what compiles.
func FuzzExpression(f *testing.F) {
	for _, seed := range append(bombs(), "proven", "dns.all(n, under(n, 'lab.test'))", "lifetime <= duration('72h') || role in ['admin']",
		"names.filter(n, n.matches('^a+$')).map(n, n.size()).exists(s, s > 3)", "[[1]][0][0] == 1 ? proven : !proven", "{'a': dns}['a'].size() > 0",
		"dns.exists_one(n, glob(n, '*') && inside('::', '::/0'))", "has({'a': 1}.a)", "\"\\", "b'\\xff' == bytes(who)", "type(dns) == list", "dyn(who) == 5") {
		f.Add(seed)
	}
	large := request(func(r *policy.Request) {
		r.DNS = nil
		for i := range 250 {
			r.DNS = append(r.DNS, strings.Repeat("x", i)+".lab.test")
		}
	})
	f.Fuzz(func(t *testing.T, text string) {
		begin := time.Now()
		// A rule that grants is looked at more closely; about half of them do.
		p, err := policy.Compile([]policy.Rule{{Name: "fuzz", When: text, Require: text, Approve: true, Grants: len(text)%2 == 0}})
		if err != nil {
			if !errors.Is(err, tallystick.ErrInvalid) {
				t.Fatal(err)
			}
		} else {
			for _, r := range []policy.Request{request(), large, {}} {
				d, again := p.Decide(r), p.Decide(r)
				if d.Allowed != again.Allowed || d.Why() != again.Why() {
					t.Errorf("%q and %q", d.Why(), again.Why())
				}
			}
		}
		if took := time.Since(begin); took > tooLong {
			t.Errorf("took %s", took)
		}
	})
}

// FuzzRequest decides about what a stranger asks for.
func FuzzRequest(f *testing.F) {
	f.Add("svc", "a.lab.test", "10.0.0.1", "a@b", "spiffe://x/y", "rsa-2048", int64(time.Hour))
	f.Add("", "", "", "", "", "", int64(0))
	f.Add("\xff", "*.", "::%x", "@", ":", "rsa--1", int64(-1))
	f.Add("x", strings.Repeat("a.", 1200), "1", "1", "1", "ecdsa-p99999999999999999999", int64(1)<<62)
	p := compile(f, policy.Rule{Name: "a", Require: "names.all(n, under(n, 'lab.test') || glob(n, '**-*.x')) && ips.all(i, inside(i, '10.0.0.0/8'))"},
		policy.Rule{Name: "b", When: "uris.all(u, u.matches('^spiffe://[a-z.]+/'))", Approve: true, Grants: true})
	f.Fuzz(func(t *testing.T, who, dns, ip, email, uri, key string, lifetime int64) {
		r := policy.Request{Who: who, Role: who, DNS: strings.Split(dns, ","), IPs: []string{ip}, Emails: []string{email}, URIs: []string{uri},
			KeyType: key, Lifetime: time.Duration(lifetime)}
		begin := time.Now()
		if d := p.Decide(r); d.Allowed && d.Why() != "" && !d.NeedsApproval || !d.Allowed && d.Why() == "" {
			t.Errorf("allowed %t, why %q", d.Allowed, d.Why())
		}
		if took := time.Since(begin); took > tooLong {
			t.Errorf("took %s", took)
		}
	})
}
