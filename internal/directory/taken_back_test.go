// SPDX-License-Identifier: Apache-2.0

package directory_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// undoing answers as a directory that was written to, or that refused.
type undoing struct{ refuses error }

func (u undoing) Undo(_ context.Context, r driver.UndoRequest) (driver.Undone, error) {
	if r.Try {
		return driver.Undone{Changed: true}, nil
	}
	return driver.Undone{Changed: true}, u.refuses
}

// takeBack records that the certificate of an account was removed, and takes that back.
func takeBack(t *testing.T, db *store.DB, refuses error) *directory.Directory {
	t.Helper()
	if _, err := db.AddSource(t.Context(), store.Source{Name: "domain", Kind: store.SourceDriver, Driver: "ad", Side: tallystick.SideRelying, Options: map[string]string{}}); err != nil {
		t.Fatal(err)
	}
	d := newDirectory(t, db)
	removed := ofAccount(noon)
	removed.Kind = tallystick.ChangeCredentialRemoved
	removed.Values.Added, removed.Values.Removed = nil, removed.Values.Added
	take(t, d, removed)
	id := list(t, d, db)["domain"].ID
	_, err := d.Undo(t.Context(), gate.Actor{Name: "ada", Role: gate.Admin}, id, false, func(store.Source) (any, error) { return undoing{refuses}, nil })
	if !errors.Is(err, refuses) {
		t.Fatal(err)
	}
	return d
}

// While a change is taken back its very opposite is expected, and nothing else.
func TestOnlyTheOppositeOfAChangeIsExpected(t *testing.T) {
	for name, one := range map[string]struct {
		edit     func(*tallystick.Change)
		expected bool
	}{
		"the value":               {func(*tallystick.Change) {}, true},
		"as an audit log has it":  {func(c *tallystick.Change) { c.Values, c.Actor = nil, "account:ad/lab/undo" }, true},
		"another value":           {func(c *tallystick.Change) { c.Values.Added = [][]byte{{2}} }, false},
		"another value with it":   {func(c *tallystick.Change) { c.Values.Added = [][]byte{{1}, {2}} }, false},
		"another attribute":       {func(c *tallystick.Change) { c.Values.Attribute = "altSecurityIdentities" }, false},
		"another object":          {func(c *tallystick.Change) { c.Values.Object = "other" }, false},
		"another key in a log":    {func(c *tallystick.Change) { c.Values, c.Credential = nil, []string{"cert-sha256:ee"} }, false},
		"no name in a log":        {func(c *tallystick.Change) { c.Values, c.Credential = nil, nil }, false},
		"after the time is up":    {func(c *tallystick.Change) { c.Time = noon.Add(3 * time.Minute) }, false},
		"of another kind, logged": {func(c *tallystick.Change) { c.Values, c.Kind = nil, tallystick.ChangeTrustAdded }, false},
	} {
		embedded(t, func(t *testing.T, db *store.DB) {
			d := takeBack(t, db, nil)
			back := ofAccount(noon.Add(time.Second))
			back.ID, back.Source = "back", "back"
			one.edit(&back)
			take(t, d, back)
			if got := list(t, d, db)["back"]; (got.Expected != "") != one.expected {
				t.Errorf("%s: it is expected by %q", name, got.Expected)
			}
			if open := findings(t, db); (len(open) == 0) != one.expected {
				t.Errorf("%s: %q", name, open)
			}
		})
	}
}

// What the directory refused is expected no longer.
func TestARefusedUndoIsNotExpected(t *testing.T) {
	embedded(t, func(t *testing.T, db *store.DB) {
		d := takeBack(t, db, tallystick.ErrDenied)
		back := ofAccount(noon.Add(time.Second))
		back.ID = "back"
		take(t, d, back)
		if diff := cmp.Diff([]string{"high change-credential-added " + back.Target}, findings(t, db)); diff != "" {
			t.Error(diff)
		}
	})
}
