// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/entra"
	"github.com/tallystick/tallystick/internal/lab"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

// An application rolls its own key, with no permission to change anything.
func TestAnApplicationRollsItsKey(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	d, next := e.open(t, nil), material(t, e.pki, "vendor 2")
	before := look(t, d)
	if !accepts(before, e.old) || accepts(before, next) {
		t.Fatalf("at first it accepts %+v", before.Accepts)
	}
	if at := "entra://" + e.tenant.ID + "/applications/" + e.app.Application.ID; before.Accepts[0].At != at || before.Accepts[0].As != "Mail sync" {
		t.Errorf("%+v, want it at %s", before.Accepts[0], at)
	}
	outcome(t, before, e.old, driver.OutcomeAccepted)
	outcome(t, before, next, driver.OutcomeRefused)

	for _, first := range []bool{true, false} {
		changed, err := trust(t.Context(), d, next, e.old, false)
		want(t, "trust", changed, err, first)
	}
	both := look(t, d)
	outcome(t, both, e.old, driver.OutcomeAccepted)
	outcome(t, both, next, driver.OutcomeAccepted)

	e.holds(t, next) // which is what the recall does at the holder
	for _, first := range []bool{true, false} {
		blocked, err := block(t.Context(), d, e.old, false)
		want(t, "block", blocked.Changed, err, first)
		if len(blocked.Left) != 1 || !strings.Contains(blocked.Left[0], "90 minutes") {
			t.Errorf("Left says %q", blocked.Left)
		}
	}
	after := look(t, d)
	if accepts(after, e.old) || !accepts(after, next) {
		t.Errorf("at the end it accepts %+v", after.Accepts)
	}
	outcome(t, after, next, driver.OutcomeAccepted)
	refused := try(t, after, e.old)
	if refused.Outcome != driver.OutcomeRefused || !strings.Contains(refused.Answer, "AADSTS700027") {
		t.Errorf("the old one: %+v", refused)
	}

	for _, first := range []bool{true, false} {
		blocked, err := block(t.Context(), d, e.old, true)
		want(t, "lift", blocked.Changed, err, first)
	}
	outcome(t, after, e.old, driver.OutcomeAccepted)
}

// Keys that are kept on the service principal are changed there.
func TestServicePrincipal(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	app := e.tenant.AddApplication(emulator.AppSpec{
		Name: "SAML", Certificates: [][]byte{e.old.Chain[0]}, OnPrincipal: true, Grants: []emulator.Grant{{API: emulator.Graph, Role: "Application.Read.All"}},
	})
	d, next := e.open(t, map[string]string{"application": app.Application.AppID, "object": "service-principal"}), material(t, e.pki, "vendor 2")
	changed, err := trust(t.Context(), d, next, e.old, false)
	want(t, "trust", changed, err, true)
	e.holds(t, next)
	blocked, err := block(t.Context(), d, e.old, false)
	want(t, "block", blocked.Changed, err, true)
	if keys := app.Principal.State().Keys; len(keys) != 1 || string(keys[0].DER()) != string(next.Chain[0]) || len(app.Application.State().Keys) > 0 {
		t.Errorf("the keys are %+v", keys)
	}
	if at := look(t, d).Accepts[0].At; at != string(tallystick.EntraPlace(e.tenant.ID, "servicePrincipals", app.Principal.ID)) {
		t.Errorf("it stands at %s", at)
	}
}

// Where the tenant does not know what signs in now, the old one takes itself away.
func TestBlockByItself(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	e.options["patience"] = "100ms" // nothing here is worth waiting for
	d := e.open(t, nil)
	view := look(t, d)
	e.holds(t, material(t, e.pki, "vendor 2"))
	d = e.open(t, nil) // without the token of before
	request := driver.BlockRequest{Host: host.Local(), Old: e.old.Public, Now: time.Now}
	if _, err := d.Block(t.Context(), request); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("without the old key: %v", err)
	}
	request.OldKey = e.old.Key
	for _, first := range []bool{true, false} {
		blocked, err := d.Block(t.Context(), request)
		want(t, "block", blocked.Changed, err, first)
		d = e.open(t, nil)
	}
	outcome(t, view, e.old, driver.OutcomeRefused)
}

// Where the holder has the new one already, and the tenant does not know it yet, the old one adds it.
func TestTrustByTheOldOne(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	next := material(t, e.pki, "vendor 2")
	e.holds(t, next)
	d := e.open(t, nil)
	if _, err := trust(t.Context(), d, next, e.old, false); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("without the old key: %v", err)
	}
	request := driver.TrustRequest{Host: host.Local(), New: next.Public, Like: e.old.Public, LikeKey: e.old.Key, Now: time.Now}
	for _, first := range []bool{true, false} {
		changed, err := d.Trust(t.Context(), request)
		want(t, "trust", changed, err, first)
	}
	outcome(t, look(t, d), next, driver.OutcomeAccepted)
}

