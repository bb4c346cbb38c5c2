// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"encoding/json"
	mathrand "math/rand/v2"
	"time"
)

// The two collections of objects that carry credentials.
const (
	Applications      = "applications"
	ServicePrincipals = "servicePrincipals"
)

// An Object is an application or a service principal. What can change of it is its State.
type Object struct {
	ID, AppID string
	Kind      string // Applications or ServicePrincipals
	Created   time.Time

	tenant *Tenant
	owner  string // tenant in which the application lives
	api    *api   // of Microsoft, or nil

	versions []version // the oldest first, never empty, guarded by tenant.mu
}

// Tenant returns the tenant that the object is in.
func (o *Object) Tenant() *Tenant { return o.tenant }

// OwnerTenant returns the id of the tenant in which the application lives.
func (o *Object) OwnerTenant() string { return o.owner }

// A State is what an object is like at one time. It is never changed in place.
type State struct {
	DisplayName string
	Enabled     bool // accountEnabled, of service principals
	Keys        []KeyCredential
	Secrets     []Secret
	Federated   []Federated
	Owners      []string // object ids
	Roles       []Assignment
	MultiTenant bool                       // signInAudience
	Other       map[string]json.RawMessage // properties that are kept as they came
	gone        bool
}

// A KeyCredential is a certificate that signs in. Its type is AsymmetricX509Cert.
type KeyCredential struct {
	KeyID, DisplayName  string
	Type, Usage         string
	Start, End          time.Time
	CustomKeyIdentifier []byte // SHA-1 of the certificate, unless somebody set another
	cert                *certifier
}

// DER returns the certificate.
func (k KeyCredential) DER() []byte { return k.cert.der }

// Thumbprint returns the SHA-1 of the certificate in upper-case hex, as logs write it.
func (k KeyCredential) Thumbprint() string { return k.cert.thumbprint }

// A Secret is a password of an application. Its text is told once, when it is made.
type Secret struct {
	KeyID, DisplayName, Hint string
	Start, End               time.Time
	sum                      [32]byte // SHA-256 of the text
}

// A Federated is a federated identity credential: whose tokens are taken in place of a key.
type Federated struct {
	ID, Name, Issuer, Subject, Description string
	Audiences                              []string
}

// An Assignment is an app role that a service principal was given.
type Assignment struct {
	ID         string
	RoleID     string
	ResourceID string // service principal of the API, in the same tenant
	API        string // its appId
	Value      string // such as Mail.Read
	Created    time.Time
}

// A version is a state and when each part of the cloud begins to know it.
type version struct {
	graph, login, delta time.Time
	state               *State
}

// The views of an object.
type view int

const (
	viewTruth view = iota // what was written last
	viewGraph             // what reads show
	viewLogin             // what the token endpoint knows
)

// State returns what was written last, whoever knows of it already.
func (o *Object) State() State {
	o.tenant.mu.Lock()
	defer o.tenant.mu.Unlock()
	return *o.at(viewTruth)
}

// at returns the state that a view shows now. The tenant must be locked.
func (o *Object) at(v view) *State {
	last := len(o.versions) - 1
	if v == viewTruth || last == 0 {
		return o.versions[last].state
	}
	now := o.tenant.world.Now()
	for i := last; i > 0; i-- {
		when := o.versions[i].graph
		if v == viewLogin {
			when = o.versions[i].login
		}
		if !when.After(now) || v == viewGraph && o.tenant.world.flaps() {
			return o.versions[i].state
		}
	}
	return o.versions[0].state
}

// flaps tosses a coin, where replicas may disagree.
func (w *World) flaps() (yes bool) {
	if w.faults.Load().Flapping {
		w.draw(func(r *mathrand.Rand) { yes = r.IntN(2) == 0 })
	}
	return yes
}

// set writes a new state, which shows when the faults say, and returns when delta
// queries tell of it. The tenant must be locked.
func (o *Object) set(s *State) time.Time {
	w := o.tenant.world
	now, f := w.Now(), w.faults.Load()
	v := version{state: s, graph: now.Add(w.within(f.ReadLag)), login: now.Add(w.within(f.LoginLag)), delta: now.Add(w.within(f.DeltaLag))}
	// One write is never known before the one that came before it.
	before := o.versions[len(o.versions)-1]
	v.graph, v.login, v.delta = later(v.graph, before.graph), later(v.login, before.login), later(v.delta, before.delta)
	o.versions = append(o.versions, v)
	for len(o.versions) > 1 && !o.versions[1].graph.After(now) && !o.versions[1].login.After(now) {
		o.versions = o.versions[1:]
	}
	return v.delta
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// exists says whether a view shows the object at all.
func (o *Object) exists(v view) bool {
	s := o.at(v)
	return !s.gone && s != unborn
}

// key returns the key credential of an id.
func (s *State) key(id string) (KeyCredential, bool) {
	for _, k := range s.Keys {
		if k.KeyID == id {
			return k, true
		}
	}
	return KeyCredential{}, false
}
