// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azcloud "github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/google/uuid"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/entra"
	"github.com/tallystick/tallystick/internal/lab"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

// A rotating estate has somebody who replaces client secrets, and who signs in by one.
type rotating struct {
	*estate
	admin  emulator.App
	secret string // of the administration
	client *http.Client
}

func newRotating(t *testing.T, faults emulator.Faults) *rotating {
	t.Helper()
	return rotatingIn(t, emulator.Config{Faults: faults})
}

func rotatingIn(t *testing.T, config emulator.Config) *rotating {
	t.Helper()
	config.Faults.NoThrottling = true
	r := &rotating{estate: estateOf(t, config), secret: first("adm")}
	r.admin = r.tenant.AddApplication(emulator.AppSpec{
		Name: "Administration", Secrets: []string{r.secret}, Grants: []emulator.Grant{{API: emulator.Graph, Role: "Application.ReadWrite.All"}},
	})
	delete(r.options, "application")
	delete(r.options, "credential")
	r.options["as"], r.options["secret"] = r.admin.Application.AppID, lab.File(t, "secret", r.secret+"\n")
	r.client = r.servers.Client("")
	t.Cleanup(r.client.CloseIdleConnections)
	return r
}

// app adds an application with secrets.
func (r *rotating) app(secrets ...string) emulator.App {
	return r.tenant.AddApplication(emulator.AppSpec{Name: "ERP", Secrets: secrets})
}

// first is a secret as Microsoft makes them, that begins as given.
func first(begin string) string { return begin + "8Q~" + rand.Text() }

// signIn signs in by Microsoft's own client.
func (r *rotating) signIn(t *testing.T, account string, secret driver.Secret) bool {
	t.Helper()
	credential, err := azidentity.NewClientSecretCredential(r.tenant.ID, account, secret.Reveal(), &azidentity.ClientSecretCredentialOptions{
		ClientOptions: azcore.ClientOptions{
			Cloud: azcloud.Configuration{ActiveDirectoryAuthorityHost: r.servers.Login + "/"}, Transport: r.client, Retry: policy.RetryOptions{MaxRetries: -1},
		},
		DisableInstanceDiscovery: true,
	})
	if err == nil {
		_, err = credential.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://graph.microsoft.com/.default"}})
	}
	if err != nil && !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Fatal(err)
	}
	return err == nil
}

// request is about one application.
func (r *rotating) request(app emulator.App, old string) driver.SecretRequest {
	return driver.SecretRequest{Host: host.Local(), Account: app.Application.AppID, Old: driver.NewSecret(old), Order: "recall-1-new-1", Now: time.Now}
}

// set has a secret made for a request.
func set(t *testing.T, d *entra.Entra, request *driver.SecretRequest) driver.SecretSet {
	t.Helper()
	set, err := d.SetSecret(t.Context(), *request)
	if err != nil || set.Made.IsZero() {
		t.Fatalf("set: %+v, %v", set, err)
	}
	request.New = set.Made
	return set
}

func TestRotateSecrets(t *testing.T) {
	r := newRotating(t, emulator.Faults{})
	relay := drivertest.NewRelay(t, strings.TrimPrefix(r.servers.Graph, "https://"))
	drivertest.Rotator(t, drivertest.RotatorCase{
		Rotator: r.open(t, map[string]string{"graph": "https://" + relay.Address}), Host: host.Local(), Relay: relay, Missing: uuid.NewString(), Secrets: []string{r.secret},
		Fresh: func(*testing.T) (string, driver.Secret) {
			secret := first("abc")
			return r.app(secret, first("xyz")).Application.AppID, driver.NewSecret(secret)
		},
		SignIn: r.signIn,
	})
}

