// SPDX-License-Identifier: Apache-2.0

package rules

import (
	sum1 "crypto/sha1"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func useLifeRules() []rule.Rule {
	return []rule.Rule{blockedStillTried(), useAfterBlock(), useAfterExpiry(), useNeverSighted(), useOfGone()}
}

// keyStates is what NIST says of keys that are not, or not any more, to be used.
const (
	keyStates    = "NIST SP 800-57 Part 1 Revision 5 section "
	keyStatesURL = "https://csrc.nist.gov/pubs/sp/800/57/pt1/r5/final"
)

// onArrival judges a use when it comes, once: its verdict is for other rules.
func onArrival(judge func(*rule.UseSubject) []rule.Hit) func(rule.UseSubject) []rule.Hit {
	return func(s rule.UseSubject) []rule.Hit {
		if s.Verdict != "" {
			return nil
		}
		return judge(&s)
	}
}

// whileBlocked says whether it was used after its block began.
func whileBlocked(s *rule.UseSubject) bool {
	return !s.Blocked.IsZero() && s.Use.Time.After(s.Blocked)
}

// instant writes a time into evidence.
func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func useAfterBlock() rule.Rule {
	return rule.Rule{
		Name:  "use-after-block",
		Title: "A blocked credential still works",
		About: "It was accepted after the time from which it must not be used any more (the tag blocked=2026-11-20T10:00:00Z): " +
			"some relying party has not removed it.",
		Severity:  tallystick.SeverityCritical,
		Citation:  keyStates + "7.5",
		URL:       keyStatesURL,
		Effective: day(2020, time.May, 4),
		Do: "Have the relying parties that its uses name remove it, and end sessions that are still open; move its holder to the new one if it has not " +
			"moved. If the block is lifted, take the tag away.",
		Use: onArrival(func(s *rule.UseSubject) []rule.Hit {
			if !whileBlocked(s) || s.Use.Outcome != tallystick.OutcomeSuccess {
				return nil
			}
			return one(0, "accepted after %s, since when it is blocked", instant(s.Blocked))
		}),
	}
}

func blockedStillTried() rule.Rule {
	return rule.Rule{
		Name:  "blocked-still-tried",
		Title: "Somebody still tries a blocked credential",
		About: "It was refused after it was blocked (the tag blocked=2026-11-20T10:00:00Z): a copy was forgotten, or whoever took it does not know " +
			"yet. Tries that do not show that the key was held are meant too: where a credential was removed, nothing is left to show it. " +
			"The tries by which Tallystick makes sure that it is refused are not meant.",
		Severity:  tallystick.SeverityMedium,
		Citation:  keyStates + "7.5",
		URL:       keyStatesURL,
		Effective: day(2020, time.May, 4),
		Do:        "Ask from which address it comes: if it is the holder's, replace the copy that was forgotten there; if not, keep the records as evidence.",
		Use: onArrival(func(s *rule.UseSubject) []rule.Hit {
			if s.Own || !whileBlocked(s) || s.Use.Outcome == tallystick.OutcomeSuccess {
				return nil
			}
			return one(0, "tried after %s, since when it is blocked", instant(s.Blocked))
		}),
	}
}

// expiryGrace is what clocks and time zones may be apart.
const expiryGrace = 24 * time.Hour

func useAfterExpiry() rule.Rule {
	return rule.Rule{
		Name:  "use-after-expiry",
		Title: "An expired certificate still works",
		About: "A relying party accepted the certificate more than a day after its end, so it does not look at dates, and would not notice a " +
			"revocation either. A key that lives on in a newer certificate is not meant.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "RFC 5280 section 6.1.3 (a)(2)",
		URL:       "https://www.rfc-editor.org/rfc/rfc5280#section-6.1.3",
		Effective: day(2008, time.May, 1),
		Do:        "Have the relying party check the dates of certificates, and replace this one at its holder.",
		Use: onArrival(func(s *rule.UseSubject) []rule.Hit {
			c := s.Credential
			if c == nil || c.Kind != tallystick.KindCertificate || c.NotAfter.IsZero() || s.Use.Outcome != tallystick.OutcomeSuccess ||
				!s.Use.Time.After(c.NotAfter.Add(expiryGrace)) || !namesCertificate(s.Use.Credential, c) {
				return nil
			}
			return one(0, "accepted after %s, when it expired", c.NotAfter.UTC().Format(time.DateOnly))
		}),
	}
}

// namesCertificate says whether names mean this certificate, not merely its key or
// the account that it opens, which outlive it.
func namesCertificate(names []string, c *tallystick.Credential) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		kind, value, _ := strings.Cut(tallystick.NormalName(name), ":")
		switch kind {
		case "cert-sha256":
			return value == string(c.ID)
		case "x5t":
			sum := sum1.Sum(c.Raw) // RFC 7515 section 4.1.7: a name, not a proof
			return value == hex.EncodeToString(sum[:])
		}
		return false
	})
}

func useOfGone() rule.Rule {
	return rule.Rule{
		Name:      "use-of-gone",
		Title:     "A credential is used that is nowhere any more",
		About:     "It was used after it had gone from every place where it was ever seen: a copy exists that nobody has found.",
		Severity:  tallystick.SeverityHigh,
		Citation:  keyStates + "7.6",
		URL:       keyStatesURL,
		Effective: day(2020, time.May, 4),
		Do:        "Find the copy by the addresses that its uses name. If no host of yours is there, take it for stolen: have it removed where it is accepted.",
		Use: onArrival(func(s *rule.UseSubject) []rule.Hit {
			if s.Own || s.Gone.IsZero() || !s.Use.Time.After(s.Gone) || s.Use.Outcome == tallystick.OutcomeAttempt {
				return nil
			}
			return one(0, "used after %s, since when it is at no place", instant(s.Gone))
		}),
	}
}

// isKeyName says whether a name is that of a key or a certificate. Accounts and
// subjects are not: they open with a password as well, of which nothing is ever
// sighted.
func isKeyName(name string) bool {
	kind, _, _ := strings.Cut(name, ":")
	switch strings.ToLower(strings.TrimSpace(kind)) {
	case "aws-key", "cert-sha256", "entra-key", "spki-sha256", "ssh", "windows-key", "x5t", "x5t-s256", "x5t#s256":
		return true
	}
	return false
}

func useNeverSighted() rule.Rule {
	found := one(0, "used, and never seen at any place") // once, because it is asked of every use
	return rule.Rule{
		Name:  "use-never-sighted",
		Title: "A key is used that was never found",
		About: "Somebody uses a key or a certificate that was never seen at any place, so nobody knows where it is kept, or what replacing it takes. " +
			"Credentials that are known as accounts only are not meant.",
		Severity:  tallystick.SeverityLow,
		Citation:  "NIST SP 1800-16 Volume B, inventory",
		URL:       "https://csrc.nist.gov/pubs/sp/1800/16/final",
		Effective: day(2020, time.June, 16),
		Do:        "Look at the hosts whose addresses its uses name (add them to the discovery), and give it an owner.",
		Use: onArrival(func(s *rule.UseSubject) []rule.Hit {
			if s.Credential != nil && s.Credential.Kind != tallystick.KindNamed || s.Use.Outcome == tallystick.OutcomeAttempt {
				return nil
			}
			if slices.ContainsFunc(s.Use.Credential, isKeyName) {
				return found
			}
			return nil
		}),
	}
}
