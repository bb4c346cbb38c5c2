// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// changeOf is an unexpected change of a mail application, with edits.
func changeOf(kind tallystick.ChangeKind, edits ...func(*rule.ChangeSubject)) rule.ChangeSubject {
	s := rule.ChangeSubject{Change: &tallystick.Change{
		ID: "1", Source: "entra", Time: now.Add(-time.Hour), Kind: kind, Actor: "account:entra-user/mallory@lab.example", ActorKind: "user", Address: "192.0.2.66",
		Target: "entra-app:t/1", TargetName: "Mail sync", Accounts: []string{"account:entra-app/A"}, Credential: []string{"entra-key:59ea"}, Existing: 1,
	}}
	for _, edit := range edits {
		edit(&s)
	}
	return s
}

func expectedChange(s *rule.ChangeSubject) { s.Expected = true }

func granted(grants ...string) func(*rule.ChangeSubject) {
	return func(s *rule.ChangeSubject) { s.Change.Grants, s.Change.Credential = grants, nil }
}

func about(target, detail string) func(*rule.ChangeSubject) {
	return func(s *rule.ChangeSubject) { s.Change.Target, s.Change.Detail = target, detail }
}

// adAccount makes a change one of an account of Active Directory.
func adAccount(s *rule.ChangeSubject) {
	s.Change.Target, s.Change.TargetName, s.Change.Accounts = "ad:lab.test/cn=web1", "web1", []string{"account:ad/lab/web1"}
	s.Change.Credential = nil
}

func control(before, after string) func(*rule.ChangeSubject) {
	return func(s *rule.ChangeSubject) {
		s.Change.Detail, s.Change.Before, s.Change.After = "userAccountControl", before, after
	}
}

func serviceName(after string) func(*rule.ChangeSubject) {
	return func(s *rule.ChangeSubject) { s.Change.Detail, s.Change.After = "servicePrincipalName", after }
}

func changeFixtures() map[string]fixture {
	const added, grant = tallystick.ChangeCredentialAdded, tallystick.ChangeGrantAdded
	shadow := about("ad:lab.test/cn=web1", "msDS-KeyCredentialLink")
	return map[string]fixture{
		"change-credential-added": {
			FiringChange: changeOf(added), SilentChange: changeOf(added, expectedChange),
			Evidence: `entra-key:59ea was added to "Mail sync", beside 1 that it had, by entra-user/mallory@lab.example from 192.0.2.66 on 2026-11-22 11:00:00Z`,
		},
		"change-credential-used": {
			FiringChange: changeOf(added, func(s *rule.ChangeSubject) { s.UsedAt, s.UsedFrom = now.Add(-50*time.Minute), "198.51.100.9" }),
			SilentChange: changeOf(added), Evidence: "and used from 198.51.100.9 on 2026-11-22 11:10:00Z",
		},
		"change-delegation-added": {
			FiringChange: changeOf(grant, granted("delegation to any service"), adAccount), SilentChange: changeOf(grant, granted("delegation to ldap/dc1.lab.test"), adAccount),
			Evidence: `"web1" was given delegation to any service`,
		},
		"change-guard-removed": {
			FiringChange: changeOf(tallystick.ChangeSetting, adAccount, control("password never expires", "password never expires, needs no pre-authentication")),
			SilentChange: changeOf(tallystick.ChangeSetting, adAccount, control("needs no pre-authentication", "needs no pre-authentication, password never expires")),
			Evidence:     `"web1": needs no pre-authentication, by`,
		},
		"change-service-name-added": {
			FiringChange: changeOf(tallystick.ChangeSetting, adAccount, serviceName("HTTP/web1")), SilentChange: changeOf(tallystick.ChangeSetting, adAccount, serviceName("")),
			Evidence: `"web1" is the service HTTP/web1 now`,
		},
		"change-high-grant": {
			FiringChange: changeOf(grant, granted("User.Read", "full_access_as_app")),
			SilentChange: changeOf(grant, granted("User.Read", "owner")), Evidence: `"Mail sync" was given full_access_as_app`,
		},
		"change-key-exported": {
			FiringChange: changeOf(tallystick.ChangeKeyExported), SilentChange: changeOf(tallystick.ChangeKeyExported, expectedChange), Evidence: "was exported",
		},
		"change-owner-added": {
			FiringChange: changeOf(grant, granted("owner"), func(s *rule.ChangeSubject) { s.Change.After = "eve@lab.example" }),
			SilentChange: changeOf(tallystick.ChangeGrantRemoved, granted("owner")), Evidence: "eve@lab.example is an owner",
		},
		"change-shadow-credential": {
			FiringChange: changeOf(added, shadow), SilentChange: changeOf(tallystick.ChangeCredentialRemoved, shadow), Evidence: "a key was written to",
		},
		"change-signing-key-read": {
			FiringChange: changeOf(tallystick.ChangeKeyRead, about("adfs:fs1/configuration", "the table was read")),
			SilentChange: changeOf(tallystick.ChangeKeyRead, about("adfs:fs1/configuration", "the table was read"), expectedChange), Evidence: "the table was read",
		},
		"change-trust-added": {
			FiringChange: changeOf(tallystick.ChangeTrustAdded, func(s *rule.ChangeSubject) { s.Change.After = "https://token.example" }),
			SilentChange: changeOf(tallystick.ChangeTrustAdded, func(s *rule.ChangeSubject) { s.Change.Failed = true }), Evidence: "https://token.example",
		},
	}
}

