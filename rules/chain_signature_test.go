// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func chainSignatureFixtures() map[string]fixture {
	return map[string]fixture{
		"weak-chain-signature": {
			Firing: func(t testing.TB) rule.Subject {
				root := issue(t, nil, "Root", authority)
				middle := issue(t, root, "Middle", authority, sha1)
				leaf := issue(t, middle, "leaf", server("example.org"))
				return subject(leaf.Credential, served(leaf.Credential, tallystick.TLSFacts{}, middle))
			},
			// Nobody looks at the signatures of a root and of what is not above the leaf.
			Silent: func(t testing.TB) rule.Subject {
				root := issue(t, nil, "Root", authority, sha1)
				stray := issue(t, root, "Stray", authority, sha1)
				leaf := issue(t, root, "leaf", server("example.org"))
				return subject(leaf.Credential, served(leaf.Credential, tallystick.TLSFacts{}, stray, root))
			},
			Evidence: "CN=Middle is signed with SHA-1 by CN=Root",
		},
	}
}
