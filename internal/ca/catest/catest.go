// SPDX-License-Identifier: Apache-2.0

// Package catest makes CAs for the tests of what stands on them: real ones, on a real
// store, whose keys are in memory and whose policy is a function of the test.
package catest

import (
	"context"
	"crypto"
	"fmt"
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
)

// Admin may do everything.
var Admin = gate.Actor{Name: "ada", Role: gate.Admin, Via: "local"}

// A Lab is a CA with its surroundings.
type Lab struct {
	*ca.CA
	DB    *store.DB
	Audit *Book
	// Decide is the policy: it allows everything until it is set. Set it before
	// anything is asked for.
	Decide func(policy.Request) ca.Decision
}

// New returns a CA without any authority, on a store of its own.
func New(t testing.TB) *Lab {
	t.Helper()
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "store.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	lab := &Lab{DB: db, Audit: &Book{}}
	lab.Decide = func(policy.Request) ca.Decision { return ca.Decision{Allowed: true} }
	lab.CA = ca.New(ca.Config{
		DB: db, Gate: gate.New(lab.Audit, time.Now), Keys: &keys{}, Now: time.Now,
		Decide:   func(r policy.Request) ca.Decision { return lab.Decide(r) },
		CheckKey: func(crypto.PublicKey) error { return nil }, Lint: func([]byte) error { return nil },
		Profiles: ca.BuiltInProfiles(), URL: "http://127.0.0.1:9", // where nobody listens: some clients look for a CRL there
	})
	return lab
}

// Init makes an authority.
func (l *Lab) Init(t testing.TB, r ca.InitRequest) ca.Authority {
	t.Helper()
	a, err := l.CA.Init(t.Context(), Admin, r)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A Book is an audit log in memory.
type Book struct {
	mu      sync.Mutex
	records []audit.Record
}

// Append keeps a record.
func (b *Book) Append(_ context.Context, r audit.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records = append(b.records, r)
	return nil
}

// Records returns what was recorded.
func (b *Book) Records() []audit.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]audit.Record(nil), b.records...)
}

// keys are in memory.
type keys struct {
	mu   sync.Mutex
	list []crypto.Signer
}

func (k *keys) NewKey(_ context.Context, kind custody.KeyType, _ custody.Owner) (string, crypto.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	signer, err := custody.Generate(kind)
	if err != nil {
		return "", nil, err
	}
	k.list = append(k.list, signer)
	return fmt.Sprint(len(k.list)), signer, nil
}

func (k *keys) Signer(_ context.Context, id string) (crypto.Signer, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, signer := range k.list {
		if id == fmt.Sprint(i+1) {
			return signer, nil
		}
	}
	return nil, tallystick.ErrNotFound
}
