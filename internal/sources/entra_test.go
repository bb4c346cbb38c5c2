// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/entra"
	"github.com/tallystick/tallystick/holder"
	"github.com/tallystick/tallystick/internal/archive"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lab"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/tries"
	"github.com/tallystick/tallystick/internal/usage"
	"github.com/tallystick/tallystick/internal/watch"
	"github.com/tallystick/tallystick/rules"
)

// A cloud is what a vendor has: customers in the emulator whose tenants accept its
// secret, a book of what its product does with it, and a server that reads the sign-in logs.
type cloud struct {
	*house
	world   *emulator.World
	servers *emulator.Servers
	product emulator.App
	watcher emulator.App
	tenants []*emulator.Tenant
	book    *holder.Book

	mu   sync.Mutex
	read map[string]time.Time // when the sign-ins of a tenant were asked for last, guarded by mu
}

const password = "a secret of a test"

func newCloud(t *testing.T, tenants int, config emulator.Config) *cloud {
	t.Helper()
	c := &cloud{house: &house{TB: t, dir: t.TempDir()}, read: map[string]time.Time{}}
	config.Faults.Inject = func(a emulator.Attempt) *emulator.Injected {
		if strings.Contains(a.Path, "signIns") {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.read[a.Tenant] = time.Now()
		}
		return nil
	}
	var err error
	c.world, err = emulator.New(config)
	must(t, err)
	home := c.world.AddTenant(emulator.TenantSpec{Name: "Vendor"})
	c.product = home.AddApplication(emulator.AppSpec{Name: "Mail sync", Secrets: []string{password}, MultiTenant: true})
	c.watcher = home.AddApplication(emulator.AppSpec{Name: "Watch", Secrets: []string{password}, MultiTenant: true})
	for n := range tenants {
		tenant := c.world.AddTenant(emulator.TenantSpec{Name: fmt.Sprintf("Customer %d", n)})
		tenant.AddForeign(c.product.Application, emulator.Grant{API: emulator.Graph, Role: "Mail.Read"})
		c.tenants = append(c.tenants, tenant)
	}
	c.servers, err = c.world.Start(t.Context())
	must(t, err)
	c.furnish(t)
	return c
}

// shares lets the vendor read the sign-ins of a tenant.
func (c *cloud) shares(t *emulator.Tenant) {
	t.AddForeign(c.watcher.Application, emulator.Grant{API: emulator.Graph, Role: "AuditLog.Read.All"}, emulator.Grant{API: emulator.Graph, Role: "Directory.Read.All"})
}

