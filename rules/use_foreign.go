// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// What the reasons of the tally say, by words that are in them and in no other.
// A test holds them against the tally itself.
const (
	saysHoldersToken = "with a token of the holder"
	saysReplayed     = "so the request was replayed"
	saysLeftOver     = "with this correlation id than the holder made"
	saysNoBook       = "no holder has any record of this credential"
	saysBeforeBook   = "earlier than the first record of the holder's book"
)

func foreignRules() []rule.Rule { return []rule.Rule{foreignUse(), replayedRequest(), stolenToken()} }

// onForeign judges a use that has turned out to be foreign. One cause is one
// finding: the evidence is the reason, wherever and how often it was used; which
// uses they are stands in the incident.
func onForeign(judge func(*rule.UseSubject) (tallystick.Severity, bool)) func(rule.UseSubject) []rule.Hit {
	return func(s rule.UseSubject) []rule.Hit {
		if s.Verdict != tallystick.VerdictForeign {
			return nil
		}
		severity, ok := judge(&s)
		if !ok {
			return nil
		}
		reason := s.Reason
		if reason == "" {
			reason = "no holder's record matches it"
		}
		return one(severity, "accepted by a relying party and not made by its holder: %s", reason)
	}
}

func foreignUse() rule.Rule {
	return rule.Rule{
		Name:  "foreign-use",
		Title: "Somebody else used the credential",
		About: "A relying party accepted a use that its holder did not make, and the holder's book is closed past that time. It is told once for each " +
			"reason. It is high when the use is older than the holder's book, and medium when no holder keeps a book of this credential.",
		Severity:  tallystick.SeverityCritical,
		Citation:  "NIST SP 800-57 Part 1 Revision 5 section 5.5",
		URL:       "https://csrc.nist.gov/pubs/sp/800/57/pt1/r5/final",
		Effective: day(2020, time.May, 4),
		Do: "First make sure that every program that has the key writes a book; if so, the key is in other hands: replace it everywhere and have " +
			"the old one blocked, and ask the relying parties of the incident what was done with it.",
		Foreign: true,
		Use: onForeign(func(s *rule.UseSubject) (tallystick.Severity, bool) {
			switch {
			case strings.Contains(s.Reason, saysNoBook):
				return tallystick.SeverityMedium, true
			case strings.Contains(s.Reason, saysBeforeBook):
				return tallystick.SeverityHigh, true
			}
			return 0, true
		}),
	}
}

func stolenToken() rule.Rule {
	return rule.Rule{
		Name:  "stolen-token",
		Title: "A token of the holder was used by somebody else",
		About: "A call was made with an access token that the holder did receive, and the holder did not make that call: the token was taken, from a " +
			"log, a proxy or the holder's memory, and the key perhaps was not.",
		Severity:  tallystick.SeverityCritical,
		Citation:  "MITRE ATT&CK T1550.001, use of a stolen application access token",
		URL:       "https://attack.mitre.org/techniques/T1550/001/",
		Effective: day(2020, time.January, 30),
		Do: "Have the relying party revoke the tokens of this application, look for where they are written down or passed on, and bind tokens to the " +
			"key (RFC 8705, RFC 9449) where the relying party can.",
		Foreign: true,
		Use: onForeign(func(s *rule.UseSubject) (tallystick.Severity, bool) {
			return 0, s.Use.Level.Rank() >= tallystick.LevelToken.Rank() && strings.Contains(s.Reason, saysHoldersToken)
		}),
	}
}

func replayedRequest() rule.Rule {
	return rule.Rule{
		Name:  "replayed-request",
		Title: "A request of the holder was sent again",
		About: "Two uses were accepted that carry the identifiers of one use of the holder: somebody who could read the request, or the signed " +
			"assertion in it, sent it once more.",
		Severity:  tallystick.SeverityCritical,
		Citation:  "RFC 7523 section 3, item 7",
		URL:       "https://www.rfc-editor.org/rfc/rfc7523#section-3",
		Effective: day(2015, time.May, 1),
		Do: "Look for what can read the holder's requests (proxies, debug logs, traces), give assertions a life of a minute and a number of their own, " +
			"and have the relying party accept each once.",
		Foreign: true,
		Use: onForeign(func(s *rule.UseSubject) (tallystick.Severity, bool) {
			return 0, strings.Contains(s.Reason, saysReplayed) || strings.Contains(s.Reason, saysLeftOver)
		}),
	}
}
