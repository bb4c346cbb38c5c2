// SPDX-License-Identifier: Apache-2.0

package entra

// What many sign-ins have in common is kept once, so that a million of them take little memory.

// An activity is what the directory remembers of the use of a credential.
type activity struct {
	with            *credentialUsed
	appID, resource string
	last            int64 // nanoseconds
	request         guid
}

// credential returns the one copy of what somebody signed in with.
func (t *Tenant) credential(c credentialUsed) *credentialUsed {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, had := range t.credentials {
		if *had == c {
			return had
		}
	}
	t.credentials = append(t.credentials, &c)
	return &c
}

// party returns the one copy of who signed in to what.
func (t *Tenant) party(p party) *party {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, had := range t.parties {
		if *had == p {
			return had
		}
	}
	t.parties = append(t.parties, &p)
	return &p
}

// agent returns the one copy of what a client says of itself.
func (w *World) agent(name, sku, version string) *agent {
	a := agent{name: name}
	if sku != "" {
		a.library = "Family: MSAL Library: " + sku + " " + version
	}
	w.mu.RLock()
	had := w.agents[a]
	w.mu.RUnlock()
	if had != nil {
		return had
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.agents[a] = &a
	return &a
}

// used remembers when a credential last signed in. The tenant must be locked.
func (t *Tenant) used(s *signIn) {
	if s.code != 0 || s.with.keyID == "" {
		return
	}
	for i := range t.activities {
		if t.activities[i].with == s.with {
			t.activities[i].last, t.activities[i].request, t.activities[i].resource = s.at, s.id, s.who.resource
			return
		}
	}
	t.activities = append(t.activities, activity{with: s.with, appID: s.who.appID, resource: s.who.resource, last: s.at, request: s.id})
}
