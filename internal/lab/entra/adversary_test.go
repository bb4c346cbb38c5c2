// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"
)

// A stolenCase is a tenant with an application whose key was stolen.
type stolenCase struct {
	world   *World
	tenant  *Tenant
	app     App
	user    *User
	key     Stolen
	servers *Servers
	clock   *testClock
	unified *UnifiedAudit
	ews     *EWS
	diag    *Diagnostics
}

// A testClock stands still until it is moved.
type testClock struct {
	mu  sync.Mutex
	now time.Time // guarded by mu
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// newCase starts a world with all services.
func newCase(t *testing.T, config Config, unified UnifiedConfig) *stolenCase {
	t.Helper()
	clock := &testClock{now: time.Date(2026, 11, 20, 10, 15, 30, 0, time.UTC)}
	config.Clock = clock.Now
	w, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	c := &stolenCase{world: w, clock: clock, unified: w.NewUnifiedAudit(unified), diag: w.NewDiagnostics(Always(0))}
	c.ews = w.NewEWS(EWSConfig{}, c.unified)
	w.Mount(ServiceOutlook, c.ews)
	w.Mount(ServiceManagement, c.unified.ManagementHandler())
	c.tenant = w.AddTenant(TenantSpec{Name: "Customer 1"})
	if c.key, err = newStolen("6131d760-7fda-4db5-8bb1-b771898e9f15", clock.Now()); err != nil {
		t.Fatal(err)
	}
	c.app = c.tenant.AddApplication(AppSpec{
		AppID: c.key.Application, Name: "Mail sync", Certificates: [][]byte{c.key.Certificate.Raw},
		Grants: []Grant{{Graph, "Mail.Read"}, {Graph, "Application.ReadWrite.All"}, {Graph, "AppRoleAssignment.ReadWrite.All"}, {Graph, "AuditLogsQuery.Read.All"},
			{Exchange, "full_access_as_app"}, {Management, "ActivityFeed.Read"}},
	})
	c.user = c.tenant.AddUser("ceo", "Chief")
	for _, subject := range []string{"first", "second", "third"} {
		c.tenant.Deliver(c.user, Message{Subject: subject, From: "a@supplier.example", Body: "text of " + subject})
	}
	if c.servers, err = w.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *stolenCase) adversary(t *testing.T, from string) *Adversary {
	t.Helper()
	a, err := c.world.NewAdversary(c.servers, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// inLog finds the sign-in of a truth, which must be there, and compares the two.
func (c *stolenCase) inLog(t *testing.T, truth Truth) SignIn {
	t.Helper()
	all := c.tenant.SignIns()
	i := slices.IndexFunc(all, func(s SignIn) bool { return s.ID == truth.SignInID })
	if i < 0 {
		t.Fatalf("no sign-in %s in %d", truth.SignInID, len(all))
	}
	s := all[i]
	if s.CorrelationID != truth.CorrelationID || s.Address.String() != truth.Address || s.TenantID != truth.Tenant || s.AppID != truth.Application {
		t.Errorf("the log has %+v, the truth is %+v", s, truth)
	}
	if truth.Refused == "" && s.UTI != truth.UTI {
		t.Errorf("the log has the token %q, the truth %q", s.UTI, truth.UTI)
	}
	return s
}

func let(t *testing.T, truth Truth, err error) Truth {
	t.Helper()
	if err != nil || truth.Refused != "" {
		t.Fatalf("%s: refused %q, error %v", truth.Kind, truth.Refused, err)
	}
	return truth
}

func TestStolenKeyFromElsewhere(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	thief := c.adversary(t, "127.0.1.66")
	truth, token, err := thief.FreshCorrelation(t.Context(), c.tenant.ID, c.key, ScopeGraph)
	let(t, truth, err)
	if s := c.inLog(t, truth); s.ErrorCode != 0 || s.KeyID == "" || truth.Address != "198.51.100.66" || token == "" || truth.UTI == "" {
		t.Errorf("sign-in %+v, truth %+v", s, truth)
	}
}

func TestCopiedCorrelation(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	holder, thief := c.adversary(t, "127.0.0.7"), c.adversary(t, "127.0.1.66")
	honest, _, err := holder.Region(t.Context(), c.tenant.ID, c.key, ScopeGraph)
	let(t, honest, err)
	truth, _, err := thief.CopiedCorrelation(t.Context(), c.tenant.ID, c.key, ScopeGraph, honest.CorrelationID)
	let(t, truth, err)
	if c.inLog(t, truth).CorrelationID != c.inLog(t, honest).CorrelationID || truth.UTI == honest.UTI || truth.SignInID == honest.SignInID {
		t.Errorf("the theft %+v must differ from the use %+v in all but the correlation", truth, honest)
	}
	if !honest.Legitimate || truth.Legitimate {
		t.Error("the labels are wrong")
	}
}

func TestReplayedAssertion(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	thief := c.adversary(t, "127.0.1.66")
	assertion, err := c.key.assertion(c.servers.Login+"/"+c.tenant.ID+"/oauth2/v2.0/token", c.key.Application, c.world.Now())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		truth, _, err := thief.ReplayedAssertion(t.Context(), c.tenant.ID, c.key.Application, assertion, ScopeGraph)
		let(t, truth, err)
		c.inLog(t, truth)
	}
	c.world.SetFaults(func(f *Faults) { f.RefuseReplay = true })
	var last Truth
	for range 2 {
		if last, _, err = thief.ReplayedAssertion(t.Context(), c.tenant.ID, c.key.Application, assertion, ScopeGraph); err != nil {
			t.Fatal(err)
		}
	}
	if last.Refused == "" {
		t.Error("a replay was taken, though it is switched off")
	}
}

func TestHonestRetriesAndRegions(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	holder := c.adversary(t, "127.0.0.7")
	all, token, err := holder.Retry(t.Context(), c.tenant.ID, c.key, ScopeGraph, 3)
	if err != nil || len(all) != 3 || token == "" {
		t.Fatalf("%d attempts, error %v", len(all), err)
	}
	tokens := map[string]bool{}
	for _, truth := range all {
		c.inLog(t, let(t, truth, nil))
		tokens[truth.UTI] = true
		if truth.CorrelationID != all[0].CorrelationID || !truth.Legitimate {
			t.Errorf("attempt %+v", truth)
		}
	}
	if len(tokens) != 3 {
		t.Errorf("%d tokens for 3 attempts", len(tokens))
	}
}

func TestSkewedClock(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	holder := c.adversary(t, "127.0.0.7")
	truth, _, err := holder.SkewedClock(t.Context(), c.tenant.ID, c.key, ScopeGraph, 2*time.Minute)
	c.inLog(t, let(t, truth, err))
	truth, _, err = holder.SkewedClock(t.Context(), c.tenant.ID, c.key, ScopeGraph, -time.Hour)
	if err != nil || truth.Refused != "AADSTS700024" {
		t.Errorf("an hour behind: refused %q, error %v", truth.Refused, err)
	}
	if s := c.inLog(t, truth); s.ErrorCode != 700024 {
		t.Errorf("the log has %d", s.ErrorCode)
	}
}

func TestStolenTokenOnGraph(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	var calls []Call
	c.world.OnCall(func(call Call) { calls = append(calls, call) })
	holder, thief := c.adversary(t, "127.0.0.7"), c.adversary(t, "127.0.1.66")
	honest, token, err := holder.Region(t.Context(), c.tenant.ID, c.key, ScopeGraph)
	let(t, honest, err)
	truth, err := thief.TokenOnGraph(t.Context(), c.tenant.ID, token, c.user.PrincipalName)
	let(t, truth, err)
	if len(calls) != 1 || calls[0].RequestID != truth.RequestIDs[0] || calls[0].ClientRequestID != truth.CorrelationID ||
		calls[0].Claims.UTI != honest.UTI || truth.UTI != honest.UTI || calls[0].Address.String() != "198.51.100.66" {
		t.Errorf("calls %+v, truth %+v", calls, truth)
	}
	if len(c.tenant.SignIns()) != 1 {
		t.Error("a stolen token signs in nowhere")
	}
}

func TestStolenTokenOnExchange(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	holder, thief := c.adversary(t, "127.0.0.7"), c.adversary(t, "127.0.1.66")
	honest, token, err := holder.Region(t.Context(), c.tenant.ID, c.key, ScopeExchange)
	let(t, honest, err)
	truth, err := thief.TokenOnExchange(t.Context(), c.tenant.ID, token, c.user.PrincipalName)
	let(t, truth, err)
	if len(truth.RequestIDs) != 2 || slices.Contains(truth.RequestIDs, "") || truth.UTI != honest.UTI {
		t.Errorf("truth %+v", truth)
	}
	refused, err := thief.TokenOnGraph(t.Context(), c.tenant.ID, token, c.user.PrincipalName)
	if err != nil || refused.Refused != "InvalidAuthenticationToken" {
		t.Errorf("a token for Exchange on Graph: refused %q, error %v", refused.Refused, err)
	}
}

func TestAddedCredentials(t *testing.T) {
	for _, kind := range []Kind{KindAddedToApp, KindAddedToPrincipal} {
		c := newCase(t, Config{}, UnifiedConfig{})
		object := c.app.Application.ID
		if kind == KindAddedToPrincipal {
			object = c.app.Principal.ID
		}
		thief := c.adversary(t, "127.0.1.66")
		_, token, err := thief.FreshCorrelation(t.Context(), c.tenant.ID, c.key, ScopeGraph)
		if err != nil {
			t.Fatal(err)
		}
		if kind == KindAddedToPrincipal {
			// The proof is made with a key that is the object's own.
			if _, err := c.tenant.AddCertificate(c.app.Principal, c.key.Certificate.Raw); err != nil {
				t.Fatal(err)
			}
		}
		before := len(c.tenant.Audits())
		truth, own, err := thief.AddCredential(t.Context(), c.tenant.ID, token, c.key, kind, object)
		let(t, truth, err)
		audits := c.tenant.Audits()
		if len(audits) != before+1 || truth.KeyID == "" {
			t.Fatalf("%s: %d audits more, key %q", kind, len(audits)-before, truth.KeyID)
		}
		use, _, err := thief.FreshCorrelation(t.Context(), c.tenant.ID, own, ScopeGraph)
		if s := c.inLog(t, let(t, use, err)); s.KeyID != truth.KeyID {
			t.Errorf("%s: the log has key %q, the truth %q", kind, s.KeyID, truth.KeyID)
		}
		secret, own, err := thief.AddSecret(t.Context(), c.tenant.ID, token, c.key.Application, kind, object)
		let(t, secret, err)
		use, _, err = thief.FreshCorrelation(t.Context(), c.tenant.ID, own, ScopeGraph)
		if s := c.inLog(t, let(t, use, err)); s.KeyID != secret.KeyID || s.CredentialType != "clientSecret" {
			t.Errorf("%s: the log has %+v, the truth %q", kind, s, secret.KeyID)
		}
	}
}

func TestAddedFederation(t *testing.T) {
	c := newCase(t, Config{Federation: http.DefaultClient}, UnifiedConfig{})
	issuer, err := c.world.NewIssuer(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	thief := c.adversary(t, "127.0.1.66")
	_, token, err := thief.FreshCorrelation(t.Context(), c.tenant.ID, c.key, ScopeGraph)
	if err != nil {
		t.Fatal(err)
	}
	truth, err := thief.AddFederation(t.Context(), c.tenant.ID, token, c.key.Application, c.app.Application.ID, issuer.URL, "ci:main")
	let(t, truth, err)
	own := Stolen{Application: c.key.Application, Federated: func() (string, error) { return issuer.Token("ci:main") }}
	use, _, err := thief.FreshCorrelation(t.Context(), c.tenant.ID, own, ScopeGraph)
	if s := c.inLog(t, let(t, use, err)); s.FederatedID != truth.KeyID {
		t.Errorf("the log has %q, the truth %q", s.FederatedID, truth.KeyID)
	}
	own.Federated = func() (string, error) { return issuer.Token("ci:other") }
	if use, _, err = thief.FreshCorrelation(t.Context(), c.tenant.ID, own, ScopeGraph); err != nil || use.Refused != "AADSTS700213" {
		t.Errorf("another subject: refused %q, error %v", use.Refused, err)
	}
}

func TestForeignApplication(t *testing.T) {
	c := newCase(t, Config{}, UnifiedConfig{})
	home := c.world.AddTenant(TenantSpec{Name: "Thief"})
	own, err := newStolen("aaaaaaaa-7fda-4db5-8bb1-b771898e9f15", c.world.Now())
	if err != nil {
		t.Fatal(err)
	}
	home.AddApplication(AppSpec{AppID: own.Application, Name: "Calendar helper", Certificates: [][]byte{own.Certificate.Raw}, MultiTenant: true})
	thief := c.adversary(t, "127.0.1.66")
	_, token, err := thief.FreshCorrelation(t.Context(), c.tenant.ID, c.key, ScopeGraph)
	if err != nil {
		t.Fatal(err)
	}
	mailRead := "810c84a8-4a9e-49e6-bf7d-12d183f40d01"
	truth, err := thief.ForeignApplication(t.Context(), c.tenant.ID, token, own.Application, c.tenant.Principal(Graph).ID, mailRead)
	let(t, truth, err)
	use, token, err := thief.FreshCorrelation(t.Context(), c.tenant.ID, own, ScopeGraph)
	if s := c.inLog(t, let(t, use, err)); s.OwnerTenantID != home.ID {
		t.Errorf("the log says that it belongs to %s", s.OwnerTenantID)
	}
	read, err := thief.TokenOnGraph(t.Context(), c.tenant.ID, token, c.user.PrincipalName)
	let(t, read, err)
}

func TestAdversaryStaysOnLoopback(t *testing.T) {
	w, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{"192.0.2.1", "", "localhost"} {
		if _, err := w.NewAdversary(&Servers{}, from); err == nil {
			t.Errorf("it acts from %q", from)
		}
	}
}
