// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

const (
	// oldPassword is when a password that people keep counts as old.
	oldPassword = 365 * 24 * time.Hour
	// unusedFor is after how long an account counts as unused. Directories say up to two weeks
	// late that somebody signed in ([MS-ADA1], lastLogonTimestamp).
	unusedFor = 90 * 24 * time.Hour
)

// oldFrom is from when the password of an account is old; zero is never.
func oldFrom(a *tallystick.AccountFacts) time.Time {
	if a.PasswordSet.IsZero() || a.Kind == "managed" || a.Kind == "computer" {
		return time.Time{} // theirs are changed by the directory
	}
	return a.PasswordSet.Add(oldPassword)
}

// unusedFrom is from when an account is unused; zero is never.
func unusedFrom(a *tallystick.AccountFacts) time.Time {
	last := a.LastUsed
	if last.IsZero() {
		last = a.Created // when nobody has ever signed in, or the directory does not say
	}
	if last.IsZero() {
		return time.Time{}
	}
	return last.Add(unusedFor)
}

func accountOldPassword() rule.Rule {
	return rule.Rule{
		Name:  "account-old-password",
		Title: "The password of an account is more than a year old",
		About: "The longer a password stands, the more people, scripts and backups know it. It is medium where it never expires and the account is a " +
			"service or an administrator, low otherwise.",
		Severity:  tallystick.SeverityLow,
		Citation:  "NIST SP 800-53 Revision 5 IA-5",
		URL:       atypicalURL,
		Effective: day(2020, time.December, 10),
		Do:        "Set a new one where it is used and here, or let the directory do so from now on (gMSA).",
		Check: eachAccount(func(a *tallystick.AccountFacts, now time.Time) (string, tallystick.Severity) {
			from := oldFrom(a)
			if from.IsZero() || now.Before(from) {
				return "", 0
			}
			evidence, severity := "its password was set on "+a.PasswordSet.UTC().Format(time.DateOnly), tallystick.SeverityLow
			if a.NeverExpires {
				evidence += " and never expires"
				if a.Kind == "service" || len(a.Services) > 0 || a.Privileged {
					severity = tallystick.SeverityMedium
				}
			}
			return evidence, severity
		}),
	}
}

func accountUnused() rule.Rule {
	return rule.Rule{
		Name:  "account-unused",
		Title: "Nobody has signed in to an account for 90 days",
		About: "An account that nobody uses is one that nobody misses when somebody else does. It is medium for an administrator. Where a directory " +
			"does not say who signed in, the day on which the account was made counts.",
		Severity:  tallystick.SeverityLow,
		Citation:  "NIST SP 800-53 Revision 5 AC-2(3), disable accounts",
		URL:       atypicalURL,
		Effective: day(2020, time.December, 10),
		Do:        "Ask its owner. If nobody answers, disable it, and delete it a month later.",
		Check: eachAccount(func(a *tallystick.AccountFacts, now time.Time) (string, tallystick.Severity) {
			from := unusedFrom(a)
			if from.IsZero() || now.Before(from) {
				return "", 0
			}
			severity := tallystick.SeverityLow
			if a.Privileged {
				severity = tallystick.SeverityMedium
			}
			if a.LastUsed.IsZero() {
				return "the directory knows of no sign-in since it was made on " + a.Created.UTC().Format(time.DateOnly), severity
			}
			return "last used on " + a.LastUsed.UTC().Format(time.DateOnly), severity
		}),
	}
}
