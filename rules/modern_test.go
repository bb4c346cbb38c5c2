// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// said judges by every rule but no-owner, and returns what is told.
func said(s rule.Subject) map[string]string {
	told := map[string]string{}
	for _, r := range All() {
		if r.Check == nil || r.Name == "no-owner" {
			continue
		}
		for _, hit := range r.Check(s) {
			severity := r.Severity
			if hit.Severity != 0 {
				severity = hit.Severity
			}
			told[r.Name] = severity.String()
		}
	}
	return told
}

// TestModernServersAreQuiet judges what nginx on Debian 13 (OpenSSL 3.5) and on
// Debian 12 (OpenSSL 3.0) accepts by default.
func TestModernServersAreQuiet(t *testing.T) {
	root := issue(t, nil, "Root", authority)
	middle := issue(t, root, "Middle", authority)
	leaf := issue(t, middle, "www.example.org", server("www.example.org"))
	facts := tallystick.TLSFacts{
		ServerName: "www.example.org", Address: "192.0.2.7", Depth: tallystick.DepthSuites, Protocols: []string{"tls1.2", "tls1.3"},
		Suites: []string{
			"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256",
			"TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_CCM",
			"TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
			"TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA384", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_ARIA_256_GCM_SHA384",
			"TLS_ECDHE_ECDSA_WITH_CAMELLIA_128_CBC_SHA256", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
		},
		Group: "x25519", Groups: []string{"X25519MLKEM768", "x25519", "secp256r1", "x448", "secp384r1", "secp521r1", "ffdhe2048", "ffdhe3072"},
		ALPN: []string{"http/1.1"}, ClientAuth: "none", Staple: "none", Evidence: tallystick.EvidenceProven,
	}
	s := subject(leaf.Credential, served(leaf.Credential, facts, middle))
	s.Issuers = []*tallystick.Credential{middle.Credential, root.Credential}
	if diff := cmp.Diff(map[string]string{}, said(s)); diff != "" {
		t.Errorf("with OpenSSL 3.5 (-want +got):\n%s", diff)
	}
	facts.Groups = facts.Groups[1:]
	s.Sightings = []tallystick.Sighting{served(leaf.Credential, facts, middle)}
	if diff := cmp.Diff(map[string]string{"no-post-quantum": "info"}, said(s)); diff != "" {
		t.Errorf("with OpenSSL 3.0 (-want +got):\n%s", diff)
	}
}

func TestModernSSHIsQuiet(t *testing.T) {
	s := sshServer(func(*tallystick.SSHFacts) {})(t)
	s.Credential.Key = tallystick.Key{Algorithm: "ed25519", Bits: 256}
	if diff := cmp.Diff(map[string]string{}, said(s)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
