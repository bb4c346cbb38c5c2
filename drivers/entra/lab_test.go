// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/probing"
	"github.com/tallystick/tallystick/drivers/entra"
	"github.com/tallystick/tallystick/internal/lab"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

// An estate is one tenant of the emulator with one application that a vendor signs in as.
type estate struct {
	world   *emulator.World
	servers *emulator.Servers
	tenant  *emulator.Tenant
	app     emulator.App
	pki     *lab.PKI
	old     driver.Material
	file    string            // that the door signs in with
	options map[string]string // of the door
}

// keys are RSA keys by the names that tests have for them: making one takes longer than a test.
var keys sync.Map

// material makes a certificate with an RSA key: Entra ID takes no other.
func material(t testing.TB, pki *lab.PKI, name string) driver.Material {
	t.Helper()
	made, _ := keys.LoadOrStore(name, sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) }))
	key, err := made.(func() (*rsa.PrivateKey, error))()
	if err != nil {
		t.Fatal(err)
	}
	c := pki.Sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Now().AddDate(10, 0, 0),
	}, &key.PublicKey)
	return driver.Material{Public: driver.Public{Chain: [][]byte{c.Raw}}, Key: key}
}

func newEstate(t testing.TB, faults emulator.Faults) *estate {
	t.Helper()
	return estateOf(t, emulator.Config{Faults: faults})
}

func estateOf(t testing.TB, config emulator.Config) *estate {
	return prepared(t, config, func(*emulator.World) {})
}

// prepared makes an estate in a world that is prepared before its servers start.
func prepared(t testing.TB, config emulator.Config, prepare func(*emulator.World)) *estate {
	t.Helper()
	e := &estate{pki: lab.NewPKI(t)}
	var err error
	if e.world, err = emulator.New(config); err != nil {
		t.Fatal(err)
	}
	prepare(e.world)
	if e.servers, err = e.world.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	e.old = material(t, e.pki, "vendor 1")
	e.tenant = e.world.AddTenant(emulator.TenantSpec{Name: "Customer"})
	e.app = e.tenant.AddApplication(emulator.AppSpec{
		Name: "Mail sync", Certificates: [][]byte{e.old.Chain[0]},
		Grants: []emulator.Grant{{API: emulator.Graph, Role: "Mail.Read"}, {API: emulator.Graph, Role: "Application.Read.All"}},
	})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, e.servers.CA, 0o600); err != nil {
		t.Fatal(err)
	}
	e.file = filepath.Join(t.TempDir(), "vendor.pem")
	e.holds(t, e.old)
	e.options = map[string]string{
		"tenant": e.tenant.ID, "application": e.app.Application.AppID, "credential": e.file, "ca": ca, "login": e.servers.Login, "graph": e.servers.Graph,
		"patience": "20s",
	}
	return e
}

// holds puts a credential into the file that the door signs in with.
func (e *estate) holds(t testing.TB, m driver.Material) {
	t.Helper()
	text, err := installing.PEM(m, installing.Chain, installing.Key)
	if err == nil {
		err = os.WriteFile(e.file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// open opens the driver with options in place of those of the estate.
func (e *estate) open(t testing.TB, options map[string]string) *entra.Entra {
	t.Helper()
	all := maps.Clone(e.options)
	maps.Copy(all, options)
	opened, err := entra.Driver().Open(all)
	if err != nil {
		t.Fatal(err)
	}
	return opened.(*entra.Entra)
}

// administered opens a door whose changes another application makes, which may do what is granted.
func (e *estate) administered(t testing.TB, grants ...string) *entra.Entra {
	t.Helper()
	admin := material(t, e.pki, "administration")
	var list []emulator.Grant
	for _, role := range grants {
		list = append(list, emulator.Grant{API: emulator.Graph, Role: role})
	}
	app := e.tenant.AddApplication(emulator.AppSpec{Name: "Administration", Certificates: [][]byte{admin.Chain[0]}, Grants: list})
	text, err := installing.PEM(admin, installing.Chain, installing.Key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "admin.pem")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return e.open(t, map[string]string{"as": app.Application.AppID, "credential": file})
}

func look(t testing.TB, d *entra.Entra) driver.View {
	t.Helper()
	view, err := d.Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return view
}

func trust(ctx context.Context, d *entra.Entra, next, like driver.Material, withdraw bool) (driver.Changed, error) {
	return d.Trust(ctx, driver.TrustRequest{Host: host.Local(), New: next.Public, Like: like.Public, Withdraw: withdraw, Now: time.Now})
}

func block(ctx context.Context, d *entra.Entra, old driver.Material, lift bool) (driver.Blocked, error) {
	return d.Block(ctx, driver.BlockRequest{Host: host.Local(), Old: old.Public, Lift: lift, Now: time.Now})
}

// want checks that a verb did what it should.
func want(t testing.TB, what string, changed driver.Changed, err error, does bool) {
	t.Helper()
	if err != nil || changed.Changed != does || (len(changed.How) > 0) != does {
		t.Fatalf("%s: %+v, %v; want a change: %v", what, changed, err, does)
	}
}

// accepts says whether a view names a credential as one that gets in.
func accepts(v driver.View, m driver.Material) bool {
	return slices.ContainsFunc(v.Accepts, func(a driver.Accepted) bool { return slices.Contains(m.Names(), tallystick.NormalName(a.Name)) })
}

// try tries a credential at the door.
func try(t testing.TB, v driver.View, m driver.Material) driver.Attempt {
	t.Helper()
	probed, err := probing.Probe(t.Context(), driver.ProbeRequest{Host: host.Local(), Credential: m, Listeners: v.Listeners, Now: time.Now, Hold: true})
	if err != nil || len(probed.Attempts) != 1 || len(probed.Sessions)+len(probed.Open) > 0 {
		t.Fatalf("%+v, %v", probed, err)
	}
	return probed.Attempts[0]
}

// outcome checks how a try ends.
func outcome(t testing.TB, v driver.View, m driver.Material, want string) {
	t.Helper()
	if a := try(t, v, m); a.Outcome != want {
		t.Errorf("%s is %s (%s), want %s", m, a.Outcome, a.Answer, want)
	}
}
