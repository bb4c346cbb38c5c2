// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

// The certificates of blocked keys, and of no others, whoever signed them.
func TestEachBlockedCertificate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		authority, err := db.AddAuthority(t.Context(), store.Authority{Name: "ssh", Kind: "ssh", State: "active", Settings: "{}", Certificate: []byte("key"), Created: now})
		if err != nil {
			t.Fatal(err)
		}
		for i, text := range []string{"one", "two", "three"} {
			key := bytes.Repeat([]byte{byte(i % 2)}, 32) // the first and the last are of one key
			err := db.AddIssued(t.Context(), store.Issued{
				Serial: []byte{0, 0, 0, 0, 0, 0, 0, byte(i + 1)}, Authority: authority.ID, Names: "{}", SPKI: key, SHA256: key, Certificate: []byte(text), IssuedAt: now, NotBefore: now, NotAfter: now,
			}, "active")
			if err != nil {
				t.Fatal(err)
			}
		}
		if _, err := db.BlockKeys(t.Context(), [][]byte{bytes.Repeat([]byte{0}, 32), bytes.Repeat([]byte{9}, 32)}, "stolen", "ada", now); err != nil {
			t.Fatal(err)
		}
		var got []string
		err = db.EachBlockedCertificate(t.Context(), func(of int64, certificate []byte) error {
			if of != authority.ID {
				t.Errorf("%s is of authority %d", certificate, of)
			}
			got = append(got, string(certificate))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"one", "three"}, got); diff != "" {
			t.Error(diff)
		}
	})
}
