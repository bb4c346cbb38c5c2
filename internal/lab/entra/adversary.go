// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"time"
)

// A Kind says what an act was.
type Kind string

// What an Adversary does. Those from KindRetry on are what honest holders do
// too, and what a detector must not call theft.
const (
	KindFreshCorrelation  Kind = "fresh correlation"  // the key, from elsewhere
	KindCopiedCorrelation Kind = "copied correlation" // the key, under a correlation id that the holder has used
	KindReplayedAssertion Kind = "replayed assertion" // an assertion that the holder signed
	KindTokenOnGraph      Kind = "stolen token on Graph"
	KindTokenOnExchange   Kind = "stolen token on Exchange"
	KindAddedToApp        Kind = "credential added to an application"
	KindAddedToPrincipal  Kind = "credential added to a service principal"
	KindAddedFederation   Kind = "federated credential added"
	KindForeignApp        Kind = "foreign application"
	KindRetry             Kind = "retry after 429"
	KindRegion            Kind = "other region"
	KindSkewedClock       Kind = "clock that is wrong"
)

// A Truth is what happened, told by who did it: the label that verdicts are
// compared with. It is made from the answers of the servers alone.
type Truth struct {
	Kind        Kind
	Legitimate  bool // the holder itself did it
	Tenant      string
	Application string    // client id
	Time        time.Time // of the emulated cloud, when the answer came
	Address     string    // as the logs will have it
	// UTI of the token; empty where none was given, or nobody can read it.
	UTI           string
	CorrelationID string   // client-request-id, as it was sent
	SignInID      string   // empty where only calls were made
	RequestIDs    []string // of calls of Graph and Exchange
	KeyID         string   // of the credential that it added
	// Refused is the code of the error, such as "AADSTS700027"; empty where the
	// act was let through.
	Refused string
}

// A Stolen is what signs in as an application: a certificate with its key, or a secret.
type Stolen struct {
	Application string // client id
	Certificate *x509.Certificate
	Key         crypto.Signer
	Secret      string
	// Federated, where it is not nil, gives the token of a foreign issuer that
	// stands in place of the assertion.
	Federated func() (string, error)
}

// An Adversary acts with what it stole, through the doors that everybody uses,
// from an address of its own. It never writes a log: what the logs say of it is
// what the emulated cloud makes of its requests.
type Adversary struct {
	Agent string // User-Agent; empty: that of a common script

	servers *Servers
	client  *http.Client
	address string // what the cloud sees of it
	now     func() time.Time
}

// NewAdversary returns one that connects from a loopback address, such as
// "127.0.1.66"; the logs show what the world makes of it.
func (w *World) NewAdversary(s *Servers, from string) (*Adversary, error) {
	local, err := netip.ParseAddr(from)
	if err != nil || !local.IsLoopback() {
		return nil, fmt.Errorf("couldn't act from %q: expected a loopback address, such as 127.0.1.66", from)
	}
	return &Adversary{servers: s, client: s.Client(from), address: w.publicAddress(local).String(), now: w.Now}, nil
}

// Close ends its idle connections.
func (a *Adversary) Close() { a.client.CloseIdleConnections() }

// The scopes of the three doors.
const (
	ScopeGraph      = "https://graph.microsoft.com/.default"
	ScopeExchange   = "https://outlook.office365.com/.default"
	ScopeManagement = "https://manage.office.com/.default"
)

// FreshCorrelation signs in with the key as the thief's own program does, and
// returns the token too.
func (a *Adversary) FreshCorrelation(ctx context.Context, tenant string, s Stolen, scope string) (Truth, string, error) {
	return a.signIn(ctx, Truth{Kind: KindFreshCorrelation, Tenant: tenant}, s, scope)
}

// CopiedCorrelation signs in with the key under a correlation id that the thief
// has seen the holder use.
func (a *Adversary) CopiedCorrelation(ctx context.Context, tenant string, s Stolen, scope, correlation string) (Truth, string, error) {
	return a.signIn(ctx, Truth{Kind: KindCopiedCorrelation, Tenant: tenant, CorrelationID: correlation}, s, scope)
}

// ReplayedAssertion posts an assertion that the holder signed: the key itself
// never left it.
func (a *Adversary) ReplayedAssertion(ctx context.Context, tenant, application, assertion, scope string) (Truth, string, error) {
	t := Truth{Kind: KindReplayedAssertion, Tenant: tenant, Application: application, CorrelationID: freshID()}
	return a.post(ctx, t, tokenForm(application, scope, "client_assertion", assertion))
}

// SkewedClock signs in with an assertion of a clock that is ahead, or behind
// when the duration is negative. The cloud answers by its own.
func (a *Adversary) SkewedClock(ctx context.Context, tenant string, s Stolen, scope string, ahead time.Duration) (Truth, string, error) {
	skewed := *a
	skewed.now = func() time.Time { return a.now().Add(ahead) }
	t, token, err := skewed.signIn(ctx, Truth{Kind: KindSkewedClock, Tenant: tenant, Legitimate: true}, s, scope)
	t.Time = a.now()
	return t, token, err
}

// Region is the holder that signs in from another of its regions: give the
// Adversary an address of the holder. What came of it belongs into its book.
func (a *Adversary) Region(ctx context.Context, tenant string, s Stolen, scope string) (Truth, string, error) {
	return a.signIn(ctx, Truth{Kind: KindRegion, Tenant: tenant, Legitimate: true}, s, scope)
}

// Retry is the holder that posts one assertion several times under one
// correlation id, as Microsoft's libraries do after 429. It returns the truths of
// all attempts, and the last token.
func (a *Adversary) Retry(ctx context.Context, tenant string, s Stolen, scope string, times int) (all []Truth, token string, err error) {
	form, err := a.form(tenant, s, scope)
	if err != nil {
		return nil, "", err
	}
	correlation := freshID()
	for range times {
		var t Truth
		t, token, err = a.post(ctx, Truth{Kind: KindRetry, Legitimate: true, Tenant: tenant, Application: s.Application, CorrelationID: correlation}, form)
		if err != nil {
			return all, "", err
		}
		all = append(all, t)
	}
	return all, token, nil
}