func TestSeveritiesOfChanges(t *testing.T) {
	const added, grant, trust = tallystick.ChangeCredentialAdded, tallystick.ChangeGrantAdded, tallystick.ChangeTrustAdded
	self := func(s *rule.ChangeSubject) { s.Change.Actor, s.Change.ActorKind = "account:entra-app/a", "application" }
	nearby := func(c rule.ChangeSubject) func(*rule.ChangeSubject) {
		return func(s *rule.ChangeSubject) { s.Near = append(s.Near, *c.Change) }
	}
	for name, want := range map[string]struct {
		rule     rule.Rule
		subject  rule.ChangeSubject
		severity tallystick.Severity
		evidence string
	}{
		"first":               {credentialAdded(), changeOf(added, func(s *rule.ChangeSubject) { s.First, s.Change.Existing = true, 0 }), tallystick.SeverityHigh, "the first that it ever had"},
		"to itself":           {credentialAdded(), changeOf(added, self), tallystick.SeverityMedium, "to itself"},
		"by an application":   {credentialAdded(), changeOf(added, self, func(s *rule.ChangeSubject) { s.Change.Actor = "account:entra-app/b" }), tallystick.SeverityHigh, "by application entra-app/b"},
		"a shadow of itself":  {shadowCredential(), changeOf(added, self, about("ad:x/y", "msDS-KeyCredentialLink")), tallystick.SeverityMedium, "gave itself"},
		"a domain":            {trustAdded(), changeOf(trust, about("entra-domain:t/lab.example", "")), tallystick.SeverityCritical, ""},
		"grant after":         {highGrant(), changeOf(grant, granted("Mail.Read"), nearby(changeOf(added))), tallystick.SeverityCritical, "after a credential"},
		"grant before":        {highGrant(), changeOf(added, nearby(changeOf(grant, granted("Mail.Read")))), tallystick.SeverityCritical, "within the hour a credential"},
		"synchronisation":     {signingKeyRead(), changeOf(tallystick.ChangeKeyRead, about("adfs:fs1/synchronisation", "")), tallystick.SeverityMedium, ""},
		"export by the host":  {keyExported(), changeOf(tallystick.ChangeKeyExported, func(s *rule.ChangeSubject) { s.Change.ActorKind = "device" }), tallystick.SeverityLow, ""},
		"a domain controller": {highGrant(), changeOf(grant, granted("delegation to ldap/dc1.lab.test")), 0, "delegation to ldap"},
	} {
		hits := want.rule.Change(want.subject)
		if len(hits) != 1 || hits[0].Severity != want.severity || !strings.Contains(hits[0].Evidence, want.evidence) {
			t.Errorf("%s: %+v", name, hits)
		}
	}
}
