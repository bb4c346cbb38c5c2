// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

const (
	strongMappings    = "KB5014754, certificate mappings"
	strongMappingsURL = "https://support.microsoft.com/en-us/topic/kb5014754-certificate-based-authentication-changes-on-windows-domain-controllers-ad2c23b0-15d8-4340-a468-4d4f3b188f16"
)

func mappingWeak() rule.Rule {
	return rule.Rule{
		Name:  "account-weak-mapping",
		Title: "An account takes certificates by a name that others can get",
		About: "A certificate is mapped to the account (altSecurityIdentities) by its subject, its issuer and subject, or an address of mail, and by nothing " +
			"that only it has. Whoever a CA gives that name to signs in as the account. It is high for an administrator.",
		Severity:  tallystick.SeverityMedium,
		Citation:  strongMappings,
		URL:       strongMappingsURL,
		Effective: day(2022, time.May, 10),
		Do:        "Map it by issuer and serial number (X509:<I>...<SR>...) or by its key (X509:<SKI>..., X509:<SHA1-PUKEY>...), and take the weak mapping away.",
		Check: func(s rule.Subject) (hits []rule.Hit) {
			for i := range s.Sightings {
				a := s.Sightings[i].Facts.Account
				if a == nil || a.Form != tallystick.FormMapping || a.Mapping != "weak" || a.Disabled {
					continue
				}
				severity := tallystick.SeverityMedium
				if a.Privileged {
					severity = tallystick.SeverityHigh
				}
				hits = append(hits, rule.Hit{Place: s.Sightings[i].Place, Evidence: clip(a.Account + " takes " + s.Credential.Subject), Severity: severity})
			}
			return hits
		},
	}
}

func mappingShared() rule.Rule {
	return rule.Rule{
		Name:  "account-shared-mapping",
		Title: "One certificate opens several accounts",
		About: "The same certificate, mapping or key stands in several accounts, so that its holder can sign in as each of them. An intruder maps their own " +
			"certificate beside the one that belongs there. It is high where one of the accounts is an administrator's.",
		Severity:  tallystick.SeverityMedium,
		Citation:  strongMappings,
		URL:       strongMappingsURL,
		Effective: day(2022, time.May, 10),
		Do:        "Ask whose the certificate is. Leave it in that account alone, and issue others to the other accounts.",
		Check: func(s rule.Subject) []rule.Hit {
			severity := tallystick.SeverityMedium
			var accounts []string
			for i := range s.Sightings {
				a := s.Sightings[i].Facts.Account
				if a == nil || a.Form == tallystick.FormPassword || a.Disabled {
					continue
				}
				if a.Privileged {
					severity = tallystick.SeverityHigh
				}
				accounts = append(accounts, a.Directory+"/"+a.Account)
			}
			slices.Sort(accounts)
			if accounts = slices.Compact(accounts); len(accounts) < 2 {
				return nil
			}
			return one(severity, "it opens %s", list(accounts))
		},
	}
}
