// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/oauth"
	"github.com/tallystick/tallystick/drivers/entra"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

func find(t *testing.T, d *entra.Entra, tenants ...string) *drivertest.Recorder {
	t.Helper()
	sink := &drivertest.Recorder{}
	if err := d.Find(t.Context(), driver.FindRequest{Targets: tenants, Now: time.Now}, sink); err != nil {
		t.Fatal(err)
	}
	return sink
}

const secretText = "Q~s3cret-of-the-test"

// furnish fills the tenant of an estate with all that a look tells apart.
func (e *estate) furnish(t *testing.T) (foreign, disabled, secret emulator.App) {
	t.Helper()
	vendor := e.world.AddTenant(emulator.TenantSpec{Name: "Vendor"})
	foreign = vendor.AddApplication(emulator.AppSpec{Name: "Archive", MultiTenant: true})
	e.tenant.AddForeign(foreign.Application, emulator.Grant{API: emulator.Exchange, Role: "full_access_as_app"})
	disabled = e.tenant.AddApplication(emulator.AppSpec{Name: "Old tool", Certificates: [][]byte{material(t, e.pki, "old tool").Chain[0]}, OnPrincipal: true})
	e.tenant.SetEnabled(disabled.Principal, false)
	secret = e.tenant.AddApplication(emulator.AppSpec{Name: "Reports", Secrets: []string{secretText}, Grants: []emulator.Grant{{API: emulator.Graph, Role: "Directory.Read.All"}}})
	e.tenant.Consent(e.app.Principal, emulator.Grant{API: emulator.Graph, Role: "Directory.Read.All"})
	return foreign, disabled, secret
}

func TestFinder(t *testing.T) {
	t.Parallel()
	suite := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) // the clock of the suite
	e := estateOf(t, emulator.Config{Clock: func() time.Time { return suite }})
	foreign, disabled, secret := e.furnish(t)
	sp := e.tenant.Principal(foreign.Application.AppID)
	drivertest.Run(t, drivertest.Suite{
		Driver: entra.Driver(), Options: e.options, Targets: []string{e.tenant.ID},
		Want: []tallystick.Place{
			tallystick.EntraPlace(e.tenant.ID, "applications", e.app.Application.ID),
			tallystick.EntraPlace(e.tenant.ID, "servicePrincipals", sp.ID),
			tallystick.EntraPlace(e.tenant.ID, "servicePrincipals", disabled.Principal.ID),
			tallystick.EntraPlace(e.tenant.ID, "applications", secret.Application.ID),
		},
		Bad: "11111111-2222-4333-8444-555555555555", Secrets: []string{secretText, secretText[:3] + "\""},
	})
}

// What a credential opens stands with it, in words, and whose it is.
func TestWhatItOpens(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	foreign, disabled, secret := e.furnish(t)
	sink := find(t, e.open(t, nil))
	if len(sink.Misses) > 0 {
		t.Errorf("%+v", sink.Misses)
	}
	at := func(place tallystick.Place, form string) *tallystick.Sighting {
		i := slices.IndexFunc(sink.Sightings, func(s tallystick.Sighting) bool { return s.Place == place && s.Entra.Form == form })
		if i < 0 {
			t.Fatalf("there is no %s at %s", form, place)
		}
		return &sink.Sightings[i]
	}
	s := at(tallystick.EntraPlace(e.tenant.ID, "applications", e.app.Application.ID), "certificate")
	if s.Credential.ID != tallystick.FingerprintOf(e.old.Chain[0]) || s.Role != tallystick.RoleAccepts || s.Entra.KeyID != e.app.Application.State().Keys[0].KeyID {
		t.Errorf("%+v", s)
	}
	s = at(tallystick.EntraPlace(e.tenant.ID, "servicePrincipals", e.app.Principal.ID), "elsewhere")
	var words []string
	for _, g := range s.Entra.Grants {
		words = append(words, g.Opens)
	}
	if d := cmp.Diff([]string{"reads every application with its credentials' public halves", "reads the whole directory", "reads every mailbox of the tenant"}, words); d != "" {
		t.Error(d)
	}
	s = at(tallystick.EntraPlace(e.tenant.ID, "servicePrincipals", e.tenant.Principal(foreign.Application.AppID).ID), "elsewhere")
	if s.Entra.Home != foreign.Application.OwnerTenant() || len(s.Entra.Grants) != 1 || s.Entra.Grants[0].Name != "full_access_as_app" {
		t.Errorf("a foreign application: %+v", s.Entra)
	}
	if s = at(tallystick.EntraPlace(e.tenant.ID, "servicePrincipals", disabled.Principal.ID), "certificate"); !s.Entra.Disabled {
		t.Errorf("a disabled one: %+v", s.Entra)
	}
	s = at(tallystick.EntraPlace(e.tenant.ID, "applications", secret.Application.ID), "secret")
	if key := secret.Application.State().Secrets[0]; string(s.Credential.Raw) != "entra-key:"+key.KeyID && string(s.Credential.Raw) != tallystick.NormalName("entra-key:"+key.KeyID) ||
		!s.Credential.NotAfter.Equal(key.End) {
		t.Errorf("a secret: %+v", s.Credential)
	}
}

