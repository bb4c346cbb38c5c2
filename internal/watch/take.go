// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/profile"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/tally"
)

type hourKey struct {
	used int64
	hour int64 // microseconds
	side tallystick.Side
}

type partyKey struct {
	used  int64
	party string
}

type partySeen struct{ first, last, holder, relying, told int64 }

// tooEarly is how far ahead of the clock a record may be and still teach what is
// usual: one with a time in the future would make the present look old.
const tooEarly = 24 * time.Hour

// learn shows the rules a use that has just come, and learns from it.
func (w *Watch) learn(one *used, u *tallystick.Use) {
	w.arrived(one, u, false)
	one.dirty = true
	if u.Time.Before(w.Now().Add(tooEarly)) {
		profile.Learn(&one.profile, u)
	}
}

// take takes a record that is new. w.mu is held.
func (w *Watch) take(u *tallystick.Use) {
	if one := w.note(u); one != nil {
		w.open(&entry{use: copyOf(u), owner: one}) // a copy, or one record would hold its whole batch
	}
}

// note counts a record and learns from it. It returns whose it is, nil when that
// was all there is to it.
func (w *Watch) note(u *tallystick.Use) *used {
	w.since++
	w.counts.Taken++
	if u.Side == tallystick.SideHolder && u.Other["lost"] != "" && len(u.Credential) == 0 {
		w.lose(u)
		return nil
	}
	one := w.usedOf(u)
	one.dirty = true
	w.count(one, u)
	w.detect(one, u)
	w.meet(one, u)
	if u.Side == tallystick.SideHolder {
		one.learnBook(u)
		w.speaking[u.Source] = true
		if u.IDs.UTI != "" && u.Level != tallystick.LevelCall {
			w.tokens.put(tallystick.NormalUTI(u.IDs.UTI), one)
		}
		return one
	}
	if u.Outcome == tallystick.OutcomeAttempt {
		w.try(one, u)
		return nil
	}
	one.relying[u.Source] = max(one.relying[u.Source], micro(u.Time))
	one.tells(partyHash(u.RelyingParty), micro(u.Time))
	if w.isSpokenFor(one, u) {
		w.counts.Matched++
		return nil
	}
	return one
}

// open puts a record among the open ones, unless it is late or its other half is
// there.
func (w *Watch) open(e *entry) {
	at := micro(e.use.Time)
	if at <= e.owner.settled {
		e.owner.addSpan(span{From: at, To: until(e.use)})
		return
	}
	if isSimple(e.use) {
		if other := w.halves.match(e); other != nil {
			w.pair(e, other)
			return
		}
	}
	e.owner.open = append(e.owner.open, e)
	e.owner.fresh = true
}

// pair takes note that two records are the halves of a use. The one that was there
// leaves with the next round.
func (w *Watch) pair(e, other *entry) {
	other.paired, other.token = true, ""
	e.owner.gone++
	w.counts.Matched += 2
	for _, half := range []*entry{e, other} {
		if half.said != (statement{}) { // before its other half came
			w.outbox.unsaid = append(w.outbox.unsaid, half.name())
		}
	}
	if e.use.Side == tallystick.SideRelying {
		w.compareClock(e.use, other.use)
	} else {
		w.compareClock(other.use, e.use)
	}
}

// maxParties bounds how many relying parties of a credential are known to have a
// book. Of those beyond, nobody says that they did not confirm a use.
const maxParties = 100_000

// tells takes note that a relying party tells of uses. When its book turns out to
// begin earlier than was known, it could have confirmed what was not expected of it.
func (one *used) tells(party uint64, at int64) {
	since, ok := one.parties[party]
	if ok && since <= at || !ok && len(one.parties) >= maxParties {
		return
	}
	if !ok {
		since = one.settled
	}
	one.parties[party] = at
	if at < since {
		one.addSpan(span{From: at, To: since})
	}
}

func partyHash(name string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(strings.ToLower(name)))
	return h.Sum64()
}

// isSpokenFor says whether a call was made with a token of a holder that does not
// write its calls down: the token then speaks for them.
func (w *Watch) isSpokenFor(one *used, u *tallystick.Use) bool {
	if u.Level != tallystick.LevelCall || u.IDs.UTI == "" {
		return false
	}
	owner := w.tokens.get(tallystick.NormalUTI(u.IDs.UTI))
	return owner != nil && !owner.hasCalls() && (owner == one || isWeak(u) && len(one.holders) == 0)
}

// count adds a record to the numbers that pages show.
func (w *Watch) count(one *used, u *tallystick.Use) {
	if u.Side == tallystick.SideRelying && u.Outcome == tallystick.OutcomeAttempt {
		return
	}
	at, n := micro(u.Time), max(u.Count, 1)
	hour := at - at%int64(time.Hour/time.Microsecond)
	w.hours[hourKey{one.id, hour, u.Side}] += n
	if u.RelyingParty == "" {
		return
	}
	key := partyKey{one.id, store.IndexText(u.RelyingParty)}
	p, ok := w.parties[key]
	if !ok {
		p = &partySeen{first: at, last: at}
		w.parties[key] = p
	}
	p.first, p.last = min(p.first, at), max(p.last, at)
	if u.Side == tallystick.SideHolder {
		p.holder += n
	} else {
		p.relying += n
		if p.told == 0 || at < p.told {
			p.told = at
		}
	}
}

// lose takes down what a holder's book could not.
func (w *Watch) lose(u *tallystick.Use) {
	n, err := strconv.ParseInt(strings.Trim(u.Other["lost"], `"`), 10, 64)
	if err != nil || n < 1 {
		n = max(u.Count, 1)
	}
	const most = 1000 // of a book; the oldest go
	list := append(w.losses[u.Source], lost{From: micro(u.Time), To: until(u), Seq: u.Seq, Count: n})
	w.losses[u.Source] = list[max(0, len(list)-most):]
	for _, one := range w.used { // what was called foreign may be one of them
		if _, ok := one.holders[u.Source]; ok && micro(u.Time) <= one.settled {
			one.addSpan(span{From: micro(u.Time), To: until(u)})
		}
	}
}

// Bounds on how many attempts with one credential are written down between two saves;
// anybody can make as many as they like. Who comes from one address, such as we who prove that the
// old one is refused at thousands of doors, hides nobody else.
const (
	maxTries     = 1000 // from one address
	maxTriesEver = 10 * maxTries
)

// A trier is an address from which attempts with a credential came; "" is all of them.
type trier struct {
	used    int64
	address string
}

// try writes down an attempt.
func (w *Watch) try(one *used, u *tallystick.Use) {
	all, here := trier{one.id, ""}, trier{one.id, u.Address}
	if w.tries[all] >= maxTriesEver || w.tries[here] >= maxTries {
		return
	}
	w.tries[all]++
	if here != all {
		w.tries[here]++
	}
	w.outbox.said = append(w.outbox.said, w.verdictOf(&entry{use: u, owner: one}, statement{tallystick.VerdictAttempt, max(u.Count, 1)}, tally.ReasonAttempt))
}

// verdictOf returns what is written down of a record. w.mu is held.
func (w *Watch) verdictOf(e *entry, want statement, reason string) store.Verdict {
	text, err := e.use.MarshalJSON()
	if err != nil {
		text = []byte(`{}`) // no value of a Use does that
	}
	return store.Verdict{
		Record: e.name(), Used: e.owner.now().id, Verdict: want.verdict, Reason: reason, Uses: want.uses, Time: e.use.Time, Side: e.use.Side,
		Source: e.use.Source, Party: e.use.RelyingParty, Address: e.use.Address, Said: w.Now(), Use: string(text),
	}
}
