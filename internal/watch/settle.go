// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/tally"
)

// A set is records that are settled together, with what the books that speak of
// them say. It belongs to one goroutine: what is taken from a Watch is copied.
type set struct {
	entries  []*entry
	outcomes []outcome // of the entries
	pairs    [][2]uint32
	used     map[*used]bool
	names    [][]string
	known    []tally.Known
	closed   map[bookName]int64
	losses   map[string][]lost
	speaking []string // the holders' books that have uses
}

// An outcome is what an entry comes to.
type outcome struct {
	verdict tallystick.Verdict
	reason  tally.Reason
	left    int64 // uses that are not matched
	certain bool  // a token id ties it to its other half
}

// newSet returns an empty set. w.mu is held.
func (w *Watch) newSet() *set {
	s := &set{used: map[*used]bool{}, closed: w.closed, losses: make(map[string][]lost, len(w.losses))}
	for source, list := range w.losses {
		s.losses[source] = list
		if w.speaking[source] {
			s.speaking = append(s.speaking, source)
		}
	}
	return s
}

// speak adds what the books say of a credential. w.mu is held.
func (s *set) speak(one *used) {
	if s.used[one] {
		return
	}
	s.used[one] = true
	s.names = append(s.names, slices.Clone(one.names))
	s.known = append(s.known, one.known()...)
}

// settle runs the tally over the set.
func (s *set) settle(ctx context.Context, tolerance time.Duration) error {
	s.outcomes, s.pairs = make([]outcome, len(s.entries)), s.pairs[:0]
	t := tally.New(tally.Options{Tolerance: tolerance, Matched: func(where uint64, certain bool) {
		s.outcomes[where] = outcome{verdict: tallystick.VerdictMatched, certain: certain}
	}, Paired: func(relying, holder uint64) {
		s.pairs = append(s.pairs, [2]uint32{uint32(relying), uint32(holder)})
	}})
	s.writeTo(t.Writer())
	result, err := t.Settle(ctx)
	if err != nil {
		return fmt.Errorf("couldn't settle uses: %w", err)
	}
	for i := range result.Items {
		item := &result.Items[i]
		s.outcomes[item.Where] = outcome{verdict: item.Verdict, reason: item.Reason, left: item.Count}
	}
	return nil
}

// writeTo gives the set to a tally.
func (s *set) writeTo(t *tally.Writer) {
	for name, closed := range s.closed {
		if name.side == tallystick.SideHolder {
			t.Close(tallystick.ClosingMark{Source: name.source, Side: name.side, Closed: time.UnixMicro(closed)})
		}
	}
	for source, list := range s.losses {
		for _, l := range list {
			t.Lost(&tallystick.Use{Source: source, Seq: l.Seq, Time: time.UnixMicro(l.From), Until: time.UnixMicro(l.To), Count: l.Count})
		}
	}
	for _, source := range s.speaking {
		t.Elsewhere(source)
	}
	for _, names := range s.names {
		t.Join(names)
	}
	for _, known := range s.known {
		t.Know(known)
	}
	for i, e := range s.entries {
		t.At(uint64(i))
		t.Use(e.use)
	}
	t.Flush()
}

// seek asks the ledger for the other records of tokens that nobody in the set
// knows, and settles again with them: a token may have been received long before
// it is used, and a replay may come long after.
func (w *Watch) seek(ctx context.Context, s *set) error {
	wanted, there := w.unknownTokens(s)
	found := false
	for _, e := range wanted {
		e.sought = true
		err := w.Ledger.ByID(ctx, e.use.IDs.UTI, func(u *tallystick.Use) error {
			// What was settled before is settled again: of two uses of one token
			// the other may be the likelier.
			other := &entry{use: copyOf(u), aside: u.Side == tallystick.SideHolder}
			if there[other.name()] || u.IDs.UTI == "" || u.Side == tallystick.SideRelying && u.Outcome == tallystick.OutcomeAttempt {
				return nil
			}
			there[other.name()], found = true, true
			return w.join(ctx, s, e, other)
		})
		if err != nil {
			return err
		}
	}
	if !found {
		return nil
	}
	return s.settle(ctx, w.Tolerance)
}

