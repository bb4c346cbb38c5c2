// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// A hierarchy is a root, two intermediates one above the other, and a leaf.
type hierarchy struct{ root, upper, lower, leaf *identity }

func newHierarchy(t testing.TB) hierarchy {
	root := issue(t, nil, "Root", authority)
	upper := issue(t, root, "Upper", authority)
	lower := issue(t, upper, "Lower", authority)
	return hierarchy{root, upper, lower, issue(t, lower, "leaf", server("example.org"))}
}

// serving is the leaf at an endpoint that sends extra; all issuers are known.
func (h hierarchy) serving(extra ...*identity) rule.Subject {
	s := subject(h.leaf.Credential, served(h.leaf.Credential, tallystick.TLSFacts{}, extra...))
	s.Issuers = []*tallystick.Credential{h.lower.Credential, h.upper.Credential, h.root.Credential}
	return s
}

func chainFixtures() map[string]fixture {
	full := func(t testing.TB) rule.Subject {
		h := newHierarchy(t)
		return h.serving(h.lower, h.upper)
	}
	return map[string]fixture{
		"ca-as-leaf": {
			Firing: func(t testing.TB) rule.Subject {
				c := issue(t, issue(t, nil, "Root", authority), "example.org", authority, server("example.org")).Credential
				return subject(c, served(c, tallystick.TLSFacts{}))
			},
			Silent:   full,
			Evidence: "CN=example.org",
		},
		"incomplete-chain": {
			Firing: func(t testing.TB) rule.Subject {
				h := newHierarchy(t)
				return h.serving(h.lower)
			},
			Silent:   full,
			Evidence: "does not send CN=Upper, which issued CN=Lower",
		},
		"overlong-chain": {
			Firing: func(t testing.TB) rule.Subject {
				h := newHierarchy(t)
				return h.serving(h.lower, h.upper, h.root)
			},
			Silent:   full,
			Evidence: "sends the root CN=Root",
		},
		"self-signed": {
			Firing: func(t testing.TB) rule.Subject {
				c := issue(t, nil, "example.org", server("example.org")).Credential
				return subject(c, served(c, tallystick.TLSFacts{}))
			},
			Silent: func(t testing.TB) rule.Subject {
				return subject(issue(t, nil, "Root", authority).Credential, trusted())
			},
			Evidence: "as CN=example.org",
		},
		"unordered-chain": {
			Firing: func(t testing.TB) rule.Subject {
				h := newHierarchy(t)
				return h.serving(h.upper, h.lower)
			},
			Silent:   full,
			Evidence: "sends CN=Upper before what it issued",
		},
	}
}

// TestChains has the chains that servers really send, with what the chain
// rules say to each.
func TestChains(t *testing.T) {
	h := newHierarchy(t)
	other := issue(t, nil, "Other", authority)
	crossed := issue(t, other, "Root", authority) // Root as another CA sees it, with a key of its own
	private := h.serving(h.lower, h.upper)
	private.Issuers = nil
	bare := h.serving()
	bare.Issuers = nil
	verified := h.serving()
	verified.Sightings[0].TLS.Evidence = tallystick.EvidenceVerified
	unloaded := h.serving(h.lower, h.upper)
	unloaded.Sightings[0].Chain = nil
	for what, row := range map[string]struct {
		s    rule.Subject
		want []string
	}{
		"in order":                    {h.serving(h.lower, h.upper), nil},
		"the leaf alone":              {h.serving(), []string{"incomplete-chain"}},
		"the leaf alone, verified":    {verified, nil},
		"the leaf alone, no issuers":  {bare, []string{"incomplete-chain"}},
		"a private root":              {private, nil},
		"the root first":              {h.serving(h.root, h.upper, h.lower), []string{"overlong-chain", "unordered-chain"}},
		"an unrelated one between":    {h.serving(h.lower, other, h.upper), []string{"overlong-chain"}},
		"one of the same name, above": {h.serving(h.lower, h.upper, crossed), []string{"overlong-chain"}},
		"one twice":                   {h.serving(h.lower, h.lower, h.upper), []string{"overlong-chain"}},
		"the leaf twice":              {h.serving(h.leaf, h.lower, h.upper), []string{"overlong-chain"}},
		"a chain that was not loaded": {unloaded, nil},
		"more than anybody needs":     {h.serving(append([]*identity{h.lower, h.upper}, slices.Repeat([]*identity{other}, 500)...)...), []string{"overlong-chain"}},
	} {
		var got []string
		for _, r := range chainRules() {
			if len(r.Check(row.s)) > 0 {
				got = append(got, r.Name)
			}
		}
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
}
