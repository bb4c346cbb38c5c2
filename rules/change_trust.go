// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func trustAdded() rule.Rule {
	return rule.Rule{
		Name:  "change-trust-added",
		Title: "Whoever another issuer vouches for gets in now",
		About: "A trust was added that nobody expected: a federated credential of an application, a federated domain, a certificate authority, a trust " +
			"anchor, an account that may act as others. It is worse than one credential, as its other end makes as many as it likes. It is critical " +
			"where it opens a whole tenant or domain.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "MITRE ATT&CK T1484.002",
		URL:       "https://attack.mitre.org/techniques/T1484/002/",
		Effective: day(2020, time.December, 28),
		Do:        "Compare the issuer with the one that you run. If nobody can say whose it is, remove the trust first and ask later.",
		Change: unexpected(func(s *rule.ChangeSubject) []rule.Hit {
			c := s.Change
			severity := tallystick.SeverityHigh
			switch kind, _, _ := strings.Cut(c.Target, ":"); kind {
			case "entra-domain", "entra-tenant":
				severity = tallystick.SeverityCritical
			}
			if strings.EqualFold(c.Detail, "trustedDomain") {
				severity = tallystick.SeverityCritical
			}
			to := ""
			if c.After != "" && len(c.After) < 300 {
				to = ": " + c.After
			}
			return one(severity, "%s trusts another, %s%s", named(c), byWhom(c), to)
		}, tallystick.ChangeTrustAdded),
	}
}

func ownerAdded() rule.Rule {
	return rule.Rule{
		Name:  "change-owner-added",
		Title: "An application has a further owner",
		About: "An owner of an application or service principal can add credentials to it and so act with all that it was granted, without having " +
			"any role in the directory.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "MITRE ATT&CK T1098",
		URL:       "https://attack.mitre.org/techniques/T1098/",
		Effective: day(2017, time.May, 31),
		Do:        "Remove the owner unless the application is theirs, and look for credentials that they added.",
		Change: unexpected(func(s *rule.ChangeSubject) []rule.Hit {
			if !slices.Contains(s.Change.Grants, "owner") {
				return nil
			}
			return one(0, "%s is an owner of %s now, %s", s.Change.After, named(s.Change), byWhom(s.Change))
		}, tallystick.ChangeGrantAdded),
	}
}

// isHigh says whether a grant opens all mailboxes, the directory, or a domain.
func isHigh(grant string) bool {
	switch grant {
	case "full_access_as_app", "EWS.AccessAsUser.All", "Mail.Read", "Mail.ReadBasic.All", "Mail.ReadWrite", "Mail.Send", "MailboxSettings.ReadWrite",
		"Files.Read.All", "Files.ReadWrite.All", "Sites.Read.All", "Sites.ReadWrite.All", "Sites.FullControl.All", "Exchange.ManageAsApp",
		"RoleManagement.ReadWrite.Directory", "Application.ReadWrite.All", "AppRoleAssignment.ReadWrite.All", "Directory.ReadWrite.All",
		"Directory.AccessAsUser.All", "DelegatedPermissionGrant.ReadWrite.All", "ServicePrincipalEndpoint.ReadWrite.All",
		"PrivilegedAccess.ReadWrite.AzureAD", "User.ReadWrite.All", "UserAuthenticationMethod.ReadWrite.All", "Domain.ReadWrite.All",
		"Policy.ReadWrite.AuthenticationMethod":
		return true
	case "Global Administrator", "Company Administrator", "Privileged Role Administrator", "Privileged Authentication Administrator",
		"Application Administrator", "Cloud Application Administrator", "Exchange Administrator", "Exchange Service Administrator",
		"Hybrid Identity Administrator", "User Administrator", "Authentication Administrator", "Partner Tier2 Support":
		return true
	case "Domain Admins", "Enterprise Admins", "Schema Admins", "Administrators", "Account Operators", "Backup Operators", "Server Operators",
		"Key Admins", "Enterprise Key Admins", "Cert Publishers", "Group Policy Creator Owners":
		return true
	case "AdministratorAccess", "IAMFullAccess", "PowerUserAccess":
		return true
	}
	return strings.HasPrefix(grant, "delegation to krbtgt/") || strings.HasPrefix(grant, "delegation to ldap/")
}

// high returns the grants of a change that open much.
func high(c *tallystick.Change) (grants []string) {
	if c.Kind != tallystick.ChangeGrantAdded || c.Failed {
		return nil
	}
	for _, grant := range c.Grants {
		if isHigh(grant) {
			grants = append(grants, grant)
		}
	}
	return grants
}

func isAddition(c *tallystick.Change) bool {
	return !c.Failed && (c.Kind == tallystick.ChangeCredentialAdded || c.Kind == tallystick.ChangeTrustAdded)
}

func highGrant() rule.Rule {
	return rule.Rule{
		Name:  "change-high-grant",
		Title: "A permission over mail, files or the directory was given",
		About: "Somebody was given a permission that opens all mailboxes, lets them change the directory, or makes them an administrator, and nobody " +
			"expected it. It is critical within an hour of a new credential or trust of the same target: the two together are a way in and a reason for it.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "MITRE ATT&CK T1098.003",
		URL:       "https://attack.mitre.org/techniques/T1098/003/",
		Effective: day(2020, time.January, 19),
		Do:        "Take the permission back unless somebody answers for it, and look at what was read or changed with it.",
		Change: unexpected(func(s *rule.ChangeSubject) []rule.Hit {
			grants := high(s.Change)
			if isAddition(s.Change) {
				for i := range s.Near {
					grants = append(grants, high(&s.Near[i])...)
				}
				if len(grants) == 0 {
					return nil
				}
				return one(tallystick.SeverityCritical, "%s was given %s, and within the hour a credential or trust was added to it, %s", named(s.Change), list(distinctGrants(grants)), byWhom(s.Change))
			}
			if len(grants) == 0 {
				return nil
			}
			how := ""
			if s.Change.Detail != "" {
				how = " (" + s.Change.Detail + ")"
			}
			if slices.ContainsFunc(s.Near, func(c tallystick.Change) bool { return isAddition(&c) }) {
				return one(tallystick.SeverityCritical, "within the hour after a credential or trust was added to it, %s was given %s%s, %s", named(s.Change), list(grants), how, byWhom(s.Change))
			}
			return one(0, "%s was given %s%s, %s", named(s.Change), list(grants), how, byWhom(s.Change))
		}, tallystick.ChangeGrantAdded, tallystick.ChangeCredentialAdded, tallystick.ChangeTrustAdded),
	}
}

func distinctGrants(grants []string) []string {
	grants = slices.Clone(grants)
	slices.Sort(grants)
	return slices.Compact(grants)
}