// furnish makes the server: all of it but the pages.
func (c *cloud) furnish(t *testing.T) {
	t.Helper()
	db := storetest.Open(t, c.path("tally.db"))
	log, err := audit.Open(t.Context(), db, c.path("audit.key"))
	must(t, err)
	c.ledger, err = ledger.Open(c.path("ledger"), ledger.Options{})
	must(t, err)
	t.Cleanup(func() { must(t, c.ledger.Close()) })
	raw, err := archive.Open(c.path("raw"), time.Now)
	must(t, err)
	t.Cleanup(func() { must(t, raw.Close()) })
	w, err := watch.Open(t.Context(), watch.Config{DB: db, Ledger: c.ledger, Rules: rules.All(), Tolerance: time.Second, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	own := tries.New(tries.Config{
		Usage: &usage.Usage{DB: db, Ledger: c.ledger, Now: time.Now, Own: tries.Book}, Watch: w, Now: time.Now, Failed: func(err error) { t.Error(err) },
	})
	c.Sources = New(Config{
		DB: db, Gate: gate.New(log, time.Now), Appender: w, Archive: raw, Now: time.Now, Poll: 50 * time.Millisecond, Drivers: []driver.Driver{entra.Driver()},
		Used: own.Used,
	})
	c.book, err = holder.Open(holder.Config{Source: "broker", Holder: "mail-sync", File: c.path("book.ndjson"), Close: 500 * time.Millisecond})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var parts sync.WaitGroup
	parts.Go(func() { _ = w.Run(ctx, func(err error) { t.Error(err) }) })
	parts.Go(func() { _ = c.Sources.Run(ctx, func(err error) { t.Log(err) }) })
	parts.Go(func() { _ = c.book.Run(ctx) })
	t.Cleanup(func() { cancel(); parts.Wait() })
	c.add(store.Source{Name: "broker", Kind: store.SourceFile, Side: tallystick.SideHolder, Path: c.path("book.ndjson")})
	must(t, os.WriteFile(c.path("ca.pem"), c.servers.CA, 0o600))
	must(t, os.WriteFile(c.path("secret"), []byte(password), 0o600))
	var list []store.Source
	for _, tenant := range c.tenants {
		list = append(list, store.Source{Name: "m365-" + tenant.ID, Kind: store.SourceDriver, Side: tallystick.SideRelying, Driver: "entra", KeepRaw: time.Hour, Options: map[string]string{
			"tenant": tenant.ID, "application": c.watcher.Application.AppID, "secret": c.path("secret"), "ca": c.path("ca.pem"),
			"login": c.servers.Login, "graph": c.servers.Graph, "logs": "sign-ins", "every": "1s", "late": "30s",
			"only": c.product.Application.AppID,
		}})
	}
	if n, err := c.AddEach(t.Context(), admin, list); err != nil || n != len(list) {
		t.Fatal(n, err)
	}
}

// signIn signs in with the product's secret from an address of loopback, and returns the
// id that the token has in the logs.
func (c *cloud) signIn(t *emulator.Tenant, from string) emulator.SignIn {
	c.Helper()
	response, err := c.servers.Client(from).PostForm(c.servers.Login+"/"+t.ID+"/oauth2/v2.0/token", url.Values{
		"client_id": {c.product.Application.AppID}, "client_secret": {password}, "grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"},
	})
	must(c.TB, err)
	defer response.Body.Close()
	var answer map[string]any
	must(c.TB, json.NewDecoder(response.Body).Decode(&answer))
	if response.StatusCode != http.StatusOK {
		c.Fatalf("%v", answer["error_description"])
	}
	id := response.Header.Get("x-ms-request-id")
	for _, s := range t.SignIns() {
		if s.ID == id {
			return s
		}
	}
	c.Fatalf("the emulator knows of no sign-in %s", id)
	return emulator.SignIn{}
}

// works has the product sign in, and write that down.
func (c *cloud) works(t *emulator.Tenant) {
	c.Helper()
	began := c.book.Begin()
	s := c.signIn(t, "127.0.0.1")
	began.End(&tallystick.Use{
		Level: tallystick.LevelToken, Credential: []string{"entra-key:" + s.KeyID}, RelyingParty: "entra:" + s.TenantID + "/" + s.ResourceID,
		Outcome: tallystick.OutcomeSuccess, IDs: tallystick.UseIDs{UTI: s.UTI, Correlation: s.CorrelationID},
	})
}

// foreign returns the foreign uses that were found: from where, by relying party.
func (c *cloud) foreign() map[string]string {
	c.Helper()
	found := map[string]string{}
	for _, one := range c.used() {
		list, err := c.DB.ForeignUsesOf(c.Context(), one)
		must(c.TB, err)
		for _, f := range list {
			found[f.Use.RelyingParty] = f.Use.Address
		}
	}
	return found
}

// used returns the credentials of which a use is foreign.
func (c *cloud) used() map[string]int64 {
	c.Helper()
	all, err := c.DB.AllVerdicts(c.Context(), tallystick.VerdictForeign)
	must(c.TB, err)
	used := map[string]int64{}
	for _, v := range all {
		used[fmt.Sprint(v.Used)] = v.Used
	}
	return used
}

func TestAThiefIsFoundInTheSignInsOfTenants(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 8, emulator.Config{SignInLatency: emulator.Always(3 * time.Second)})
	for _, tenant := range c.tenants[:5] { // the others share no log
		c.shares(tenant)
	}
	for range 3 {
		for _, tenant := range c.tenants {
			c.works(tenant)
		}
	}
	c.await("the sign-ins are read", func() bool {
		all, err := c.DB.Sources(t.Context())
		must(t, err)
		read, denied := 0, 0
		for _, one := range all {
			if one.Records >= 3 && one.Kind == store.SourceDriver {
				read++
			}
			if strings.Contains(one.Error, "/adminconsent?client_id=") {
				denied++
			}
		}
		return read == 5 && denied == 3
	})
	entered := c.tenants[2]
	stolen := c.signIn(entered, "127.0.1.66")
	c.signIn(c.tenants[7], "127.0.1.66") // it shares no log: nobody can know
	c.works(entered)
	c.await("the thief is found", func() bool { return len(c.foreign()) > 0 })
	found := time.Now()
	c.mu.Lock()
	t.Logf("found %v after its record became readable, %v after it was last asked for", found.Sub(stolen.Readable).Round(time.Millisecond), found.Sub(c.read[entered.ID]).Round(time.Millisecond))
	c.mu.Unlock()
	// Whoever was to be found wrongly is found while more sign-ins and marks come.
	for range 2 {
		for _, tenant := range c.tenants {
			c.works(tenant)
		}
	}
	c.await("the newest are read", func() bool {
		one := c.source("m365-" + entered.ID)
		return one.Records >= 7
	})
	marked := time.Now()
	c.await("the books are closed behind all of it", func() bool {
		for _, b := range c.ledger.Books() {
			if b.Source == "broker" && b.Closed.After(marked) {
				return true
			}
		}
		return false
	})
	want := map[string]string{"entra:" + entered.ID + "/" + emulator.Graph: "198.51.100.66"}
	if diff := cmp.Diff(want, c.foreign()); diff != "" {
		t.Errorf("foreign uses:\n%s", diff)
	}
}

