// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/profile"
	"github.com/tallystick/tallystick/internal/store"
)

// A state is what is saved of a credential.
type state struct {
	Holders map[string]*book `json:"holders,omitempty"`
	Relying map[string]int64 `json:"relying,omitempty"`
	Settled int64            `json:"settled,omitempty"`
	// Open is the time of the earliest record that was in memory; 0 is none.
	Open    int64  `json:"open,omitempty"`
	Spans   []span `json:"spans,omitempty"`
	Profile []byte `json:"profile,omitempty"`
}

// save remembers what was seen. All that came before is sealed for it, so that a
// number says where it ends; and what came of it is written down first, because
// nobody looks at those records again.
func (w *Watch) save(ctx context.Context) error {
	watched, records, err := w.snapshot(ctx)
	if err != nil {
		return fmt.Errorf("couldn't save what was watched: %w", err)
	}
	for _, step := range []func(context.Context) error{w.resolve, w.writeNames, w.write} {
		if err = step(ctx); err != nil {
			break
		}
	}
	if err == nil {
		err = w.DB.SaveWatched(ctx, watched)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.giveBack(watched)
		return err
	}
	w.since, w.counted = w.since-records, 0
	return nil
}

// snapshot takes what there is to save, at an instant at which nobody puts records
// in, and says of how many records since the last time it is.
func (w *Watch) snapshot(ctx context.Context) (store.Watched, int64, error) {
	w.door.Lock()
	defer w.door.Unlock()
	if err := w.Ledger.Seal(ctx); err != nil {
		return store.Watched{}, 0, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.release(true) // nobody looks at these records again
	watched := store.Watched{Segment: w.Ledger.Sealed(), States: map[int64][]byte{}}
	var err error
	if watched.Books, err = json.Marshal(w.losses); err != nil {
		return watched, 0, err
	}
	for id, one := range w.used {
		if !one.dirty && len(one.open) == 0 && one.settling == nil {
			continue
		}
		if watched.States[id], err = one.encode(); err != nil {
			return watched, 0, err
		}
		one.dirty = len(one.open) > 0 || one.settling != nil // what is open changes by itself
	}
	watched.Hours, watched.Connections = w.takeCounts()
	clear(w.tries)
	return watched, w.since, nil
}

// takeCounts takes what was counted since it was saved.
func (w *Watch) takeCounts() ([]store.UseHour, []store.UseConnection) {
	hours, connections := make([]store.UseHour, 0, len(w.hours)), make([]store.UseConnection, 0, len(w.parties))
	for key, n := range w.hours {
		hours = append(hours, store.UseHour{Used: key.used, Hour: time.UnixMicro(key.hour), Side: key.side, Uses: n})
	}
	for key, p := range w.parties {
		c := store.UseConnection{
			Used: key.used, Party: key.party, First: time.UnixMicro(p.first), Last: time.UnixMicro(p.last), Holder: p.holder, Relying: p.relying,
		}
		if p.told > 0 {
			c.Told = time.UnixMicro(p.told)
		}
		connections = append(connections, c)
	}
	clear(w.hours)
	clear(w.parties)
	return hours, connections
}

// saveCounts saves what was counted, for those who look at it, and how many records it
// is of, so that a process that is killed does not count them twice.
func (w *Watch) saveCounts(ctx context.Context) error {
	w.door.Lock() // no record is in the ledger and not counted
	w.mu.Lock()
	since := w.since
	if since == w.counted {
		w.mu.Unlock()
		w.door.Unlock()
		return nil
	}
	hours, connections := w.takeCounts()
	w.mu.Unlock()
	w.door.Unlock()
	err := w.writeNames(ctx)
	if err == nil {
		err = w.DB.SaveCounts(ctx, hours, connections, since)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.giveBackCounts(hours, connections)
		return err
	}
	w.counted = since
	return nil
}

// giveBack takes back what could not be saved. w.mu is held.
func (w *Watch) giveBack(watched store.Watched) {
	w.giveBackCounts(watched.Hours, watched.Connections)
	for id := range watched.States {
		if one, ok := w.used[id]; ok {
			one.dirty = true
		}
	}
}

// giveBackCounts does so for what was counted. w.mu is held.
func (w *Watch) giveBackCounts(hours []store.UseHour, connections []store.UseConnection) {
	for _, h := range hours {
		w.hours[hourKey{h.Used, micro(h.Hour), h.Side}] += h.Uses
	}
	for _, c := range connections {
		p, ok := w.parties[partyKey{c.Used, c.Party}]
		if !ok {
			p = &partySeen{first: micro(c.First), last: micro(c.Last)}
			w.parties[partyKey{c.Used, c.Party}] = p
		}
		p.first, p.last = min(p.first, micro(c.First)), max(p.last, micro(c.Last))
		p.holder, p.relying = p.holder+c.Holder, p.relying+c.Relying
		if !c.Told.IsZero() && (p.told == 0 || micro(c.Told) < p.told) {
			p.told = micro(c.Told)
		}
	}
}

func (one *used) encode() ([]byte, error) {
	s := state{Holders: one.holders, Relying: one.relying, Settled: one.settled, Spans: one.spans, Profile: profile.Encode(nil, &one.profile)}
	if one.settling != nil {
		s.Spans = append(slices.Clone(one.spans), *one.settling)
	}
	for _, e := range one.open {
		if at := micro(e.use.Time); s.Open == 0 || at < s.Open {
			s.Open = at
		}
	}
	return json.Marshal(s)
}

// resolveEvery is after how many records that came since the inventory is asked
// about their credentials.
const resolveEvery = 5000

// load takes up what was saved, reads what was open then, and takes what came since.
func (w *Watch) load(ctx context.Context) error {
	segment, counted, books, err := w.DB.WatchedUpTo(ctx)
	if err != nil {
		return err
	}
	if len(books) > 0 {
		if err := json.Unmarshal(books, &w.losses); err != nil {
			return fmt.Errorf("couldn't read what the books lost: %w", err)
		}
	}
	open := map[*used]int64{}
	err = w.DB.EachUsed(ctx, func(u store.Used) error { return w.takeUp(u, open) })
	if err != nil {
		return err
	}
	err = w.DB.EachParty(ctx, func(id int64, party string, told time.Time) error {
		if one, ok := w.used[id]; ok && len(one.parties) < maxParties {
			one.parties[partyHash(party)] = micro(told)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for one, from := range open {
		if err := w.reopen(ctx, one, from); err != nil {
			return err
		}
	}
	n := 0
	return w.Ledger.Arrived(ctx, segment, func(u *tallystick.Use) error {
		if err := w.reserve(ctx, 1); err != nil {
			return err
		}
		if n++; n%resolveEvery == 0 { // the rules are shown all of them
			if err := errors.Join(w.resolve(ctx), w.writeNames(ctx), w.write(ctx)); err != nil {
				return err
			}
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		w.promised--
		w.takeAgain(copyOf(u), open)
		if w.since == counted { // that was the last that is in the counts
			clear(w.hours)
			clear(w.parties)
			w.counted = counted
		}
		return nil
	})
}

// takeUp makes a credential of what was saved of it.
func (w *Watch) takeUp(u store.Used, open map[*used]int64) error {
	if len(u.Names) == 0 {
		return nil // it has gone into another
	}
	one := &used{id: u.ID, names: u.Names, named: true, fingerprint: u.Credential, parties: map[uint64]int64{}, waiting: noTime, leaves: noTime}
	var s state
	if len(u.State) > 0 {
		if err := json.Unmarshal(u.State, &s); err != nil {
			return fmt.Errorf("couldn't read what was saved of credential %d: %w", u.ID, err)
		}
	}
	one.holders, one.relying, one.settled, one.spans = s.Holders, s.Relying, s.Settled, s.Spans
	if one.holders == nil {
		one.holders = map[string]*book{}
	}
	for source := range one.holders {
		w.speaking[source] = true
	}
	if one.relying == nil {
		one.relying = map[string]int64{}
	}
	if len(s.Profile) > 0 {
		var err error
		if one.profile, err = profile.Decode(s.Profile); err != nil {
			return fmt.Errorf("couldn't read how credential %d was used: %w", u.ID, err)
		}
	}
	if s.Open > 0 {
		open[one] = s.Open
	}
	w.used[one.id] = one
	for _, name := range u.Names {
		w.names[name] = one
	}
	return nil
}

// reopen reads the records that were open, and others of their time, which settle
// to what they had come to.
func (w *Watch) reopen(ctx context.Context, one *used, from int64) error {
	said, err := w.DB.VerdictsWithin(ctx, one.id, time.UnixMicro(from), time.UnixMicro(noTime/2))
	if err != nil {
		return err
	}
	one.settled = min(one.settled, from-1)
	one.fresh = true
	q, wanted := queryFor(one.names, span{From: from, To: noTime / 2})
	return w.Ledger.Scan(ctx, q, func(u *tallystick.Use) error {
		if !wanted(u) {
			return nil
		}
		e := &entry{use: copyOf(u), owner: one}
		e.said = statementOf(said[e.name()])
		w.mu.Lock()
		defer w.mu.Unlock()
		w.open(e)
		return nil
	})
}

// takeAgain takes a record that came after what was saved. Where the open records
// of its credential were read again, it is among them.
func (w *Watch) takeAgain(u *tallystick.Use, reopened map[*used]int64) {
	there := false
	for _, name := range u.Credential {
		if one, ok := w.names[tallystick.NormalName(name)]; ok {
			from, ok := reopened[one]
			there = there || ok && micro(u.Time) >= from
		}
	}
	if one := w.note(u); one != nil && !there {
		w.open(&entry{use: u, owner: one})
	}
}
