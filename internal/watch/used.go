// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"net/netip"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/profile"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/tally"
	"github.com/tallystick/tallystick/rule"
)

// A used is a credential as uses name it.
type used struct {
	id    int64
	into  *used    // the one that it turned out to be
	names []string // in the normal form
	dirty bool     // has changed since what was seen was saved
	named bool     // its names and what the inventory calls it are written down

	holders map[string]*book // the books of holders that speak of it, by source
	relying map[string]int64 // the books of relying parties, with the time of the last record
	parties map[uint64]int64 // since when relying parties tell of uses, by a hash of their names
	profile rule.Profile

	open    []*entry // records in memory, as they came
	gone    int      // how many of them were paired meanwhile, and leave
	fresh   bool     // some have come since it was last settled
	waiting int64    // the earliest time of a record that waits for a book; noTime is none
	leaves  int64    // when the books are closed past this, something may leave
	// settled is up to when everything that is not open was settled: what comes
	// with an earlier time is settled with what the ledger has.
	settled  int64
	spans    []span // times that are to be settled with what the ledger has, apart from each other
	settling *span  // that is being settled, and is not among them

	// What the inventory says, as of the last time that it was asked.
	fingerprint tallystick.Fingerprint
	sighted     store.Sighted
	blocked     time.Time
	networks    []netip.Prefix
	asked       time.Time
	complained  string     // what was said of its tags
	unjudged    []unjudged // that the rules were not shown, because it was not asked yet
}

// A book is what one holder's book has of a credential: see tally.Known.
type book struct {
	First int64 `json:"first"`
	UTIs  bool  `json:"utis,omitempty"`
	Calls bool  `json:"calls,omitempty"`
	Signs bool  `json:"signs,omitempty"`
	Asks  bool  `json:"asks,omitempty"` // requests and tokens
}

// An entry is a record in memory. While it is among the open ones, all of it but
// sought is guarded by mu.
type entry struct {
	use   *tallystick.Use
	owner *used
	key   string // see tally.Key; "" until it is wanted
	token string // under which it is among the halves; "" is not

	outcome           // as of the last time that it was settled
	said    statement // that is written down
	saying  statement // that is being written down

	paired bool // its other half has come, and it leaves
	aside  bool // it is there for the sake of others, and nothing is said of it
	sought bool // the ledger was asked for others of its token
}

// A statement is what is written down of a record that is not matched; the zero
// value is nothing.
type statement struct {
	verdict tallystick.Verdict
	uses    int64
}

func statementOf(v store.Verdict) statement { return statement{v.Verdict, v.Uses} }

// A span is a time, in microseconds, both ends included. Verdicts on what is in it
// may wait for the books to be closed past it.
type span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
	Wait bool  `json:"wait,omitempty"` // nothing new is in it but what a book may say
	// Tried is how far the books were closed when it was last settled.
	Tried int64 `json:"tried,omitempty"`
}

// noTime is later than any.
const noTime = int64(1<<63 - 1)

func micro(t time.Time) int64 { return t.UnixMicro() }

// until is when the last use of a record was.
func until(u *tallystick.Use) int64 { return max(micro(u.Time), micro(u.Until)) }

// now returns the one that it turned out to be in the end.
func (one *used) now() *used {
	for one.into != nil {
		one = one.into
	}
	return one
}

// usedOf returns whose use it is. Names that come together are of one credential,
// but for a try that showed nothing, which can name any.
func (w *Watch) usedOf(u *tallystick.Use) *used {
	var found *used
	for i, name := range u.Credential {
		if i == maxNames {
			break
		}
		one, ok := w.names[name]
		if !ok && !joins(u) {
			if one, ok = w.names[tallystick.NormalName(name)]; !ok {
				continue // anybody can try with any name: that makes no credential
			}
		}
		if !ok {
			one = w.add(name, found)
		}
		one = one.now()
		if found == nil {
			found = one
		} else if found != one && joins(u) {
			found = w.merge(found, one)
		}
		if !joins(u) && found != nil {
			return found
		}
	}
	if found == nil { // a token is all that it names
		found = w.ownerOf(u)
	}
	return found
}

// maxNames is how many names of one record count: a credential has a handful.
const maxNames = 32

func joins(u *tallystick.Use) bool {
	return u.Side == tallystick.SideHolder || u.Outcome != tallystick.OutcomeAttempt
}

// nameless stands for the credential of records that name none.
const nameless = "?"

// add takes up a name, of the credential with or of a new one.
func (w *Watch) add(name string, with *used) *used {
	normal := tallystick.NormalName(name)
	one, ok := w.names[normal]
	switch {
	case ok:
		one = one.now()
	case with != nil:
		one = with
		one.names, one.dirty, one.named = append(one.names, normal), true, false
	default:
		one = w.newUsed(normal)
	}
	if w.names[normal] = one; len(name) <= 2*len(normal) {
		w.names[name] = one
	}
	return one
}

func (w *Watch) newUsed(name string) *used {
	one := &used{id: w.nextID, names: []string{name}, holders: map[string]*book{}, relying: map[string]int64{}, parties: map[uint64]int64{}, waiting: noTime, dirty: true}
	w.nextID++
	w.used[one.id] = one
	return one
}

