// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/access"
	"github.com/tallystick/tallystick/internal/archive"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/issuing"
	"github.com/tallystick/tallystick/internal/issuing/issuingtest"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/recall/recalltest"
	"github.com/tallystick/tallystick/internal/sources"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/usage"
	"github.com/tallystick/tallystick/internal/vault"
	"github.com/tallystick/tallystick/internal/vault/vaulttest"
	"github.com/tallystick/tallystick/internal/watch"
	"github.com/tallystick/tallystick/internal/web"
	"github.com/tallystick/tallystick/parse"
	"github.com/tallystick/tallystick/rules"
)

// testNow is when the tests take place.
var testNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// The people of the tests.
var (
	viewer   = gate.Actor{Name: "vera", Role: gate.Viewer, Via: "session"}
	operator = gate.Actor{Name: "otto", Role: gate.Operator, Via: "session"}
	admin    = gate.Actor{Name: "ada", Role: gate.Admin, Via: "session"}
)

// A house is a whole site over a real store.
type house struct {
	testing.TB
	db     *store.DB
	engine *finding.Engine
	look   *discovery.Discovery
	access *access.Control
	watch  *watch.Watch
	// directory keeps changes, and judges them.
	directory *directory.Directory
	vault     *vault.Vault
	// received is what sources wrote.
	received *archive.Archive
	issuing  *issuing.Issuing
	recalls  *recall.Engine
	estate   *recalltest.Estate // its doors
	desk     *recalltest.Desk   // the CA that they ask
	site     *web.Site
	mux      *http.ServeMux
	now      atomic.Pointer[time.Time]
}

// clock is the time in the house.
func (h *house) clock() time.Time { return *h.now.Load() }

// at sets the clock.
func (h *house) at(now time.Time) { h.now.Store(&now) }

