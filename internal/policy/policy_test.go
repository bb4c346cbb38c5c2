// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/problem"
)

var now = time.Date(2026, time.November, 22, 12, 0, 0, 0, time.UTC)

// request returns a sound one of a client that has proven its names.
func request(change ...func(*policy.Request)) policy.Request {
	r := policy.Request{
		Who: "acme/7", Role: "client", Via: "acme", Authority: "lab", Profile: "server", DNS: []string{"a.lab.test"},
		Proven: true, KeyType: "ecdsa-p256", KeyID: strings.Repeat("ab", 32), Lifetime: 24 * time.Hour, Now: now,
	}
	for _, c := range change {
		c(&r)
	}
	return r
}

func compile(t testing.TB, rules ...policy.Rule) *policy.Policy {
	t.Helper()
	p, err := policy.Compile(rules)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The built-in rules, each with what it refuses.
func TestBuiltIn(t *testing.T) {
	p := compile(t)
	for _, row := range []struct {
		name    string
		change  func(*policy.Request)
		refuses string // the rule, "" for none
		why     string
	}{
		{"proven", func(*policy.Request) {}, "", ""},
		{"not proven", func(r *policy.Request) { r.Proven = false }, policy.ProvenOrOperator,
			`control of the names was not proven, and no rule grants them to whoever asks: proven is false, and granted is false, and role in ["operator", "admin"] is false, where role is "client"`},
		{"a viewer", func(r *policy.Request) { r.Proven, r.Role = false, "viewer" }, policy.ProvenOrOperator, ""},
		{"nobody", func(r *policy.Request) { r.Proven, r.Role = false, "" }, policy.ProvenOrOperator, ""},
		{"an operator", func(r *policy.Request) { r.Proven, r.Role = false, "operator" }, "", ""},
		{"an administrator", func(r *policy.Request) { r.Proven, r.Role = false, "admin" }, "", ""},
		{"RSA of 2048 bits", func(r *policy.Request) { r.KeyType = "rsa-2048" }, "", ""},
		{"RSA of 2047 bits", func(r *policy.Request) { r.KeyType = "rsa-2047" }, "keys-strong",
			`keys have 112 bits of strength or more: key.type in ["ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519"] is false, where key.type is "rsa-2047", and key.bits >= 2048 is false, where key.bits is 2047`},
		{"RSA without a size", func(r *policy.Request) { r.KeyType = "rsa-" }, "keys-strong", ""},
		{"P-224", func(r *policy.Request) { r.KeyType = "ecdsa-p224" }, "keys-strong", ""},
		{"no key", func(r *policy.Request) { r.KeyType = "" }, "keys-strong", ""},
		{"Ed25519", func(r *policy.Request) { r.KeyType = "ed25519" }, "", ""},
		{"no name", func(r *policy.Request) { r.DNS = nil }, "names-well-formed",
			`a certificate names something, and DNS names are made of letters, digits and hyphens, with one whole * in front at most: names.size() > 0 is false, where names is empty`},
		{"an underscore", func(r *policy.Request) { r.DNS = []string{"ok.test", "a_b.test"} }, "names-well-formed",
			`a certificate names something, and DNS names are made of letters, digits and hyphens, with one whole * in front at most: hostname(n) is false, where n is "a_b.test"`},
		{"a wildcard", func(r *policy.Request) { r.DNS = []string{"*.lab.test"} }, "", ""},
		{"a wildcard in a label", func(r *policy.Request) { r.DNS = []string{"a*.lab.test"} }, "names-well-formed", ""},
		{"an empty name", func(r *policy.Request) { r.DNS = []string{""} }, "names-well-formed", ""},
		{"an IP address alone", func(r *policy.Request) { r.DNS, r.IPs = nil, []string{"10.0.0.1"} }, "", ""},
		{"a common name alone", func(r *policy.Request) { r.DNS, r.CommonName = nil, "svc" }, "", ""},
		{"101 names", func(r *policy.Request) { r.IPs = make([]string, 100) }, "names-at-most", ""},
		{"257 names", func(r *policy.Request) { r.IPs = make([]string, 256) }, "request-bounded",
			"no rule looks at requests of any size: it has more than 255 names"},
		{"a long text", func(r *policy.Request) { r.Binding = strings.Repeat("x", 2049) }, "request-bounded", ""},
		{"400 days", func(r *policy.Request) { r.Lifetime = 9600 * time.Hour }, "", ""},
		{"401 days", func(r *policy.Request) { r.Lifetime = 9624 * time.Hour }, "lifetime-at-most",
			`certificates live for 400 days at most, and most of them should live for days: lifetime <= duration("9600h") is false, where lifetime is 9624h`},
		{"no time at all", func(r *policy.Request) { r.Lifetime = 0 }, "lifetime-at-most", ""},
	} {
		d := p.Decide(request(row.change))
		var refused []string
		for _, v := range d.Verdicts {
			if v.Outcome == policy.Refused {
				refused = append(refused, v.Rule)
			}
		}
		if got := strings.Join(refused, " "); got != row.refuses || d.Allowed != (row.refuses == "") {
			t.Errorf("%s: allowed %t, refused by %q, want by %q", row.name, d.Allowed, got, row.refuses)
		}
		if row.why != "" || row.refuses == "" {
			if diff := cmp.Diff(row.why, d.Why()); diff != "" {
				t.Errorf("%s: %s", row.name, diff)
			}
		}
	}
}

// All rules that apply must agree, and what each says is told.
func TestDecide(t *testing.T) {
	p := compile(t,
		policy.Rule{Name: "lab-names", When: "role == 'client'", Require: "names.all(n, under(n, 'lab.test'))", Because: "names must end in .lab.test", Citation: "CP 3.2"},
		policy.Rule{Name: "partners", When: "binding.startsWith('partner-')", Approve: true, Because: "partners are looked at"},
		policy.Rule{Name: "short", Require: "lifetime <= duration('12h')", From: time.Date(2027, time.March, 15, 0, 0, 0, 0, time.UTC)},
	)
	verdict := func(d policy.Decision, rule string) policy.Verdict {
		for _, v := range d.Verdicts {
			if v.Rule == rule {
				return v
			}
		}
		return policy.Verdict{}
	}

	d := p.Decide(request())
	if !d.Allowed || d.NeedsApproval || verdict(d, "lab-names").Outcome != policy.Allowed || verdict(d, "partners").Outcome != policy.NotApplicable {
		t.Errorf("%+v", d)
	}
	short := verdict(d, "short")
	if short.Outcome != policy.NotYet || short.Explanation != `from 2027-03-15 on it refuses this: lifetime <= duration("12h") is false, where lifetime is 24h` {
		t.Errorf("%+v", short)
	}
	if d = p.Decide(request(func(r *policy.Request) { r.Now = time.Date(2027, time.March, 15, 0, 0, 0, 0, time.UTC) })); d.Allowed ||
		d.Why() != `rule short: lifetime <= duration("12h") is false, where lifetime is 24h` {
		t.Errorf("%+v", d)
	}
	if d = p.Decide(request(func(r *policy.Request) { r.Binding = "partner-1" })); !d.Allowed || !d.NeedsApproval || d.Why() != "partners are looked at" {
		t.Errorf("%+v", d)
	}
	if d = p.Decide(request(func(r *policy.Request) {
		r.Binding, r.DNS = "partner-1", []string{"a.lab.test", "x.example", "evillab.test"}
	})); d.Allowed || d.NeedsApproval ||
		d.Why() != `names must end in .lab.test: under(n, "lab.test") is false, where n is "x.example"; and so for 1 more of names` {
		t.Errorf("%s", d.Why())
	}
	if d = p.Decide(request(func(r *policy.Request) { r.CommonName = "x.example" })); d.Allowed {
		t.Error("the common name is one of the names")
	}
}

// A rule that grants takes the place of proof, for those it applies to and who fulfil it.
func TestGrants(t *testing.T) {
	p := compile(t, policy.Rule{Name: "svc", When: "who == 'svc'", Require: "dns.all(n, under(n, 'svc.lab.test'))", Grants: true})
	for _, row := range []struct {
		who, name string
		allowed   bool
	}{{"svc", "a.svc.lab.test", true}, {"svc", "a.lab.test", false}, {"other", "a.svc.lab.test", false}} {
		d := p.Decide(request(func(r *policy.Request) { r.Who, r.DNS, r.Proven = row.who, []string{row.name}, false }))
		if d.Allowed != row.allowed {
			t.Errorf("%s asks for %s: allowed %t: %s", row.who, row.name, d.Allowed, d.Why())
		}
	}
}

// Rules that restrict open nothing.
func TestRestrictionsGrantNothing(t *testing.T) {
	p := compile(t, policy.Rule{Name: "short", Require: "lifetime <= duration('48h')"}, policy.Rule{Name: "asked", Approve: true})
	if d := p.Decide(request(func(r *policy.Request) { r.Proven = false })); d.Allowed || d.NeedsApproval {
		t.Errorf("%+v", d)
	}
}

// A rule with the name of a built-in one takes its place.
func TestReplacing(t *testing.T) {
	p := compile(t, policy.Rule{Name: "names-well-formed", Require: "names.size() > 0"})
	if d := p.Decide(request(func(r *policy.Request) { r.DNS = []string{"_srv.lab.test"} })); !d.Allowed {
		t.Error(d.Why())
	}
	names := map[string]int{}
	for _, r := range p.Rules() {
		names[r.Name]++
	}
	if names["names-well-formed"] != 1 || len(names) != len(policy.BuiltIn()) {
		t.Errorf("%v", names)
	}
}

// A rule that cannot be evaluated refuses.
func TestErrorsRefuse(t *testing.T) {
	for _, rule := range []policy.Rule{
		{Name: "a", Require: "dns[7] == 'x'"},
		{Name: "a", When: "dns[7] == 'x'", Require: "true"},
		{Name: "a", Require: "ips.all(i, inside(i, who))"},
		{Name: "a", Require: "int(who) > 5"},
	} {
		d := compile(t, rule).Decide(request(func(r *policy.Request) { r.IPs = []string{"10.0.0.1"} }))
		if d.Allowed || d.Verdicts[0].Outcome != policy.Refused || !strings.Contains(d.Verdicts[0].Explanation, "cannot be") {
			t.Errorf("%+v: %+v", rule, d.Verdicts[0])
		}
	}
}

// What is wrong with an expression is told with its place and a hint.
func TestMistakes(t *testing.T) {
	long := "who == '" + strings.Repeat("x", 2000) + "'"
	for _, row := range []struct{ require, text, hint string }{
		{"dsn.size() > 0", `rule r, require, column 1: there is no "dsn"`, "did you mean dns?"},
		{"proven &&\n  zzzzzzzz", `rule r, require, line 2, column 3: there is no "zzzzzzzz"`, "the variables are who, role"},
		{"udner(who, 'x')", `rule r, require, column 6: there is no "udner"`, "did you mean under?"},
		{"lifetime", "rule r, require, column 1: it is of type google.protobuf.Duration, and must be true or false", "compare it"},
		{"who = 'x'", "rule r, require, column 5: Syntax error", "docs/policy.md"},
		{"who == 5", "rule r, require, column 5: found no matching overload", "docs/policy.md"},
		{"lifetime < duration('3 days')", "rule r, require, column 21: invalid duration argument", "docs/policy.md"},
		{"who.matches('(')", "rule r, require, column 13: invalid matches argument", "docs/policy.md"},
		{"who.matches(binding)", "rule r, require, column 13: the pattern of matches must be written out", ""},
		{"ips.all(i, inside(i, '10.0.0.0/99'))", `rule r, require, column 22: "10.0.0.0/99" is no network such as 10.0.0.0/8`, ""},
		{"proven && ips.all(uris, uris == 'x')", "rule r, require, column 18: uris is a variable, and cannot be an item of a list", "call the item something else"},
		{long, "rule r, require: the expression has more than 2000 bytes", "split it"},
		{"", "rule r: it requires nothing and asks for no approval", ""},
	} {
		_, err := policy.Compile([]policy.Rule{{Name: "r", Require: row.require}})
		if !errors.Is(err, tallystick.ErrInvalid) || !strings.HasPrefix(err.Error(), row.text) {
			t.Errorf("%.60q: %v", row.require, err)
			continue
		}
		if hint := problem.Of(err).Hint; !strings.HasPrefix(hint, row.hint) {
			t.Errorf("%.60q: hint %q", row.require, hint)
		}
	}
}

func TestNamesOfRules(t *testing.T) {
	for _, rules := range [][]policy.Rule{
		{{Name: "a", Approve: true}, {Name: "a", Approve: true}},
		{{Name: "keys-strong", Approve: true}, {Name: "keys-strong", Approve: true}},
		{{Name: "request-bounded", Approve: true}},
		{{Approve: true}},
		make([]policy.Rule, policy.MaxRules+1),
	} {
		if _, err := policy.Compile(rules); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%d rules: %v", len(rules), err)
		}
	}
}

