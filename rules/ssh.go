// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func sshRules() []rule.Rule {
	return []rule.Rule{sshForever(), sshManyAccounts(), sshRoot(), sshSHA1()}
}

func sshForever() rule.Rule {
	return rule.Rule{
		Name:  "ssh-certificate-forever",
		Title: "An SSH certificate that never ends",
		About: "The certificate has no end of validity. OpenSSH has no online revocation, so it opens doors until somebody puts it on a " +
			"revocation list on every server.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "OpenSSH PROTOCOL.certkeys, field valid before",
		URL:       "https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.certkeys",
		Effective: day(2010, time.March, 8),
		Do:        "Issue it again with an end (ssh-keygen -V +1d for people, a few weeks for hosts), and revoke the old one with a KRL.",
		Check:     checkSSHForever,
	}
}

// forever is later than any end that somebody meant. OpenSSH writes the
// largest 64-bit number of seconds for "forever", which readers cut down to
// what their calendar holds.
var forever = day(2200, time.January, 1)

func checkSSHForever(s rule.Subject) []rule.Hit {
	c := s.Credential
	if c.Kind != tallystick.KindSSHCertificate || !c.NotAfter.IsZero() && c.NotAfter.Before(forever) {
		return nil
	}
	return one(0, "valid forever")
}

func sshSHA1() rule.Rule {
	return rule.Rule{
		Name:  "ssh-sha1-only",
		Title: "An SSH signature over SHA-1",
		About: "The CA signed the certificate with ssh-rsa or ssh-dss, which hash with SHA-1. OpenSSH refuses such certificates since 8.8, " +
			"and two certificates with the same such hash can be made. A server whose host key signs with nothing else is medium: clients refuse it.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "OpenSSH 8.8 release notes; RFC 8332",
		URL:       "https://www.openssh.com/txt/release-8.8",
		Effective: day(2021, time.September, 26),
		Do:        "Sign a certificate again with ssh-keygen -t rsa-sha2-512, or with an Ed25519 CA key; give a server an Ed25519 host key, or update it.",
		Check: func(s rule.Subject) []rule.Hit {
			if hash, _ := brokenHash(s.Credential.Signature); s.Credential.Kind == tallystick.KindSSHCertificate && hash == "SHA-1" {
				return one(0, "the CA's signature is %s", s.Credential.Signature)
			}
			return atSSHServers(&s, func(server *tallystick.SSHFacts) (string, tallystick.Severity) {
				return sha1Alone(server), tallystick.SeverityMedium
			})
		},
	}
}

func sshRoot() rule.Rule {
	return rule.Rule{
		Name:  "ssh-root-unrestricted",
		Title: "A key opens root without restriction",
		About: "A line of root's authorized_keys has neither from= nor command= nor restrict: the key is root on this machine, from anywhere, " +
			"for anything.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "NIST IR 7966 section 4.5; sshd(8), AUTHORIZED_KEYS FILE FORMAT",
		URL:       "https://man.openbsd.org/sshd.8#AUTHORIZED_KEYS_FILE_FORMAT",
		Effective: day(2015, time.October, 1),
		Do:        "Add restrict and command= or from= to the line, or let people sign in under their own names and become root with sudo.",
		Check: func(s rule.Subject) []rule.Hit {
			return atPlaces(&s, func(seen *tallystick.Sighting) (string, tallystick.Severity) {
				if seen.SSH == nil || seen.Role != tallystick.RoleAccepts || seen.SSH.Account != "root" || isRestricted(seen.SSH.Options) {
					return "", 0
				}
				if seen.SSH.CertAuth {
					return "every certificate of this CA for root opens root, from anywhere, for anything", 0
				}
				return "opens root from anywhere, for anything", 0
			})
		},
	}
}

// isRestricted looks for the options that narrow who may come or what may be
// done; their names are case-insensitive (sshd(8)).
func isRestricted(options []string) bool {
	for _, option := range options {
		name, _, _ := strings.Cut(option, "=")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "from", "command", "restrict":
			return true
		}
	}
	return false
}

func sshManyAccounts() rule.Rule {
	return rule.Rule{
		Name:  "ssh-key-many-accounts",
		Title: "One SSH key opens several accounts",
		About: "The same key is accepted by more than one account: whoever takes it moves between them, and what one of them did cannot be " +
			"told from what another did. It is medium from five accounts on.",
		Severity:  tallystick.SeverityLow,
		Citation:  "NIST IR 7966 section 4.6",
		URL:       "https://doi.org/10.6028/NIST.IR.7966",
		Effective: day(2015, time.October, 1),
		Do:        "Use a key for each purpose, and remove the lines that are not needed.",
		Survey: func(ctx context.Context, estate rule.Estate, hit func(rule.Hit) error) error {
			return estate.Keys(ctx, "", func(use rule.KeyUse) error { return surveyAccounts(use, hit) })
		},
	}
}

func surveyAccounts(use rule.KeyUse, hit func(rule.Hit) error) error {
	accounts := distinct(use.Credentials, func(b rule.KeyBearer) []string { return b.Accounts })
	if len(accounts) < 2 {
		return nil
	}
	severity := tallystick.SeverityLow
	if len(accounts) >= 5 {
		severity = tallystick.SeverityMedium
	}
	evidence := clip(fmt.Sprintf("opens %d accounts: %s", len(accounts), list(accounts)))
	for _, bearer := range use.Credentials {
		if len(bearer.Accounts) == 0 {
			continue
		}
		if err := hit(rule.Hit{Credential: bearer.ID, Evidence: evidence, Severity: severity}); err != nil {
			return err
		}
	}
	return nil
}