// Whoever reads a log with the credential of a product is in that log too, and in a book of
// Tallystick's own, as the same sign-in of the same credential.
func TestTheReadersOwnSignInsAreInABookToo(t *testing.T) {
	t.Parallel()
	c := newCloud(t, 1, emulator.Config{SignInLatency: emulator.Always(time.Second)})
	key, err := rsa.GenerateKey(rand.Reader, 2048) // Entra ID takes no other kind
	must(t, err)
	product := driver.Material{Key: key}
	product.Chain = [][]byte{lab.NewPKI(t).Sign(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "Archive"}, NotBefore: time.Now().AddDate(0, -1, 0), NotAfter: time.Now().AddDate(1, 0, 0),
	}, &key.PublicKey).Raw}
	app := c.world.AddTenant(emulator.TenantSpec{Name: "Another vendor"}).AddApplication(emulator.AppSpec{
		Name: "Archive", Certificates: product.Chain, MultiTenant: true,
	})
	tenant := c.tenants[0]
	tenant.AddForeign(app.Application, emulator.Grant{API: emulator.Graph, Role: "AuditLog.Read.All"}, emulator.Grant{API: emulator.Graph, Role: "Directory.Read.All"})
	c.book.Record(tallystick.Use{Credential: product.Names(), RelyingParty: "entra:" + tenant.ID + "/exchange", Outcome: tallystick.OutcomeSuccess})
	c.await("the holder keeps a book", func() bool { return len(c.uses()) > 0 })
	must(t, os.WriteFile(c.path("archive.pem"), []byte(lab.BundlePEM(t, product)), 0o600))
	c.add(store.Source{Name: "archive", Kind: store.SourceDriver, Driver: "entra", Options: map[string]string{
		"tenant": tenant.ID, "application": app.Application.AppID, "credential": c.path("archive.pem"), "ca": c.path("ca.pem"),
		"login": c.servers.Login, "graph": c.servers.Graph, "logs": "sign-ins", "every": "1s", "only": app.Application.AppID,
	}})
	c.await("its own sign-in is read", func() bool { return c.source("archive").Records > 0 })
	read, tried := map[string][]string{}, map[string][]string{}
	for _, u := range c.uses() {
		switch u.Source {
		case "archive":
			read[u.IDs.UTI] = u.Credential
		case tries.Book:
			tried[u.IDs.UTI] = u.Credential
		}
	}
	for uti, names := range read {
		if !slices.ContainsFunc(names, func(name string) bool { return slices.Contains(tried[uti], name) }) {
			t.Errorf("%s is of %v there, and here of %v", uti, names, tried[uti])
		}
	}
}
