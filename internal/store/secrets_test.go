// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

func wrappingKey(id string, since time.Time) store.WrappingKey {
	return store.WrappingKey{ID: id, Kind: "file", About: "/x", Parameters: "{}", Proof: []byte("proof"), Since: since}
}

func secret(id, key string, at time.Time) store.Secret {
	return store.Secret{ID: id, Kind: "ca-key", Owner: "ca/lab", WrappingKey: key, Version: 1,
		Wrapped: []byte("wrapped " + id), Sealed: []byte("sealed " + id), Public: []byte("public"), Created: at}
}

func TestSecrets(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		for _, id := range []string{"a", "b", "a"} { // the third stays as it was
			if err := db.AddWrappingKey(t.Context(), wrappingKey("file:"+id, at)); err != nil {
				t.Fatal(err)
			}
			at = at.Add(time.Minute)
		}
		first := secret("1", "file:a", at)
		if err := db.AddSecret(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		if got, err := db.Secret(t.Context(), "1"); err != nil || !cmp.Equal(first, got) {
			t.Error(cmp.Diff(first, got), err)
		}
		if err := db.AddSecret(t.Context(), first); !errors.Is(err, tallystick.ErrConflict) {
			t.Error("the same id twice:", err)
		}
		if err := db.AddSecret(t.Context(), secret("2", "file:c", at)); !errors.Is(err, tallystick.ErrConflict) {
			t.Error("under a key that is not known:", err)
		}
		if err := db.RetireWrappingKeys(t.Context(), "file:a", at); err != nil {
			t.Fatal(err)
		}
		if err := db.AddSecret(t.Context(), secret("2", "file:b", at)); !errors.Is(err, tallystick.ErrConflict) {
			t.Error("under a key that is retired:", err)
		}
		if err := db.RetireWrappingKeys(t.Context(), "file:b", at); err != nil {
			t.Fatal(err)
		}
		keys, err := db.WrappingKeys(t.Context())
		if err != nil || len(keys) != 2 || !keys[0].Retired.IsZero() || !keys[1].Retired.IsZero() {
			t.Errorf("one with secrets was retired, or b was not taken back: %+v, %v", keys, err)
		}
		if _, err := db.Secret(t.Context(), "3"); !errors.Is(err, tallystick.ErrNotFound) {
			t.Error(err)
		}
	})
}

// What has changed since it was read is not written over.
func TestRewrapIsOfWhatWasRead(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
		for _, id := range []string{"a", "b", "c"} {
			if err := db.AddWrappingKey(t.Context(), wrappingKey("file:"+id, at)); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 5 {
			if err := db.AddSecret(t.Context(), secret(fmt.Sprint(i), "file:a", at)); err != nil {
				t.Fatal(err)
			}
		}
		page, err := db.SecretsUnder(t.Context(), "file:a", "0", 3)
		if err != nil || len(page) != 3 || page[0].ID != "1" {
			t.Fatal(page, err)
		}
		if err := db.DestroySecret(t.Context(), "1", at); err != nil {
			t.Fatal(err)
		}
		wrapped := [][]byte{[]byte("x1"), []byte("x2"), []byte("x3")}
		if err := db.RewrapSecrets(t.Context(), page[1:2], "file:c", wrapped[:1], at.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if err := db.RewrapSecrets(t.Context(), page, "file:b", wrapped, at.Add(2*time.Minute)); err != nil {
			t.Fatal(err)
		}
		counts, err := db.CountSecrets(t.Context())
		want := []store.SecretCount{
			{WrappingKey: "file:a", Kind: "ca-key", Kept: 2, Destroyed: 1}, {WrappingKey: "file:b", Kind: "ca-key", Kept: 1}, {WrappingKey: "file:c", Kind: "ca-key", Kept: 1},
		}
		if diff := cmp.Diff(want, counts); diff != "" || err != nil {
			t.Error(diff, err)
		}
		past, err := db.Wrappings(t.Context(), "file:a", "", 10)
		if err != nil || len(past) != 5 || !past[2].Until.Equal(at.Add(time.Minute)) || !past[0].Until.IsZero() {
			t.Errorf("%+v, %v", past, err)
		}
		if rest, err := db.Wrappings(t.Context(), "file:a", "2", 1); err != nil || len(rest) != 1 || rest[0].Secret != "3" {
			t.Errorf("%+v, %v", rest, err)
		}
	})
}

// What was acknowledged before the disk was full is there, and afterwards it goes on.
func TestSecretsWhenTheDiskIsFull(t *testing.T) {
	db := storetest.Open(t, filepath.Join(t.TempDir(), "tally.db"))
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	if err := db.AddWrappingKey(t.Context(), wrappingKey("file:a", at)); err != nil {
		t.Fatal(err)
	}
	write := store.Write(db)
	if _, err := write.ExecContext(t.Context(), `PRAGMA max_page_count = 1`); err != nil { // no more than there are
		t.Fatal(err)
	}
	n, err := 0, error(nil)
	for ; err == nil && n < 1000; n++ {
		s := secret(fmt.Sprintf("%04d", n), "file:a", at)
		s.Sealed = make([]byte, 3000)
		err = db.AddSecret(t.Context(), s)
	}
	if !errors.Is(err, tallystick.ErrNoSpace) {
		t.Fatalf("after %d: %v", n, err)
	}
	page, err := db.SecretsUnder(t.Context(), "file:a", "", 2000)
	if err != nil || len(page) != n-1 {
		t.Errorf("%d of %d are there, %v", len(page), n-1, err)
	}
	if _, err := write.ExecContext(t.Context(), `PRAGMA max_page_count = 1000000`); err != nil {
		t.Fatal(err)
	}
	if err := db.AddSecret(t.Context(), secret("later", "file:a", at)); err != nil {
		t.Error(err)
	}
}