// Keys that Entra ID could not check a signature by are not added.
func TestOtherKeysAreRefused(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	d := e.open(t, nil)
	for what, m := range map[string]driver.Material{"ECDSA": e.pki.Client(t, "vendor"), "SSH": lab.SSHKey(t), "nothing": {}} {
		if _, err := trust(t.Context(), d, m, e.old, false); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s gives %v", what, err)
		}
	}
	if n := len(e.tenant.SignIns()); n > 0 {
		t.Errorf("%d sign-ins for it", n)
	}
}

// A proof by a key that is too new for some replica is made again.
func TestAProofThatIsTooEarly(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	var tried atomic.Int64
	e.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			if strings.HasSuffix(a.Path, "/addKey") && tried.Add(1) == 1 {
				return &emulator.Injected{Status: 401, Code: "Authentication_MissingOrMalformed"}
			}
			return nil
		}
	})
	changed, err := trust(t.Context(), e.open(t, nil), material(t, e.pki, "vendor 2"), e.old, false)
	want(t, "trust", changed, err, true)
	if !slices.Equal(changed.How, []string{"proof"}) {
		t.Errorf("%+v", changed)
	}
}

// What Trust has added is withdrawn, and what an administrator has added stays.
func TestWithdraw(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	d, next, theirs := e.open(t, nil), material(t, e.pki, "vendor 2"), material(t, e.pki, "theirs")
	if _, err := e.tenant.AddCertificate(e.app.Application, theirs.Chain[0]); err != nil {
		t.Fatal(err)
	}
	before := look(t, d)
	changed, err := trust(t.Context(), d, next, e.old, false)
	want(t, "trust", changed, err, true)
	changed, err = trust(t.Context(), d, theirs, e.old, false)
	want(t, "trust what is there", changed, err, false)
	for _, first := range []bool{true, false} {
		changed, err = trust(t.Context(), d, next, e.old, true)
		want(t, "withdraw", changed, err, first)
		changed, err = trust(t.Context(), d, theirs, e.old, true)
		want(t, "withdraw what was there", changed, err, false)
	}
	if diff := cmp.Diff(before, look(t, d)); diff != "" {
		t.Error(diff)
	}
}

// Where another application changes the keys there is no proof, and a PATCH replaces the whole
// list: all that others have put there stays.
func TestAPatchLosesNothing(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	d, next := e.administered(t, "Application.ReadWrite.All"), material(t, e.pki, "vendor 2")
	var others []driver.Material
	for range 3 {
		one := material(t, e.pki, "somebody else")
		if _, err := e.tenant.AddCertificate(e.app.Application, one.Chain[0]); err != nil {
			t.Fatal(err)
		}
		others = append(others, one)
	}
	ids := func() []string {
		var list []string
		for _, k := range e.app.Application.State().Keys {
			list = append(list, k.KeyID)
		}
		return list
	}
	before := ids()
	changed, err := trust(t.Context(), d, next, e.old, false)
	want(t, "trust", changed, err, true)
	if !slices.Equal(changed.How, []string{"patch"}) || !slices.Equal(ids()[:len(before)], before) || len(ids()) != len(before)+1 {
		t.Errorf("%+v: the keys were %v and are %v", changed, before, ids())
	}
	blocked, err := block(t.Context(), d, e.old, false)
	want(t, "block", blocked.Changed, err, true)
	view := look(t, d)
	for _, one := range append(others, next) {
		outcome(t, view, one, driver.OutcomeAccepted)
	}
	outcome(t, view, e.old, driver.OutcomeRefused)
}

// A list with a key that cannot be read is not sent: that key would be lost.
func TestAPatchThatWouldLoseAKeyIsRefused(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	d := e.administered(t, "Application.ReadWrite.All")
	view := look(t, d)
	var patched atomic.Bool
	e.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			switch {
			case a.Method == http.MethodPatch:
				patched.Store(true)
			case a.Service == emulator.ServiceGraph && a.Method == http.MethodGet:
				return &emulator.Injected{Status: 200, Body: `{"id":"` + e.app.Application.ID + `","appId":"` + e.app.Application.AppID + `","keyCredentials":[
					{"keyId":"11111111-2222-3333-4444-555555555555","key":null,"customKeyIdentifier":"` + x5t(e.old) + `","type":"AsymmetricX509Cert","usage":"Verify"}]}`}
			}
			return nil
		}
	})
	_, err := trust(t.Context(), d, material(t, e.pki, "vendor 2"), e.old, false)
	if !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "would lose") || patched.Load() {
		t.Errorf("it says %v, and sent it: %v", err, patched.Load())
	}
	e.world.SetFaults(func(f *emulator.Faults) { f.Inject = nil })
	if diff := cmp.Diff(view, look(t, d)); diff != "" {
		t.Error(diff)
	}
}

