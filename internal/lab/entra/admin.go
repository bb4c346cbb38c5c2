// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"slices"
	"strings"
)

// What follows is done by an administrator of the tenant in the portal: it is audited under
// a person's name, and shows when the faults say.

// administrator is the person.
func (t *Tenant) administrator() Actor {
	return Actor{UserID: firstUserID, User: "admin@" + t.Domain, Address: adminAddress, UserAgent: "Mozilla/5.0 (emulated portal)"}
}

// AddCertificate adds a certificate to an application or service principal.
func (t *Tenant) AddCertificate(o *Object, der []byte) (KeyCredential, error) {
	k, err := t.world.newKey(der)
	if err != nil {
		return k, err
	}
	t.alter(o, t.administrator(), changedKeys, func(s *State) { s.Keys = append(slices.Clip(s.Keys), k) })
	return k, nil
}

// AddSecret adds a secret with a text.
func (t *Tenant) AddSecret(o *Object, name, text string) Secret {
	secret := t.world.secret(name, text)
	t.alter(o, t.administrator(), changedKeys, func(s *State) { s.Secrets = append(slices.Clip(s.Secrets), secret) })
	return secret
}

// HideHints makes the secrets of an object like those of long ago, of which nobody is shown how
// they begin.
func (t *Tenant) HideHints(o *Object) {
	t.alter(o, t.administrator(), changedKeys, func(s *State) {
		for i := range s.Secrets {
			s.Secrets[i].Hint = ""
		}
	})
}

// RemoveCredential removes a key or a secret by its key id.
func (t *Tenant) RemoveCredential(o *Object, keyID string) {
	t.alter(o, t.administrator(), changedKeys, func(s *State) { s.remove(keyID) })
}

// SetEnabled lets a service principal sign in, or not.
func (t *Tenant) SetEnabled(sp *Object, enabled bool) {
	t.alter(sp, t.administrator(), changedObject, func(s *State) { s.Enabled = enabled })
}

// Consent gives a service principal a permission.
func (t *Tenant) Consent(sp *Object, g Grant) {
	t.mu.Lock()
	a := t.mustAssign(g)
	t.mu.Unlock()
	t.assign(sp, t.administrator(), a)
}

// Revoke takes a permission away; a Grant without a role takes all of its API. Tokens that were
// issued keep it until they end.
func (t *Tenant) Revoke(sp *Object, g Grant) {
	for _, a := range sp.State().Roles {
		if a.API == strings.ToLower(g.API) && (g.Role == "" || a.Value == g.Role || a.RoleID == g.Role) {
			t.unassign(sp, t.administrator(), a)
		}
	}
}

// Remove deletes an application or service principal.
func (t *Tenant) Remove(o *Object) { t.delete(o, t.administrator()) }

// ForgetDelta makes every delta token that was given out so far useless: the next
// use of one is answered 410 Gone with the address of a new start.
func (t *Tenant) ForgetDelta() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.generation++
}