// merge makes one of two: the older stays.
func (w *Watch) merge(a, b *used) *used {
	if b.id < a.id {
		a, b = b, a
	}
	b.into = a
	a.names = append(a.names, b.names...)
	for source, other := range b.holders {
		if mine, ok := a.holders[source]; ok {
			mine.First = min(mine.First, other.First)
			mine.UTIs, mine.Calls = mine.UTIs || other.UTIs, mine.Calls || other.Calls
			mine.Signs, mine.Asks = mine.Signs || other.Signs, mine.Asks || other.Asks
		} else {
			a.holders[source] = other
		}
	}
	for source, last := range b.relying {
		a.relying[source] = max(a.relying[source], last)
	}
	for party, since := range b.parties {
		if mine, ok := a.parties[party]; !ok || since < mine {
			a.parties[party] = since
		}
	}
	a.profile = profile.Merge(&a.profile, &b.profile)
	for _, e := range b.open {
		e.owner = a
	}
	a.open, a.gone = append(a.open, b.open...), a.gone+b.gone
	// What was settled of the two was settled apart: what the one had foreign and
	// the other unconfirmed may be two halves.
	if b.settled > 0 && a.settled > 0 {
		a.addSpan(span{From: max(min(a.firstUse(), b.firstUse()), min(a.settled, b.settled)-mergeBack), To: max(a.settled, b.settled)})
	}
	a.settled, a.waiting = max(a.settled, b.settled), min(a.waiting, b.waiting)
	for _, s := range b.spans {
		a.addSpan(s)
	}
	if b.settling != nil {
		a.addSpan(*b.settling)
	}
	a.unjudged = append(a.unjudged, b.unjudged...)
	a.fresh, a.dirty, a.named, a.asked = true, true, false, time.Time{}
	delete(w.used, b.id)
	w.merged = append(w.merged, [2]int64{b.id, a.id})
	w.mergeCounts(b.id, a.id)
	return a
}

// mergeCounts gives what was counted of one to another.
func (w *Watch) mergeCounts(from, into int64) {
	for key, n := range w.hours {
		if key.used == from {
			delete(w.hours, key)
			w.hours[hourKey{into, key.hour, key.side}] += n
		}
	}
	for key, p := range w.parties {
		if key.used != from {
			continue
		}
		delete(w.parties, key)
		other, ok := w.parties[partyKey{into, key.party}]
		if !ok {
			w.parties[partyKey{into, key.party}] = p
			continue
		}
		other.first, other.last = min(other.first, p.first), max(other.last, p.last)
		other.holder, other.relying = other.holder+p.holder, other.relying+p.relying
		if p.told > 0 && (other.told == 0 || p.told < other.told) {
			other.told = p.told
		}
	}
}

// mergeBack is how far back what was settled apart is settled again, in microseconds.
const mergeBack = int64(24 * time.Hour / time.Microsecond)

func (one *used) firstUse() int64 {
	if one.profile.First.IsZero() {
		return noTime
	}
	return micro(one.profile.First)
}

// addSpan adds a time, and makes one span of those that meet.
func (one *used) addSpan(s span) {
	for i := 0; i < len(one.spans); {
		other := one.spans[i]
		if s.To < other.From || s.From > other.To {
			i++
			continue
		}
		s = s.with(other)
		one.spans = slices.Delete(one.spans, i, i+1)
	}
	one.spans = append(one.spans, s)
	one.mergeSpans()
	one.dirty = true
}

// with makes one span of two.
func (s span) with(other span) span {
	return span{min(s.From, other.From), max(s.To, other.To), s.Wait && other.Wait, min(s.Tried, other.Tried)}
}

// learnBook keeps what a holder's record says of its book.
func (one *used) learnBook(u *tallystick.Use) {
	b, ok := one.holders[u.Source]
	if !ok {
		b = &book{First: micro(u.Time)}
		one.holders[u.Source] = b
		one.fresh = true
	}
	b.First = min(b.First, micro(u.Time))
	b.UTIs = b.UTIs || u.IDs.UTI != ""
	switch u.Level.Rank() {
	case tallystick.LevelCall.Rank():
		b.Calls = true
	case tallystick.LevelSignature.Rank():
		b.Signs = true
	default:
		b.Asks = true
	}
}

// known returns what the books say beside the records that a tally is given.
func (one *used) known() []tally.Known {
	list := make([]tally.Known, 0, len(one.holders))
	for source, b := range one.holders {
		list = append(list, tally.Known{
			Credential: one.names[0], Source: source, First: time.UnixMicro(b.First), UTIs: b.UTIs, Calls: b.Calls, Signatures: b.Signs, Requests: b.Asks,
		})
	}
	return list
}

// hasCalls says whether a holder writes down what its tokens are used for.
func (one *used) hasCalls() bool {
	for _, b := range one.holders {
		if b.Calls {
			return true
		}
	}
	return false
}

// sweep drops open records that were paired.
func (one *used) sweep() {
	if one.gone > 0 {
		one.open = slices.DeleteFunc(one.open, func(e *entry) bool { return e.paired })
		one.gone = 0
	}
}

// closedBy returns up to when all books of a side that speak of it are closed.
func closedBy[V any](w *Watch, side tallystick.Side, books map[string]V) int64 {
	closed := noTime
	for source := range books {
		closed = min(closed, w.closed[bookName{source, side}])
	}
	return closed
}