// Where reads are old and servers do not agree, a rotation waits, and loses no secret of others.
func TestRotateWhereItTakesItsTime(t *testing.T) {
	t.Parallel()
	r := newRotating(t, emulator.Faults{ReadLag: 400 * time.Millisecond, LoginLag: 400 * time.Millisecond, Flapping: true})
	old, others := first("abc"), first("xyz")
	app := r.app(old, others)
	d, request := r.open(t, nil), r.request(app, old)
	set(t, d, &request)
	tested, err := d.TestSecret(t.Context(), request)
	if err != nil || len(tested.New) != 1 {
		t.Fatalf("%+v, %v", tested, err)
	}
	if _, err := d.DropSecret(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if left := app.Application.State().Secrets; len(left) != 2 || left[0].Hint != "xyz" || left[1].DisplayName != "Tallystick recall-1-new-1" {
		t.Errorf("there are %+v", left)
	}
}

// A new secret that is not known everywhere yet is tried again, and one that is none is not.
func TestANewSecretIsTriedAgain(t *testing.T) {
	t.Parallel()
	r := newRotating(t, emulator.Faults{})
	old := first("abc")
	d, request := r.open(t, nil), r.request(r.app(old), old)
	set(t, d, &request)
	const refused = `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided.","error_codes":[7000215]}`
	asked := r.inject(emulator.ServiceLogin, 1, emulator.Injected{Status: http.StatusUnauthorized, Body: refused})
	tested, err := d.TestSecret(t.Context(), request)
	if err != nil || len(tested.New) != 1 || tested.New[0].Outcome != driver.OutcomeAccepted || asked.Load() != 2 {
		t.Errorf("%+v, %v, asked %d times", tested, err, asked.Load())
	}
	asked = r.inject(emulator.ServiceLogin, 0, emulator.Injected{})
	request.New = driver.NewSecret(first("abc"))
	tested, err = d.TestSecret(t.Context(), request)
	if err != nil || tested.New[0].Outcome != driver.OutcomeRefused || !strings.Contains(tested.New[0].Answer, "AADSTS7000215") || asked.Load() != 1 {
		t.Errorf("%+v, %v, asked %d times", tested, err, asked.Load())
	}
}

// An answer that was lost leaves a secret that nobody knows: it goes when another is made, and, where
// that did not see it, when the old one does.
func TestLostAnswersLeaveNothing(t *testing.T) {
	t.Parallel()
	r := newRotating(t, emulator.Faults{})
	old := first("abc")
	app := r.app(old)
	d, request := r.open(t, nil), r.request(app, old)
	var adds atomic.Int64
	r.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			if strings.HasSuffix(a.Path, "/addPassword") && adds.Add(1) == 1 {
				return &emulator.Injected{Status: http.StatusBadGateway, Afterwards: true}
			}
			return nil
		}
	})
	if _, err := d.SetSecret(t.Context(), request); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Fatalf("an answer that is lost: %v", err)
	}
	if n := len(app.Application.State().Secrets); n != 2 {
		t.Fatalf("%d secrets, want the one that was lost too", n)
	}
	request.Again = true
	set(t, d, &request)
	if n := len(app.Application.State().Secrets); n != 2 {
		t.Errorf("%d secrets, want the lost one gone", n)
	}
	r.tenant.AddSecret(app.Application, "Tallystick recall-1-new-1", first("str"))
	if _, err := d.DropSecret(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if left := app.Application.State().Secrets; len(left) != 1 || !strings.HasPrefix(request.New.Reveal(), left[0].Hint) {
		t.Errorf("there are %+v", left)
	}
}

// Where several secrets begin as the old one does, none is taken away, but one that has ended.
func TestTheOldSecretMustBeTold(t *testing.T) {
	t.Parallel()
	r := newRotating(t, emulator.Faults{})
	old, twin := first("abc"), first("abc")
	app := r.app(old, twin)
	d, request := r.open(t, nil), r.request(app, old)
	set(t, d, &request)
	if _, err := d.DropSecret(t.Context(), request); !errors.Is(err, tallystick.ErrConflict) || !strings.Contains(err.Error(), "Certificates & secrets") {
		t.Errorf("with a twin: %v", err)
	}
	if n := len(app.Application.State().Secrets); n != 3 {
		t.Errorf("%d secrets, want all", n)
	}
	r.tenant.RemoveCredential(app.Application, app.Application.State().Secrets[0].KeyID) // as a person does
	blocked, err := d.DropSecret(t.Context(), request)
	if err != nil || blocked.Changed.Changed || !r.signIn(t, request.Account, driver.NewSecret(twin)) {
		t.Errorf("with the old one gone: %+v, %v, and the twin must get in", blocked, err)
	}
}

