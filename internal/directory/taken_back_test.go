// SPDX-License-Identifier: Apache-2.0

package directory_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// undoing answers as a directory that was written to, or that refused, or that somebody else has
// written to meanwhile.
type undoing struct {
	refuses error
	hint    string // of what is said then
	late    bool   // somebody else has taken it back meanwhile
}

func (u undoing) Undo(_ context.Context, r driver.UndoRequest) (driver.Undone, error) {
	if r.Try {
		return driver.Undone{Changed: true}, nil
	}
	return driver.Undone{Changed: !u.late}, u.refuses
}

// takeBack records that the certificate of an account was removed, and takes that back.
func takeBack(t *testing.T, db *store.DB, u undoing) *directory.Directory {
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
	_, err := d.Undo(t.Context(), gate.Actor{Name: "ada", Role: gate.Admin}, id, false, func(store.Source) (any, error) { return u, nil })
	if !errors.Is(err, u.refuses) || !strings.Contains(tallystick.HintOf(err), u.hint) {
		t.Fatal(err, tallystick.HintOf(err))
	}
	return d
}

// While a change is taken back its very opposite is expected, and nothing else; once that was told, the
// change says by what it was taken back.
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
			d := takeBack(t, db, undoing{})
			back := ofAccount(noon.Add(time.Second))
			back.ID, back.Source = "back", "back"
			one.edit(&back)
			take(t, d, back)
			told := list(t, d, db)
			if got := told["back"]; (got.Expected != "") != one.expected {
				t.Errorf("%s: it is expected by %q", name, got.Expected)
			}
			if by := told["domain"].TakenBackBy; by != map[bool]int64{true: told["back"].ID}[one.expected && back.Values != nil] {
				t.Errorf("%s: taken back by %d, which is %+v", name, by, told["back"])
			}
			if open := findings(t, db); (len(open) == 0) != one.expected {
				t.Errorf("%s: %q", name, open)
			}
		})
	}
}

// What the directory refused is expected no longer, nor what somebody else has done before.
func TestAnUndoThatWritesNothingIsNotExpected(t *testing.T) {
	for name, u := range map[string]undoing{
		"refused":                  {refuses: tallystick.ErrDenied, hint: "with write-bind and write-password-file"},
		"refused, and it says why": {refuses: tallystick.WithHint(tallystick.ErrDenied, "write the right password to /x"), hint: "write the right password to /x"},
		"done before":              {late: true},
	} {
		embedded(t, func(t *testing.T, db *store.DB) {
			d := takeBack(t, db, u)
			back := ofAccount(noon.Add(time.Second))
			back.ID = "back"
			take(t, d, back)
			if diff := cmp.Diff([]string{"high change-credential-added " + back.Target}, findings(t, db)); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		})
	}
}

// A change whose undoing is undone stands again.
func TestWhatIsTakenBackTwiceStandsAgain(t *testing.T) {
	embedded(t, func(t *testing.T, db *store.DB) {
		d := takeBack(t, db, undoing{})
		back, again := ofAccount(noon.Add(time.Second)), ofAccount(noon.Add(time.Second))
		back.ID, back.Source, again.ID, again.Source = "back", "back", "again", "again"
		take(t, d, back)
		if _, err := db.AddSource(t.Context(), store.Source{Name: "back", Kind: store.SourceDriver, Driver: "ad", Side: tallystick.SideRelying, Options: map[string]string{}}); err != nil {
			t.Fatal(err)
		}
		_, err := d.Undo(t.Context(), gate.Actor{Name: "ada", Role: gate.Admin}, list(t, d, db)["back"].ID, false, func(store.Source) (any, error) { return undoing{}, nil })
		if err != nil {
			t.Fatal(err)
		}
		again.Kind = tallystick.ChangeCredentialRemoved
		again.Values.Added, again.Values.Removed = nil, again.Values.Added
		take(t, d, again)
		told := list(t, d, db)
		if told["domain"].TakenBackBy != 0 || told["back"].TakenBackBy != told["again"].ID {
			t.Errorf("the first by %d, the second by %d of %d", told["domain"].TakenBackBy, told["back"].TakenBackBy, told["again"].ID)
		}
	})
}
