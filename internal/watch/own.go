// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/tally"
	"github.com/tallystick/tallystick/rule"
)

// What this program does itself with a credential is no habit of its holder. The relying party
// writes it down like any use, and so a use is taken for one of ours, neither judged as a change of
// habit or as a copy that was forgotten, nor learned from, where one of our own entries explains it: of the same
// credential, at the same relying party, that came out alike, at that time within the tolerance, and one to one.
// Whoever is refused by that is judged. That nothing but our own work was going on at the
// time, or the address, never is enough: a thief could wait for it.
//
// The names that a log has for what is tried are known only when a driver has tried it, and the log may be
// read before the driver tells. So not the single try is announced but the work at a door
// (Begin), and a use that comes meanwhile and that matters is judged when that work is over: by then
// all tries of it were told. Nothing is let off by waiting.

// Bounds of what is known of our own uses. One takes about a kilobyte with the record that it explains.
const (
	mostOwn  = 1 << 16
	mostHeld = 10_000
	hereFor  = time.Minute // the networks of a machine are asked for again
)

// own is what is known of our own uses. It is guarded by mu.
type own struct {
	by    map[string]*tried // by a name of the credential
	all   []*ownUse         // as they were told
	acts  map[uint64]bool   // that go on; they are numbered as they begin
	begun uint64
	held  []heldUse // as they came

	here   []netip.Prefix // of this machine, as it was asked at hereAt
	hereAt time.Time
}

// tried are our own uses of one name, as they were told.
type tried struct {
	all, vague []*ownUse // vague are those whose relying party leaves something out
	exact      map[string][]*ownUse
}

// An ownUse is one that this program has made.
type ownUse struct {
	tallystick.Use
	names []string // in the normal form
	party tally.Party
	here  []netip.Prefix // from where, unless somebody translates addresses
	told  time.Time
	taken *heldUse // the use that it explains; nil while there is none
	// disputed says that more uses fit than were made, and that nothing tells which is ours. Then
	// it explains none.
	disputed bool
}

// A heldUse is a use whose judgement is still to come, or may be.
type heldUse struct {
	one *used
	use *tallystick.Use
	// before is which acts went on when it came: those with a lower number.
	before uint64
}

// Begin says that this program is about to do something that may sign in. Whoever does it calls end
// when it is over and all that it did was told, by Made or in the book Own.
func (w *Watch) Begin() (end func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.own.begun
	w.own.begun++
	w.own.acts[n] = true
	return sync.OnceFunc(func() {
		w.mu.Lock()
		delete(w.own.acts, n)
		w.release(false)
		w.mu.Unlock()
		w.Wake()
	})
}

// Made takes note of a use that this program has made and that stands in no book.
func (w *Watch) Made(u tallystick.Use) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expect(&u)
}

// meet judges a use that has come and learns from it, unless it is one of our own. w.mu is held.
func (w *Watch) meet(one *used, u *tallystick.Use) {
	switch {
	case u.Side == tallystick.SideHolder && w.Own != "" && u.Source == w.Own:
		w.expect(u)
		w.arrived(one, u, true)
	case w.isOwn(one, u):
		w.arrived(one, u, true)
	case len(w.own.acts) > 0 && w.matters(one, u):
		if len(w.own.held) == mostHeld {
			w.judgeHeld(1)
		}
		w.own.held = append(w.own.held, heldUse{one, copyOf(u), w.own.begun})
	default:
		w.learn(one, u)
	}
}

// release judges the held uses that no act still going on can have made, or all of them. w.mu is
// held.
func (w *Watch) release(all bool) {
	oldest := uint64(math.MaxUint64)
	for n := range w.own.acts {
		oldest = min(oldest, n)
	}
	n := 0
	for n < len(w.own.held) && (all || w.own.held[n].before <= oldest) {
		n++
	}
	w.judgeHeld(n)
}