// An old secret that has ended is refused already, and what begins as it does is left alone.
func TestAnOldSecretThatHasEnded(t *testing.T) {
	t.Parallel()
	var later atomic.Int64 // in years
	clock := func() time.Time { return time.Now().AddDate(int(later.Load()), 0, 0) }
	r := rotatingIn(t, emulator.Config{Clock: clock})
	old, twin := first("abc"), first("abc")
	app := r.app(old)
	later.Store(3)
	r.tenant.AddSecret(app.Application, "", twin)
	admin := first("adm")
	r.tenant.AddSecret(r.admin.Application, "", admin)
	d := r.open(t, map[string]string{"secret": lab.File(t, "secret", admin)})
	request := r.request(app, old)
	request.Now = clock
	set(t, d, &request)
	for range 2 {
		if blocked, err := d.DropSecret(t.Context(), request); err != nil || blocked.Changed.Changed != (request.Old.Reveal() == twin) {
			t.Errorf("%+v, %v", blocked, err)
		}
		request.Old = driver.NewSecret(twin) // which can be told from the one that has ended
	}
	if left := app.Application.State().Secrets; len(left) != 2 || left[0].End.After(clock()) {
		t.Errorf("there are %+v", left)
	}
}

// Of secrets of long ago nobody is shown how they begin: none is taken for the old one.
func TestSecretsWithoutHints(t *testing.T) {
	t.Parallel()
	r := newRotating(t, emulator.Faults{})
	old := first("abc")
	app := r.app(old, first("xyz"))
	r.tenant.HideHints(app.Application)
	d, request := r.open(t, nil), r.request(app, old)
	set(t, d, &request)
	if _, err := d.DropSecret(t.Context(), request); !errors.Is(err, tallystick.ErrConflict) || len(app.Application.State().Secrets) != 3 {
		t.Errorf("%v", err)
	}
	request.Withdraw = true
	if set, err := d.SetSecret(t.Context(), request); err != nil || !set.Changed.Changed || !r.signIn(t, request.Account, request.Old) {
		t.Errorf("withdrawn: %+v, %v", set, err)
	}
}

// Nobody is left without a secret: the old one stays where the new one does not get in, and the new one where the
// old one is gone.
func TestOneSecretStays(t *testing.T) {
	t.Parallel()
	r := newRotating(t, emulator.Faults{})
	old := first("abc")
	app := r.app(old)
	d, request := r.open(t, map[string]string{"patience": "100ms"}), r.request(app, old) // nothing here is worth waiting for
	request.New = driver.NewSecret(first("new"))
	if _, err := d.DropSecret(t.Context(), request); !errors.Is(err, tallystick.ErrConflict) || !r.signIn(t, request.Account, request.Old) {
		t.Errorf("with a new one that is none: %v", err)
	}
	request.New = driver.Secret{}
	set(t, d, &request)
	if _, err := d.DropSecret(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	back := request
	back.Withdraw = true
	if _, err := d.SetSecret(t.Context(), back); !errors.Is(err, tallystick.ErrInvalid) || !r.signIn(t, request.Account, request.New) {
		t.Errorf("withdrawn after the drop: %v", err)
	}
}

// A policy of the tenant says how long secrets may be good.
func TestSecretLife(t *testing.T) {
	t.Parallel()
	r := newRotating(t, emulator.Faults{})
	r.tenant.LimitSecrets(90 * 24 * time.Hour)
	old := first("abc")
	app := r.app(old)
	request := r.request(app, old)
	if _, err := r.open(t, nil).SetSecret(t.Context(), request); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "secret-life") {
		t.Errorf("for two years: %v", err)
	}
	set(t, r.open(t, map[string]string{"secret-life": "2000h"}), &request)
	made := app.Application.State().Secrets[1]
	if life := made.End.Sub(made.Start); life < 1999*time.Hour || life > 2001*time.Hour {
		t.Errorf("it is good for %v", life)
	}
	if _, err := entra.Driver().Open(map[string]string{"secret-life": "1h"}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("an hour: %v", err)
	}
}

