// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"

	"github.com/tallystick/tallystick"
)

func clientFixtures() map[string]fixture {
	asking := func(names ...string) tallystick.TLSFacts {
		return tallystick.TLSFacts{ClientAuth: "requested", ClientCAs: names}
	}
	return map[string]fixture{
		"client-ca-unnamed": {
			Firing:   accepting(asking()),
			Silent:   accepting(asking("CN=Own CA,O=Example")),
			Evidence: "names no issuer",
		},
		"client-ca-distrusted": {
			Firing:   accepting(asking("CN=Own CA", "CN=DigiNotar Cyber CA,O=DigiNotar,C=NL")),
			Silent:   accepting(asking("CN=Own CA", "O=DigiNotar Cyber CA", `CN=Own\, CN=DigiNotar Cyber CA`, "CN=Certinomis - Root CA")),
			Evidence: "CN=DigiNotar Cyber CA,O=DigiNotar,C=NL, which is on the list of compromised CAs",
		},
	}
}

func TestDistrustedClientCAsAreWeighed(t *testing.T) {
	for name, want := range map[string]tallystick.Severity{
		"CN=eDellRoot": tallystick.SeverityMedium, "OU=x, CN=WoSign": tallystick.SeverityInfo, "CN=Example": 0, "": 0, "CN=": 0,
	} {
		_, got := judgeClientCAs(readDistrust().byCommonName(), []string{name})
		if got != want {
			t.Errorf("%q: severity %v, want %v", name, got, want)
		}
	}
}