// judgeHeld judges the first n of the held uses.
func (w *Watch) judgeHeld(n int) {
	list := slices.Clone(w.own.held[:n])
	w.own.held = slices.Delete(w.own.held, 0, n)
	for _, h := range list {
		if one := h.one.now(); w.isOwn(one, h.use) {
			w.arrived(one, h.use, true)
		} else {
			w.learn(one, h.use)
		}
	}
}

// aPause is how long nobody used a credential before a use that its holder may not have made matters
// to when it was last used. No rule counts in less than days.
const aPause = 24 * time.Hour

// matters says whether a rule would speak of a use if it were not one of our own.
func (w *Watch) matters(one *used, u *tallystick.Use) bool {
	unknown := one.asked.IsZero() // whether it is blocked, or gone
	return isUnusual(one, u) || u.Side == tallystick.SideRelying && w.isFromHere(u) && (unknown || !one.blocked.IsZero() || !one.sighted.Gone.IsZero())
}

// isUnusual says whether a use would change what is usual: all that a rule over habits speaks of, and that
// would hide a thief's next one, had it been learned.
func isUnusual(one *used, u *tallystick.Use) bool {
	if u.Side != tallystick.SideRelying || u.Outcome == tallystick.OutcomeAttempt {
		return false
	}
	p := &one.profile
	if way, ok := rule.WayOf(u); ok && p.Way(way) == nil {
		return true
	}
	if network, ok := networkOf(u); ok && p.Network(network) == nil {
		return true
	}
	return u.Time.Sub(p.Last) >= aPause
}

func networkOf(u *tallystick.Use) (netip.Prefix, bool) {
	address, err := netip.ParseAddr(u.Address)
	if err != nil {
		return netip.Prefix{}, false
	}
	return rule.NetworkOf(address), true
}

// expect takes note of a use that this program has made. w.mu is held.
func (w *Watch) expect(u *tallystick.Use) {
	now := w.Now()
	w.own.expire(now)
	if u.Time.Before(now.Add(-lateness)) {
		return // read again at the start
	}
	o := &ownUse{Use: *u, party: tally.PartyOf(u.RelyingParty), told: now}
	for _, name := range u.Credential[:min(len(u.Credential), maxNames)] {
		o.names = append(o.names, tallystick.NormalName(name))
	}
	slices.Sort(o.names)
	o.names = slices.Compact(o.names)
	o.here = w.here()
	w.own.add(o)
}

func (l *own) add(o *ownUse) {
	if len(l.all) == mostOwn {
		l.drop()
	}
	l.all = append(l.all, o)
	for _, name := range o.names {
		t := l.by[name]
		if t == nil {
			t = &tried{exact: map[string][]*ownUse{}}
			l.by[name] = t
		}
		t.all = append(t.all, o)
		if o.party.IsExact() {
			t.exact[o.party.Name()] = append(t.exact[o.party.Name()], o)
		} else {
			t.vague = append(t.vague, o)
		}
	}
}

// expire forgets what no record will come of any more.
func (l *own) expire(now time.Time) {
	for len(l.all) > 0 && now.Sub(l.all[0].told) > lateness {
		l.drop()
	}
}

// drop forgets the oldest. It is the first of every list that it is in.
func (l *own) drop() {
	o := l.all[0]
	l.all = l.all[1:]
	for _, name := range o.names {
		t := l.by[name]
		if t.all = t.all[1:]; len(t.all) == 0 {
			delete(l.by, name)
		} else if !o.party.IsExact() {
			t.vague = t.vague[1:]
		} else if at := t.exact[o.party.Name()]; len(at) > 1 {
			t.exact[o.party.Name()] = at[1:]
		} else {
			delete(t.exact, o.party.Name())
		}
	}
}