// An account is looked at by either id, and says why nobody gets in.
func TestLookAtAnApplication(t *testing.T) {
	t.Parallel()
	r := newRotating(t, emulator.Faults{})
	old := first("abc")
	app := r.app(old)
	d := r.open(t, nil)
	at := func(account string) driver.Account {
		t.Helper()
		found, err := d.LookAccount(t.Context(), driver.AccountRequest{Host: host.Local(), Account: account, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	found := at(strings.ToUpper(app.Application.AppID))
	if found.Name != "ERP ("+app.Application.AppID+")" || found.Barred != "" || found.MayTry != -1 || found.Form != driver.FormMade ||
		!found.Changed.Equal(app.Application.State().Secrets[0].Start) || len(found.Listeners) != 1 || found.Listeners[0].Details["client_id"] != app.Application.AppID {
		t.Errorf("%+v", found)
	}
	r.tenant.SetEnabled(app.Principal, false)
	if found = at(app.Application.ID); found.Barred != "disabled" {
		t.Errorf("disabled: %+v", found)
	}
	request := r.request(app, old)
	request.TryOld, request.New = true, driver.NewSecret(first("new"))
	tested, err := d.TestSecret(t.Context(), request) // it may be enabled again, and then lets the old one in
	if err != nil || tested.Old[0].Outcome != driver.OutcomeFailed {
		t.Errorf("%+v, %v", tested, err)
	}
	r.tenant.Remove(app.Principal)
	if found = at(app.Application.ID); !strings.Contains(found.Barred, "no service principal") {
		t.Errorf("without: %+v", found)
	}
	if _, err := d.LookAccount(t.Context(), driver.AccountRequest{Host: host.Local(), Account: "erp", Now: time.Now}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("no id: %v", err)
	}
	if verbs := d.Verbs(); !slices.Equal(verbs, []string{"rotate"}) {
		t.Errorf("it has the verbs %v", verbs)
	}
}

// Secrets of service principals are replaced there.
func TestRotateAtAServicePrincipal(t *testing.T) {
	t.Parallel()
	r := newRotating(t, emulator.Faults{})
	old := first("abc")
	app := r.tenant.AddApplication(emulator.AppSpec{Name: "SAML", Secrets: []string{old}, OnPrincipal: true})
	d, request := r.open(t, map[string]string{"object": "service-principal"}), r.request(app, old)
	set(t, d, &request)
	if _, err := d.DropSecret(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	if left := app.Principal.State().Secrets; len(left) != 1 || !r.signIn(t, request.Account, request.New) || r.signIn(t, request.Account, request.Old) {
		t.Errorf("there are %+v", left)
	}
}

// Every sign-in by a secret is told by the name that the log of the tenant has for it.
func TestSignInsBySecretsAreNamed(t *testing.T) {
	t.Parallel()
	r := newRotating(t, emulator.Faults{})
	old := first("abc")
	d, request := r.open(t, nil), r.request(r.app(old), old)
	var mu sync.Mutex
	told := map[string]string{}
	request.Used = func(u tallystick.Use) {
		mu.Lock()
		defer mu.Unlock()
		told[u.IDs.Request] = fmt.Sprint(u.Credential)
	}
	set(t, d, &request)
	request.TryOld = true
	for _, do := range []func() error{
		func() error { _, err := d.TestSecret(t.Context(), request); return err },
		func() error { _, err := d.DropSecret(t.Context(), request); return err },
		func() error { _, err := d.TestSecret(t.Context(), request); return err },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
	}
	signIns := r.tenant.SignIns()
	for _, s := range signIns {
		name := "entra-key:" + s.KeyID
		if s.KeyID == "" {
			name = "account:entra-app/" + s.AppID
		}
		if told[s.ID] != "["+name+"]" {
			t.Errorf("the sign-in %s with %d is told as %q, and logged as %s", s.ID, s.ErrorCode, told[s.ID], name)
		}
	}
	if len(signIns) != len(told) || len(told) != 8 {
		t.Errorf("%d sign-ins, %d told, want 8", len(signIns), len(told))
	}
}