func x5t(m driver.Material) string {
	for _, name := range m.Names() {
		if digest, ok := strings.CutPrefix(name, "x5t:"); ok {
			return strings.ToUpper(digest)
		}
	}
	return ""
}

// Tenants that let nobody change keys say so, and what is to be done.
func TestDenied(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	d := e.administered(t, "Application.Read.All")
	_, err := trust(t.Context(), d, material(t, e.pki, "vendor 2"), e.old, false)
	if !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "Certificates & secrets") {
		t.Errorf("trust says %v", err)
	}
	if _, err = block(t.Context(), d, e.old, false); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("block says %v", err)
	}
	outcome(t, look(t, d), e.old, driver.OutcomeAccepted)
}

// Reads are older than writes, replicas disagree, and the token endpoint knows new keys late.
func TestEventualConsistency(t *testing.T) {
	t.Parallel()
	for name, opened := range map[string]func(*estate) *entra.Entra{
		"proof": func(e *estate) *entra.Entra { return e.open(t, nil) },
		"patch": func(e *estate) *entra.Entra { return e.administered(t, "Application.ReadWrite.All") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t, emulator.Faults{ReadLag: 2 * time.Second, LoginLag: 2 * time.Second, Flapping: true})
			d, next := opened(e), material(t, e.pki, "vendor 2")
			changed, err := trust(t.Context(), d, next, e.old, false)
			want(t, "trust", changed, err, true)
			if name == "proof" {
				e.holds(t, next)
			}
			blocked, err := block(t.Context(), d, e.old, false)
			want(t, "block", blocked.Changed, err, true)
			var keys [][]byte
			for _, k := range e.app.Application.State().Keys {
				keys = append(keys, k.DER())
			}
			if len(keys) != 1 || string(keys[0]) != string(next.Chain[0]) {
				t.Errorf("there are %d keys at the end", len(keys))
			}
		})
	}
}

// An answer that is lost says nothing: the next call finds what happened.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	d, next := e.open(t, nil), material(t, e.pki, "vendor 2")
	lose := func(path string) *atomic.Int64 {
		var lost atomic.Int64
		e.world.SetFaults(func(f *emulator.Faults) {
			f.Inject = func(a emulator.Attempt) *emulator.Injected {
				if strings.HasSuffix(a.Path, path) && lost.Add(1) == 1 {
					return &emulator.Injected{Status: 504, Afterwards: true}
				}
				return nil
			}
		})
		return &lost
	}
	lost := lose("/addKey")
	if _, err := trust(t.Context(), d, next, e.old, false); !errors.Is(err, tallystick.ErrUnavailable) || lost.Load() != 1 {
		t.Errorf("trust says %v after %d requests", err, lost.Load())
	}
	changed, err := trust(t.Context(), d, next, e.old, false)
	want(t, "trust again", changed, err, false)
	lost = lose("/removeKey")
	if _, err := block(t.Context(), d, e.old, false); !errors.Is(err, tallystick.ErrUnavailable) || lost.Load() != 1 {
		t.Errorf("block says %v after %d requests", err, lost.Load())
	}
	e.holds(t, next)
	blocked, err := block(t.Context(), d, e.old, false)
	want(t, "block again", blocked.Changed, err, false)
}

