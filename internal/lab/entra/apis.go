// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"crypto/sha256"
	"strings"
)

// The application ids of Microsoft's own APIs, the same in every tenant.
const (
	Graph      = "00000003-0000-0000-c000-000000000000" // Microsoft Graph
	Exchange   = "00000002-0000-0ff1-ce00-000000000000" // Office 365 Exchange Online
	Management = "c5393580-f805-4401-95e8-94b7a6ef2fc2" // Office 365 Management APIs
	AADGraph   = "00000002-0000-0000-c000-000000000000" // Windows Azure Active Directory
)

// microsoftTenant is where Microsoft's own applications live.
const microsoftTenant = "f8cdef31-a31e-4b4a-93e4-5f571e91255a"

// A Grant is a permission of an API that an application has for itself.
type Grant struct {
	API  string // appId: Graph, Exchange, Management or that of an application
	Role string // value of the app role, such as Mail.Read, or its id
}

type appRole struct{ id, value, text string }

// An api is one of Microsoft's own.
type api struct {
	appID, name string
	uris        []string // the first is the audience of v1 tokens
	roles       []appRole
}

// apis are those that the emulator has. The ids of roles are Microsoft's.
var apis = []api{
	{Graph, "Microsoft Graph", []string{"https://graph.microsoft.com", "https://graph.microsoft.com/", "https://canary.graph.microsoft.com"}, []appRole{
		{"810c84a8-4a9e-49e6-bf7d-12d183f40d01", "Mail.Read", "Read mail in all mailboxes"},
		{"e2a3a72e-5f79-4c64-b1b1-878b674786c9", "Mail.ReadWrite", "Read and write mail in all mailboxes"},
		{"b633e1c5-b582-4048-a93e-9f11b44c7e96", "Mail.Send", "Send mail as any user"},
		{"1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9", "Application.ReadWrite.All", "Read and write all applications"},
		{"18a4783c-866b-4cc7-a460-3d5e5662c884", "Application.ReadWrite.OwnedBy", "Manage apps that this app creates or owns"},
		{"9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30", "Application.Read.All", "Read all applications"},
		{"7ab1d382-f21e-4acd-a863-ba3e13f7da61", "Directory.Read.All", "Read directory data"},
		{"19dbc75e-c2e2-444c-a770-ec69d8559fc7", "Directory.ReadWrite.All", "Read and write directory data"},
		{"b0afded3-3588-46d8-8b3d-9842eff778da", "AuditLog.Read.All", "Read all audit log data"},
		{"06b708a9-e830-4db3-a914-8e69da51d44f", "AppRoleAssignment.ReadWrite.All", "Manage app permission grants and app role assignments"},
		{"8e8e4742-1d95-4f68-9d56-6ee75648c72a", "DelegatedPermissionGrant.ReadWrite.All", "Manage all delegated permission grants"},
		{"9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8", "RoleManagement.ReadWrite.Directory", "Read and write all directory RBAC settings"},
		{"df021288-bdef-4463-88db-98f22de89214", "User.Read.All", "Read all users' full profiles"},
		{"77f3a031-c388-4f99-b373-dc68676a979e", "User.RevokeSessions.All", "Revoke all sign in sessions for a user"},
		{"498476ce-e0fe-48b0-b801-37ba7e2685c6", "Organization.Read.All", "Read organization information"},
		{"607c7344-0eed-41e5-823a-9695ebe1b7b0", "IdentityRiskyServicePrincipal.Read.All", "Read all identity risky service principal information"},
		{"cb8d6980-6bcb-4507-afec-ed6de3a2d798", "IdentityRiskyServicePrincipal.ReadWrite.All", "Read and write all identity risky service principal information"},
		{"5e1e9171-754d-478c-812c-f1755a9a4c2d", "AuditLogsQuery.Read.All", "Read audit logs data from all services"},
	}},
	{Exchange, "Office 365 Exchange Online", []string{"https://outlook.office365.com", "https://outlook.office365.com/", "https://outlook.office.com", "https://outlook.office.com/"}, []appRole{
		{"dc890d15-9560-4a4c-9b7f-a736ec74ec40", "full_access_as_app", "Use Exchange Web Services with full access to all mailboxes"},
		{"dc50a0fb-09a3-484d-be87-e023b12c6440", "Exchange.ManageAsApp", "Manage Exchange As Application"},
	}},
	{Management, "Office 365 Management APIs", []string{"https://manage.office.com", "https://manage.office.com/"}, []appRole{
		{"594c1fb6-4f81-4475-ae41-0c394909246c", "ActivityFeed.Read", "Read activity data for your organization"},
	}},
	{AADGraph, "Windows Azure Active Directory", []string{"https://graph.windows.net", "https://graph.windows.net/"}, []appRole{
		{"5778995a-e1bf-45b8-affa-663a9f3f4d04", "Directory.Read.All", "Read directory data"},
	}},
}

// apiOf returns Microsoft's API with an appId, or nil.
func apiOf(appID string) *api {
	for i := range apis {
		if apis[i].appID == appID {
			return &apis[i]
		}
	}
	return nil
}

// apiByURI returns the API that a scope or resource names, by URI or appId, or nil.
func apiByURI(name string) *api {
	for i := range apis {
		for _, uri := range apis[i].uris {
			if strings.EqualFold(uri, name) {
				return &apis[i]
			}
		}
	}
	return apiOf(strings.ToLower(strings.TrimPrefix(name, "spn:")))
}

// role returns the role of an API by its value or id, or nil.
func (a *api) role(name string) *appRole {
	for i := range a.roles {
		if a.roles[i].value == name || a.roles[i].id == strings.ToLower(name) {
			return &a.roles[i]
		}
	}
	return nil
}

// firstParty makes the service principal of one of Microsoft's APIs in a tenant. It is made
// when it is first asked for, always with the same id: thousands of tenants need none.
func (t *Tenant) firstParty(a *api) *Object {
	sum := sha256.Sum256([]byte(t.ID + a.appID))
	id := guid(sum[:16])
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	o := &Object{ID: id.String(), AppID: a.appID, Kind: ServicePrincipals, Created: t.Created, tenant: t, owner: microsoftTenant, api: a}
	o.versions = []version{{state: &State{DisplayName: a.name, Enabled: true}}}
	return o
}