// unknownTokens returns the entries whose token nobody in the set knows, and the
// records that have one.
func (w *Watch) unknownTokens(s *set) (wanted []*entry, there map[string]bool) {
	for i, e := range s.entries {
		if s.outcomes[i].verdict == tallystick.VerdictForeign && e.use.IDs.UTI != "" && !e.sought && !e.aside && e.said.verdict != tallystick.VerdictForeign {
			wanted = append(wanted, e)
		}
	}
	there = map[string]bool{}
	if len(wanted) == 0 {
		return nil, there
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range s.entries {
		if e.use.IDs.UTI != "" {
			there[e.name()] = true
		}
	}
	return wanted, there
}

// join adds another record of an entry's token to a set.
func (w *Watch) join(ctx context.Context, s *set, e, other *entry) error {
	w.mu.Lock()
	other.owner = w.usedOf(other.use)
	if other.aside && e.owner != other.owner && isWeak(e.use) {
		e.owner = other.owner
	}
	s.speak(other.owner)
	id := other.owner.id
	w.mu.Unlock()
	s.entries = append(s.entries, other)
	if other.aside {
		return nil
	}
	said, err := w.DB.VerdictsWithin(ctx, id, other.use.Time, other.use.Time)
	other.said = statementOf(said[other.name()])
	return err
}

// name returns the key of the entry's record.
func (e *entry) name() string {
	if e.key == "" {
		e.key = tally.Key(e.use)
	}
	return e.key
}

func copyOf(u *tallystick.Use) *tallystick.Use {
	c := *u
	return &c
}

// maxSet bounds how many records are settled in one round.
const maxSet = 1 << 20

// round settles what is due.
func (w *Watch) round(ctx context.Context) error {
	if err := errors.Join(w.resolve(ctx), w.writeNames(ctx)); err != nil {
		return err
	}
	if s := w.due(); len(s.entries) > 0 {
		if err := w.settleOpen(ctx, s); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			for one := range s.used {
				one.now().fresh = true // it is due again
			}
			return err
		}
	}
	if err := w.settleSpans(ctx); err != nil {
		return err
	}
	return w.write(ctx)
}

// settleOpen settles open records, and lets go those that are settled for good.
func (w *Watch) settleOpen(ctx context.Context, s *set) error {
	if err := w.settleWithin(ctx, s); err != nil {
		return err
	}
	if err := w.say(ctx, w.changed(s)); err != nil {
		return err
	}
	w.compareClocks(s)
	w.retire(s)
	return nil
}

// due gathers the records of the credentials that something is new about.
func (w *Watch) due() *set {
	closed, anyHolder := map[bookName]int64{}, false
	for _, b := range w.Ledger.Books() {
		name := bookName{b.Source, b.Side}
		switch {
		case !b.Closed.IsZero():
			closed[name] = micro(b.Closed)
		case b.Side == tallystick.SideRelying && !b.Last.IsZero():
			// Nobody says how far it is closed. It decides no verdict, only what
			// can leave the memory: see lateness.
			closed[name] = min(micro(b.Last), micro(w.Now())) - lateness.Microseconds()
		default:
			closed[name] = 0
		}
		anyHolder = anyHolder || b.Side == tallystick.SideHolder
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.own.expire(w.Now())
	for name := range w.ended {
		closed[name] = endOfTime
	}
	w.closed = closed
	s := w.newSet()
	for _, one := range w.used {
		if one.sweep(); len(one.open) == 0 {
			one.fresh = false
			continue
		}
		if !anyHolder {
			w.leave(one.open)
			one.park(len(one.open))
			continue
		}
		holders := w.holdersClosed(one)
		if len(s.entries) >= maxSet || !one.fresh && holders <= one.waiting+w.Tolerance.Microseconds() && min(holders, closedBy(w, tallystick.SideRelying, one.relying)) <= one.leaves {
			continue
		}
		one.fresh = false
		s.entries = append(s.entries, one.open...)
		s.speak(one)
	}
	return s
}

// leave has records leave the halves.
func (w *Watch) leave(list []*entry) {
	for _, e := range list {
		w.halves.leave(e)
	}
}

// lateness is how late a record of a relying party is taken to be at most, where
// nobody says how far its book is closed.
const lateness = time.Hour

// holdersClosed returns up to when the holders' books are closed that decide about
// a credential: all of them, where none has a record of it.
func (w *Watch) holdersClosed(one *used) int64 {
	if len(one.holders) > 0 {
		return closedBy(w, tallystick.SideHolder, one.holders)
	}
	closed := noTime
	for name, at := range w.closed {
		if name.side == tallystick.SideHolder {
			closed = min(closed, at)
		}
	}
	if closed == noTime {
		return 0
	}
	return closed
}
