// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

var (
	admin    = gate.Actor{Name: "ada", Role: gate.Admin, Via: "local"}
	operator = gate.Actor{Name: "olga", Role: gate.Operator, Via: "session"}
	viewer   = gate.Actor{Name: "vic", Role: gate.Viewer, Via: "session"}
)

// A house is an engine with a real private CA, real custody and a desk.
type house struct {
	*renewal.Engine
	t     testing.TB
	ca    *ca.CA
	desk  *desk
	clock *clock

	mu     sync.Mutex
	decide func(policy.Request) ca.Decision // guarded by mu; nil allows everything
}

// A clock is that of the machine, set off.
type clock struct{ off atomic.Int64 }

func (c *clock) now() time.Time       { return time.Now().Add(time.Duration(c.off.Load())) }
func (c *clock) pass(d time.Duration) { c.off.Add(int64(d)) }

// A silentBook is an audit log that keeps nothing.
type silentBook struct{}

func (silentBook) Append(context.Context, audit.Record) error { return nil }

// newHouse furnishes one over a store. The root of its CA is named lab.
func newHouse(t testing.TB, db *store.DB, change func(*renewal.Config)) *house {
	t.Helper()
	h := &house{t: t, desk: newDesk(t), clock: &clock{}}
	w, err := custody.OpenFile(filepath.Join(t.TempDir(), "wrapping.key"), "", "", true)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := custody.Open(t.Context(), custody.Config{DB: db, Wrapper: w, Now: h.clock.now})
	if err != nil {
		t.Fatal(err)
	}
	h.ca = newCA(db, keys, h.clock.now, func(r policy.Request) ca.Decision {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.decide == nil {
			return ca.Decision{Allowed: true}
		}
		return h.decide(r)
	})
	if _, err := h.ca.Init(t.Context(), admin, ca.InitRequest{Name: "lab"}); err != nil {
		t.Fatal(err)
	}
	c := renewal.Config{
		DB: db, Gate: gate.New(silentBook{}, h.clock.now), Keys: keys, Now: h.clock.now, Node: "one", CA: h.ca,
		Issuers: []renewal.Issuer{{Name: "desk", Driver: "desk", Issuer: h.desk}},
	}
	if change != nil {
		change(&c)
	}
	if h.Engine, err = renewal.New(c); err != nil {
		t.Fatal(err)
	}
	return h
}

// newCA puts a private CA over a store.
func newCA(db *store.DB, keys *custody.Custody, now func() time.Time, decide func(policy.Request) ca.Decision) *ca.CA {
	return ca.New(ca.Config{
		DB: db, Gate: gate.New(silentBook{}, now), Keys: keys, Now: now, Decide: decide,
		CheckKey: func(crypto.PublicKey) error { return nil }, Lint: func([]byte) error { return nil },
		Profiles: ca.BuiltInProfiles(), URL: "http://pki.example.com",
	})
}

// onSQLite is newHouse on a SQLite store.
func onSQLite(t testing.TB, change func(*renewal.Config)) *house {
	t.Helper()
	return newHouse(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), change)
}

// says sets the policy of the CA.
func (h *house) says(decide func(policy.Request) ca.Decision) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.decide = decide
}

// add adds a renewal.
func (h *house) add(w renewal.Wanted) {
	h.t.Helper()
	if w.Issuer == "" {
		w.Issuer = "ca/lab"
	}
	if w.Names == nil {
		w.Names = []string{w.Name + ".example.com"}
	}
	if _, err := h.Add(h.t.Context(), admin, w); err != nil {
		h.t.Fatal(err)
	}
}

// turn works until there is nothing to do now.
func (h *house) turn() {
	h.t.Helper()
	for range 100 {
		n, err := h.Turn(h.t.Context())
		if err != nil {
			h.t.Fatal(err)
		}
		if n == 0 {
			return
		}
	}
	h.t.Fatal("there is always something to do")
}

func (h *house) get(name string) renewal.Renewal {
	h.t.Helper()
	r, err := h.Get(h.t.Context(), viewer, name)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

// expect fails the test unless a renewal is in a state.
func (h *house) expect(name, state string) renewal.Renewal {
	h.t.Helper()
	r := h.get(name)
	if r.State != state {
		h.t.Fatalf("%s is %s (%s), want %s", name, r.State, r.Error, state)
	}
	return r
}

// orders returns those of a renewal, the newest first.
func (h *house) orders(name string) []renewal.Order {
	h.t.Helper()
	list, err := h.Orders(h.t.Context(), viewer, name, 0, 100)
	if err != nil {
		h.t.Fatal(err)
	}
	return list
}

// delivered returns the certificate in a directory, and fails the test unless key
// and certificate belong together.
func delivered(t testing.TB, dir string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	one, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil || !one.Leaf.Equal(pair.Leaf) {
		t.Fatalf("cert.pem is another one than that of fullchain.pem (%v)", err)
	}
	return pair.Leaf
}

// A desk is somebody else's CA, to whom a test can tell how to behave. It makes one
// certificate for an order, however often it is asked.
type desk struct {
	key  *ecdsa.PrivateKey
	root *x509.Certificate

	mu       sync.Mutex
	life     time.Duration                                // of what it makes
	before   func(driver.IssueRequest) (time.Time, error) // called before it makes anything; a time: not yet
	after    func(driver.IssueRequest) error              // called when it has made something
	standing func(driver.StandingRequest) driver.Standing // nil says that all is good
	made     map[string][]byte                            // by order
	order    []string                                     // as they were made
	asked    int
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Desk"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(30, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	root, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &desk{key: key, root: root, life: 90 * 24 * time.Hour, made: map[string][]byte{}}
}

func (d *desk) Issue(_ context.Context, r driver.IssueRequest) (driver.Issued, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked++
	if r.Account == nil {
		return driver.Issued{}, fmt.Errorf("no account")
	}
	if d.before != nil {
		if later, err := d.before(r); err != nil || !later.IsZero() {
			return driver.Issued{Retry: later}, err
		}
	}
	if r.State == "" {
		if err := r.Keep("asked"); err != nil {
			return driver.Issued{}, err
		}
	}
	if d.made[r.Order] == nil {
		csr, err := x509.ParseCertificateRequest(r.CSR)
		if err != nil {
			return driver.Issued{}, err
		}
		now := r.Now()
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(len(d.made)) + 2), Subject: csr.Subject, DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses, NotBefore: now, NotAfter: now.Add(d.life),
		}
		if d.made[r.Order], err = x509.CreateCertificate(rand.Reader, template, d.root, csr.PublicKey, d.key); err != nil {
			return driver.Issued{}, err
		}
		d.order = append(d.order, r.Order)
	}
	if d.after != nil {
		if err := d.after(r); err != nil {
			return driver.Issued{}, err
		}
	}
	return driver.Issued{Chain: [][]byte{d.made[r.Order], d.root.Raw}}, nil
}

func (d *desk) LookStanding(_ context.Context, r driver.StandingRequest) (driver.Standing, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.standing == nil {
		return driver.Standing{Status: driver.StandingGood}, nil
	}
	return d.standing(r), nil
}

// behave tells the desk how to.
func (d *desk) behave(change func(*desk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
}

// count returns how many certificates the desk has made.
func (d *desk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.made)
}

// issuedBy returns how many certificates the private CA has made.
func (h *house) issued() int {
	h.t.Helper()
	list, err := h.ca.List(h.t.Context(), admin, ca.Filter{}, "", 1000)
	if err != nil {
		h.t.Fatal(err)
	}
	return len(list)
}

// script writes an executable file.
func script(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}
