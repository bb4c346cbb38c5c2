// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/store"
)

// Books returns the books of all sources, by source and side: also those of
// sources that have said nothing yet, and of sources that are gone.
func (u *Usage) Books(ctx context.Context, actor gate.Actor) ([]Book, error) {
	if err := u.Gate.Check(ctx, actor, gate.ReadUses, "books"); err != nil {
		return nil, err
	}
	return u.books(ctx)
}

func (u *Usage) books(ctx context.Context) ([]Book, error) {
	sources, err := u.DB.Sources(ctx)
	if err != nil {
		return nil, err
	}
	reading := map[string]*store.Source{}
	for i := range sources {
		reading[sources[i].Name] = &sources[i]
	}
	now := u.Now()
	list := []Book{}
	heard := map[string]bool{}
	for _, b := range u.Ledger.Books() {
		heard[b.Source] = true
		list = append(list, bookOf(b, reading[b.Source], now))
	}
	for name, s := range reading {
		if !heard[name] && !s.Once { // what is read once may hold the books of others
			list = append(list, bookOf(ledger.Book{Source: name, Side: s.Side}, s, now))
		}
	}
	ended, err := u.DB.EndedBooks(ctx)
	if err != nil {
		return nil, err
	}
	for i := range list {
		b := &list[i]
		at := slices.IndexFunc(ended, func(e store.EndedBook) bool { return e.Source == b.Source && e.Side == b.Side })
		if at >= 0 {
			b.Ended, b.Silent = &ended[at], false
		}
	}
	if clocks, ok := u.Live.(Clocks); ok {
		for i := range list {
			list[i].Skew = clocks.SkewOf(list[i].Source, list[i].Side)
		}
	}
	slices.SortFunc(list, func(a, b Book) int {
		return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Side, b.Side))
	})
	return list, nil
}

func bookOf(b ledger.Book, s *store.Source, now time.Time) Book {
	book := Book{Book: b, Reading: s}
	if !b.Closed.IsZero() {
		book.Behind = max(now.Sub(b.Closed), 0)
	}
	if s != nil && s.IsRead() && s.Silence > 0 {
		book.Silent = s.HeardLast(b.Heard).Add(s.Silence).Before(now)
	}
	return book
}

const (
	// mostParties is how many relying parties a map has.
	mostParties = 500
	// mapSpan is how far back the ledger is read for who tells of whom.
	mapSpan = 30 * 24 * time.Hour
)

// Map returns which books tell of which relying parties: of those with the most
// uses, as the newest uses of the last 30 days show, at most some 200,000 of them.
func (u *Usage) Map(ctx context.Context, actor gate.Actor) (*Map, error) {
	if err := u.Gate.Check(ctx, actor, gate.ReadUses, "map"); err != nil {
		return nil, err
	}
	m := &Map{Parties: []Party{}}
	var err error
	if m.Books, err = u.books(ctx); err != nil {
		return nil, err
	}
	rows, more, err := u.DB.Parties(ctx, mostParties)
	if err != nil {
		return nil, err
	}
	m.More = more
	tellers, err := u.tellers(ctx)
	for _, row := range rows {
		m.Parties = append(m.Parties, Party{
			Name: row.Name, Credentials: row.Credentials, Holder: row.Holder, Relying: row.Relying, Foreign: row.Foreign,
			Holders: tellers.of(row.Name, tallystick.SideHolder), Relyings: tellers.of(row.Name, tallystick.SideRelying),
		})
	}
	return m, err
}

// tellers are the sources that tell of a relying party on a side.
type tellers map[told]map[string]bool

type told struct {
	party string
	side  tallystick.Side
}

// tellers reads the newest uses of all credentials.
func (u *Usage) tellers(ctx context.Context) (tellers, error) {
	found := tellers{}
	q := ledger.Query{}
	// A record of a time to come does not make those of today old.
	q.From, q.To = u.bounds(time.Time{}, u.Now().Add(24*time.Hour))
	if oldest := q.To.Add(-mapSpan); q.From.Before(oldest) {
		q.From = oldest
	}
	_, err := u.walk(ctx, q, func(window []tallystick.Use) (bool, error) {
		for i := range window {
			use := &window[i]
			of := told{use.RelyingParty, use.Side}
			if found[of] == nil {
				found[of] = map[string]bool{}
			}
			found[of][use.Source] = true
		}
		return false, nil
	})
	return found, err
}

// of returns the sources in their order.
func (t tellers) of(party string, side tallystick.Side) []string {
	return append([]string{}, slices.Sorted(maps.Keys(t[told{party, side}]))...)
}
