// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/policy"
)

// typical are five rules of a house, beside those that are built in.
func typical() []policy.Rule {
	return []policy.Rule{
		{Name: "names", When: "role == 'client'", Require: "dns.all(n, under(n, 'lab.test'))", Because: "names must end in .lab.test"},
		{Name: "short", Require: "lifetime <= duration('72h')", Because: "three days at most"},
		{Name: "servers", When: "profile == 'server'", Require: "via in ['acme', 'est', 'api']"},
		{Name: "addresses", When: "ips.size() > 0", Require: "ips.all(i, inside(i, '10.0.0.0/8'))"},
		{Name: "partners", When: "binding.startsWith('partner-')", Approve: true},
	}
}

// One decision: five rules and those that are built in.
func BenchmarkDecide(b *testing.B) {
	p, r := compile(b, typical()...), request()
	b.ReportAllocs()
	for b.Loop() {
		if !p.Decide(r).Allowed {
			b.Fatal("refused")
		}
	}
}

// One that is refused, with its explanation.
func BenchmarkRefuse(b *testing.B) {
	p := compile(b, typical()...)
	r := request(func(r *policy.Request) { r.DNS = []string{"x.example"} })
	for b.Loop() {
		if p.Decide(r).Why() == "" {
			b.Fatal("allowed")
		}
	}
}

// The dearest expression that is let through, over the largest request.
func BenchmarkDearest(b *testing.B) {
	p := compile(b, policy.Rule{Name: "pairs", Require: "dns.all(a, dns.all(b, !under(b, 'y')))"})
	r := request(func(r *policy.Request) { r.DNS = make([]string, 255) })
	for b.Loop() {
		p.Decide(r)
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		compile(b, typical()...)
	}
}

// A decision is cheap enough for the hottest path.
func TestDecideIsCheap(t *testing.T) {
	p, r := compile(t, typical()...), request()
	begin := time.Now()
	for range 1000 {
		p.Decide(r)
	}
	if took := time.Since(begin) / 1000; took > time.Millisecond {
		t.Errorf("a decision takes %s", took)
	}
}
