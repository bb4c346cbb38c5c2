// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/tally"
)

// A set is records that are settled together, with the books that speak of them.
type set struct {
	entries []*entry
	used    map[*used]bool
	// at is when what the books say was read.
	closed map[bookName]int64
	losses map[string][]lost
	pairs  [][2]uint32 // entries that are two halves: of the relying party, of the holder
}

// settle runs the tally over the set, and leaves in each entry what it comes to.
func (s *set) settle(ctx context.Context, tolerance time.Duration) error {
	t := tally.New(tally.Options{Tolerance: tolerance, Matched: func(where uint64, certain bool) {
		e := s.entries[where]
		e.verdict, e.reason, e.left, e.certain = tallystick.VerdictMatched, "", 0, certain
	}, Paired: func(relying, holder uint64) {
		s.pairs = append(s.pairs, [2]uint32{uint32(relying), uint32(holder)})
	}})
	s.pairs = s.pairs[:0]
	writer := t.Writer()
	for name, closed := range s.closed {
		if name.side == tallystick.SideHolder {
			writer.Close(tallystick.ClosingMark{Source: name.source, Side: name.side, Closed: time.UnixMicro(closed)})
		}
	}
	for source, list := range s.losses {
		for _, l := range list {
			writer.Lost(&tallystick.Use{Source: source, Seq: l.Seq, Time: time.UnixMicro(l.From), Until: time.UnixMicro(l.To), Count: l.Count})
		}
	}
	for one := range s.used {
		one.known(writer)
	}
	for i, e := range s.entries {
		writer.At(uint64(i))
		writer.Use(e.use)
	}
	writer.Flush()
	result, err := t.Settle(ctx)
	if err != nil {
		return fmt.Errorf("couldn't settle uses: %w", err)
	}
	for i := range result.Items {
		item := &result.Items[i]
		e := s.entries[item.Where]
		e.verdict, e.reason, e.left, e.certain, e.why = item.Verdict, item.Reason.String(), item.Count, false, item.Reason
	}
	return nil
}

// seek asks the ledger for the other records of tokens that nobody in the set
// knows, and settles again with them: a token may have been received long before
// it is used, and a replay may come long after.
func (w *Watch) seek(ctx context.Context, s *set) error {
	var wanted []*entry
	for _, e := range s.entries {
		if e.verdict == tallystick.VerdictForeign && e.use.IDs.UTI != "" && !e.sought && !e.aside && e.said != tallystick.VerdictForeign {
			wanted = append(wanted, e)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	there := map[string]bool{}
	for _, e := range s.entries {
		if e.use.IDs.UTI != "" {
			there[e.name()] = true
		}
	}
	found := false
	for _, e := range wanted {
		e.sought = true
		err := w.Ledger.ByID(ctx, e.use.IDs.UTI, func(u *tallystick.Use) error {
			other := &entry{use: copyOf(u), aside: true}
			if there[other.name()] || u.IDs.UTI == "" {
				return nil
			}
			there[other.name()], found = true, true
			w.mu.Lock()
			other.owner = w.usedOf(other.use)
			w.mu.Unlock()
			// What was settled before is settled again: of two uses of one token
			// the other may be the likelier.
			other.aside = other.use.Side == tallystick.SideHolder
			if e.owner != other.owner && other.use.Side == tallystick.SideHolder && isWeak(e.use) {
				e.owner = other.owner
			}
			s.entries, s.used[other.owner] = append(s.entries, other), true
			return nil
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
	for name := range w.ended {
		closed[name] = endOfTime
	}
	w.closed = closed
	s := &set{used: map[*used]bool{}, closed: closed, losses: map[string][]lost{}}
	for source, list := range w.losses {
		s.losses[source] = list
	}
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
		s.used[one] = true
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
