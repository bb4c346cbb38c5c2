// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"strings"
	"sync"
	"time"
)

// A TenantSpec says what a tenant is like. Everything may be left out.
type TenantSpec struct {
	ID     string // GUID
	Name   string
	Domain string // for users and for token requests; "<name>.example" if left out
	// NoP1 is a tenant without Microsoft Entra ID P1: its sign-ins cannot be read.
	NoP1 bool
	// WorkloadPremium is a tenant with Workload ID Premium: identity protection tells
	// of its service principals.
	WorkloadPremium bool
}

// A Tenant is an organisation's part of the cloud.
type Tenant struct {
	ID, Name, Domain string
	Created          time.Time

	world *World

	mu              sync.Mutex
	noP1            bool               // guarded by mu
	workloadPremium bool               // guarded by mu
	secretLife      time.Duration      // guarded by mu
	objects         map[string]*Object // by id, guarded by mu
	principals      map[string]*Object // service principals by appId, guarded by mu
	order           []*Object          // in order of creation, guarded by mu
	grants          []Delegated        // oauth2PermissionGrants, guarded by mu
	users           []*User            // guarded by mu
	signIns         []signIn           // in order of time, guarded by mu
	audits          []Audit            // in order of time, guarded by mu
	changes         []change           // what delta queries tell, guarded by mu
	generation      int                // of delta tokens, guarded by mu
	activities      []activity         // last use of each credential, guarded by mu
	credentials     []*credentialUsed  // guarded by mu
	parties         []*party           // guarded by mu
	risks           []Risk             // guarded by mu
}

// AddTenant adds one. It panics if the id or the domain is taken.
func (w *World) AddTenant(s TenantSpec) *Tenant {
	id := strings.ToLower(cmp.Or(s.ID, w.NewID()))
	name := cmp.Or(s.Name, "Tenant "+id[:8])
	domain := cmp.Or(s.Domain, strings.ToLower(strings.Join(strings.Fields(name), "-"))+".example")
	t := &Tenant{
		ID: id, Name: name, Domain: domain, Created: w.Now(), world: w,
		noP1: s.NoP1, workloadPremium: s.WorkloadPremium,
		objects: map[string]*Object{}, principals: map[string]*Object{},
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tenants[id] != nil || w.tenants[strings.ToLower(domain)] != nil {
		panic("entra: the tenant " + id + " or its domain " + domain + " is there already")
	}
	w.tenants[id], w.tenants[strings.ToLower(domain)] = t, t
	w.order = append(w.order, t)
	return t
}

// World returns the cloud that the tenant is in.
func (t *Tenant) World() *World { return t.world }

// SetLicences changes what the tenant has bought.
func (t *Tenant) SetLicences(p1, workloadPremium bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.noP1, t.workloadPremium = !p1, workloadPremium
}

// LimitSecrets has secrets refused from now on that are made to be good for longer (tenant
// app management policy, passwordLifetime); 0 limits none.
func (t *Tenant) LimitSecrets(life time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.secretLife = life
}

// Object returns the application or service principal with an object id, or nil.
func (t *Tenant) Object(id string) *Object {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.objects[strings.ToLower(id)]
}

// Principal returns the service principal of an application, or nil. Those of
// Microsoft's own APIs are in every tenant.
func (t *Tenant) Principal(appID string) *Object {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.principal(strings.ToLower(appID))
}

// Application returns the application with an appId that lives in the tenant, or nil.
func (t *Tenant) Application(appID string) *Object {
	if app := t.world.home(appID); app != nil && app.tenant == t {
		return app
	}
	return nil
}

// home returns the application of an appId, wherever it lives, or nil.
func (w *World) home(appID string) *Object {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.homes[strings.ToLower(appID)]
}
