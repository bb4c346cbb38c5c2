// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"net/http"
	"time"
)

// revokeSessions ends the sessions of a person (user: revokeSignInSessions): refresh tokens of
// before are good no more. Applications have none.
func (g *graphRequest) revokeSessions() (reply, *graphError) {
	u, err := g.user()
	if err != nil {
		return reply{}, err
	}
	u.mu.Lock()
	u.sessionsFrom = g.now
	u.mu.Unlock()
	g.tenant.audit(g.actor(), auditEntry{activity: "Update StsRefreshTokenValidFrom Timestamp", operation: "Update", targets: []auditTarget{{
		id: u.ID, kind: "User", name: u.PrincipalName, modified: []modified{{"StsRefreshTokensValidFrom", "", graphTime(g.now)}},
	}}})
	j := g.one("Edm.Boolean")
	j.bool("value", true)
	j.close()
	return reply{http.StatusOK, j.b}, nil
}

// SessionsFrom is the time before which sessions of the person have ended; zero is never.
func (u *User) SessionsFrom() time.Time {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sessionsFrom
}

// AddDelegatedFor adds a delegated permission that one person has given, as if it had always
// been there.
func (t *Tenant) AddDelegatedFor(client *Object, api, scope string, person *User) Delegated {
	d := t.AddDelegated(client, api, scope)
	t.mu.Lock()
	defer t.mu.Unlock()
	given := &t.grants[len(t.grants)-1]
	given.ConsentType, given.PrincipalID = "Principal", person.ID
	d.ConsentType, d.PrincipalID = given.ConsentType, given.PrincipalID
	return d
}
