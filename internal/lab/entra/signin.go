// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"net/netip"
	"slices"
	"time"
)

// A SignIn is one request for a token, granted or refused, as the logs of the tenant
// know it.
type SignIn struct {
	ID            string // the request id, which the token endpoint answers as x-ms-request-id
	Time          time.Time
	Readable      time.Time // from when on the record can be read
	CorrelationID string    // what the client sent, or one that was drawn
	UTI           string    // of the token; for a refusal it names the request
	Address       netip.Addr
	UserAgent     string
	Library       string // "Family: MSAL Library: MSAL.Go 1.10.1", where the client says it

	TenantID             string
	AppID, PrincipalID   string // PrincipalID is "" where the tenant has no such principal
	PrincipalName        string
	OwnerTenantID        string // of the application
	ResourceID, Resource string // appId and name of the API
	ResourcePrincipalID  string

	CredentialType string // certificate, clientSecret, federatedIdentityCredential or none
	KeyID          string
	Thumbprint     string // SHA-1, upper-case hex
	FederatedID    string

	ErrorCode int // 0 is success
	Failure   string
}

// A signIn is a SignIn in as little memory as it takes: there can be millions.
type signIn struct {
	at, readable  int64 // nanoseconds
	id, corr, uti guid
	address       netip.Addr
	agent         *agent
	who           *party
	with          *credentialUsed
	code          int32
}

// An agent is what a client says of itself.
type agent struct{ name, library string }

// A party is who signs in to what; one for each application, resource and tenant.
type party struct {
	appID, principalID, name, owner     string
	resource, resourceName, resourceSPN string
}

// A credentialUsed is what somebody signed in with.
type credentialUsed struct {
	kind, keyID, thumbprint, federated string
}

// expand makes the exported form.
func (t *Tenant) expand(s *signIn) SignIn {
	return SignIn{
		ID: s.id.String(), Time: time.Unix(0, s.at).UTC(), Readable: time.Unix(0, s.readable).UTC(), CorrelationID: s.corr.String(),
		UTI: s.uti.uti(), Address: s.address, UserAgent: s.agent.name, Library: s.agent.library,
		TenantID: t.ID, AppID: s.who.appID, PrincipalID: s.who.principalID, PrincipalName: s.who.name, OwnerTenantID: s.who.owner,
		ResourceID: s.who.resource, Resource: s.who.resourceName, ResourcePrincipalID: s.who.resourceSPN,
		CredentialType: s.with.kind, KeyID: s.with.keyID, Thumbprint: s.with.thumbprint, FederatedID: s.with.federated,
		ErrorCode: int(s.code), Failure: failureText(int(s.code)),
	}
}

// SignIns returns every sign-in of the tenant, the oldest first, also those that
// cannot be read yet: the truth, for tests.
func (t *Tenant) SignIns() []SignIn {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]SignIn, len(t.signIns))
	for i := range t.signIns {
		all[i] = t.expand(&t.signIns[i])
	}
	return all
}

// record enters a sign-in and tells the hooks.
func (t *Tenant) record(s signIn) {
	w := t.world
	s.readable = s.at + int64(w.late(w.config.SignInLatency))
	t.mu.Lock()
	i := len(t.signIns)
	for i > 0 && t.signIns[i-1].at > s.at { // another request was quicker
		i--
	}
	t.signIns = slices.Insert(t.signIns, i, s)
	t.used(&s)
	t.mu.Unlock()
	w.hooks.RLock()
	defer w.hooks.RUnlock()
	if len(w.onSignIn) == 0 {
		return
	}
	exported := t.expand(&s)
	for _, fn := range w.onSignIn {
		fn(t, exported)
	}
}
