// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"cmp"
	"strings"

	"github.com/tallystick/tallystick"
)

// grantee is the service principal that a grant is to. The first target of such a
// record is the API that it is for.
func (e *entraEvent) grantee(c *tallystick.Change) *tallystick.Change {
	object, name, app := e.newValue("ServicePrincipal.ObjectID"), e.newValue("ServicePrincipal.DisplayName"), e.newValue("ServicePrincipal.AppId")
	for i, t := range e.targets {
		if i > 0 && object == "" || strings.EqualFold(string(t.ID), object) {
			object, name = string(t.ID), cmp.Or(name, string(t.DisplayName))
		}
	}
	return e.to(c, "entra-app", object, name, app)
}

// api is the name of the API that a grant is for.
func (e *entraEvent) api() string {
	if len(e.targets) == 0 {
		return ""
	}
	return string(e.targets[0].DisplayName)
}

// appRole gives on a permission of an application for itself.
func (e *entraEvent) appRole(sink Sink, kind tallystick.ChangeKind) {
	c := e.grantee(e.change(kind))
	if role := cmp.Or(e.newValue("AppRole.Value"), permissionNames(e.newValue("AppRole.Id"))); role != "" {
		c.Grants = []string{role}
	}
	c.Detail = strings.TrimSpace("to the application itself at " + e.api())
	tell(sink, c)
}

// delegated gives on a permission of an application in the name of people.
func (e *entraEvent) delegated(sink Sink) {
	p, _ := e.property("DelegatedPermissionGrant.Scope")
	before, after := strings.Fields(plainValue(p.OldValue)), strings.Fields(plainValue(p.NewValue))
	if strings.HasPrefix(normalOperation(e.operation), "remove") && len(after) > 0 && len(before) == 0 {
		before, after = after, nil
	}
	added, removed := addedAndRemoved(before, after)
	detail := "in the name of everybody at " + e.api()
	if consent := e.newValue("DelegatedPermissionGrant.ConsentType"); strings.EqualFold(consent, "Principal") {
		detail = "in the name of one person at " + e.api()
	}
	for _, side := range []struct {
		kind   tallystick.ChangeKind
		grants []string
	}{{tallystick.ChangeGrantAdded, added}, {tallystick.ChangeGrantRemoved, removed}} {
		if len(side.grants) > 0 {
			c := e.grantee(e.change(side.kind))
			c.Grants, c.Before, c.After, c.Detail = side.grants, strings.Join(before, " "), strings.Join(after, " "), detail
			tell(sink, c)
		}
	}
}

// consent gives on what was consented to: "[] => [[Id: ..., Scope: Mail.Read ...]]".
func (e *entraEvent) consent(sink Sink) {
	object, name, app := e.subject()
	p, _ := e.property("ConsentAction.Permissions")
	was, is, ok := strings.Cut(plainValue(p.NewValue), "=>")
	if !ok {
		was, is = plainValue(p.OldValue), plainValue(p.NewValue)
	}
	added, _ := addedAndRemoved(scopes(was), scopes(is))
	c := e.to(e.change(tallystick.ChangeGrantAdded), "entra-app", object, name, app)
	c.Grants, c.Detail = added, "in the name of one person"
	if strings.EqualFold(e.newValue("ConsentContext.OnBehalfOfAll"), "true") || strings.Contains(is, "AllPrincipals") {
		c.Detail = "in the name of everybody"
	}
	tell(sink, c)
}

// scopes returns the words behind every "Scope:" up to the next member.
func scopes(text string) (list []string) {
	for _, part := range strings.Split(text, "Scope:")[1:] {
		if end := strings.IndexAny(part, ",]"); end >= 0 {
			part = part[:end]
		}
		list = append(list, strings.Fields(part)...)
	}
	return list
}

// owner gives on who may change an application from now on.
func (e *entraEvent) owner(sink Sink, kind tallystick.ChangeKind) {
	object := cmp.Or(e.newValue("Application.ObjectID"), e.newValue("ServicePrincipal.ObjectID"))
	name := cmp.Or(e.newValue("Application.DisplayName"), e.newValue("ServicePrincipal.DisplayName"))
	var owner auditTarget
	for _, t := range e.targets {
		kind := strings.ToLower(string(t.Type))
		if strings.EqualFold(string(t.ID), object) || object == "" && (kind == "application" || kind == "serviceprincipal") {
			object, name = string(t.ID), cmp.Or(name, string(t.DisplayName))
		} else {
			owner = t
		}
	}
	app := cmp.Or(e.appID, e.newValue("Application.AppId"), e.newValue("ServicePrincipal.AppId"))
	c := e.to(e.change(kind), "entra-app", object, name, app)
	c.Grants, c.After = []string{"owner"}, firstText(owner.UserPrincipalName, owner.DisplayName, owner.ID)
	tell(sink, c)
}

// role gives on a role of the directory.
func (e *entraEvent) role(sink Sink, kind tallystick.ChangeKind) {
	c := e.change(kind)
	if role := e.newValue("Role.DisplayName"); role != "" {
		c.Grants = []string{role}
	}
	for _, t := range e.targets {
		target := "entra-user"
		switch strings.ToLower(string(t.Type)) {
		case "role":
			if len(c.Grants) == 0 {
				c.Grants = []string{string(t.DisplayName)}
			}
			continue
		case "serviceprincipal":
			target = "entra-app"
		case "group":
			target = "entra-group"
		}
		if c.Target == "" {
			e.to(c, target, string(t.ID), firstText(t.DisplayName, t.UserPrincipalName), "")
		}
	}
	tell(sink, c)
}

// permissionNames puts names in place of the identifiers of the permissions that
// open mail and directories; they are the same in every tenant.
func permissionNames(text string) string {
	return strings.NewReplacer(
		"dc890d15-9560-4a4c-9b7f-a736ec74ec40", "full_access_as_app",
		"810c84a8-4a9e-49e6-bf7d-12d183f40d01", "Mail.Read",
		"e2a3a72e-5f79-4c64-b1b1-878b674786c9", "Mail.ReadWrite",
		"b633e1c5-b582-4048-a93e-9f11b44c7e96", "Mail.Send",
		"024d486e-b451-40bb-833d-3e66d98c5c73", "Mail.ReadWrite (delegated)",
		"3b5f3d61-589b-4a3c-a359-5dd4b5ee5bd5", "EWS.AccessAsUser.All",
		"e1fe6dd8-ba31-4d61-89e7-88639da4683d", "User.Read (delegated)",
		"9e3f62cf-ca93-4989-b6ce-bf83c28f9fe8", "RoleManagement.ReadWrite.Directory",
		"1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9", "Application.ReadWrite.All",
		"06b708a9-e830-4db3-a914-8e69da51d44f", "AppRoleAssignment.ReadWrite.All",
		"19dbc75e-c2e2-444c-a770-ec69d8559fc7", "Directory.ReadWrite.All",
	).Replace(text)
}
