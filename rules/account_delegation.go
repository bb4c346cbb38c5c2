// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func accountDelegation() rule.Rule {
	return rule.Rule{
		Name:  "account-delegation",
		Title: "An account may act as others",
		About: "Whoever has the account's credential may act as people who never signed in to it, or keep the tickets of those who do. It is high where that " +
			"holds everywhere or needs no ticket of theirs, medium where it is for named services, and medium where others may act as anybody towards it.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "[MS-SFU] section 1.3",
		URL:       "https://learn.microsoft.com/en-us/openspecs/windows_protocols/ms-sfu/3bff5864-8135-400e-bdd9-33b552051d94",
		Effective: day(2016, time.July, 14),
		Do:        "Take the delegation away unless the service needs it; then name the services, and put administrators into Protected Users.",
		Check: eachAccount(func(a *tallystick.AccountFacts, _ time.Time) (string, tallystick.Severity) {
			wide := func(text string) bool {
				return text == "anybody everywhere" || strings.HasSuffix(text, " without their sign-in")
			}
			switch {
			case slices.ContainsFunc(a.Delegation, wide):
				return "it may act as " + list(a.Delegation), tallystick.SeverityHigh
			case len(a.Delegation) > 0:
				return "it may act as " + list(a.Delegation), 0
			case len(a.ActedFor) > 0:
				return list(a.ActedFor) + " may act as anybody towards it", 0
			}
			return "", 0
		}),
	}
}