// What an administrator of the tenant does over Graph.
func (e *estate) post(t *testing.T, path, body string) { e.administer(t, http.MethodPost, path, body) }

func (e *estate) patch(t *testing.T, path, body string) {
	e.administer(t, http.MethodPatch, path, body)
}

func (e *estate) administer(t *testing.T, method, path, body string) {
	t.Helper()
	admin := e.tenant.AddApplication(emulator.AppSpec{Secrets: []string{secretText}, Grants: []emulator.Grant{{API: emulator.Graph, Role: "Application.ReadWrite.All"}}})
	endpoint, err := oauth.ParseEndpoint(e.servers.Login + "/" + e.tenant.ID + "/oauth2/v2.0/token")
	if err != nil {
		t.Fatal(err)
	}
	form, err := oauth.Request{Endpoint: endpoint, ClientID: admin.Application.AppID, Scope: "https://graph.microsoft.com/.default", Secret: driver.NewSecret(secretText)}.Form(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	client := e.servers.Client("")
	response, err := client.Post(endpoint.String(), "application/x-www-form-urlencoded", strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), method, e.servers.Graph+"/v1.0"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Authorization": {"Bearer " + oauth.Read(response.Header, text).Token.Reveal()}, "Content-Type": {"application/json"}}
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if said, _ := io.ReadAll(answer.Body); answer.StatusCode >= 300 {
		t.Fatalf("%s: %d %s", path, answer.StatusCode, said)
	}
}

// Whoever may get in besides by a key of the application itself is told too.
func TestOtherWaysIn(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	e.tenant.Consent(e.app.Principal, emulator.Grant{API: emulator.Graph, Role: "Directory.Read.All"})
	e.post(t, "/applications/"+e.app.Application.ID+"/federatedIdentityCredentials",
		`{"name":"builds","issuer":"https://token.actions.example.com","subject":"repo:acme/app:ref:refs/heads/main","audiences":["api://AzureADTokenExchange"]}`)
	boss := e.tenant.AddUser("boss", "The boss")
	owned := e.tenant.AddApplication(emulator.AppSpec{Name: "Owned", Secrets: []string{secretText}, Owners: []string{boss.ID}})
	e.tenant.AddDelegated(owned.Principal, emulator.Exchange, "EWS.AccessAsUser.All")
	microsoft := e.tenant.Principal(emulator.Exchange)
	if _, err := e.tenant.AddCertificate(microsoft, material(t, e.pki, "a thief").Chain[0]); err != nil {
		t.Fatal(err)
	}
	sink := find(t, e.open(t, nil))
	if len(sink.Misses) > 0 {
		t.Errorf("%+v", sink.Misses)
	}
	facts := func(id, form string) *tallystick.EntraFacts {
		i := slices.IndexFunc(sink.Sightings, func(s tallystick.Sighting) bool {
			return strings.HasSuffix(string(s.Place), "/"+id) && s.Entra.Form == form
		})
		if i < 0 {
			t.Fatalf("there is no %s at %s", form, id)
		}
		return sink.Sightings[i].Entra
	}
	if f := facts(e.app.Application.ID, "federated"); f.Issuer != "https://token.actions.example.com" || f.Subject != "repo:acme/app:ref:refs/heads/main" ||
		!slices.Equal(f.Audiences, []string{"api://AzureADTokenExchange"}) {
		t.Errorf("a federated credential: %+v", f)
	}
	if f := facts(owned.Application.ID, "secret"); len(f.Owners) != 1 || !strings.HasPrefix(f.Owners[0], "boss@") {
		t.Errorf("owners: %+v", f)
	}
	if f := facts(owned.Principal.ID, "elsewhere"); len(f.Grants) != 1 || !f.Grants[0].Delegated || f.Grants[0].Opens != "reads, changes and sends the mail of whoever uses it (EWS)" || f.Grants[0].For != "everybody" {
		t.Errorf("a delegated grant: %+v", f.Grants)
	}
	if f := facts(microsoft.ID, "certificate"); !f.FirstParty || f.Home == "" {
		t.Errorf("a credential on an application of Microsoft: %+v", f)
	}
}

// Links to pages that have ended meanwhile lose nothing.
func TestPagesThatEnd(t *testing.T) {
	t.Parallel()
	var ahead atomic.Int64 // how far the clock of the world is ahead, in seconds
	clock := func() time.Time { return time.Now().Add(time.Duration(ahead.Load()) * time.Second) }
	e := estateOf(t, emulator.Config{Clock: clock, Faults: emulator.Faults{NoThrottling: true, SkipTokenLife: time.Minute}})
	e.tenant.Consent(e.app.Principal, emulator.Grant{API: emulator.Graph, Role: "Directory.Read.All"})
	const apps = 250
	for range apps {
		e.tenant.AddApplication(emulator.AppSpec{})
	}
	e.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			if strings.HasSuffix(a.Path, "/appRoleAssignments") {
				ahead.Add(1)
			}
			return nil
		}
	})
	sink := &drivertest.Recorder{}
	if err := e.open(t, nil).Find(t.Context(), driver.FindRequest{Now: clock}, sink); err != nil || len(sink.Misses) > 0 {
		t.Errorf("%v, %+v", err, sink.Misses)
	}
	seen := 0
	for _, s := range sink.Sightings {
		if s.Entra.Form == "elsewhere" {
			seen++
		}
	}
	if seen != apps+1 || ahead.Load() < apps {
		t.Errorf("%d of %d service principals were seen", seen, apps+1)
	}
}

