// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"cmp"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// Bounds on what one credential keeps in memory.
const (
	maxOpen = 200_000
	// maxBusy is how long a credential may be used without a pause before what is
	// long closed is let go in the middle of it.
	maxBusy = time.Hour
	// busyBack is how many tolerances that leaves: of uses without a token id that
	// follow each other closely for hours, two further apart than this do not
	// decide about each other.
	busyBack = 4
)

// retire lets go what is settled for good.
func (w *Watch) retire(s *set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for one := range s.used {
		if one.into != nil {
			continue // its records are in the other's hands now, and are settled there
		}
		w.retireFrom(one)
	}
}

func (w *Watch) retireFrom(one *used) {
	one.sweep()
	one.open = slices.DeleteFunc(one.open, func(e *entry) bool {
		done := e.verdict == tallystick.VerdictMatched && e.certain
		if done {
			w.counts.Matched++
			w.halves.leave(e)
		}
		return done
	})
	slices.SortStableFunc(one.open, func(a, b *entry) int { return cmp.Compare(micro(a.use.Time), micro(b.use.Time)) })
	tolerance := w.Tolerance.Microseconds()
	closed := min(w.holdersClosed(one), closedBy(w, tallystick.SideRelying, one.relying))
	n, last := one.quiet(closed, tolerance)
	if n == 0 && len(one.open) > 0 && closed-micro(one.open[0].use.Time) > maxBusy.Microseconds() {
		n, last = one.before(closed - busyBack*tolerance)
	}
	for _, e := range one.open[:n] {
		if e.verdict == tallystick.VerdictMatched {
			w.counts.Matched++
		}
	}
	if n > 0 {
		w.leave(one.open[:n])
		one.open = slices.Delete(one.open, 0, n)
		one.settled = max(one.settled, last+tolerance)
		one.dirty = true
	}
	if len(one.open) > maxOpen {
		w.leave(one.open[:len(one.open)-maxOpen/2])
		one.park(len(one.open) - maxOpen/2)
	}
	one.waiting, one.leaves = noTime, noTime
	for _, e := range one.open {
		if e.verdict == tallystick.VerdictPending && e.reason.IsOpen() {
			one.waiting = min(one.waiting, until(e.use))
		}
	}
	if len(one.open) > 0 {
		one.leaves = until(one.open[0].use) + tolerance
	}
}

// quiet returns how many of the open records, which are in order of time, are
// before a pause that no record can come into any more, and when the last of them
// was.
func (one *used) quiet(closed, tolerance int64) (n int, last int64) {
	latest := int64(-1 << 62)
	for i, e := range one.open {
		if i > 0 && latest+tolerance < min(micro(e.use.Time), closed) {
			n, last = i, latest
		}
		latest = max(latest, until(e.use))
	}
	if len(one.open) > 0 && latest+tolerance < closed {
		return len(one.open), latest
	}
	return n, last
}

// before returns how many of the open records were over at a time.
func (one *used) before(at int64) (n int, last int64) {
	for _, e := range one.open {
		if until(e.use) >= at {
			break
		}
		n, last = n+1, max(last, until(e.use))
	}
	return n, last
}

// park has the first n open records wait in the ledger.
func (one *used) park(n int) {
	if n == 0 {
		return
	}
	wait := span{From: noTime, To: -noTime, Wait: true}
	for _, e := range one.open[:n] {
		wait.From, wait.To = min(wait.From, micro(e.use.Time)), max(wait.To, until(e.use))
	}
	one.addSpan(wait)
	one.settled = max(one.settled, wait.To)
	one.open = slices.Delete(one.open, 0, n)
}

// maxSpans bounds how many spans a credential has: beyond that, those that are
// nearest to each other become one, which costs time and changes nothing.
const maxSpans = 64

// mergeSpans keeps them few.
func (one *used) mergeSpans() {
	slices.SortFunc(one.spans, func(a, b span) int { return cmp.Compare(a.From, b.From) })
	for len(one.spans) > maxSpans {
		nearest := 1
		for i := 2; i < len(one.spans); i++ {
			if one.spans[i].From-one.spans[i-1].To < one.spans[nearest].From-one.spans[nearest-1].To {
				nearest = i
			}
		}
		one.spans[nearest-1] = one.spans[nearest-1].with(one.spans[nearest])
		one.spans = slices.Delete(one.spans, nearest, nearest+1)
	}
}
