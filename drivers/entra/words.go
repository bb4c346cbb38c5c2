// SPDX-License-Identifier: Apache-2.0

package entra

// opens says in words what an application with a permission can do in a tenant, for those
// that matter most to who answers for mail and identities ("Microsoft Graph permissions
// reference"; for Exchange "Authenticate an EWS application by using OAuth").
var opens = map[string]string{
	"full_access_as_app":                     "reads, changes and sends mail in every mailbox of the tenant (EWS)",
	"Exchange.ManageAsApp":                   "administers Exchange Online as far as its directory roles go",
	"IMAP.AccessAsApp":                       "reads and changes every mailbox that it is let into by IMAP",
	"POP.AccessAsApp":                        "reads every mailbox that it is let into by POP3",
	"SMTP.SendAsApp":                         "sends mail from every mailbox that it is let into by SMTP",
	"Mail.Read":                              "reads every mailbox of the tenant",
	"Mail.ReadBasic.All":                     "reads who wrote to whom, and when, in every mailbox of the tenant",
	"Mail.ReadWrite":                         "reads and changes every mailbox of the tenant",
	"Mail.Send":                              "sends mail as anybody in the tenant",
	"MailboxSettings.ReadWrite":              "changes the settings of every mailbox, such as forwarding",
	"Calendars.Read":                         "reads every calendar of the tenant",
	"Calendars.ReadWrite":                    "reads and changes every calendar of the tenant",
	"Contacts.Read":                          "reads the contacts of every mailbox",
	"Chat.Read.All":                          "reads every chat of the tenant",
	"ChannelMessage.Read.All":                "reads the messages of every channel",
	"Files.Read.All":                         "reads every file of the tenant",
	"Files.ReadWrite.All":                    "reads and changes every file of the tenant",
	"Sites.Read.All":                         "reads every SharePoint site",
	"Sites.ReadWrite.All":                    "reads and changes every SharePoint site",
	"Sites.FullControl.All":                  "has full control of every SharePoint site",
	"User.Read.All":                          "reads every account of the directory",
	"User.ReadWrite.All":                     "changes every account of the directory",
	"Group.ReadWrite.All":                    "changes every group and who is in it",
	"GroupMember.ReadWrite.All":              "changes who is in every group",
	"Directory.Read.All":                     "reads the whole directory",
	"Directory.ReadWrite.All":                "changes the directory: accounts, groups and applications",
	"Application.Read.All":                   "reads every application with its credentials' public halves",
	"Application.ReadWrite.OwnedBy":          "adds credentials to the applications that it owns",
	"Application.ReadWrite.All":              "adds credentials to every application, and so can become any of them",
	"AppRoleAssignment.ReadWrite.All":        "gives any application any permission, itself included",
	"RoleManagement.ReadWrite.Directory":     "makes anybody an administrator, itself included",
	"Domain.ReadWrite.All":                   "changes who signs in for the domains of the tenant",
	"Policy.ReadWrite.ConditionalAccess":     "changes the rules by which people are let in",
	"UserAuthenticationMethod.ReadWrite.All": "sets how every account proves who it is",
	"AuditLog.Read.All":                      "reads the logs of sign-ins and changes",
	"ActivityFeed.Read":                      "reads the audit log of Microsoft 365",
}

// delegated says the same of permissions that are used on behalf of a person.
var delegated = map[string]string{
	"EWS.AccessAsUser.All": "reads, changes and sends the mail of whoever uses it (EWS)",
	"Mail.Read":            "reads the mail of whoever uses it",
	"Mail.ReadWrite":       "reads and changes the mail of whoever uses it",
	"Mail.Send":            "sends mail as whoever uses it",
	"Files.Read.All":       "reads the files that whoever uses it may read",
	"offline_access":       "goes on when nobody uses it any more",
	"User.Read":            "reads the account of whoever uses it",
}

// rolesByID names permissions where the resource's own list of them cannot be read.
var rolesByID = map[string]string{
	"dc890d15-9560-4a4c-9b7f-a736ec74ec40": "full_access_as_app",
	"810c84a8-4a9e-49e6-bf7d-12d183f40d01": "Mail.Read",
}

// inWords says what a permission opens: by the tables, or by what its resource calls it.
func inWords(name, displayName string, delegate bool) string {
	table, by := opens, ""
	if delegate {
		table, by = delegated, " on behalf of whoever uses it"
	}
	switch {
	case table[name] != "":
		return table[name]
	case displayName != "":
		return displayName + by
	}
	return "has the permission " + name + by
}
