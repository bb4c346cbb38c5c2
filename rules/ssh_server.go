// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func sshServerRules() []rule.Rule {
	return []rule.Rule{sshOldProtocol(), sshSharedHostKey(), sshTerrapin(), sshWeakCipher(), sshWeakExchange(), sshWeakMAC()}
}

// isHostKey says whether the sighting is of a key or certificate that an SSH
// server shows as its own.
func isHostKey(s *tallystick.Sighting) bool {
	return s.SSH != nil && s.Role == tallystick.RolePresents && s.Place.Scheme() == "ssh"
}

// speaksForServer says whether this is the host key that the server puts first,
// of those whose kind is known. A server has several, and what it offers beside
// is told with one of them.
func speaksForServer(s *tallystick.SSHFacts) bool {
	for _, name := range s.HostKeys {
		for _, kind := range hostKeyKinds {
			if strings.HasPrefix(name, kind) {
				return len(s.Signatures) == 0 || slices.Contains(s.Signatures, name)
			}
		}
	}
	return true
}

// hostKeyKinds begin the names of host key algorithms (RFC 4253 section 6.6,
// RFC 5656, RFC 8332, RFC 8709), also of those with certificates.
var hostKeyKinds = [...]string{"ssh-ed25519", "ecdsa-sha2-", "rsa-sha2-", "ssh-rsa", "ssh-dss"}

// atSSHServers is atPlaces for what an SSH server offers.
func atSSHServers(s *rule.Subject, judge func(*tallystick.SSHFacts) (string, tallystick.Severity)) []rule.Hit {
	return atPlaces(s, func(seen *tallystick.Sighting) (string, tallystick.Severity) {
		if !isHostKey(seen) || !speaksForServer(seen.SSH) {
			return "", 0
		}
		return judge(seen.SSH)
	})
}

// offers names what weigh does not call sound, with the worst severity.
func offers(names []string, weigh func(name string) tallystick.Severity) (string, tallystick.Severity) {
	var weak []string
	worst := tallystick.Severity(0)
	for _, name := range names {
		if severity := weigh(name); severity != 0 {
			weak = append(weak, name)
			worst = max(worst, severity)
		}
	}
	if weak == nil {
		return "", 0
	}
	return "offers " + list(slices.Compact(slices.Sorted(slices.Values(weak)))), worst
}

// exchangesOf returns the key exchanges of a server without the words that
// only say what it can do beside (RFC 8308; OpenSSH PROTOCOL section 1.9).
func exchangesOf(s *tallystick.SSHFacts) []string {
	return slices.DeleteFunc(slices.Clone(s.Exchanges), func(name string) bool {
		return strings.HasPrefix(name, "ext-info-") || strings.HasPrefix(name, "kex-strict-")
	})
}

func sshWeakExchange() rule.Rule {
	return rule.Rule{
		Name:  "ssh-weak-exchange",
		Title: "An SSH server offers a weak key exchange",
		About: "The server agrees on keys with SHA-1, or in a group of 1024 bits, which is medium: the long part of the attack on that " +
			"group is done once for everybody (Logjam, CVE-2015-4000).",
		Severity:  tallystick.SeverityLow,
		Citation:  "RFC 9142 section 4",
		URL:       "https://www.rfc-editor.org/rfc/rfc9142#section-4",
		Effective: day(2022, time.January, 1),
		Do:        "Remove the exchanges that end in -sha1 from KexAlgorithms of sshd_config, or update a server that has no others.",
		Check: func(s rule.Subject) []rule.Hit {
			return atSSHServers(&s, func(server *tallystick.SSHFacts) (string, tallystick.Severity) {
				return offers(exchangesOf(server), exchangeSeverity)
			})
		},
	}
}

// exchangeSeverity weighs a key exchange; those with GSS-API carry the name of
// a mechanism behind the hash (RFC 4462 section 2.6).
func exchangeSeverity(name string) tallystick.Severity {
	switch {
	case name == "diffie-hellman-group1-sha1", name == "rsa1024-sha1", strings.HasPrefix(name, "gss-group1-sha1-"):
		return tallystick.SeverityMedium
	case strings.HasSuffix(name, "-sha1"), strings.HasPrefix(name, "gss-gex-sha1-"), strings.HasPrefix(name, "gss-group14-sha1-"):
		return tallystick.SeverityLow
	}
	return 0
}

func sshWeakCipher() rule.Rule {
	return rule.Rule{
		Name:  "ssh-weak-cipher",
		Title: "An SSH server offers a cipher that does not protect",
		About: "The server encrypts with RC4, DES, Triple DES or another cipher of 64-bit blocks, or in CBC mode, which is low and leaks up to " +
			"32 bits of text to who can break connections (CVE-2008-5161). One that does not encrypt at all is high.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "RFC 8758 (BCP 227); NIST SP 800-131A Rev. 2 section 2",
		URL:       "https://www.rfc-editor.org/rfc/rfc8758",
		Effective: day(2020, time.April, 1),
		Do:        "Leave chacha20-poly1305, the aes-gcm and the aes-ctr ciphers in Ciphers of sshd_config, or update a server that has no others.",
		Check: func(s rule.Subject) []rule.Hit {
			return atSSHServers(&s, func(server *tallystick.SSHFacts) (string, tallystick.Severity) {
				return offers(server.Ciphers, sshCipherSeverity)
			})
		},
	}
}

