// SPDX-License-Identifier: Apache-2.0

package rules

import "github.com/tallystick/tallystick/rule"

func wrappingFixtures() map[string]fixture {
	key := func(edit func(*rule.WrappingSubject)) rule.WrappingSubject {
		s := rule.WrappingSubject{
			ID: "passphrase:3fa4b2c1", Origin: "a passphrase, by Argon2id", Leaves: true, Kept: 3,
			Weak: []string{
				"deriving it costs less than RFC 9106 recommends (3 passes over 64 MiB): rewrap to a new passphrase",
				"it has been in use for more than two years: rewrap to a new key",
			},
			Safer: "pkcs11:9c01d2",
		}
		edit(&s)
		return s
	}
	as := func(*rule.WrappingSubject) {}
	return map[string]fixture{
		"wrapping-key-weak": {
			FiringKey: key(as), SilentKey: key(func(s *rule.WrappingSubject) { s.Weak = nil }),
			Evidence: "a passphrase, by Argon2id: deriving it costs less than RFC 9106 recommends (3 passes over 64 MiB): rewrap to a new passphrase; " +
				"it has been in use for more than two years: rewrap to a new key",
		},
		"wrapping-key-left-in-software": {
			FiringKey: key(as), SilentKey: key(func(s *rule.WrappingSubject) { s.Kept = 0 }), // it is put under the new one
			Evidence: "secrets are under it, which is a passphrase, by Argon2id, and pkcs11:9c01d2 is in use",
		},
	}
}
