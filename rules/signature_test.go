// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"bytes"
	"crypto/x509"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func sha1(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }

func signatureFixtures() map[string]fixture {
	return map[string]fixture{
		"malformed-certificate": {
			Firing: func(t testing.TB) rule.Subject {
				sound := issue(t, nil, "leaf", server("example.org"))
				// Serial number 0x41 becomes negative, as Samba writes some.
				der := bytes.Replace(sound.Raw, []byte{2, 1, 0x41}, []byte{2, 1, 0xc1}, 1)
				c := read(t, der)
				return subject(c, served(c, tallystick.TLSFacts{}))
			},
			Silent: func(t testing.TB) rule.Subject {
				c := issue(t, nil, "leaf", server("example.org")).Credential
				return subject(c, served(c, tallystick.TLSFacts{}))
			},
			Evidence: "negative",
		},
		"weak-signature": {
			Firing: func(t testing.TB) rule.Subject {
				c := issue(t, issue(t, nil, "Root", authority), "leaf", server("example.org"), sha1).Credential
				return subject(c, served(c, tallystick.TLSFacts{}))
			},
			Silent: func(t testing.TB) rule.Subject {
				return subject(issue(t, nil, "Root", authority, sha1).Credential, trusted())
			},
			Evidence: "signed with SHA-1 by CN=Root",
		},
	}
}

// TestWeakSignatureOfWhat has the self-signed certificates between a root and
// a leaf.
func TestWeakSignatureOfWhat(t *testing.T) {
	root := issue(t, nil, "Root", authority, sha1)
	leaf := issue(t, nil, "leaf", server("example.org"), sha1)
	for what, row := range map[string]struct {
		s    rule.Subject
		want bool
	}{
		"a root as a server's own": {subject(root.Credential, served(root.Credential, tallystick.TLSFacts{})), true},
		"a root that is held":      {subject(root.Credential, held("/etc/ca.pem", tallystick.FileFacts{})), false},
		"a served leaf":            {subject(leaf.Credential, served(leaf.Credential, tallystick.TLSFacts{})), true},
		"a trusted leaf":           {subject(leaf.Credential, trusted()), false},
	} {
		if got := len(checkWeakSignature(row.s)) > 0; got != row.want {
			t.Errorf("%s: fires is %v, want %v", what, got, row.want)
		}
	}
}

func TestBrokenHashes(t *testing.T) {
	for signature, want := range map[string]string{
		"rsa-md2": "MD2", "rsa-md5": "MD5", "rsa-sha1": "SHA-1", "dsa-sha1": "SHA-1", "ecdsa-sha1": "SHA-1", "rsa-pss-sha1": "SHA-1", "ssh-rsa": "SHA-1", "ssh-dss": "SHA-1",
		"rsa-sha256": "", "ecdsa-sha384": "", "ed25519": "", "rsa-pss-sha512": "", "rsa-sha2-512": "", "": "",
	} {
		if got, _ := brokenHash(signature); got != want {
			t.Errorf("%q: %q, want %q", signature, got, want)
		}
	}
}