func sshCipherSeverity(name string) tallystick.Severity {
	family, _, _ := strings.Cut(name, "-")
	switch {
	case name == "none":
		return tallystick.SeverityHigh
	case strings.HasPrefix(name, "arcfour"), family == "des", family == "3des", family == "blowfish", family == "cast128", family == "idea":
		return tallystick.SeverityMedium
	case strings.HasSuffix(name, "-cbc"), name == "rijndael-cbc@lysator.liu.se":
		return tallystick.SeverityLow
	}
	return 0
}

func sshWeakMAC() rule.Rule {
	return rule.Rule{
		Name:  "ssh-weak-mac",
		Title: "An SSH server offers a weak message authentication code",
		About: "The server protects messages with MD5, or with a code that was cut to 96 bits. No attack on these codes is known that " +
			"pays, but they are the mark of a configuration that nobody has looked at for years. None at all is high.",
		Severity:  tallystick.SeverityLow,
		Citation:  "RFC 6151 section 2.3; NIST SP 800-131A Rev. 2 section 10",
		URL:       "https://www.rfc-editor.org/rfc/rfc6151#section-2.3",
		Effective: day(2011, time.March, 1),
		Do:        "Leave the hmac-sha2 and umac-128 codes, best those with -etm, in MACs of sshd_config.",
		Check: func(s rule.Subject) []rule.Hit {
			return atSSHServers(&s, func(server *tallystick.SSHFacts) (string, tallystick.Severity) {
				return offers(server.MACs, macSeverity)
			})
		},
	}
}

func macSeverity(name string) tallystick.Severity {
	name, _, _ = strings.Cut(name, "@")
	name = strings.TrimSuffix(name, "-etm")
	switch {
	case name == "none":
		return tallystick.SeverityHigh
	case strings.HasPrefix(name, "hmac-md5"), strings.HasSuffix(name, "-96"):
		return tallystick.SeverityLow
	}
	return 0
}

func sshTerrapin() rule.Rule {
	return rule.Rule{
		Name:  "ssh-terrapin",
		Title: "An SSH server can be made to lose messages (Terrapin)",
		About: "The server has a cipher mode from which somebody on the path can cut messages at the beginning of a connection, and " +
			"not the countermeasure: so the features that both sides agree on there can be turned off.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "CVE-2023-48795; OpenSSH 9.6 release notes",
		URL:       "https://www.openssh.com/txt/release-9.6",
		Effective: day(2023, time.December, 18),
		Do: "Update the server, and the clients too, since both must know the countermeasure; until then remove chacha20-poly1305@openssh.com, " +
			"and the CBC ciphers or the -etm codes.",
		Check: func(s rule.Subject) []rule.Hit {
			return atSSHServers(&s, judgeTerrapin)
		},
	}
}

func judgeTerrapin(s *tallystick.SSHFacts) (string, tallystick.Severity) {
	const strict, chacha = "kex-strict-s-v00@openssh.com", "chacha20-poly1305@openssh.com"
	isCBC := func(name string) bool { return strings.HasSuffix(name, "-cbc") }
	isETM := func(name string) bool { return strings.Contains(name, "-etm@") }
	switch {
	case len(s.Exchanges) == 0 || slices.Contains(s.Exchanges, strict):
		return "", 0
	case slices.Contains(s.Ciphers, chacha):
		return "offers " + chacha + " without " + strict, 0
	case slices.ContainsFunc(s.Ciphers, isCBC) && slices.ContainsFunc(s.MACs, isETM):
		return "offers CBC ciphers with encrypt-then-MAC codes, without " + strict, 0
	}
	return "", 0
}

func sshOldProtocol() rule.Rule {
	return rule.Rule{
		Name:  "ssh-old-protocol",
		Title: "Speaks SSH protocol 1",
		About: "The server says that it speaks the first version of the protocol, whose integrity check is a CRC: who is on the path can " +
			"put commands into a session and read it.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "RFC 4253 section 5; CVE-1999-1085",
		URL:       "https://www.rfc-editor.org/rfc/rfc4253#section-5",
		Effective: day(2006, time.January, 1),
		Do:        "Allow protocol 2 only, and update a device that cannot; OpenSSH has had no version 1 since 7.6.",
		Check: func(s rule.Subject) []rule.Hit {
			return atSSHServers(&s, func(server *tallystick.SSHFacts) (string, tallystick.Severity) {
				// 1.99 is how a server says that it speaks both (RFC 4253 section 5.1).
				if !strings.HasPrefix(server.Software, "SSH-1.") {
					return "", 0
				}
				return "calls itself " + server.Software, 0
			})
		},
	}
}
