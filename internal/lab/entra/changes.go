// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// A change is what a delta query tells: that an object changed or went, not how.
type change struct {
	collection string // Applications, ServicePrincipals or oauth2PermissionGrants
	id         string
	visible    time.Time // when delta queries begin to tell of it
}

// The parts of an object that change. Delta queries do not track navigation
// properties: federated credentials, owners and app roles (delta query overview).
type part int

const (
	changedObject part = iota
	changedKeys
	changedFederated
	changedOwners
	changedRoles
)

// clone returns a copy that may be changed.
func (s *State) clone() *State {
	c := *s
	c.Keys, c.Secrets, c.Federated = slices.Clone(s.Keys), slices.Clone(s.Secrets), slices.Clone(s.Federated)
	c.Owners, c.Roles, c.Other = slices.Clone(s.Owners), slices.Clone(s.Roles), maps.Clone(s.Other)
	return &c
}

// remove takes a key or secret away by its key id, and says whether it was there.
func (s *State) remove(keyID string) bool {
	n := len(s.Keys) + len(s.Secrets)
	s.Keys = slices.DeleteFunc(s.Keys, func(k KeyCredential) bool { return strings.EqualFold(k.KeyID, keyID) })
	s.Secrets = slices.DeleteFunc(s.Secrets, func(k Secret) bool { return strings.EqualFold(k.KeyID, keyID) })
	return len(s.Keys)+len(s.Secrets) < n
}

// alter writes a new state, notes it for delta queries, and audits it. The new state is made of
// what was written last, whatever readers see.
func (t *Tenant) alter(o *Object, by Actor, what part, fn func(*State)) {
	t.tryAlter(o, by, what, func(s *State) *graphError { // which never fails
		fn(s)
		return nil
	})
}

// tryAlter is alter for a change that can turn out to be impossible. fn is called with
// the tenant locked.
func (t *Tenant) tryAlter(o *Object, by Actor, what part, fn func(*State) *graphError) *graphError {
	t.mu.Lock()
	before := o.at(viewTruth)
	after := before.clone()
	if err := fn(after); err != nil {
		t.mu.Unlock()
		return err
	}
	visible := o.set(after)
	if what == changedObject || what == changedKeys {
		t.changes = append(t.changes, change{collection: o.Kind, id: o.ID, visible: visible})
	}
	t.mu.Unlock()
	t.auditObject(o, by, what, before, after)
	return nil
}

// create enters a new object.
func (t *Tenant) create(o *Object, by Actor) {
	t.mu.Lock()
	o.versions = append([]version{{state: unborn}}, o.versions...)
	state := o.versions[1].state
	o.versions = o.versions[:1]
	visible := o.set(state)
	t.put(o)
	t.changes = append(t.changes, change{collection: o.Kind, id: o.ID, visible: visible})
	t.mu.Unlock()
	activity := "Add application"
	if o.Kind == ServicePrincipals {
		activity = "Add service principal"
	}
	t.audit(by, auditEntry{activity: activity, operation: "Add", targets: []auditTarget{t.auditTargetOf(o, state)}, appID: o.AppID})
}

// delete moves an object to the deleted items, from where it could be restored.
func (t *Tenant) delete(o *Object, by Actor) {
	t.mu.Lock()
	before := o.at(viewTruth)
	after := before.clone()
	after.gone, after.Enabled = true, false
	visible := o.set(after)
	t.changes = append(t.changes, change{collection: o.Kind, id: o.ID, visible: visible})
	if t.principals[o.AppID] == o {
		delete(t.principals, o.AppID)
	}
	t.mu.Unlock()
	activity := "Delete application"
	if o.Kind == ServicePrincipals {
		activity = "Remove service principal"
	}
	t.audit(by, auditEntry{activity: activity, operation: "Delete", targets: []auditTarget{t.auditTargetOf(o, before)}, appID: o.AppID})
}

// unborn is the state of an object that a view does not know yet.
var unborn = &State{}

// assign gives a service principal an app role.
func (t *Tenant) assign(sp *Object, by Actor, a Assignment) {
	t.alter(sp, by, changedRoles, func(s *State) { s.Roles = append(s.Roles, a) })
}

// unassign takes it away.
func (t *Tenant) unassign(sp *Object, by Actor, a Assignment) {
	t.alter(sp, by, changedRoles, func(s *State) {
		s.Roles = slices.DeleteFunc(s.Roles, func(had Assignment) bool { return had.ID == a.ID })
	})
}

// A Delegated is a permission that an application has in the name of people (oauth2PermissionGrant).
type Delegated struct {
	ID          string
	ClientID    string // service principal that has it
	ConsentType string // AllPrincipals or Principal
	PrincipalID string // the person, for Principal
	ResourceID  string // service principal of the API
	Scope       string // words, separated by blanks
}

// AddDelegated adds one, as if it had always been there.
func (t *Tenant) AddDelegated(client *Object, api, scope string) Delegated {
	t.mu.Lock()
	defer t.mu.Unlock()
	resource := t.principal(strings.ToLower(api))
	if resource == nil {
		panic("entra: there is no API " + api)
	}
	d := Delegated{ID: t.world.guid().uti(), ClientID: client.ID, ConsentType: "AllPrincipals", ResourceID: resource.ID, Scope: scope}
	t.grants = append(t.grants, d)
	return d
}

// putDelegated adds, changes or removes one, and audits it.
func (t *Tenant) putDelegated(d Delegated, by Actor, remove bool) {
	t.mu.Lock()
	before, c := "", change{collection: "oauth2PermissionGrants", id: d.ID, visible: t.world.Now().Add(t.world.within(t.world.faults.Load().DeltaLag))}
	t.grants = slices.DeleteFunc(t.grants, func(had Delegated) bool {
		if had.ID == d.ID {
			before = had.Scope
		}
		return had.ID == d.ID
	})
	if !remove {
		t.grants = append(t.grants, d)
	}
	t.changes = append(t.changes, c)
	client, resource := t.objects[d.ClientID], t.objects[d.ResourceID]
	t.mu.Unlock()
	if client == nil || resource == nil {
		return
	}
	activity, operation, after := "Add delegated permission grant", "Assign", d.Scope
	if remove {
		activity, operation, after = "Remove delegated permission grant", "Unassign", ""
	}
	t.audit(by, auditEntry{activity: activity, operation: operation, appID: client.AppID, targets: []auditTarget{
		{id: resource.ID, kind: "ServicePrincipal", name: resource.State().DisplayName, modified: []modified{
			{"DelegatedPermissionGrant.Scope", before, after}, {"DelegatedPermissionGrant.ConsentType", "", d.ConsentType},
			{"ServicePrincipal.ObjectID", "", client.ID}, {"ServicePrincipal.DisplayName", "", client.State().DisplayName},
			{"ServicePrincipal.AppId", "", client.AppID},
		}},
		{id: client.ID, kind: "ServicePrincipal", name: client.State().DisplayName},
	}})
}