// fitting returns our own uses that may be what a relying party tells of.
func (w *Watch) fitting(one *used, u *tallystick.Use) []*ownUse {
	if len(w.own.all) == 0 || u.Side != tallystick.SideRelying || u.Count > 1 {
		return nil
	}
	var found []*ownUse
	var party *tally.Party
	for _, name := range one.names {
		t := w.own.by[name]
		if t == nil {
			continue
		}
		if party == nil {
			p := tally.PartyOf(u.RelyingParty)
			party = &p
		}
		lists := [][]*ownUse{t.exact[party.Name()], t.vague}
		if !party.IsExact() {
			lists = [][]*ownUse{t.all}
		}
		for _, list := range lists {
			for _, o := range list {
				if apart := u.Time.Sub(o.Time).Abs(); apart <= w.Tolerance && o.fits(u, *party) && !slices.Contains(found, o) {
					found = append(found, o)
				}
			}
		}
	}
	return found
}

// fits says whether it may be the use that a relying party tells of, but for when it was. Where we could
// not tell at which relying party it was, the address has to speak for it.
func (o *ownUse) fits(u *tallystick.Use, party tally.Party) bool {
	if o.disputed || (o.Outcome == tallystick.OutcomeSuccess) != (u.Outcome == tallystick.OutcomeSuccess) ||
		(o.Level == tallystick.LevelCall) != (u.Level == tallystick.LevelCall) {
		return false
	}
	if o.IDs.UTI != "" && u.IDs.UTI != "" && tallystick.NormalUTI(o.IDs.UTI) != tallystick.NormalUTI(u.IDs.UTI) {
		return false
	}
	if o.party.IsNamed() && party.IsNamed() {
		return o.party.Is(party)
	}
	return o.isFromHere(u)
}

// here returns the networks of this machine. w.mu is held.
func (w *Watch) here() []netip.Prefix {
	if now := w.Now(); w.Here != nil && now.Sub(w.own.hereAt) > hereFor {
		w.own.here, w.own.hereAt = w.Here(), now
	}
	return w.own.here
}

// isFromHere says whether a use came from a network of this machine. w.mu is held.
func (w *Watch) isFromHere(u *tallystick.Use) bool {
	network, ok := networkOf(u)
	return ok && slices.Contains(w.here(), network)
}

// isFromHere says whether a use came from a network that this machine had then.
func (o *ownUse) isFromHere(u *tallystick.Use) bool {
	network, ok := networkOf(u)
	return ok && slices.Contains(o.here, network)
}

// isOwn says whether one of our own uses explains what a relying party tells, and takes it for that. Where
// none is left but some would fit, one use more than ours was made: what came from this machine is
// ours before all else; where that tells nothing, both are judged. w.mu is held.
func (w *Watch) isOwn(one *used, u *tallystick.Use) bool {
	fitting := w.fitting(one, u)
	var best *ownUse
	for _, o := range fitting {
		if o.taken == nil && (best == nil || u.Time.Sub(o.Time).Abs() < u.Time.Sub(best.Time).Abs()) {
			best = o
		}
	}
	if best == nil {
		for _, o := range fitting {
			if o.isFromHere(u) && !o.isFromHere(o.taken.use) {
				best = o
				break
			}
		}
	}
	if best != nil {
		before := best.taken
		best.taken = &heldUse{one: one, use: copyOf(u)}
		if before != nil {
			w.learn(before.one.now(), before.use)
		}
		return true
	}
	for _, o := range fitting {
		if other := o.taken; o.isFromHere(u) == o.isFromHere(other.use) && !looksAlike(u, other.use) {
			o.disputed, o.taken = true, nil
			w.learn(other.one.now(), other.use)
		}
	}
	return false
}

// looksAlike says whether a rule would say the same of two uses.
func looksAlike(a, b *tallystick.Use) bool {
	here, _ := networkOf(a)
	there, _ := networkOf(b)
	way, _ := rule.WayOf(a)
	other, _ := rule.WayOf(b)
	return here == there && way.Protocol == other.Protocol && strings.EqualFold(way.Method, other.Method)
}
