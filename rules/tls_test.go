// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"crypto/tls"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// accepting is an endpoint with what it accepts.
func accepting(facts tallystick.TLSFacts) func(testing.TB) rule.Subject {
	return func(t testing.TB) rule.Subject {
		leaf := issue(t, nil, "leaf", server("example.org"))
		above := served(leaf.Credential, facts)
		above.TLS.Position = 1 // what the endpoint accepts is told with its own certificate only
		above.Place = "tls://192.0.2.8:443"
		return subject(leaf.Credential, served(leaf.Credential, facts), above)
	}
}

func tlsFixtures() map[string]fixture {
	suites := func(names ...string) func(testing.TB) rule.Subject {
		return accepting(tallystick.TLSFacts{Suites: names})
	}
	const modern = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
	return map[string]fixture{
		"old-protocol": {
			Firing:   accepting(tallystick.TLSFacts{Protocols: []string{"tls1.2", "tls1.1", "tls1.0"}}),
			Silent:   accepting(tallystick.TLSFacts{Protocols: []string{"tls1.2", "tls1.3"}}),
			Evidence: "accepts tls1.0 and tls1.1",
		},
		"weak-cipher": {
			Firing:   suites(modern, "TLS_RSA_WITH_3DES_EDE_CBC_SHA"),
			Silent:   suites(modern, "TLS_RSA_WITH_AES_128_CBC_SHA"),
			Evidence: "accepts TLS_RSA_WITH_3DES_EDE_CBC_SHA",
		},
		"no-forward-secrecy": {
			Firing:   suites("TLS_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDH_RSA_WITH_AES_128_GCM_SHA256"),
			Silent:   suites("TLS_RSA_WITH_AES_128_GCM_SHA256", modern),
			Evidence: "only TLS_ECDH_RSA_WITH_AES_128_GCM_SHA256 and TLS_RSA_WITH_AES_128_GCM_SHA256",
		},
	}
}

// TestSuites names suites from the IANA registry with what is thought of each.
func TestSuites(t *testing.T) {
	for _, row := range []struct {
		suite   string
		weak    tallystick.Severity
		forward bool
	}{
		{"TLS_NULL_WITH_NULL_NULL", tallystick.SeverityHigh, false},
		{"TLS_RSA_WITH_NULL_SHA256", tallystick.SeverityHigh, false},
		{"TLS_RSA_EXPORT_WITH_RC4_40_MD5", tallystick.SeverityHigh, false},
		{"TLS_DH_anon_WITH_AES_128_CBC_SHA", tallystick.SeverityHigh, true},
		{"TLS_ECDH_anon_WITH_AES_128_CBC_SHA", tallystick.SeverityHigh, true},
		{"TLS_SHA256_SHA256", tallystick.SeverityHigh, true},
		{"TLS_RSA_WITH_RC4_128_SHA", tallystick.SeverityMedium, false},
		{"TLS_RSA_WITH_DES_CBC_SHA", tallystick.SeverityMedium, false},
		{"TLS_RSA_WITH_IDEA_CBC_SHA", tallystick.SeverityMedium, false},
		{"TLS_KRB5_EXPORT_WITH_RC2_CBC_40_MD5", tallystick.SeverityHigh, false},
		{"TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA", tallystick.SeverityMedium, true},
		{"TLS_RSA_WITH_AES_128_CBC_SHA", 0, false},
		{"TLS_DH_RSA_WITH_AES_128_CBC_SHA", 0, false},
		{"TLS_ECDH_ECDSA_WITH_AES_128_CBC_SHA", 0, false},
		{"TLS_PSK_WITH_AES_128_CBC_SHA", 0, false},
		{"TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256", 0, true},
		{"TLS_DHE_DSS_WITH_AES_128_CBC_SHA", 0, true},
		{"TLS_ECCPWD_WITH_AES_128_GCM_SHA256", 0, true},
		{"TLS_AES_128_GCM_SHA256", 0, true},
		{"TLS_CHACHA20_POLY1305_SHA256", 0, true},
	} {
		if got := cipherSeverity(row.suite); got != row.weak {
			t.Errorf("%s: severity %v, want %v", row.suite, got, row.weak)
		}
		if got := isForwardSecret(row.suite); got != row.forward {
			t.Errorf("%s: forward secrecy %v, want %v", row.suite, got, row.forward)
		}
	}
}

// TestSuitesOfGo judges the suites that crypto/tls calls secure, which none of
// the rules may name weak.
func TestSuitesOfGo(t *testing.T) {
	for _, suite := range tls.CipherSuites() {
		if got := cipherSeverity(suite.Name); got != 0 {
			t.Errorf("%s: severity %v", suite.Name, got)
		}
		if !isForwardSecret(suite.Name) {
			t.Errorf("%s: no forward secrecy", suite.Name)
		}
	}
}
