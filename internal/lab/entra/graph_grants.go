// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"net/http"
	"slices"
	"strings"
)

// What an application may do: app roles that it has for itself, and delegated permissions that
// it has in the name of people.

func (t *Tenant) renderRole(j *jsonWriter, sp, resource *Object, a Assignment) {
	j.text("id", a.ID)
	j.null("deletedDateTime")
	j.text("appRoleId", a.RoleID)
	j.time("createdDateTime", a.Created)
	j.text("principalDisplayName", sp.at(viewGraph).DisplayName)
	j.text("principalId", sp.ID)
	j.text("principalType", "ServicePrincipal")
	j.text("resourceDisplayName", resource.at(viewGraph).DisplayName)
	j.text("resourceId", a.ResourceID)
}

// listRoles answers appRoleAssignments (what it has) or appRoleAssignedTo (who has
// something of it).
func (g *graphRequest) listRoles() (reply, *graphError) {
	o, _, err := g.object()
	if err != nil {
		return reply{}, err
	}
	l, t := g.list("appRoleAssignments"), g.tenant
	t.mu.Lock()
	defer t.mu.Unlock()
	who := []*Object{o}
	if g.path[2] == "appRoleAssignedTo" {
		who = t.order
	}
	for _, sp := range who {
		if sp.Kind != ServicePrincipals || !sp.exists(viewGraph) {
			continue
		}
		for _, a := range sp.at(viewGraph).Roles {
			resource := t.objects[a.ResourceID]
			if resource == nil || g.path[2] == "appRoleAssignedTo" && resource != o {
				continue
			}
			l.open()
			t.renderRole(&l.jsonWriter, sp, resource, a)
			l.close()
		}
	}
	return l.end("", "")
}

func (g *graphRequest) addRole() (reply, *graphError) {
	var body struct{ PrincipalID, ResourceID, AppRoleID string }
	if err := g.decode(&body); err != nil {
		return reply{}, err
	}
	t := g.tenant
	t.mu.Lock()
	for i := range apis {
		t.principal(apis[i].appID)
	}
	sp, resource := t.objects[strings.ToLower(body.PrincipalID)], t.objects[strings.ToLower(body.ResourceID)]
	var a Assignment
	ok := false
	if sp != nil && resource != nil && sp.Kind == ServicePrincipals {
		a, ok = t.assignment(Grant{API: resource.AppID, Role: body.AppRoleID})
	}
	t.mu.Unlock()
	if !ok {
		return reply{}, errBadRequest("Permission being assigned was not found on application, or one of the principals does not exist.")
	}
	err := t.tryAlter(sp, g.actor(), changedRoles, func(s *State) *graphError {
		if slices.ContainsFunc(s.Roles, func(had Assignment) bool { return had.RoleID == a.RoleID && had.ResourceID == a.ResourceID }) {
			return errBadRequest("Permission being assigned already exists on the object.")
		}
		s.Roles = append(s.Roles, a)
		return nil
	})
	if err != nil {
		return reply{}, err
	}
	j := g.one("appRoleAssignments")
	t.mu.Lock()
	defer t.mu.Unlock()
	t.renderRole(j, sp, resource, a)
	j.close()
	return reply{http.StatusCreated, j.b}, nil
}

func (g *graphRequest) removeRole() (reply, *graphError) {
	t := g.tenant
	t.mu.Lock()
	var sp *Object
	var found Assignment
	for _, o := range t.order {
		for _, a := range o.at(viewTruth).Roles {
			if a.ID == g.args[1] {
				sp, found = o, a
			}
		}
	}
	t.mu.Unlock()
	if sp == nil {
		return reply{}, errNotFound(g.args[1])
	}
	t.unassign(sp, g.actor(), found)
	return noContent, nil
}

func (d *Delegated) members(j *jsonWriter) {
	j.text("id", d.ID)
	j.text("clientId", d.ClientID)
	j.text("consentType", d.ConsentType)
	j.textOrNull("principalId", d.PrincipalID)
	j.text("resourceId", d.ResourceID)
	j.text("scope", d.Scope)
}

func (g *graphRequest) listDelegated() (reply, *graphError) {
	client := ""
	if len(g.args) > 0 {
		o, _, err := g.object()
		if err != nil {
			return reply{}, err
		}
		client = o.ID
	}
	terms, err := g.filter()
	if err != nil {
		return reply{}, err
	}
	l := g.list("oauth2PermissionGrants")
	g.tenant.mu.Lock()
	defer g.tenant.mu.Unlock()
	for i := range g.tenant.grants {
		d := &g.tenant.grants[i]
		if client != "" && d.ClientID != client || !d.matches(terms) {
			continue
		}
		l.open()
		d.members(&l.jsonWriter)
		l.close()
	}
	return l.end("", "")
}

func (d *Delegated) matches(terms []term) bool {
	values := map[string]string{"clientId": d.ClientID, "consentType": d.ConsentType, "principalId": d.PrincipalID, "resourceId": d.ResourceID}
	return !slices.ContainsFunc(terms, func(t term) bool { return !t.holds(values[t.path]) })
}

func (g *graphRequest) delegated() (Delegated, *graphError) {
	g.tenant.mu.Lock()
	defer g.tenant.mu.Unlock()
	for _, d := range g.tenant.grants {
		if d.ID == g.args[0] {
			return d, nil
		}
	}
	return Delegated{}, errNotFound(g.args[0])
}

func (g *graphRequest) answerDelegated(status int, d Delegated) (reply, *graphError) {
	j := g.one("oauth2PermissionGrants")
	d.members(j)
	j.close()
	return reply{status, j.b}, nil
}

func (g *graphRequest) getDelegated() (reply, *graphError) {
	d, err := g.delegated()
	if err != nil {
		return reply{}, err
	}
	return g.answerDelegated(http.StatusOK, d)
}

func (g *graphRequest) addDelegated() (reply, *graphError) {
	var d Delegated
	if err := g.decode(&d); err != nil {
		return reply{}, err
	}
	if g.tenant.Object(d.ClientID) == nil || g.tenant.Object(d.ResourceID) == nil || d.ConsentType != "AllPrincipals" && d.ConsentType != "Principal" {
		return reply{}, errBadRequest("clientId, resourceId and consentType must be those of this tenant.")
	}
	d.ID = g.world.guid().uti()
	g.tenant.putDelegated(d, g.actor(), false)
	return g.answerDelegated(http.StatusCreated, d)
}

func (g *graphRequest) patchDelegated() (reply, *graphError) {
	d, err := g.delegated()
	if err != nil {
		return reply{}, err
	}
	var body struct{ Scope string }
	if err := g.decode(&body); err != nil {
		return reply{}, err
	}
	d.Scope = body.Scope
	g.tenant.putDelegated(d, g.actor(), false)
	return noContent, nil
}

func (g *graphRequest) removeDelegated() (reply, *graphError) {
	d, err := g.delegated()
	if err != nil {
		return reply{}, err
	}
	g.tenant.putDelegated(d, g.actor(), true)
	return noContent, nil
}