// Many doors share connections and tokens: a look costs one request, and a door few.
func TestDoorsAreCheap(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{NoThrottling: true})
	var asked, tokens atomic.Int64
	e.world.SetFaults(func(f *emulator.Faults) {
		f.Inject = func(a emulator.Attempt) *emulator.Injected {
			if a.Service == emulator.ServiceLogin {
				tokens.Add(1)
			} else {
				asked.Add(1)
			}
			return nil
		}
	})
	shared := entra.Driver()
	var doors sync.WaitGroup
	for range 20 {
		doors.Go(func() {
			opened, err := shared.Open(e.options)
			if err == nil {
				_, err = opened.(driver.Looker).Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	doors.Wait()
	if tokens.Load() != 1 || asked.Load() != 20 {
		t.Errorf("20 looks took %d tokens and %d requests", tokens.Load(), asked.Load())
	}
	asked.Store(0)
	changed, err := trust(t.Context(), e.open(t, nil), material(t, e.pki, "vendor 2"), e.old, false)
	want(t, "trust", changed, err, true)
	if asked.Load() != 3 {
		t.Errorf("trust took %d requests, want a look, the key and a look", asked.Load())
	}
}

// The driver's own sign-ins are told, with the name that the log of the tenant has for them.
func TestOwnSignInsAreTold(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	for i := range 5 {
		var uses []tallystick.Use
		_, err := e.open(t, nil).Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now, Used: func(u tallystick.Use) { uses = append(uses, u) }})
		logged := e.tenant.SignIns()
		if err != nil || len(uses) != 1 || len(logged) != i+1 {
			t.Fatalf("%d uses, %d in the log, %v", len(uses), len(logged), err)
		}
		if u := uses[0]; u.IDs.UTI == "" || u.IDs.UTI != logged[i].UTI || u.IDs.Correlation != logged[i].CorrelationID || u.IDs.Request != logged[i].ID ||
			!slices.Contains(u.Credential, "x5t:"+strings.ToLower(x5t(e.old))) || u.RelyingParty != "entra:"+e.tenant.ID+"/00000003-0000-0000-c000-000000000000" {
			t.Errorf("%+v\nand the log has %+v", u, logged[i])
		}
	}
	var others []string // of a look for credentials, and of a watch
	tell := func(u tallystick.Use) { others = append(others, u.IDs.UTI) }
	if err := e.open(t, nil).Find(t.Context(), driver.FindRequest{Now: time.Now, Used: tell}, &drivertest.Recorder{}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.open(t, nil).Watch(t.Context(), driver.WatchRequest{Now: time.Now, Used: tell}, newBook()); err != nil {
		t.Fatal(err)
	}
	var logged []string
	for _, s := range e.tenant.SignIns()[5:] {
		logged = append(logged, s.UTI)
	}
	if d := cmp.Diff(logged, others); d != "" || len(others) < 2 {
		t.Errorf("%d of them are told: %s", len(others), d)
	}
	attempt := try(t, look(t, e.open(t, nil)), e.old)
	if attempt.IDs["uti"] == "" || !slices.ContainsFunc(e.tenant.SignIns(), func(s emulator.SignIn) bool { return s.UTI == attempt.IDs["uti"] }) {
		t.Errorf("a try is named %v", attempt.IDs)
	}
}

// A tenant whose tokens nobody can read works alike.
func TestOpaqueTokens(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{OpaqueTokens: true})
	if view := look(t, e.open(t, nil)); !accepts(view, e.old) {
		t.Errorf("%+v", view)
	}
}

// A secret signs in as well; then a change is a PATCH. It is shown nowhere.
func TestSecret(t *testing.T) {
	t.Parallel()
	e := newEstate(t, emulator.Faults{})
	const text = "Q~s3cret-of-the-test"
	admin := e.tenant.AddApplication(emulator.AppSpec{Secrets: []string{text}, Grants: []emulator.Grant{{API: emulator.Graph, Role: "Application.ReadWrite.All"}}})
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	options := map[string]string{"as": admin.Application.AppID, "credential": "", "secret": file}
	changed, err := trust(t.Context(), e.open(t, options), material(t, e.pki, "vendor 2"), e.old, false)
	want(t, "trust", changed, err, true)
	if err := os.WriteFile(file, []byte(text+"x"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = e.open(t, options).Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	if !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "AADSTS7000215") || strings.Contains(err.Error(), text) {
		t.Errorf("a wrong secret gives %v", err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, options := range []map[string]string{
		{"tenant": "contoso.onmicrosoft.com"}, {"application": "1"}, {"as": "x"}, {"login": "http://login.example.com"}, {"graph": "https://graph.example.com/v1.0"},
		{"object": "user"}, {"credential": "/a", "secret": "/b"}, {"patience": "2h"}, {"concurrency": "0"}, {"login": "https://a@b"},
	} {
		if _, err := entra.Driver().Open(options); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v, want ErrInvalid", options, err)
		}
	}
	finder, err := entra.Driver().Open(nil)
	if err != nil || driver.Offers(finder, "look") {
		t.Errorf("without a tenant it offers the verbs of a door (%v)", err)
	}
	if _, err := finder.(driver.Looker).Look(context.Background(), driver.LookRequest{Host: host.Local(), Now: time.Now}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("and says %v to them", err)
	}
}