// newHouse returns a site over an empty store, with drivers that find. Houses have nothing in
// common, so that tests that have one go on side by side.
func newHouse(t *testing.T, drivers ...driver.Driver) *house {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	db := storetest.Open(t, filepath.Join(dir, "tally.db"))
	log, err := audit.Open(t.Context(), db, filepath.Join(dir, "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{TB: t, db: db, mux: http.NewServeMux()}
	h.at(testNow)
	g := gate.New(log, h.clock)
	h.access = access.New(db, g, h.clock)
	h.engine = finding.New(finding.Engine{DB: db, Gate: g, Rules: rules.All(), Now: h.clock, Recheck: rules.Recheck, Sample: rules.IsSample})
	var jobs []discovery.Job
	for _, d := range drivers {
		jobs = append(jobs, discovery.Job{Name: d.Name(), Driver: d.Name(), Every: 24 * time.Hour})
	}
	h.look, err = discovery.New(discovery.Config{
		DB: db, Gate: g, Now: h.clock, Node: "test", Jobs: jobs, Drivers: drivers, Changed: func(bool) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	book, err := ledger.Open(filepath.Join(dir, "ledger"), ledger.Options{Now: h.clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := book.Close(); err != nil {
			t.Error(err)
		}
	})
	h.watch, err = watch.Open(t.Context(), watch.Config{DB: db, Ledger: book, Rules: rules.All(), Now: h.clock, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h.received, err = archive.Open(filepath.Join(dir, "received"), h.clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.received.Close(); err != nil {
			t.Error(err)
		}
	})
	h.directory = directory.New(directory.Directory{DB: db, Gate: g, Rules: rules.All(), Now: h.clock})
	h.vault = vaulttest.New(t, db, g, h.clock)
	h.issuing = issuingtest.New(t, db, g, h.clock, upstream()...)
	h.furnishRecalls(g, log)
	h.site, err = web.New(web.Features{
		Issuing: h.issuing, Recalls: h.recalls, Streams: &web.Streamer{Recalls: h.recalls},
		Directory: h.directory, Vault: h.vault, Sources: sources.New(sources.Config{DB: db, Gate: g, Now: h.clock, Drivers: drivers}),
		Usage:     &usage.Usage{DB: db, Ledger: book, Gate: g, Live: h.watch, Raw: h.received, Now: h.clock},
		Inventory: inventory.New(db, g, h.clock), Findings: h.engine, Discovery: h.look, Access: h.access, Audit: log, Gate: g, Now: h.clock,
		Failed: func(r *http.Request, err error) { t.Errorf("%s %s: %v", r.Method, r.URL, err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, route := range h.site.Routes() {
		h.mux.Handle(route.Pattern, route.Handler)
	}
	h.mux.HandleFunc("/", h.site.NotFound)
	return h
}

// record stores sightings as a run of a source, and judges them.
func (h *house) record(source string, sightings ...tallystick.Sighting) store.Run {
	h.Helper()
	ctx, now := h.Context(), h.clock()
	for i := range sightings {
		sightings[i].Seen = now
	}
	run, err := h.db.AddRun(ctx, store.Run{Source: source, Driver: source, Requested: "schedule", Queued: now})
	if err != nil {
		h.Fatal(err)
	}
	if run, err = h.db.ClaimRun(ctx, "test", now, time.Minute); err != nil {
		h.Fatal(err)
	}
	recorded, err := h.db.Record(ctx, store.Batch{Run: run.ID, Source: source, Sightings: sightings})
	if err != nil {
		h.Fatal(err)
	}
	if run.Vanished, err = h.db.Vanish(ctx, run.ID, source, now); err != nil {
		h.Fatal(err)
	}
	run.State, run.Finished, run.Sightings, run.Appeared = store.RunDone, now.Add(42*time.Second), recorded.Sightings, recorded.Appeared
	if err := h.db.FinishRun(ctx, run); err != nil {
		h.Fatal(err)
	}
	h.judge()
	return run
}

func (h *house) judge() {
	h.Helper()
	if err := h.engine.JudgeDue(h.Context()); err != nil {
		h.Fatal(err)
	}
}

// ask asks for a page as somebody; a form that is not nil is posted.
func (h *house) ask(as gate.Actor, address string, form url.Values) *httptest.ResponseRecorder {
	h.Helper()
	r := httptest.NewRequest(http.MethodGet, address, nil)
	if form != nil {
		r = httptest.NewRequest(http.MethodPost, address, strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	w := httptest.NewRecorder()
	h.mux.ServeHTTP(w, r.WithContext(web.WithActor(h.Context(), as)))
	return w
}

// page returns a page that must be there and small enough.
func (h *house) page(as gate.Actor, address string) string {
	h.Helper()
	w := h.ask(as, address, nil)
	if w.Code != http.StatusOK {
		h.Fatalf("GET %s: status %d\n%s", address, w.Code, w.Body)
	}
	if w.Body.Len() > 150_000 {
		h.Errorf("GET %s: %d bytes, more than 150 kB", address, w.Body.Len())
	}
	return w.Body.String()
}

// post posts a form that must succeed, and returns the page that it leads to.
func (h *house) post(as gate.Actor, address string, form url.Values) string {
	h.Helper()
	w := h.ask(as, address, form)
	if w.Code != http.StatusSeeOther {
		h.Fatalf("POST %s: status %d\n%s", address, w.Code, w.Body)
	}
	return h.page(as, w.Header().Get("Location"))
}

// contains fails the test for every text that a page lacks.
func (h *house) contains(page string, texts ...string) {
	h.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			h.Errorf("the page lacks %q:\n%s", text, page)
		}
	}
}

// lacks fails the test for every text that a page has.
func (h *house) lacks(page string, texts ...string) {
	h.Helper()
	for _, text := range texts {
		if strings.Contains(page, text) {
			h.Errorf("the page has %q:\n%s", text, page)
		}
	}
}

// An authority issues real certificates.
type authority struct {
	testing.TB
	key         crypto.Signer
	certificate *x509.Certificate
}

func newAuthority(t testing.TB, name string) authority {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"Example"}}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: testNow.AddDate(-5, 0, 0), NotAfter: testNow.AddDate(10, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{t, key, certificate}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRSA(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// issue returns a server certificate for a key, valid from some days ago for
// some days in all.
func (a authority) issue(key crypto.Signer, name string, begun, days int, change ...func(*x509.Certificate)) tallystick.Credential {
	a.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		a.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: testNow.AddDate(0, 0, -begun), NotAfter: testNow.AddDate(0, 0, days-begun),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, f := range change {
		f(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	if err != nil {
		a.Fatal(err)
	}
	return read(a, der)
}

// itself returns the authority's own certificate.
func (a authority) itself() tallystick.Credential { return read(a, a.certificate.Raw) }

func read(t testing.TB, der []byte) tallystick.Credential {
	t.Helper()
	c, err := parse.Certificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// keyOf returns the bare key of a credential.
func keyOf(c tallystick.Credential) tallystick.Credential {
	return tallystick.Credential{
		ID: tallystick.FingerprintOf(c.Key.SPKI), Kind: tallystick.KindKey, Key: c.Key, Raw: c.Key.SPKI,
	}
}

// seen returns a sighting in a file.
func seen(c tallystick.Credential, role tallystick.Role, path string) tallystick.Sighting {
	s := tallystick.Sighting{Credential: c, Place: tallystick.FilePlace(path), Role: role}
	s.File = &tallystick.FileFacts{Format: "pem", Mode: "0644", Owner: "root", Group: "root", Private: role == tallystick.RoleHolds}
	if s.File.Private {
		s.File.Readers = []string{"everybody"}
	}
	return s
}

// served returns a sighting at an endpoint.
func served(c tallystick.Credential, address string) tallystick.Sighting {
	s := tallystick.Sighting{Credential: c, Place: tallystick.TLSPlace(address), Role: tallystick.RolePresents}
	s.TLS = &tallystick.TLSFacts{
		Protocols: []string{"tls1.2", "tls1.3"}, Evidence: tallystick.EvidenceProven, Process: "nginx", Chain: []tallystick.Fingerprint{c.ID},
	}
	return s
}

// A pause is a driver that finds nothing until it is stopped.
type pause struct{}

func (pause) Find(ctx context.Context, _ driver.FindRequest, sink driver.Sink) error {
	sink.Progress(30, 120)
	<-ctx.Done()
	return ctx.Err()
}

func pauseDriver() driver.Driver {
	return driver.New("pause", "waits", func(struct{}) (pause, error) { return pause{}, nil })
}
