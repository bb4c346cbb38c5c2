// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// Rules over changes of who gets in. All of them leave alone what somebody has
// expected and what was only tried.
//
// A first credential, one that adds itself and one that an application added are
// facts of the same event with the same remedy, so they are evidence and severity
// of one rule. What asks for another remedy has a rule of its own: a credential
// that was used at once (somebody is in), a trust (any number of credentials,
// made elsewhere), a key-trust credential in Active Directory, a grant, an owner.

func changeRules() []rule.Rule {
	return []rule.Rule{
		credentialAdded(), credentialUsed(), delegationAdded(), guardRemoved(), highGrant(), keyExported(), ownerAdded(), serviceNameAdded(),
		shadowCredential(), signingKeyRead(), trustAdded(),
	}
}

// unexpected is a rule's function for changes of some kinds.
func unexpected(judge func(*rule.ChangeSubject) []rule.Hit, kinds ...tallystick.ChangeKind) func(rule.ChangeSubject) []rule.Hit {
	return func(s rule.ChangeSubject) []rule.Hit {
		if s.Expected || s.Change.Failed || !slices.Contains(kinds, s.Change.Kind) {
			return nil
		}
		return judge(&s)
	}
}

// byWhom says who changed something, from where and when.
func byWhom(c *tallystick.Change) string {
	who := strings.TrimPrefix(c.Actor, "account:")
	if who == "" {
		who = "somebody whom the log does not name"
	} else if c.ActorKind == "application" {
		who = "application " + who
	}
	if c.Address != "" {
		who += " from " + c.Address
	}
	return "by " + who + " on " + c.Time.UTC().Format("2006-01-02 15:04:05Z")
}

// named returns what a change is about for people.
func named(c *tallystick.Change) string {
	if c.TargetName == "" {
		return c.Target
	}
	return fmt.Sprintf("%q", c.TargetName)
}

// itself says whether the actor changed what it signs in as.
func itself(c *tallystick.Change) bool {
	return c.Actor != "" && slices.ContainsFunc(c.Accounts, func(account string) bool {
		return tallystick.NormalName(account) == tallystick.NormalName(c.Actor)
	})
}

// isShadow says whether a change is of a key in msDS-KeyCredentialLink.
func isShadow(c *tallystick.Change) bool {
	return strings.EqualFold(c.Detail, "msDS-KeyCredentialLink")
}

func credentialAdded() rule.Rule {
	return rule.Rule{
		Name:  "change-credential-added",
		Title: "Somebody added a credential that nobody expected",
		About: "An application, a service principal or an account got a further key, certificate or secret. Who is in adds one to stay in: it goes on " +
			"working when the stolen one is replaced. It is medium when an application added one to itself, as it does to renew it.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "MITRE ATT&CK T1098.001",
		URL:       "https://attack.mitre.org/techniques/T1098/001/",
		Effective: day(2020, time.January, 19),
		Do: "Ask who is named whether they did it and why. If not: remove the credential, look for what was done with it, and reset the account that " +
			"added it. Say of the next one beforehand that it is expected: \"tally directory expect\".",
		Change: unexpected(func(s *rule.ChangeSubject) []rule.Hit {
			c := s.Change
			if isShadow(c) {
				return nil
			}
			severity, facts := tallystick.SeverityHigh, ""
			switch {
			case itself(c):
				severity, facts = tallystick.SeverityMedium, ", to itself"
			case s.First:
				facts = ", the first that it ever had"
			case c.Existing > 0:
				facts = fmt.Sprintf(", beside %d that it had", c.Existing)
			}
			what := "a credential"
			if len(c.Credential) > 0 {
				what = c.Credential[0]
			}
			return one(severity, "%s was added to %s%s, %s", what, named(c), facts, byWhom(c))
		}, tallystick.ChangeCredentialAdded),
	}
}

func credentialUsed() rule.Rule {
	return rule.Rule{
		Name:  "change-credential-used",
		Title: "A credential was added, and used within half an hour",
		About: "Something got a credential or a trust that nobody expected, and was used with it within 30 minutes. Whoever plans a new " +
			"credential seldom needs it at once; an intruder does. This rule is apart from that of the addition because somebody is in now.",
		Severity:  tallystick.SeverityCritical,
		Citation:  "CISA AA21-008A",
		URL:       "https://www.cisa.gov/news-events/cybersecurity-advisories/aa21-008a",
		Effective: day(2021, time.January, 8),
		Do:        "Block what is named now, remove the new credential, and follow what was done since the time of the first use.",
		Change: unexpected(func(s *rule.ChangeSubject) []rule.Hit {
			if s.UsedAt.IsZero() {
				return nil
			}
			from := ""
			if s.UsedFrom != "" {
				from = " from " + s.UsedFrom
			}
			return one(0, "a credential was added to %s %s, and used%s on %s", named(s.Change), byWhom(s.Change), from, s.UsedAt.UTC().Format("2006-01-02 15:04:05Z"))
		}, tallystick.ChangeCredentialAdded, tallystick.ChangeTrustAdded),
	}
}

func shadowCredential() rule.Rule {
	return rule.Rule{
		Name:  "change-shadow-credential",
		Title: "An account got a key that signs in for it",
		About: "A public key was written to msDS-KeyCredentialLink of an account, and who has its private half gets tickets as that account, whatever its " +
			"password is. Windows Hello and devices write their own there, which is medium; another account's is how intruders stay in.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "[MS-ADTS] section 2.2.20.2",
		URL:       "https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-adts/f3f01e95-6d0c-4fe6-8b43-d585167658fa",
		Effective: day(2016, time.July, 14),
		Do:        "If no device of the account's owner was enrolled, remove the value, reset the account's password, and see what signed in as it since.",
		Change: unexpected(func(s *rule.ChangeSubject) []rule.Hit {
			if !isShadow(s.Change) {
				return nil
			}
			if itself(s.Change) {
				return one(tallystick.SeverityMedium, "%s gave itself a key, %s", named(s.Change), byWhom(s.Change))
			}
			return one(0, "a key was written to %s, %s", named(s.Change), byWhom(s.Change))
		}, tallystick.ChangeCredentialAdded),
	}
}
