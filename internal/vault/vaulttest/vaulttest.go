// SPDX-License-Identifier: Apache-2.0

// Package vaulttest puts a vault over a store, for the tests of pages and calls: nothing
// in it is a double.
package vaulttest

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

// New returns a vault on the host hub, whose wrapping key is in a file and made when it is first needed.
func New(t testing.TB, db *store.DB, g *gate.Gate, now func() time.Time) *vault.Vault {
	t.Helper()
	dir := t.TempDir()
	open := sync.OnceValues(func() (*custody.Custody, error) {
		w, err := custody.OpenFile(filepath.Join(dir, "wrapping.key"), "", "", true)
		if err != nil {
			return nil, err
		}
		return custody.Open(context.Background(), custody.Config{DB: db, Wrapper: w, Now: now})
	})
	return vault.New(vault.Config{
		DB: db, Gate: g, Now: now, Witness: filepath.Join(dir, "witness"), Host: "hub", Custody: func(context.Context) (*custody.Custody, error) { return open() },
	})
}
