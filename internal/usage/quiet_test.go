// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/usage"
)

// A holder is quiet for as long as its closed books show, whoever else goes on.
func TestQuiet(t *testing.T) {
	const old, broker, elsewhere = "cert-sha256:aa", "broker", "https:other:443"
	book, err := ledger.Open(t.TempDir(), ledger.Options{Now: func() time.Time { return noon }})
	must(t, err)
	t.Cleanup(func() { must(t, book.Close()) })
	u := &usage.Usage{DB: storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), Ledger: book, Now: func() time.Time { return noon }}
	use := func(source string, side tallystick.Side, party string, minutes int) tallystick.Use {
		return tallystick.Use{
			Source: source, Side: side, Level: tallystick.LevelRequest, Time: noon.Add(time.Duration(minutes) * time.Minute), Count: 1,
			Credential: []string{old}, RelyingParty: party, Outcome: tallystick.OutcomeSuccess, IDs: tallystick.UseIDs{Request: source + party + time.Duration(minutes).String()},
		}
	}
	since := noon.Add(-time.Hour)
	ask := func() usage.Quiet {
		q, err := u.Quiet(t.Context(), usage.QuietQuestion{Names: []string{old}, RelyingParties: []string{graph, "entra:t1/other name"}, Since: since})
		must(t, err)
		return q
	}
	if got := ask(); got.For(since) != 0 || len(got.Books) != 0 {
		t.Errorf("an empty ledger shows %+v", got)
	}
	_, err = book.Append(t.Context(), ledger.Batch{Uses: []tallystick.Use{
		use(broker, tallystick.SideHolder, graph, -90), use(broker, tallystick.SideHolder, graph, -50), use(broker, tallystick.SideHolder, elsewhere, -5),
		use("tenant", tallystick.SideRelying, graph, -50), use("tenant", tallystick.SideRelying, graph, -1),
	}})
	must(t, err)
	if got := ask(); got.For(since) != 0 {
		t.Errorf("an open book shows %v of quiet", got.For(since))
	}
	_, err = book.Append(t.Context(), ledger.Batch{Marks: []ledger.Mark{{ClosingMark: tallystick.ClosingMark{Source: broker, Side: tallystick.SideHolder, Closed: noon.Add(-10 * time.Minute)}}}})
	must(t, err)
	want := usage.Quiet{
		Books: []string{broker}, ClosedTo: noon.Add(-10 * time.Minute), HolderUses: 1, LastHolder: noon.Add(-50 * time.Minute),
	}
	got := ask()
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if got.For(since) != 40*time.Minute {
		t.Errorf("quiet for %v", got.For(since))
	}
}

// Questions that come together are answered from one reading, and a later one sees what
// came since.
func TestQuietReadsOnceForMany(t *testing.T) {
	book, err := ledger.Open(t.TempDir(), ledger.Options{Now: func() time.Time { return noon }})
	must(t, err)
	t.Cleanup(func() { must(t, book.Close()) })
	u := &usage.Usage{DB: storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), Ledger: book, Now: func() time.Time { return noon }, Fresh: time.Hour}
	uses := func(since time.Time) int64 {
		q, err := u.Quiet(t.Context(), usage.QuietQuestion{Names: []string{"cert-sha256:aa"}, RelyingParties: []string{graph}, Since: since})
		must(t, err)
		return q.HolderUses
	}
	made := func(minutes int) {
		_, err := book.Append(t.Context(), ledger.Batch{Uses: []tallystick.Use{{
			Source: "broker", Side: tallystick.SideHolder, Level: tallystick.LevelRequest, Time: noon.Add(time.Duration(minutes) * time.Minute), Count: 1,
			Credential: []string{"cert-sha256:aa"}, RelyingParty: graph, Outcome: tallystick.OutcomeSuccess,
		}}})
		must(t, err)
	}
	made(-30)
	since := noon.Add(-time.Hour)
	if n := uses(since); n != 1 {
		t.Errorf("%d uses", n)
	}
	made(-20)
	if n := uses(since); n != 1 {
		t.Errorf("it was read again at once: %d uses", n)
	}
	if n := uses(since.Add(-time.Hour)); n != 2 {
		t.Errorf("what is asked from before was not read: %d uses", n)
	}
	u.Fresh = 0
	if n := uses(since); n != 2 {
		t.Errorf("without patience it is not read each time: %d uses", n)
	}
}

// Uses that somebody else made are told apart, and are nobody's quiet.
func TestQuietTellsOfForeignUses(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		f := furnish(t, db)
		q, err := f.Quiet(t.Context(), usage.QuietQuestion{Names: []string{credentialName}, Since: noon.Add(-2 * time.Hour)})
		must(t, err)
		want := int64(0)
		for _, use := range f.uses {
			if use.Address == thief && use.Outcome == tallystick.OutcomeSuccess {
				want++
			}
		}
		if q.Foreign == 0 || q.Foreign != want || q.LastForeign.IsZero() {
			t.Errorf("foreign uses: %d, last %s; %d were made", q.Foreign, q.LastForeign, want)
		}
	})
}