// bombs would take long, or much memory.
func bombs() []string {
	return []string{
		"dns.all(a, dns.all(b, dns.all(c, a + b + c != '')))",
		"names.all(a, names.all(b, names.all(c, names.all(d, a == b && c == d))))",
		"dns.map(a, dns.map(b, dns.map(c, a + b + c))).size() > 0",
		"names.all(a, names.all(b, glob(a, b)))",
		"dns.exists(a, (" + strings.Repeat("a + ", 400) + "a) == 'x' && dns.exists(b, dns.exists(c, (a+b+c).contains(b+c))))",
		strings.Repeat("(", 500) + "proven" + strings.Repeat(")", 500),
		"who.matches('" + strings.Repeat("(x{1,99}){1,9}", 50) + "')",
		strings.Repeat("proven || ", 190) + strings.Repeat("[1].all(x,", 30) + "true" + strings.Repeat(")", 30),
		"[" + strings.Repeat("1,", 900) + "1].all(a, dns.all(b, dns.all(c, true)))",
	}
}

func TestBombsAreRefused(t *testing.T) {
	for _, bomb := range bombs() {
		begin := time.Now()
		if _, err := policy.Compile([]policy.Rule{{Name: "bomb", Require: bomb}}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%.80q: %v", bomb, err)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("%.80q: took %s", bomb, took)
		}
	}
}
