// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
)

// How much of what is late is settled in one round, so that what is new is not
// held up for long.
const (
	spansInRound = 16
	sliceTime    = time.Hour // of a span
	maxSlice     = 500_000   // records
)

var errTooMany = errors.New("too many records")

// settleSpans settles what came late, and what waited and need not any more.
func (w *Watch) settleSpans(ctx context.Context) error {
	for range spansInRound {
		one, s, at := w.dueSpan()
		if one == nil {
			return nil
		}
		waits, rest, err := w.settleSlice(ctx, one, s, at)
		w.mu.Lock()
		one.settling = nil
		if err != nil { // all of it is due again
			waits, rest = []span{s}, nil
		}
		for _, left := range append(waits, rest...) {
			one.now().addSpan(left)
		}
		w.mu.Unlock()
		if err != nil {
			return err
		}
	}
	w.Wake()
	return nil
}

// settleSlice settles the beginning of a span, from its first record on: between
// two records may be thousands of years, if somebody's clock says so. It returns
// what is left of the span, and what of it waits for a book.
func (w *Watch) settleSlice(ctx context.Context, one *used, s span, at closing) (waits, rest []span, err error) {
	first, ok, err := w.firstIn(ctx, one, s)
	if err != nil || !ok {
		return nil, nil, err
	}
	slice := s
	slice.From = first
	if end := first + sliceTime.Microseconds(); end < s.To {
		slice.To = end
		rest = append(rest, span{From: end + 1, To: s.To, Wait: s.Wait, Tried: s.Tried})
	}
	wait, err := w.settleSpan(ctx, one, slice, at.books)
	if wait {
		slice.Wait, slice.Tried = true, at.past
		waits = append(waits, slice)
	}
	return waits, rest, err
}

// firstIn returns the time of the first record within a span.
func (w *Watch) firstIn(ctx context.Context, one *used, s span) (at int64, ok bool, err error) {
	w.mu.Lock()
	names := slices.Clone(one.names)
	w.mu.Unlock()
	// Most often it is near, and reading a little finds it.
	for _, to := range []int64{min(s.To, s.From+sliceTime.Microseconds()), s.To} {
		q, wanted := queryFor(names, span{From: s.From, To: to})
		first, err := w.Ledger.First(ctx, q, wanted)
		if err != nil {
			return 0, false, err
		} else if first != nil {
			return micro(first.Time), true, nil
		}
	}
	return 0, false, nil
}

// A closing is how far books are closed.
type closing struct {
	books map[bookName]int64
	past  int64 // uses of the credential are decided up to here
}

// dueSpan takes a span, or the beginning of one, that can be settled.
func (w *Watch) dueSpan() (*used, span, closing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, one := range w.used {
		if len(one.spans) == 0 {
			continue
		}
		closed := w.holdersClosed(one) - w.Tolerance.Microseconds() - 1
		for i, s := range one.spans {
			to := s.To
			if s.Wait {
				to = min(to, closed)
			}
			if to < s.From || s.Wait && closed <= s.Tried {
				continue
			}
			one.spans = slices.Delete(one.spans, i, i+1)
			if to < s.To {
				one.spans = append(one.spans, span{From: to + 1, To: s.To, Wait: s.Wait, Tried: s.Tried})
			}
			one.dirty, one.settling = true, &span{From: s.From, To: to, Wait: s.Wait, Tried: s.Tried}
			return one, *one.settling, closing{w.closed, closed}
		}
	}
	return nil, span{}, closing{}
}

// settleSpan settles the records of a credential within a span, and says whether
// some of them wait for a book.
func (w *Watch) settleSpan(ctx context.Context, one *used, s span, closed map[bookName]int64) (waits bool, err error) {
	w.mu.Lock()
	names, settled, set := slices.Clone(one.names), one.settled, w.newSet()
	set.closed = closed
	set.speak(one)
	w.mu.Unlock()
	entries, err := w.around(ctx, one, names, s)
	if errors.Is(err, errTooMany) {
		w.halve(one, s)
		return false, nil
	} else if err != nil {
		return false, err
	}
	set.entries = entries
	core := coreOf(entries, s, w.Tolerance.Microseconds())
	said, err := w.DB.VerdictsWithin(ctx, one.id, time.UnixMicro(core.From), time.UnixMicro(core.To))
	if err != nil {
		return false, err
	}
	for _, e := range entries {
		at := micro(e.use.Time)
		if e.aside = at < core.From || at > core.To || at > settled; !e.aside {
			e.said = statementOf(said[e.name()])
		}
	}
	if err := w.settleWithin(ctx, set); err != nil {
		return false, err
	}
	if err := w.say(ctx, w.changed(set)); err != nil {
		return false, err
	}
	w.compareClocks(set)
	for _, e := range entries {
		at := micro(e.use.Time)
		waits = waits || !e.aside && s.From <= at && at <= s.To && e.verdict == tallystick.VerdictPending && e.reason.IsOpen()
	}
	return waits, w.tellOwners(ctx, one, entries)
}

