// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func namingFixtures() map[string]fixture {
	asked := func(name string) func(testing.TB) rule.Subject {
		return func(t testing.TB) rule.Subject {
			leaf := issue(t, nil, "leaf", server("www.example.org", "*.shop.example.org"))
			return subject(leaf.Credential, served(leaf.Credential, tallystick.TLSFacts{ServerName: name}))
		}
	}
	owned := func(owner string) func(testing.TB) rule.Subject {
		return func(t testing.TB) rule.Subject {
			s := asked("www.example.org")(t)
			s.Annotation.Owner = owner
			return s
		}
	}
	return map[string]fixture{
		"name-mismatch": {
			Firing:   asked("example.org"),
			Silent:   asked("EU.shop.example.org"),
			Evidence: "asked for example.org; the certificate is for www.example.org and *.shop.example.org",
		},
		"no-owner": {Firing: owned(""), Silent: owned("web team"), Evidence: "no owner"},
	}
}

// TestNames has the rules of RFC 9525 sections 6.3 and 6.4, a row each.
func TestNames(t *testing.T) {
	for _, row := range []struct {
		asked string
		names []string
		want  tallystick.Severity // zero fires with the rule's own, -1 is silent
	}{
		{"a.example.org", []string{"a.example.org"}, -1},
		{"a.example.org.", []string{"A.Example.ORG"}, -1},
		{"a.example.org", []string{"b.example.org", "*.example.org"}, -1},
		{"a.b.example.org", []string{"*.example.org"}, 0},
		{"example.org", []string{"*.example.org"}, 0},
		{"ab.example.org", []string{"a*.example.org"}, 0},
		{"a.b.example.org", []string{"a.*.example.org"}, 0},
		{"example.org", []string{"*.org"}, 0}, // a whole registry is nobody's
		{"example.org", []string{"*"}, 0},
		{"example.org", nil, 0},
		{"localhost", []string{"example.org"}, tallystick.SeverityInfo},
		{"", []string{"example.org"}, -1},
		{"192.0.2.1", []string{"example.org"}, -1},
		{"192.0.2.1", []string{"example.org", "192.0.2.1"}, -1},
		{"192.0.2.1", []string{"192.0.2.9"}, tallystick.SeverityInfo},
		{"2001:db8::1", []string{"2001:db8:0::1"}, -1},
		{"[2001:db8::1]", []string{"2001:db8::2"}, tallystick.SeverityInfo},
		{"127.1.0.7", []string{"192.0.2.9"}, -1},
		{"192.0.2.1", []string{"*.0.2.1", "192.0.2.2"}, tallystick.SeverityInfo},
	} {
		evidence, severity := judgeName(row.asked, row.names)
		if fires := evidence != ""; fires != (row.want >= 0) || fires && severity != row.want {
			t.Errorf("%q among %q: %q, severity %d, want %d", row.asked, row.names, evidence, severity, row.want)
		}
	}
}

// TestOwnersOfWhat lists what needs an owner.
func TestOwnersOfWhat(t *testing.T) {
	leaf := issue(t, nil, "leaf", server("example.org"))
	root := issue(t, nil, "Root", authority)
	file := held("/etc/x.pem", tallystick.FileFacts{})
	for what, row := range map[string]struct {
		s    rule.Subject
		want bool
	}{
		"a served leaf":         {subject(leaf.Credential, served(leaf.Credential, tallystick.TLSFacts{})), true},
		"a held leaf":           {subject(leaf.Credential, file), true},
		"a trusted leaf":        {subject(leaf.Credential, trusted()), false},
		"a root":                {subject(root.Credential, trusted()), false},
		"a root that is served": {subject(root.Credential, served(root.Credential, tallystick.TLSFacts{})), true},
	} {
		if got := len(checkNoOwner(row.s)) > 0; got != row.want {
			t.Errorf("%s: fires is %v, want %v", what, got, row.want)
		}
	}
}
