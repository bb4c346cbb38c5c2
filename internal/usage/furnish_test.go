// SPDX-License-Identifier: Apache-2.0

package usage_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/tally"
	"github.com/tallystick/tallystick/internal/usage"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

var (
	viewer   = gate.Actor{Name: "ada", Role: gate.Viewer, Via: "session"}
	operator = gate.Actor{Name: "ole", Role: gate.Operator, Via: "session"}
	nobody   = gate.Actor{}
)

const (
	credentialName = "x5t:00112233445566778899aabbccddeeff00112233"
	otherName      = "entra-key:11111111-2222-3333-4444-555555555555"
	graph          = "entra:t1/graph"
	exchange       = "entra:t1/exchange"
	thief          = "198.51.100.7"
)

// A trail is an audit log in memory.
type trail struct{ records []audit.Record }

func (r *trail) Append(_ context.Context, record audit.Record) error {
	r.records = append(r.records, record)
	return nil
}

// A fixture is two hours of one credential: a use a minute that both sides have,
// and what does not match.
type fixture struct {
	*testing.T
	*usage.Usage
	trail       *trail
	fingerprint string
	used        int64
	uses        map[string]*tallystick.Use // by a word
}

const perHour = 60

func furnish(t *testing.T, db *store.DB) *fixture {
	t.Helper()
	now := func() time.Time { return noon }
	book, err := ledger.Open(t.TempDir(), ledger.Options{Now: now})
	must(t, err)
	t.Cleanup(func() { must(t, book.Close()) })
	f := &fixture{T: t, trail: &trail{}, uses: map[string]*tallystick.Use{}}
	f.Usage = &usage.Usage{DB: db, Ledger: book, Gate: gate.New(f.trail, now), Now: now}
	named, err := db.NameCredentials(t.Context(), []store.Name{{Name: credentialName, Seen: noon}})
	must(t, err)
	fingerprint := named[0]
	f.fingerprint = string(fingerprint)
	f.used, err = db.NewUsedIDs(t.Context(), 1)
	must(t, err)
	f.addMatched()
	f.addRest()
	names := []string{credentialName, tallystick.NormalName(otherName)}
	must(t, db.SaveUsed(t.Context(), []store.Used{{ID: f.used, Credential: fingerprint, Names: names}}, nil))
	must(t, db.SaveWatched(t.Context(), store.Watched{
		Hours: []store.UseHour{
			{Used: f.used, Hour: noon.Add(-2 * time.Hour), Side: tallystick.SideHolder, Uses: perHour},
			{Used: f.used, Hour: noon.Add(-time.Hour), Side: tallystick.SideHolder, Uses: perHour + 1},
			{Used: f.used, Hour: noon.Add(-2 * time.Hour), Side: tallystick.SideRelying, Uses: perHour},
			{Used: f.used, Hour: noon.Add(-time.Hour), Side: tallystick.SideRelying, Uses: perHour + 3},
		},
		Connections: []store.UseConnection{
			{Used: f.used, Party: graph, First: noon.Add(-2 * time.Hour), Last: noon, Holder: 2*perHour + 1, Relying: 2*perHour + 1},
			{Used: f.used, Party: exchange, First: noon.Add(-time.Hour), Last: noon, Relying: 2},
		},
	}))
	return f
}

func use(source string, side tallystick.Side, at time.Time, id, party string) tallystick.Use {
	return tallystick.Use{
		ID: source + id, Source: source, Side: side, Level: tallystick.LevelRequest, Time: at, Until: at, Count: 1, Credential: []string{credentialName},
		RelyingParty: party, Outcome: tallystick.OutcomeSuccess, Address: "192.0.2.1",
	}
}

// addMatched appends what both sides have.
func (f *fixture) addMatched() {
	f.Helper()
	var batch ledger.Batch
	for i := range 2 * perHour {
		at := noon.Add(-2*time.Hour + time.Duration(i)*time.Minute)
		h, r := use("sync", tallystick.SideHolder, at, fmt.Sprint(i), graph), use("entra", tallystick.SideRelying, at.Add(time.Second), fmt.Sprint(i), graph)
		h.IDs.UTI, r.IDs.UTI = fmt.Sprintf("token-%d", i), fmt.Sprintf("token-%d", i)
		batch.Uses = append(batch.Uses, h, r)
		if i == 0 {
			f.uses["holder"], f.uses["relying"] = &h, &r
		}
	}
	batch.Marks = []ledger.Mark{
		{ClosingMark: tallystick.ClosingMark{Source: "sync", Side: tallystick.SideHolder, Closed: noon.Add(-3 * time.Minute)}},
		{ClosingMark: tallystick.ClosingMark{Source: "entra", Side: tallystick.SideRelying, Closed: noon}},
	}
	_, err := f.Ledger.Append(f.Context(), batch)
	must(f.T, err)
}

// addRest appends what does not match, and says so.
func (f *fixture) addRest() {
	f.Helper()
	var batch ledger.Batch
	var said []store.Verdict
	add := func(word string, u tallystick.Use, verdict tallystick.Verdict) {
		f.uses[word] = &u
		batch.Uses = append(batch.Uses, u)
		text, err := json.Marshal(u)
		must(f.T, err)
		said = append(said, store.Verdict{
			Record: tally.Key(&u), Used: f.used, Verdict: verdict, Reason: "because " + word, Uses: u.Count, Time: u.Time, Side: u.Side, Source: u.Source,
			Party: u.RelyingParty, Address: u.Address, Said: noon, Use: string(text),
		})
	}
	for i, party := range []string{graph, exchange, exchange} {
		u := use("entra", tallystick.SideRelying, noon.Add(-30*time.Minute+time.Duration(i)*time.Second/2), fmt.Sprint("f", i), party)
		u.Address = thief
		add(fmt.Sprint("foreign", i), u, tallystick.VerdictForeign)
	}
	add("unconfirmed", use("sync", tallystick.SideHolder, noon.Add(-20*time.Minute+30*time.Second), "u", graph), tallystick.VerdictUnconfirmed)
	attempt := use("entra", tallystick.SideRelying, noon.Add(-10*time.Minute+30*time.Second), "a", graph)
	attempt.Outcome = tallystick.OutcomeAttempt
	add("attempt", attempt, tallystick.VerdictAttempt)
	_, err := f.Ledger.Append(f.Context(), batch)
	must(f.T, err)
	err = f.DB.SaveVerdicts(f.Context(), said, nil)
	must(f.T, err)
}

func onBoth(t *testing.T, test func(f *fixture)) {
	storetest.Each(t, func(t *testing.T, db *store.DB) { test(furnish(t, db)) })
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
