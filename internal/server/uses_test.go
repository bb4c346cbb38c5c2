// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/tally"
	"github.com/tallystick/tallystick/internal/usage"
)

const usedName = "x5t:00112233445566778899aabbccddeeff00112233"

// furnishUses gives the server a ledger: ten uses that both sides have, and two
// that were not made here.
func (f *fixture) furnishUses(t testing.TB, g *gate.Gate, db *store.DB) *usage.Usage {
	t.Helper()
	clock := func() time.Time { return now }
	book, err := ledger.Open(t.TempDir(), ledger.Options{Now: clock})
	must(t, err)
	t.Cleanup(func() { must(t, book.Close()) })
	named, err := db.NameCredentials(t.Context(), []store.Name{{Name: usedName, Seen: now}})
	must(t, err)
	fingerprint := named[0]
	id, err := db.NewUsedIDs(t.Context(), 1)
	must(t, err)
	must(t, db.SaveUsed(t.Context(), []store.Used{{ID: id, Credential: fingerprint, Names: []string{usedName}}}, nil))
	var batch ledger.Batch
	var said []store.Verdict
	add := func(side tallystick.Side, n int, at time.Time) *tallystick.Use {
		batch.Uses = append(batch.Uses, tallystick.Use{
			ID: fmt.Sprint(side, n), Source: "book of " + string(side), Side: side, Level: tallystick.LevelRequest, Time: at, Until: at, Count: 1,
			Credential: []string{usedName}, RelyingParty: "entra:t/graph", Outcome: tallystick.OutcomeSuccess, Address: "192.0.2.1",
		})
		return &batch.Uses[len(batch.Uses)-1]
	}
	for n := range 10 {
		at := now.Add(time.Duration(n-60) * time.Minute)
		add(tallystick.SideHolder, n, at)
		add(tallystick.SideRelying, n, at)
	}
	for n := range 2 {
		u := add(tallystick.SideRelying, 10+n, now.Add(time.Duration(n-30)*time.Minute))
		text, err := json.Marshal(u)
		must(t, err)
		said = append(said, store.Verdict{
			Record: tally.Key(u), Used: id, Verdict: tallystick.VerdictForeign, Reason: "stolen", Uses: 1, Time: u.Time, Side: u.Side, Source: u.Source,
			Party: u.RelyingParty, Address: u.Address, Said: now, Use: string(text),
		})
	}
	for _, side := range []tallystick.Side{tallystick.SideHolder, tallystick.SideRelying} {
		mark := tallystick.ClosingMark{Source: "book of " + string(side), Side: side, Closed: now}
		batch.Marks = append(batch.Marks, ledger.Mark{ClosingMark: mark})
	}
	_, err = book.Append(t.Context(), batch)
	must(t, err)
	err = db.SaveVerdicts(t.Context(), said, nil)
	must(t, err)
	must(t, db.SaveWatched(t.Context(), store.Watched{
		Connections: []store.UseConnection{{Used: id, Party: "entra:t/graph", First: now.Add(-time.Hour), Last: now, Holder: 10, Relying: 12}},
	}))
	return &usage.Usage{DB: db, Ledger: book, Gate: g, Now: clock}
}

