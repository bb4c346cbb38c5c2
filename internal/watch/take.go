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

// take takes a record that is new. w.mu is held.
func (w *Watch) take(u *tallystick.Use) {
	w.since++
	w.counts.Taken++
	if u.Side == tallystick.SideHolder && u.Other["lost"] != "" && len(u.Credential) == 0 {
		w.lose(u)
		return
	}
	one := w.usedOf(u)
	one.dirty = true
	w.count(one, u)
	w.arrived(one, u)
	if u.Time.Before(w.Now().Add(tooEarly)) {
		profile.Learn(&one.profile, u)
	}
	if u.Side == tallystick.SideRelying && u.Outcome == tallystick.OutcomeAttempt {
		w.try(one, u)
		return
	}
	w.put(one, u)
}

// put puts a record among the open ones, unless it is late.
func (w *Watch) put(one *used, u *tallystick.Use) {
	at := micro(u.Time)
	if u.Side == tallystick.SideHolder {
		one.learnBook(u)
		if u.IDs.UTI != "" && u.Level != tallystick.LevelCall {
			w.tokens.put(tallystick.NormalUTI(u.IDs.UTI), one)
		}
	} else {
		one.relying[u.Source] = max(one.relying[u.Source], at)
		one.tells(partyHash(u.RelyingParty), at)
		if owner := w.speaksFor(one, u); owner != nil {
			w.counts.Matched++
			return
		}
	}
	if at <= one.settled {
		one.addSpan(span{From: at, To: until(u)})
		return
	}
	one.open = append(one.open, &entry{use: u, owner: one})
	one.fresh = true
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

// speaksFor returns the holder whose token a call was made with, where the holder
// does not write its calls down: the token then speaks for them.
func (w *Watch) speaksFor(one *used, u *tallystick.Use) *used {
	if u.Level != tallystick.LevelCall || u.IDs.UTI == "" || u.Outcome == tallystick.OutcomeAttempt {
		return nil
	}
	owner := w.tokens.get(tallystick.NormalUTI(u.IDs.UTI))
	if owner == nil || owner.hasCalls() || owner != one && !(isWeak(u) && len(one.holders) == 0) {
		return nil
	}
	return owner
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
	key := partyKey{one.id, u.RelyingParty}
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
}

// maxTries is how many attempts with one credential are written down between two
// saves; anybody can make as many as they like.
const maxTries = 1000

// try writes down an attempt.
func (w *Watch) try(one *used, u *tallystick.Use) {
	if w.tries[one.id]++; w.tries[one.id] <= maxTries {
		w.said = append(w.said, w.verdictOf(&entry{use: u, owner: one, verdict: tallystick.VerdictAttempt, reason: tally.ReasonAttempt}))
	}
}

// verdictOf returns what is written down of a record.
func (w *Watch) verdictOf(e *entry) store.Verdict {
	if e.key == "" {
		e.key = tally.Key(e.use)
	}
	text, err := e.use.MarshalJSON()
	if err != nil {
		text = []byte(`{}`) // no value of a Use does that
	}
	return store.Verdict{
		Record: e.key, Used: e.owner.now().id, Verdict: e.verdict, Reason: e.reason, Uses: max(e.use.Count, 1), Time: e.use.Time, Side: e.use.Side,
		Source: e.use.Source, Party: e.use.RelyingParty, Address: e.use.Address, Said: w.Now(), Use: string(text),
	}
}
