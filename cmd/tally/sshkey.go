// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/x509"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
)

// sshName returns what OpenSSH calls a key, "SHA256:" and base64 (ssh-keygen
// -l), or "" for what OpenSSH has no keys of. It calls a certificate by the key
// that it certifies. The name of a key in a security token is also made of the
// application that it is for, which a key does not carry here; for such a key
// this is the name that it would have outside.
func sshName(c *tallystick.Credential) string {
	if c.Kind != tallystick.KindKey && c.Kind != tallystick.KindSSHCertificate {
		return ""
	}
	if parsed, err := ssh.ParsePublicKey(c.Raw); err == nil {
		if certificate, ok := parsed.(*ssh.Certificate); ok {
			return ssh.FingerprintSHA256(certificate.Key)
		}
	}
	public, err := x509.ParsePKIXPublicKey(c.Key.SPKI)
	if err != nil {
		return ""
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return ""
	}
	return ssh.FingerprintSHA256(key)
}

// An sshServer is what a server showed along with a key.
type sshServer struct {
	place tallystick.Place
	facts *tallystick.SSHFacts
}

// print writes what the server is and what it offers.
func (v sshServer) print(s *sheet, several bool) {
	if v.facts == nil {
		return
	}
	text := v.facts.Software
	if several {
		text += ", at " + placeText(v.place)
	}
	s.put("Server", text)
	for _, offered := range []struct {
		label string
		list  []string
	}{
		{"Host keys", v.facts.HostKeys}, {"Key exchanges", v.facts.Exchanges}, {"Ciphers", v.facts.Ciphers}, {"MACs", v.facts.MACs},
		{"Signs with", v.facts.Signatures},
	} {
		for i, line := range strings.Split(wrap(clean(strings.Join(offered.list, ", ")), "", textWidth-labelWidth), "\n") {
			s.put(map[bool]string{true: offered.label}[i == 0], line)
		}
	}
}
