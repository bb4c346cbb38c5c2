// SPDX-License-Identifier: Apache-2.0

package vault_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/vault"
)

// backUp copies the database of a vault that is at rest.
func (f *fixture) backUp() string {
	f.Helper()
	copied := filepath.Join(f.TempDir(), "backup.db")
	storetest.Exec(f, f.url, `VACUUM INTO '`+copied+`'`)
	return copied
}

// restore brings a copy back in place of the database, as a process that starts then finds it.
func (f *fixture) restore(copied string) {
	f.Helper()
	f.url = copied
	f.db = storetest.Open(f, copied)
	f.open("wrapping.key", "hub")
}

func (f *fixture) witness() string {
	f.Helper()
	files, err := filepath.Glob(filepath.Join(f.dir, "witness", "vault-*.witness"))
	if err != nil || len(files) != 1 {
		f.Fatal(files, err)
	}
	return files[0]
}

func (f *fixture) sums() store.EntrustedSums {
	f.Helper()
	sums, err := f.Sums(f.Context(), otto)
	f.must(err)
	return sums
}

func TestWhatARestoredBackupHasLostIsNotHandedOut(t *testing.T) {
	f := newVault(t, "")
	same := f.entrust(value("acme", "same", "one"))
	changed := f.entrust(value("acme", "changed", "one"))
	destroyed := f.entrust(value("acme", "destroyed", "one"))
	lastWeek := f.backUp()
	f.later(7 * 24 * time.Hour)
	f.entrust(value("acme", "changed", "two"))
	f.entrust(value("acme", "changed", "three"))
	f.entrust(value("acme", "new", "one"))
	_, err := f.Destroy(t.Context(), ada, destroyed.ID)
	f.must(err)

	f.restore(lastWeek)
	f.withholds(changed.ID, vault.ErrStale)
	f.withholds(destroyed.ID, vault.ErrStale)
	f.reveals(same.ID, "one")
	want := store.EntrustedSums{Secrets: 3, Customers: 1, Stale: 2, Missing: 1}
	if diff := cmp.Diff(want, f.sums()); diff != "" {
		t.Error(diff)
	}

	// It stays so, whatever happens to others, until a new value comes.
	f.entrust(value("initech", "a", "one"))
	f.restore(f.backUp())
	f.withholds(changed.ID, vault.ErrStale)
	if s := f.entrust(value("acme", "changed", "four")); s.Version != 4 {
		t.Error("a number that was lost is given again:", s.Version)
	}
	f.reveals(changed.ID, "four")
	f.withholds(destroyed.ID, vault.ErrStale)

	// And once more the same backup: all of that is lost as well.
	f.restore(lastWeek)
	f.withholds(changed.ID, vault.ErrStale)
	f.reveals(same.ID, "one")
}

func TestChangesOfARestoredDatabaseAreStaleToo(t *testing.T) {
	f := newVault(t, "")
	s := f.entrust(value("acme", "a", "one"))
	old := f.backUp()
	f.entrust(value("acme", "a", "two"))
	f.restore(old)
	f.entrust(value("acme", "b", "one")) // before anybody has looked
	f.withholds(s.ID, vault.ErrStale)
}

func TestWithoutTheWitnessNothingHappens(t *testing.T) {
	f := newVault(t, "")
	s := f.entrust(value("acme", "a", "one"))
	f.must(os.Remove(f.witness()))
	f.withholds(s.ID, vault.ErrNoWitness)
	if _, err := f.Entrust(t.Context(), otto, value("acme", "a", "two")); !errors.Is(err, vault.ErrNoWitness) {
		t.Error(err)
	}
	if err := f.Accept(t.Context(), otto); !errors.Is(err, tallystick.ErrDenied) {
		t.Error("an operator says what is to be believed:", err)
	}
	copied := f.backUp()
	f.must(f.Accept(t.Context(), ada))
	f.reveals(s.ID, "one")
	if err := f.Accept(t.Context(), ada); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error("it is there:", err)
	}
	// The new one has everything that the old one had.
	f.entrust(value("acme", "a", "two"))
	f.restore(copied)
	f.withholds(s.ID, vault.ErrStale)
}

func TestWhatACrashHasCutOffIsAdded(t *testing.T) {
	for name, cut := range map[string]func(text string) string{
		"the last change":        func(text string) string { return text[:strings.LastIndex(text, "\n\n+ ")+1] },
		"a part of a line":       func(text string) string { return text[:len(text)-5] },
		"the mark":               func(text string) string { return text[:strings.LastIndex(text, "= ")] },
		"everything":             func(string) string { return "" },
		"all but half of a line": func(string) string { return "+ 1 ab" },
	} {
		t.Run(name, func(t *testing.T) {
			f := newVault(t, "")
			f.entrust(value("acme", "a", "one"))
			old := f.backUp()
			s := f.entrust(value("acme", "b", "one"))
			s2 := f.entrust(value("acme", "a", "two"))
			text, err := os.ReadFile(f.witness())
			f.must(err)
			f.must(os.WriteFile(f.witness(), []byte(cut(string(text))), 0o600))
			f.reveals(s.ID, "one")
			f.reveals(s2.ID, "two")
			if sums := f.sums(); sums.Stale+sums.Missing > 0 {
				t.Errorf("%+v", sums)
			}
			f.restore(old)
			f.withholds(s2.ID, vault.ErrStale)
			if sums := f.sums(); sums.Stale != 1 || sums.Missing != 1 {
				t.Errorf("%+v", sums)
			}
		})
	}
}

func TestManyChangeTheVaultAtOnce(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		f := newVault(t, url)
		first := f.Vault // of a process of its own, beside the second
		f.open("wrapping.key", "hub")
		done := make(chan error)
		for i := range 16 {
			v := []*vault.Vault{first, f.Vault}[i%2]
			go func() {
				_, err := v.Entrust(t.Context(), otto, value("acme", string(rune('a'+i/2)), "value"))
				done <- err
			}()
		}
		for range 16 {
			f.must(<-done)
		}
		f.must(f.Fresh(t.Context()))
		page, total, err := f.List(t.Context(), otto, store.EntrustedFilter{}, store.PageRequest{})
		f.must(err)
		if total != 8 || f.sums().Stale > 0 {
			t.Error(total, f.sums())
		}
		for _, s := range page.Items {
			if s.Version != 2 {
				t.Errorf("%+v", s)
			}
			f.reveals(s.ID, "value")
		}
	})
}