// A tenant that takes its consent back in the middle is a miss, and the others are looked at.
func TestConsentRevoked(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	d := e.open(t, nil)
	if sink := find(t, d); len(sink.Sightings) == 0 {
		t.Fatal("nothing is seen at first")
	}
	e.tenant.Remove(e.app.Principal)
	sink := find(t, e.open(t, nil), "11111111-2222-4333-8444-555555555555", e.tenant.ID)
	if len(sink.Sightings) > 0 || len(sink.Misses) != 2 {
		t.Errorf("%+v, %+v", sink.Sightings, sink.Misses)
	}
	if !slices.ContainsFunc(sink.Misses, func(m tallystick.Miss) bool {
		return m.Place == tallystick.Place("entra://"+e.tenant.ID) && m.Error == "denied"
	}) {
		t.Errorf("%+v", sink.Misses)
	}
}

// Where consent is taken back while a tenant is looked at, what was seen until then stands, and
// the rest is one miss of the tenant, and no error.
func TestConsentRevokedInTheMiddle(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{NoThrottling: true})
	e.tenant.Consent(e.app.Principal, emulator.Grant{API: emulator.Graph, Role: "Directory.Read.All"})
	for range 30 {
		e.tenant.AddApplication(emulator.AppSpec{Secrets: []string{secretText}})
	}
	d := e.open(t, nil)
	whole := len(find(t, d).Sightings)
	var asked atomic.Int64
	e.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			if a.Service == emulator.ServiceGraph && asked.Add(1) > 40 {
				return &emulator.Injected{Status: http.StatusUnauthorized, Code: "InvalidAuthenticationToken"}
			}
			if a.Service == emulator.ServiceLogin && asked.Load() > 40 {
				return &emulator.Injected{Status: http.StatusBadRequest, Body: `{"error":"unauthorized_client","error_description":"AADSTS700016: Application was not found in the directory.","error_codes":[700016]}`}
			}
			return nil
		}
	})
	sink := find(t, d)
	if n := len(sink.Sightings); n == 0 || n >= whole {
		t.Errorf("%d sightings, and %d of the whole", n, whole)
	}
	if len(sink.Misses) != 1 || sink.Misses[0].Error != "denied" || sink.Misses[0].Place != tallystick.Place("entra://"+e.tenant.ID) { // so that nothing is taken for gone
		t.Errorf("%d misses: %+v", len(sink.Misses), sink.Misses)
	}
}