// halve makes two spans of one that has too many records to be settled at once.
func (w *Watch) halve(one *used, s span) {
	w.mu.Lock()
	defer w.mu.Unlock()
	middle := s.From + (s.To-s.From)/2
	one.now().addSpan(span{From: s.From, To: middle, Wait: s.Wait})
	one.now().addSpan(span{From: middle + 1, To: s.To, Wait: s.Wait})
}

func (w *Watch) settleWithin(ctx context.Context, set *set) error {
	if err := set.settle(ctx, w.Tolerance); err != nil {
		return err
	}
	return w.seek(ctx, set)
}

// coreOf returns the time about which something new is known when something new is
// known about a span: to the next pause before it and after it, where none is near
// for a few times the tolerance. The entries are in order of time.
func coreOf(entries []*entry, s span, tolerance int64) span {
	core := span{From: s.From - busyBack*tolerance, To: s.To + busyBack*tolerance}
	latest := int64(-1 << 62)
	for _, e := range entries {
		at := micro(e.use.Time)
		if at > latest+tolerance {
			if at <= s.From {
				core.From = at
			} else if latest+tolerance >= s.To && latest < core.To {
				core.To = latest
				break
			}
		}
		latest = max(latest, until(e.use))
	}
	return core
}

// around reads the records of a span from the ledger, with those before and after
// it as far as they may decide about them. Of a credential that is used very often
// that is less: two uses that are many uses apart do not decide about each other.
func (w *Watch) around(ctx context.Context, one *used, names []string, s span) (entries []*entry, err error) {
	tolerance := w.Tolerance.Microseconds()
	for _, margin := range []int64{2 * busyBack * tolerance, tolerance, tolerance / 16} {
		entries, err = w.read(ctx, one, names, span{From: s.From - margin, To: s.To + margin})
		if !errors.Is(err, errTooMany) {
			return entries, err
		}
	}
	if s.To-s.From > time.Second.Microseconds() {
		return nil, err
	}
	return entries, nil // as many as can be held; who floods a book can hide in that second
}

// read reads the records of a time, at most maxSlice of them.
func (w *Watch) read(ctx context.Context, one *used, names []string, s span) ([]*entry, error) {
	var entries []*entry
	q, wanted := queryFor(names, s)
	err := w.Ledger.Scan(ctx, q, func(u *tallystick.Use) error {
		if !wanted(u) {
			return nil
		}
		if len(entries) == maxSlice {
			return errTooMany
		}
		entries = append(entries, &entry{use: copyOf(u), owner: one})
		return nil
	})
	slices.SortStableFunc(entries, func(a, b *entry) int { return cmp.Compare(micro(a.use.Time), micro(b.use.Time)) })
	return entries, err
}

// queryFor returns what to ask the ledger for the records of a credential and a
// time that are tallied, and which of what it answers are those. The nameless have
// no name to be found by.
func queryFor(names []string, s span) (ledger.Query, func(*tallystick.Use) bool) {
	q := ledger.Query{Names: names, From: time.UnixMicro(s.From), To: time.UnixMicro(s.To + 1)}
	unnamed := slices.Contains(names, nameless)
	if unnamed {
		q.Names = nil
	}
	return q, func(u *tallystick.Use) bool {
		if u.Side == tallystick.SideRelying && u.Outcome == tallystick.OutcomeAttempt {
			return false
		}
		return !unnamed || len(u.Credential) == 0 && u.Other["lost"] == ""
	}
}

// tellOwners has the uses of tokens settled again that only now have a holder's
// record, where they are recorded under other names.
func (w *Watch) tellOwners(ctx context.Context, one *used, entries []*entry) error {
	for _, e := range entries {
		u := e.use
		if e.aside || u.Side != tallystick.SideHolder || u.IDs.UTI == "" || e.verdict == tallystick.VerdictMatched && e.certain {
			continue
		}
		err := w.Ledger.ByID(ctx, u.IDs.UTI, func(other *tallystick.Use) error {
			if other.Side != tallystick.SideRelying || !isWeak(other) {
				return nil
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			if owner := w.usedOf(copyOf(other)); owner != one.now() && micro(other.Time) <= owner.settled {
				owner.addSpan(span{From: micro(other.Time), To: until(other)})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
