// SPDX-License-Identifier: Apache-2.0

package entra_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/entra"
	emulator "github.com/tallystick/tallystick/internal/lab/entra"
)

// A tower is a tenant of the emulator with a virtual clock, a product that signs in, and an
// application that watches.
type tower struct {
	testing.TB
	world   *emulator.World
	servers *emulator.Servers
	tenant  *emulator.Tenant
	product emulator.App
	watcher emulator.App
	http    *http.Client
	options map[string]string

	mu  sync.Mutex
	now time.Time // guarded by mu
}

const text = "a secret of a test"

func newTower(t testing.TB, config emulator.Config, prepare ...func(*tower)) *tower {
	t.Helper()
	w := &tower{TB: t, now: time.Now().UTC().Truncate(time.Second)}
	config.Clock = w.clock
	var err error
	if w.world, err = emulator.New(config); err != nil {
		t.Fatal(err)
	}
	w.tenant = w.world.AddTenant(emulator.TenantSpec{Name: "Customer"})
	w.product = w.tenant.AddApplication(emulator.AppSpec{Name: "Mail sync", Secrets: []string{text}, Grants: []emulator.Grant{{API: emulator.Graph, Role: "Mail.Read"}}})
	w.watcher = w.tenant.AddApplication(emulator.AppSpec{Name: "Watch", Secrets: []string{text}, Grants: slices.Concat(reports, []emulator.Grant{{API: emulator.Management, Role: "ActivityFeed.Read"}})})
	for _, fn := range prepare {
		fn(w)
	}
	if w.servers, err = w.world.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.http = w.servers.Client("127.0.0.1")
	w.options = map[string]string{
		"tenant": w.tenant.ID, "application": w.watcher.Application.AppID, "secret": w.file("secret", text), "ca": w.file("ca.pem", string(w.servers.CA)),
		"login": w.servers.Login, "graph": w.servers.Graph, "logs": "sign-ins", "since": "2h",
	}
	if manage := w.servers.URLs[emulator.ServiceManagement]; manage != "" {
		w.options["manage"] = manage
	}
	return w
}

var reports = []emulator.Grant{{API: emulator.Graph, Role: "AuditLog.Read.All"}, {API: emulator.Graph, Role: "Directory.Read.All"}}

func (w *tower) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// pass lets time pass.
func (w *tower) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func (w *tower) file(name, content string) string {
	w.Helper()
	path := filepath.Join(w.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		w.Fatal(err)
	}
	return path
}

// signIn has the product sign in so many times, and returns the last token.
func (w *tower) signIn(times int) (token string) {
	w.Helper()
	form := url.Values{
		"client_id": {w.product.Application.AppID}, "client_secret": {text}, "grant_type": {"client_credentials"}, "scope": {"https://graph.microsoft.com/.default"},
	}.Encode()
	for range times {
		response, err := w.http.Post(w.servers.Login+"/"+w.tenant.ID+"/oauth2/v2.0/token", "application/x-www-form-urlencoded", strings.NewReader(form))
		if err != nil {
			w.Fatal(err)
		}
		var answer struct {
			Token string `json:"access_token"`
		}
		err = json.NewDecoder(response.Body).Decode(&answer)
		if response.Body.Close(); response.StatusCode != http.StatusOK || err != nil {
			w.Fatalf("the product cannot sign in: %s, %v", response.Status, err)
		}
		token = answer.Token
	}
	return token
}

// fill has the product sign in very often, over some time that passes.
func (w *tower) fill(times int, over time.Duration) {
	from := w.clock()
	w.pass(over)
	w.tenant.Fill(w.product, emulator.Graph, times, from, w.clock())
}

// made returns the ids of the product's sign-ins.
func (w *tower) made() []string {
	var ids []string
	for _, s := range w.tenant.SignIns() {
		if s.AppID == w.product.Application.AppID {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func (w *tower) open(more map[string]string) driver.Watcher {
	w.Helper()
	options := map[string]string{}
	for _, m := range []map[string]string{w.options, more} {
		for name, value := range m {
			options[name] = value
		}
	}
	opened, err := entra.Driver().Open(options)
	if err != nil {
		w.Fatal(err)
	}
	return opened.(driver.Watcher)
}

// A book is what takes what a watcher reads, as a ledger would.
type book struct {
	ids      map[string]int // how often each record came
	formats  map[string]int
	position string
	closed   time.Time
	troubles []string // of the last round
	last     []driver.WatchTrouble
	largest  int
	fails    error // from the nth batch on
	after    int
}

func newBook() *book { return &book{ids: map[string]int{}, formats: map[string]int{}} }

// Take takes a batch.
func (b *book) Take(batch driver.WatchBatch) (int, error) {
	if b.fails != nil {
		if b.after--; b.after < 0 {
			return 0, b.fails
		}
	}
	fresh := 0
	for _, record := range batch.Records {
		var one struct {
			ID    string `json:"id"`
			Other string `json:"Id"`
		}
		if err := json.Unmarshal(record, &one); err != nil {
			return 0, err
		}
		id := one.ID + one.Other
		if b.ids[id]++; b.ids[id] == 1 {
			fresh++
		}
	}
	if len(batch.Records) > 0 {
		b.formats[batch.Format] += fresh
	}
	b.largest = max(b.largest, len(batch.Records))
	b.position = batch.Position
	if batch.Closed.After(b.closed) {
		b.closed = batch.Closed
	}
	return fresh, nil
}

// Trouble notes one.
func (b *book) Trouble(p driver.WatchTrouble) {
	b.last = append(b.last, p)
	b.troubles = append(b.troubles, fmt.Sprintf("%s: %v. %s", p.Log, p.Err, p.Do))
}

// round has one round read.
func (w *tower) round(d driver.Watcher, b *book) (time.Duration, error) {
	w.Helper()
	b.troubles, b.last = nil, nil
	again, err := d.Watch(w.Context(), driver.WatchRequest{Position: b.position, Now: w.clock}, b)
	if err == nil && (again <= 0 || again > time.Hour) {
		w.Errorf("the next round is in %v", again)
	}
	return again, err
}

// read has rounds read, and time pass between them, until so much of it is over.
func (w *tower) read(d driver.Watcher, b *book, over time.Duration) {
	w.Helper()
	for end := w.clock().Add(over); w.clock().Before(end); {
		again, err := w.round(d, b)
		if err != nil {
			w.Fatal(err)
		}
		w.pass(max(again, 100*time.Millisecond))
	}
}

// has checks that all sign-ins of the product came, and nothing else of it.
func (w *tower) has(b *book, want int) {
	w.Helper()
	made := w.made()
	missing := 0
	for _, id := range made {
		if b.ids[id] == 0 {
			missing++
		}
	}
	if missing > 0 || len(made) != want {
		w.Errorf("%d of %d sign-ins are missing, want %d", missing, len(made), want)
	}
}

func watchFrom(position string) driver.WatchRequest {
	return driver.WatchRequest{Position: position, Now: time.Now}
}

// entraOpen opens the driver with one option changed.
func entraOpen(options map[string]string, name, value string) (any, error) {
	all := map[string]string{}
	for n, v := range options {
		all[n] = v
	}
	all[name] = value
	return entra.Driver().Open(all)
}
