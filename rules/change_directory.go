// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func serviceNameAdded() rule.Rule {
	return rule.Rule{
		Name:  "change-service-name-added",
		Title: "An account became a service",
		About: "A service principal name was added to an account of a directory. Everybody in the domain may now ask for a ticket that is made with its " +
			"password, and guess that at home; and whoever asks for that service is sent to this account. Computers add their own, which gives no finding.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "MITRE ATT&CK T1558.003",
		URL:       "https://attack.mitre.org/techniques/T1558/003/",
		Effective: day(2020, time.February, 11),
		Do:        "Ask whose service it is. If nobody's: take the name away (\"tally directory undo\"), and set a new password.",
		Change: unexpected(func(s *rule.ChangeSubject) []rule.Hit {
			c := s.Change
			if !strings.EqualFold(c.Detail, "servicePrincipalName") || c.After == "" || ofComputer(c) {
				return nil
			}
			return one(0, "%s is the service %s now, %s", named(c), c.After, byWhom(c))
		}, tallystick.ChangeSetting),
	}
}

// ofComputer says whether a change is of the account of a computer, which ends with a dollar.
func ofComputer(c *tallystick.Change) bool {
	return strings.HasSuffix(c.TargetName, "$") || itself(c)
}

func delegationAdded() rule.Rule {
	return rule.Rule{
		Name:  "change-delegation-added",
		Title: "An account may act as others now",
		About: "An account of a directory was given delegation: it may act as people who never signed in to it. It is high where that holds for any service " +
			"or needs no sign-in of theirs. Delegation to a domain controller is told by change-high-grant.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "[MS-SFU] section 1.3",
		URL:       "https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-sfu/3bff5864-8135-400e-bdd9-33b552051d94",
		Effective: day(2016, time.July, 14),
		Do:        "Ask who is named what it is for. If nobody can say: take it away (\"tally directory undo\"), and look for what the account did since.",
		Change: unexpected(func(s *rule.ChangeSubject) []rule.Hit {
			severity := tallystick.SeverityMedium
			var grants []string
			for _, grant := range s.Change.Grants {
				if !strings.HasPrefix(grant, "delegation ") || isHigh(grant) {
					continue
				}
				if grant == "delegation to any service" || grant == "delegation without a sign-in" {
					severity = tallystick.SeverityHigh
				}
				grants = append(grants, grant)
			}
			if len(grants) == 0 {
				return nil
			}
			return one(severity, "%s was given %s, %s", named(s.Change), list(grants), byWhom(s.Change))
		}, tallystick.ChangeGrantAdded),
	}
}

func guardRemoved() rule.Rule {
	return rule.Rule{
		Name:  "change-guard-removed",
		Title: "The guard was taken off an account",
		About: "A setting of an account was changed so that it needs no password, that its password is kept readable, or that anybody is given something " +
			"to guess it by (no pre-authentication).",
		Severity:  tallystick.SeverityHigh,
		Citation:  "MITRE ATT&CK T1558.004",
		URL:       "https://attack.mitre.org/techniques/T1558/004/",
		Effective: day(2020, time.August, 24),
		Do:        "Take the setting back (\"tally directory undo\"), and set a new password: what could be guessed may have been.",
		Change: unexpected(func(s *rule.ChangeSubject) []rule.Hit {
			c := s.Change
			if !strings.EqualFold(c.Detail, "userAccountControl") {
				return nil
			}
			var added []string
			for _, word := range []string{"needs no password", "password kept readable", "needs no pre-authentication"} {
				if strings.Contains(c.After, word) && !strings.Contains(c.Before, word) {
					added = append(added, word)
				}
			}
			if len(added) == 0 {
				return nil
			}
			return one(0, "%s: %s, %s", named(c), list(added), byWhom(c))
		}, tallystick.ChangeSetting),
	}
}