func TestUses(t *testing.T) {
	onBoth(t, func(f *fixture) {
		named := "credential=" + url.QueryEscape(usedName)
		foreign := get[usesBody](f, gate.Viewer, "/api/v1/uses?verdict=foreign&limit=1")
		if foreign.Total != 2 || len(foreign.Items) != 1 || foreign.Next == "" || foreign.Items[0].Reason != "stolen" {
			f.Fatalf("%+v", foreign)
		}
		rest := get[usesBody](f, gate.Viewer, "/api/v1/uses?verdict=foreign&limit=1&after="+foreign.Next)
		var use tallystick.Use
		if err := json.Unmarshal(rest.Items[0].Use, &use); err != nil || use.ID != "relying10" || rest.Next != "" {
			f.Errorf("%+v, %v", rest, err)
		}
		if all := get[usesBody](f, gate.Viewer, "/api/v1/uses?"+named); len(all.Items) != 22 || all.Total != 0 {
			f.Errorf("%d uses of the credential", len(all.Items))
		}
		detail := get[useDetailBody](f, gate.Viewer, "/api/v1/uses/"+foreign.Items[0].Key)
		if detail.Verdict != tallystick.VerdictForeign || detail.Other != nil || detail.Near == nil || len(detail.Credential.Names) != 1 {
			f.Errorf("%+v", detail)
		}
		matched := get[usesBody](f, gate.Viewer, "/api/v1/uses?verdict=matched&side=holder&limit=1&"+named)
		if d := get[useDetailBody](f, gate.Viewer, "/api/v1/uses/"+matched.Items[0].Key); d.Other == nil && len(d.Near) == 0 {
			f.Errorf("%+v", d)
		}
		chart := get[chartBody](f, gate.Viewer, "/api/v1/uses/chart?from=2026-11-22T11:00:00Z&to=2026-11-22T12:00:00Z&"+named)
		var sum usage.Bin
		for _, b := range chart.Bins {
			sum.Holder, sum.Relying, sum.Foreign = sum.Holder+b.Holder, sum.Relying+b.Relying, sum.Foreign+b.Foreign
		}
		if chart.Step != 30 || sum != (usage.Bin{Holder: 10, Relying: 12, Foreign: 2}) {
			f.Errorf("steps of %d s: %+v", chart.Step, sum)
		}
	})
}

func TestIncidentsBooksAndConnections(t *testing.T) {
	onBoth(t, func(f *fixture) {
		incidents := get[list[usage.Incident]](f, gate.Viewer, "/api/v1/incidents")
		if incidents.Total != 1 || incidents.Items[0].Uses != 2 {
			f.Fatalf("%+v", incidents)
		}
		one := get[usage.Incident](f, gate.Viewer, fmt.Sprintf("/api/v1/incidents/%d", incidents.Items[0].ID))
		if len(one.TopAddresses) != 1 || one.TopAddresses[0].Uses != 2 {
			f.Errorf("%+v", one)
		}
		uses := get[usesBody](f, gate.Viewer, fmt.Sprintf("/api/v1/uses?incident=%d", one.ID))
		if uses.Total != 2 {
			f.Errorf("%+v", uses)
		}
		books := get[booksBody](f, gate.Viewer, "/api/v1/books")
		if len(books.Items) != 2 || books.Items[0].Source != "book of holder" || books.Items[0].Records != 10 || !books.Items[0].Closed.Equal(now) {
			f.Errorf("%+v", books)
		}
		connections := get[list[usage.Connection]](f, gate.Viewer, "/api/v1/connections?relying_party=entra:t/graph")
		if connections.Total != 1 || connections.Items[0].Relying != 12 || connections.Items[0].Foreign != 2 {
			f.Errorf("%+v", connections)
		}
		m := get[mapBody](f, gate.Viewer, "/api/v1/uses/map")
		if len(m.Parties) != 1 || len(m.Parties[0].Holders) != 1 || len(m.Books) != 2 {
			f.Errorf("%+v", m)
		}
	})
}

func TestUsesThatCannotBeRead(t *testing.T) {
	f := onSQLite(t)
	for path, want := range map[string]int{
		"/api/v1/uses?verdict=matched": http.StatusBadRequest, "/api/v1/uses?verdict=odd": http.StatusBadRequest, "/api/v1/uses?from=yesterday": http.StatusBadRequest,
		"/api/v1/uses/chart?from=2001-01-01": http.StatusBadRequest, "/api/v1/uses/xyz": http.StatusBadRequest, "/api/v1/incidents/99": http.StatusNotFound,
		"/api/v1/uses/" + strings.Repeat("0", 32): http.StatusNotFound, "/api/v1/uses?credential=abcdef0": http.StatusNotFound,
	} {
		if w := f.ask(gate.Viewer, http.MethodGet, path, ""); w.Code != want {
			f.Errorf("%s: %d, want %d: %s", path, w.Code, want, w.Body)
		}
	}
	for _, path := range []string{"/uses", "/uses/chart", "/uses/map", "/incidents", "/books", "/connections"} {
		if w := f.ask(gate.Nobody, http.MethodGet, "/api/v1"+path, ""); w.Code != http.StatusUnauthorized {
			f.Errorf("a stranger reads %s: %d", path, w.Code)
		}
	}
}
