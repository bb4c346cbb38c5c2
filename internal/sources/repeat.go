// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"encoding/hex"
	"maps"
	"slices"
	"strconv"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/tally"
)

// Some logs write the same line for each of several uses within a second, and the
// ledger knows a record by all that it says. So the second of equal lines of a
// file, and each after it, says which it is. The numbers hang on the file alone:
// whoever reads it again from its beginning gives the same ones.

// occurrence is the member of a use that says how many equal lines stand before
// it in its file, that one included.
const occurrence = "occurrence"

const (
	// maxRepeats is how many records without a name of their own are remembered of
	// a file. They are told apart by their times, so that what is equal stands near.
	maxRepeats = 10_000
	// maxCounted is of how many files that grow, some 10 MB in all.
	maxCounted = 16
)

// repeats counts the equal records of one file.
type repeats struct {
	times map[recordKey]int32
	order []recordKey // a ring: the oldest is at next when it is full
	next  int
}

// A recordKey is a tally.Key in half the bytes.
type recordKey [16]byte

func newRepeats() *repeats { return &repeats{times: map[recordKey]int32{}} }

// clone returns what goes on from here by itself: a copy of the file.
func (r *repeats) clone() *repeats {
	return &repeats{maps.Clone(r.times), slices.Clone(r.order), r.next}
}

// number numbers a use that its file has again.
func (r *repeats) number(u *tallystick.Use) {
	if tally.IsNamed(u) {
		return
	}
	var key recordKey
	if _, err := hex.Decode(key[:], []byte(tally.Key(u))); err != nil {
		return // it is of hexadecimal digits
	}
	n := r.times[key] + 1
	r.times[key] = n
	switch {
	case n > 1:
		if u.Other == nil {
			u.Other = map[string]string{}
		}
		u.Other[occurrence] = strconv.Itoa(int(n))
	case len(r.order) < maxRepeats:
		r.order = append(r.order, key)
	default:
		delete(r.times, r.order[r.next])
		r.order[r.next] = key
		r.next = (r.next + 1) % maxRepeats
	}
}

// A counted is the repeats of a file that is read on.
type counted struct {
	place *place
	*repeats
}

// counting makes the feed count the equal records of a file that is read on from
// where it stood. Of too many files those are forgotten that were not read for
// the longest.
func (w *watcher) counting(p *place) {
	r := w.repeatsOf(p)
	if r == nil || p.Offset == 0 {
		r = newRepeats()
	}
	w.count(p, r)
	w.repeats = r
}

// repeatsOf returns what is remembered of a file, or nil.
func (w *watcher) repeatsOf(p *place) *repeats {
	for _, c := range w.counts {
		if c.place == p {
			return c.repeats
		}
	}
	return nil
}

// count remembers what was counted of a file; nil is nothing.
func (w *watcher) count(p *place, r *repeats) {
	w.counts = slices.DeleteFunc(w.counts, func(c counted) bool { return c.place == p })
	if r != nil {
		w.counts = append(w.counts, counted{p, r})
		w.counts = slices.Clone(w.counts[max(0, len(w.counts)-maxCounted):])
	}
}

// countAs lets a file that begins as another one did go on from what was counted
// of that.
func (w *watcher) countAs(p, other *place) {
	r := w.repeatsOf(other)
	if r != nil {
		r = r.clone()
	}
	w.count(p, r)
}
