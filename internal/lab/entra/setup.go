// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"crypto/sha256"
	"strings"
	"time"
)

// An AppSpec says what an application is like. Everything may be left out.
type AppSpec struct {
	AppID, Name  string
	Certificates [][]byte // DER, with which it signs in
	Secrets      []string // texts
	// OnPrincipal puts the credentials on the service principal in place of the application.
	OnPrincipal bool
	// MultiTenant lets other tenants have a service principal of it (AddForeign).
	MultiTenant bool
	Grants      []Grant
	Owners      []string // object ids
}

// An App is an application with its service principal in the same tenant.
type App struct {
	Application, Principal *Object
}

// AddApplication adds an application and its service principal, as if it had always been
// there: nothing is audited. It panics where the specification cannot be.
func (t *Tenant) AddApplication(s AppSpec) App {
	appID := strings.ToLower(cmp.Or(s.AppID, t.world.NewID()))
	name := cmp.Or(s.Name, "Application "+appID[:8])
	credentials := &State{DisplayName: name, MultiTenant: s.MultiTenant, Enabled: true, Owners: s.Owners}
	for _, der := range s.Certificates {
		credentials.Keys = append(credentials.Keys, t.world.mustKey(der))
	}
	for _, text := range s.Secrets {
		credentials.Secrets = append(credentials.Secrets, t.world.secret("", text))
	}
	bare := &State{DisplayName: name, MultiTenant: s.MultiTenant, Enabled: true, Owners: s.Owners}
	application, principal := credentials, bare
	if s.OnPrincipal {
		application, principal = bare, credentials
	}
	app := t.world.newObject(t, Applications, appID, t.ID, application)
	sp := t.world.newObject(t, ServicePrincipals, appID, t.ID, principal)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, g := range s.Grants {
		principal.Roles = append(principal.Roles, t.mustAssign(g))
	}
	t.put(app)
	t.put(sp)
	return App{Application: app, Principal: sp}
}

// AddForeign adds a service principal of an application that lives in another tenant, as if
// somebody had consented to it long ago.
func (t *Tenant) AddForeign(app *Object, grants ...Grant) *Object {
	state := &State{DisplayName: app.State().DisplayName, Enabled: true, MultiTenant: true}
	sp := t.world.newObject(t, ServicePrincipals, app.AppID, app.tenant.ID, state)
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, g := range grants {
		state.Roles = append(state.Roles, t.mustAssign(g))
	}
	t.put(sp)
	return sp
}

// newObject makes an object of which everybody knows.
func (w *World) newObject(t *Tenant, kind, appID, owner string, s *State) *Object {
	return &Object{ID: w.NewID(), AppID: appID, Kind: kind, Created: w.Now(), tenant: t, owner: owner, versions: []version{{state: s}}}
}

// put enters an object. The tenant must be locked.
func (t *Tenant) put(o *Object) {
	t.objects[o.ID] = o
	t.order = append(t.order, o)
	if o.Kind == ServicePrincipals {
		t.principals[o.AppID] = o
		return
	}
	t.world.mu.Lock()
	defer t.world.mu.Unlock()
	t.world.homes[o.AppID] = o
}

// principal returns the service principal of an appId, or nil. The tenant must be locked.
func (t *Tenant) principal(appID string) *Object {
	if sp := t.principals[appID]; sp != nil {
		return sp
	}
	if a := apiOf(appID); a != nil {
		sp := t.firstParty(a)
		t.put(sp)
		return sp
	}
	return nil
}

func (w *World) mustKey(der []byte) KeyCredential {
	k, err := w.newKey(der)
	if err != nil {
		panic("entra: " + err.Error())
	}
	return k
}

// newKey makes the key credential of a certificate.
func (w *World) newKey(der []byte) (KeyCredential, error) {
	c, err := w.certifier(der)
	if err != nil {
		return KeyCredential{}, err
	}
	return KeyCredential{
		KeyID: w.NewID(), DisplayName: c.subject, Type: "AsymmetricX509Cert", Usage: "Verify",
		Start: c.start.UTC(), End: c.end.UTC(), CustomKeyIdentifier: c.sha1[:], cert: c,
	}, nil
}

// secret makes one that is good for two years.
func (w *World) secret(name, text string) Secret {
	now := w.Now().Truncate(time.Second)
	return Secret{KeyID: w.NewID(), DisplayName: name, Hint: text[:min(3, len(text))], Start: now, End: now.AddDate(2, 0, 0), sum: sha256.Sum256([]byte(text))}
}

func (t *Tenant) mustAssign(g Grant) Assignment {
	a, ok := t.assignment(g)
	if !ok {
		panic("entra: the API " + g.API + " has no role " + g.Role)
	}
	return a
}

// assignment makes one. The tenant must be locked.
func (t *Tenant) assignment(g Grant) (Assignment, bool) {
	resource := t.principal(strings.ToLower(g.API))
	if resource == nil || resource.api == nil {
		return Assignment{}, false
	}
	role := resource.api.role(g.Role)
	if role == nil {
		return Assignment{}, false
	}
	return Assignment{ID: t.world.guid().uti(), RoleID: role.id, ResourceID: resource.ID, API: resource.AppID, Value: role.value, Created: t.world.Now()}, true
}
