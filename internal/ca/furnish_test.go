// SPDX-License-Identifier: Apache-2.0

package ca_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

var (
	admin    = gate.Actor{Name: "ada", Role: gate.Admin, Via: "session"}
	operator = gate.Actor{Name: "olga", Role: gate.Operator, Via: "session"}
	client   = gate.Actor{Name: "svc", Role: gate.Client, Via: "token"}
)

// keys keeps keys in memory; away makes them unreachable.
type keys struct {
	mu   sync.Mutex
	all  map[string]crypto.Signer
	away bool
	hook func() // called when a key is wanted; nil for none
}

func (k *keys) NewKey(_ context.Context, kind custody.KeyType, owner custody.Owner) (string, crypto.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	signer, err := makeKey(kind)
	id := fmt.Sprintf("%s-%d", owner.Name, len(k.all))
	k.all[id] = signer
	return id, signer, err
}

func (k *keys) Signer(_ context.Context, id string) (crypto.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.hook != nil {
		k.hook()
	}
	if k.away {
		return nil, tallystick.ErrUnavailable
	}
	return k.all[id], nil
}

func makeKey(kind custody.KeyType) (crypto.Signer, error) {
	switch kind {
	case custody.P384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case custody.Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case custody.RSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// A house is a CA with everything around it.
type house struct {
	*ca.CA
	t     testing.TB
	db    *store.DB
	keys  *keys
	log   *audit.Log
	now   time.Time
	known map[tallystick.KeyID]string
	rule  func(policy.Request) ca.Decision
	lint  error
}

func newHouse(t testing.TB, url string) *house {
	t.Helper()
	h := &house{t: t, db: storetest.Open(t, url), keys: &keys{all: map[string]crypto.Signer{}}, now: time.Now().UTC().Truncate(time.Microsecond),
		known: map[tallystick.KeyID]string{}, rule: func(policy.Request) ca.Decision { return ca.Decision{Allowed: true} }}
	clock := func() time.Time { return h.now }
	log, err := audit.Open(t.Context(), h.db, filepath.Join(t.TempDir(), "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	h.log = log
	h.CA = ca.New(ca.Config{
		DB: h.db, Gate: gate.New(log, clock), Keys: h.keys, Now: clock, Profiles: ca.BuiltInProfiles(), URL: "http://pki.lab.test", Shards: 4, OCSP: true,
		Decide:   func(r policy.Request) ca.Decision { return h.rule(r) },
		CheckKey: func(crypto.PublicKey) error { return nil },
		Known:    func(_ context.Context, id tallystick.KeyID) (string, error) { return h.known[id], nil },
		Lint:     func([]byte) error { return h.lint },
	})
	return h
}

// pass lets time go by.
func (h *house) pass(d time.Duration) { h.now = h.now.Add(d) }

func (h *house) init(r ca.InitRequest) ca.Authority {
	h.t.Helper()
	a, err := h.Init(h.t.Context(), admin, r)
	if err != nil {
		h.t.Fatal(err)
	}
	return a
}

// lab makes a root "root" and below it "lab".
func (h *house) lab() ca.Authority {
	h.t.Helper()
	h.init(ca.InitRequest{Name: "root", CommonName: "Lab Root", Organization: "Lab"})
	return h.init(ca.InitRequest{Name: "lab", CommonName: "Lab CA", Organization: "Lab", Parent: "root"})
}

// csr makes a request for DNS names with a new key.
func csr(t testing.TB, names ...string) ([]byte, crypto.Signer) {
	t.Helper()
	key, err := makeKey(custody.P256)
	if err != nil {
		t.Fatal(err)
	}
	return csrFor(t, key, "", names...), key
}

func csrFor(t testing.TB, key crypto.Signer, commonName string, names ...string) []byte {
	t.Helper()
	r := &x509.CertificateRequest{Subject: pkix.Name{CommonName: commonName}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			r.IPAddresses = append(r.IPAddresses, ip)
		} else {
			r.DNSNames = append(r.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, r, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func (h *house) issue(r ca.Request) ca.Certificate {
	h.t.Helper()
	made, err := h.Issue(h.t.Context(), operator, r)
	if err != nil {
		h.t.Fatal(err)
	}
	return made
}
