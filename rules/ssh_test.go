// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func sshFixtures() map[string]fixture {
	opens := func(options ...string) func(testing.TB) rule.Subject {
		return func(testing.TB) rule.Subject {
			return subject(&tallystick.Credential{ID: "a1", Kind: tallystick.KindKey}, tallystick.Sighting{
				Place: tallystick.FilePlace("/root/.ssh/authorized_keys"), Role: tallystick.RoleAccepts,
				Facts: tallystick.Facts{SSH: &tallystick.SSHFacts{Account: "root", Options: options, Line: 1}},
			})
		}
	}
	accounts := func(names ...string) func(testing.TB) rule.Estate {
		return func(testing.TB) rule.Estate {
			return fakeEstate{keys: []rule.KeyUse{{
				Key:         tallystick.Key{Algorithm: "ed25519"},
				Credentials: []rule.KeyBearer{{ID: "a1", Kind: tallystick.KindKey, Accounts: names}, {ID: "b2", Kind: tallystick.KindSSHCertificate}},
			}}}
		}
	}
	return map[string]fixture{
		"ssh-certificate-forever": {
			Firing:   sshCertificate("always:forever", "ed25519", ""),
			Silent:   sshCertificate("-1h:+52w", "ed25519", ""),
			Evidence: "valid forever",
		},
		"ssh-sha1-only": {
			Firing:   sshCertificate("-1h:+52w", "rsa", "ssh-rsa"),
			Silent:   sshCertificate("-1h:+52w", "rsa", "rsa-sha2-512"),
			Evidence: "sha1",
		},
		"ssh-root-unrestricted": {
			Firing:   opens("no-pty", `environment="from=here"`),
			Silent:   opens("no-pty", `From="192.0.2.0/24"`),
			Evidence: "opens root",
		},
		"ssh-key-many-accounts": {
			FiringEstate: accounts("deploy", "root"),
			SilentEstate: accounts("deploy", "deploy"),
			Evidence:     "opens 2 accounts: deploy and root",
		},
	}
}
