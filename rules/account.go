// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// Rules over the accounts of directories, as the drivers ad and ldap find them. What is true of
// an account is told once, on its name, and not on each of its certificates and keys.

func accountRules() []rule.Rule {
	return []rule.Rule{
		accountDelegation(), accountOldPassword(), accountService(), accountUnused(), accountUnguarded(), mappingShared(), mappingWeak(),
	}
}

// A judgeAccount says what is wrong with an account, "" is nothing.
type judgeAccount func(a *tallystick.AccountFacts, now time.Time) (evidence string, severity tallystick.Severity)

// eachAccount is the function of a rule that judges accounts in which somebody could sign in.
func eachAccount(judge judgeAccount) func(rule.Subject) []rule.Hit {
	return func(s rule.Subject) (hits []rule.Hit) {
		for i := range s.Sightings {
			a := s.Sightings[i].Facts.Account
			if a == nil || a.Form != tallystick.FormPassword || a.Disabled {
				continue
			}
			if evidence, severity := judge(a, s.Now); evidence != "" {
				hits = append(hits, rule.Hit{Place: s.Sightings[i].Place, Evidence: clip(evidence), Severity: severity})
			}
		}
		return hits
	}
}

// accountInstants are the instants at which time alone changes what the rules say of an account.
func accountInstants(s *tallystick.Sighting) []time.Time {
	a := s.Facts.Account
	if a == nil || a.Form != tallystick.FormPassword {
		return nil
	}
	return []time.Time{oldFrom(a), unusedFrom(a)}
}

func accountService() rule.Rule {
	return rule.Rule{
		Name:  "account-service-of-person",
		Title: "A person's account is a service as well",
		About: "An account of a person has a service principal name, so that everybody in the domain may ask for a ticket that is made with its " +
			"password, and guess that at home. A password that a person chose is found. It is high for an administrator.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "MITRE ATT&CK T1558.003",
		URL:       "https://attack.mitre.org/techniques/T1558/003/",
		Effective: day(2020, time.February, 11),
		Do:        "Let the service run as an account of its own whose password the directory makes (gMSA), and take the name away from the person's.",
		Check: eachAccount(func(a *tallystick.AccountFacts, _ time.Time) (string, tallystick.Severity) {
			if a.Kind != "person" || len(a.Services) == 0 {
				return "", 0
			}
			if a.Privileged {
				return "it is an administrator, and the service " + list(a.Services), tallystick.SeverityHigh
			}
			return "it is the service " + list(a.Services), 0
		}),
	}
}

func accountUnguarded() rule.Rule {
	return rule.Rule{
		Name:  "account-unguarded",
		Title: "A setting takes the guard off an account",
		About: "The account needs no password, or its password can be read where it is kept, or anybody is given something to guess it by " +
			"(no pre-authentication). It is high for an administrator, and for who needs no password.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "MITRE ATT&CK T1558.004",
		URL:       "https://attack.mitre.org/techniques/T1558/004/",
		Effective: day(2020, time.August, 24),
		Do:        "Take the setting back, and set a new password: what could be guessed may have been.",
		Check: eachAccount(func(a *tallystick.AccountFacts, _ time.Time) (string, tallystick.Severity) {
			var wrong []string
			severity := tallystick.SeverityMedium
			if a.NoPassword && a.Kind != "computer" { // a computer's is set when it joins
				wrong, severity = append(wrong, "it needs no password"), tallystick.SeverityHigh
			}
			if a.NoProof {
				wrong = append(wrong, "it needs no pre-authentication")
			}
			if a.Reversible {
				wrong = append(wrong, "its password is kept readable")
			}
			if len(wrong) == 0 {
				return "", 0
			}
			if a.Privileged {
				severity = tallystick.SeverityHigh
			}
			return strings.Join(wrong, ", and "), severity
		}),
	}
}
