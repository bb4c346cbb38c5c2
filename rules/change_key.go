// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func signingKeyRead() rule.Rule {
	return rule.Rule{
		Name:  "change-signing-key-read",
		Title: "A key that vouches for others was read",
		About: "The store of a key was read by which a federation service or a domain vouches for everybody: the token-signing key of AD FS in its " +
			"database, the key (DKM) that it is encrypted under, or all secrets of a domain. Who has it signs in as anybody and needs no credential. " +
			"It is medium for the synchronisation of AD FS servers, which a farm with several does all day.",
		Severity:  tallystick.SeverityCritical,
		Citation:  "MITRE ATT&CK T1606.002",
		URL:       "https://attack.mitre.org/techniques/T1606/002/",
		Effective: day(2020, time.December, 17),
		Do: "If it was not the service itself, treat the key as stolen: replace the token-signing certificate twice in a row, and look at the federation " +
			"service's sign-ins that it has no record of. Say that it is expected of the service's own account: \"tally directory expect --actor\".",
		Change: unexpected(func(s *rule.ChangeSubject) []rule.Hit {
			severity := tallystick.SeverityCritical
			if strings.HasSuffix(s.Change.Target, "/synchronisation") {
				severity = tallystick.SeverityMedium
			}
			return one(severity, "%s: %s, %s", named(s.Change), s.Change.Detail, byWhom(s.Change))
		}, tallystick.ChangeKeyRead),
	}
}

func keyExported() rule.Rule {
	return rule.Rule{
		Name:  "change-key-exported",
		Title: "A key left the host that it was kept on",
		About: "A certificate or key was exported from the key store of a host. Where the copy went, no log says. It is low when the host did it to " +
			"itself, as it does for backups.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "MITRE ATT&CK T1552.004",
		URL:       "https://attack.mitre.org/techniques/T1552/004/",
		Effective: day(2020, time.February, 4),
		Do:        "Ask who is named where the copy is. If nobody knows, replace the key; make the next one so that it cannot be exported.",
		Change: unexpected(func(s *rule.ChangeSubject) []rule.Hit {
			severity := tallystick.SeverityHigh
			if s.Change.ActorKind == "device" {
				severity = tallystick.SeverityLow
			}
			with := ""
			if s.Change.Agent != "" {
				with = " with " + s.Change.Agent
			}
			return one(severity, "%s was exported%s, %s", named(s.Change), with, byWhom(s.Change))
		}, tallystick.ChangeKeyExported),
	}
}
