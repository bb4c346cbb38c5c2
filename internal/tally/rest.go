// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"cmp"
	"slices"

	"github.com/tallystick/tallystick"
)

// What no token id ties is tallied for each credential and relying party: one to
// one, the nearest first, by what the two records have in common, and at last by
// number. A use that is left over is one more than the holder made.

// matchRest matches uses of keys with uses of keys and calls with calls, and
// across the two where a holder writes down only one of them.
func (s *settlement) matchRest() {
	call := func(k *kind) bool { return k.call() }
	key := func(k *kind) bool { return !k.call() }
	s.matchLevel(key, key)
	s.matchLevel(call, call)
	s.matchAcross(key, call, func(c *credential) bool { return !c.keyUses })
	s.matchAcross(call, key, func(c *credential) bool { return !c.calls })
}

// matchLevel matches the records of two sorts of kinds.
func (s *settlement) matchLevel(relying, holder func(*kind) bool) {
	s.match(func(r row) bool { return relying(s.kind(r)) }, func(r row) bool { return holder(s.kind(r)) })
}

// matchAcross does so for the credentials whose holder has nothing better.
func (s *settlement) matchAcross(relying, holder func(*kind) bool, only func(*credential) bool) {
	if !s.anyCredential(only) {
		return
	}
	s.match(func(r row) bool { return relying(s.kind(r)) && only(s.book(r)) },
		func(r row) bool { return holder(s.kind(r)) && only(s.known[s.root(r)]) })
}

func (s *settlement) anyCredential(only func(*credential) bool) bool {
	for _, c := range s.known {
		if only(c) {
			return true
		}
	}
	return false
}

// match goes from the exact names of relying parties to those that do not say
// the port, the tenant, or anything.
func (s *settlement) match(relying, holder func(row) bool) {
	var here, there []uint32
	for i := range uint32(s.relying.len()) {
		r := s.relying.at(i)
		if s.left.get(i) > 0 && s.why[i] != reasonUnknownToken && s.why[i] != reasonTokenTwice && !s.isAttempt(r) && relying(r) {
			here = append(here, i)
		}
	}
	if len(here) == 0 {
		return
	}
	for i := range uint32(s.holder.len()) {
		if h := s.holder.at(i); s.free.get(i) > 0 && holder(h) && !s.isPart(h) {
			there = append(there, i)
		}
	}
	for vague := range uint8(4) {
		if len(here) == 0 || len(there) == 0 {
			return
		}
		if vague == 0 {
			s.matchParties(here, there, vague)
		} else {
			s.matchParties(s.vagueOf(&s.relying, here, vague), there, vague)
			s.matchParties(here, s.vagueOf(&s.holder, there, vague), vague)
		}
		here = slices.DeleteFunc(here, func(i uint32) bool { return s.left.get(i) == 0 })
		there = slices.DeleteFunc(there, func(i uint32) bool { return s.free.get(i) == 0 })
	}
}

// isPart says whether a holder's record is of a signature where the holder also
// writes down what signatures are made for. It is then a part of a use that has a
// record of its own, and would clear a second one.
func (s *settlement) isPart(r row) bool {
	return s.kind(r).signature() && s.known[s.root(r)].requests
}

// vagueOf returns the records whose relying party is just so vague.
func (s *settlement) vagueOf(of *side, list []uint32, vague uint8) []uint32 {
	var found []uint32
	for _, i := range list {
		if s.parties.list[s.kind(of.at(i)).party].vague == vague {
			found = append(found, i)
		}
	}
	return found
}

// A member of a group: which record, and how it sorts.
type member struct {
	root, party uint32
	i           uint32
	holder      bool
	at          int64
}

// matchParties matches within each credential and relying party.
func (s *settlement) matchParties(here, there []uint32, vague uint8) {
	if len(here) == 0 || len(there) == 0 {
		return
	}
	members := make([]member, 0, len(here)+len(there))
	for _, i := range here {
		if s.left.get(i) > 0 {
			r := s.relying.at(i)
			members = append(members, member{s.credentialOf(r), s.parties.list[s.kind(r).party].keys[vague], i, false, r.at()})
		}
	}
	for _, i := range there {
		if s.free.get(i) > 0 {
			r := s.holder.at(i)
			members = append(members, member{s.root(r), s.parties.list[s.kind(r).party].keys[vague], i, true, r.at()})
		}
	}
	slices.SortFunc(members, func(a, b member) int {
		if c := cmp.Or(cmp.Compare(a.root, b.root), cmp.Compare(a.party, b.party), cmp.Compare(a.at, b.at), compareBool(a.holder, b.holder)); c != 0 {
			return c
		}
		return s.compareTies(s.record(a), s.record(b))
	})
	for len(members) > 0 {
		n := 1
		for n < len(members) && members[n].root == members[0].root && members[n].party == members[0].party {
			n++
		}
		s.matchGroup(members[:n])
		members = members[n:]
	}
}

func compareBool(a, b bool) int {
	if a == b {
		return 0
	} else if b {
		return -1
	}
	return 1
}

// A group is the records of one credential at one relying party, by time.
type group struct {
	*settlement
	members []member
}

// matchGroup goes through what two records can have in common, the strongest first.
func (s *settlement) matchGroup(members []member) {
	g := group{s, members}
	holders := 0
	for _, m := range members {
		if m.holder {
			holders++
		}
	}
	if holders == 0 || holders == len(members) {
		return
	}
	g.byValue(func(r row) uint64 { return uint64(fold(r.ref())) })
	g.byValue(func(r row) uint64 { return uint64(r.corr()) })
	g.byValue(func(r row) uint64 { return uint64(r.addr()) })
	g.byTime(g.singles())
	g.byCount(func(r row) uint64 { return uint64(r.addr()) }, false)
	g.byCount(nil, false)
	g.byCount(nil, true)
}

func (s *settlement) record(m member) row {
	if m.holder {
		return s.holder.at(m.i)
	}
	return s.relying.at(m.i)
}

// open says whether there is anything left of a record.
func (g *group) open(m member) bool {
	if m.holder {
		return g.free.get(m.i) > 0
	}
	return g.left.get(m.i) > 0
}

func (g *group) counted(m member) bool {
	if m.holder {
		return g.record(m).count() > 1
	}
	return g.record(m).count() > 1
}

// guarded says what must not match: a refused use brought no token, so a
// holder's record with a token is not its other half.
func (g *group) guarded(m member) bool {
	r := g.record(m)
	if g.kind(r).call() { // a call that was refused had its token all the same
		return false
	}
	if m.holder {
		return r.uti() != 0
	}
	return g.kind(r).outcome != tallystick.OutcomeSuccess
}

// singles returns the records that stand for one use and are open.
func (g *group) singles() []member {
	var list []member
	for _, m := range g.members {
		if g.open(m) && !g.counted(m) {
			list = append(list, m)
		}
	}
	return list
}

// byValue matches records that have a value in common.
func (g *group) byValue(value func(row) uint64) {
	list := slices.DeleteFunc(g.singles(), func(m member) bool { return value(g.record(m)) == 0 })
	// Stable, so that each run of one value stays in order of time.
	slices.SortStableFunc(list, func(a, b member) int { return cmp.Compare(value(g.record(a)), value(g.record(b))) })
	for len(list) > 0 {
		n, v := 1, value(g.record(list[0]))
		for n < len(list) && value(g.record(list[n])) == v {
			n++
		}
		g.byTime(list[:n])
		list = list[n:]
	}
}

// byTime matches single uses, the nearest first.
func (g *group) byTime(list []member) {
	if len(list) < 2 {
		return
	}
	points := make([]point, len(list))
	holders := 0
	for i, m := range list {
		points[i] = point{m.at, m.i, m.holder, g.guarded(m)}
		if m.holder {
			holders++
		}
	}
	if holders == 0 || holders == len(list) {
		return
	}
	nearest(points, g.options.Tolerance.Microseconds(), func(relying, holder uint32) {
		g.take(relying, holder, 1)
		if g.options.Paired != nil {
			g.options.Paired(g.relying.at(relying).where(), g.settlement.holder.at(holder).where())
		}
	})
}

// take matches n uses of two records.
func (g *group) take(relying, holder uint32, n int64) {
	g.left.set(relying, g.left.get(relying)-n)
	g.free.set(holder, g.free.get(holder)-n)
	g.taken[holder] = true
}

// A window is a record with a count, or a single one, as the time in which its
// other half may be.
type window struct {
	from, until int64
	member
}

// byCount matches counted records with what is in their time. Uses are taken by
// the time when they were over, and each is given to the window that is the
// first to end, which leaves the fewest over (earliest deadline first; J. R.
// Jackson, 1955). With both, counted uses of the relying side are matched too.
func (g *group) byCount(value func(row) uint64, both bool) {
	for _, guarded := range []bool{false, true} { // what has no token first: refused uses have nothing else
		g.sweep(value, both, guarded)
	}
}

// sweep matches with the holders' windows that are guarded or not.
func (g *group) sweep(value func(row) uint64, both, guarded bool) {
	uses, windows := g.windows(both, guarded)
	if len(uses) == 0 || len(windows) == 0 {
		return
	}
	if value == nil {
		g.schedule(uses, windows)
		return
	}
	of := func(w window) uint64 { return value(g.record(w.member)) }
	groups := map[uint64][2][]window{}
	for i, list := range [][]window{uses, windows} {
		for _, w := range list {
			if v := of(w); v != 0 {
				pair := groups[v]
				pair[i] = append(pair[i], w)
				groups[v] = pair
			}
		}
	}
	for _, pair := range groups { // they share no record, so their order is of no matter
		g.schedule(pair[0], pair[1])
	}
}

// windows returns the uses and the holders' windows of a sweep.
func (g *group) windows(both, guarded bool) (uses, windows []window) {
	tolerance := g.options.Tolerance.Microseconds()
	for _, m := range g.members {
		if !g.open(m) {
			continue
		}
		r := g.record(m)
		switch {
		case m.holder && g.guarded(m) == guarded && (both || g.counted(m)):
			windows = append(windows, window{m.at - tolerance, r.until() + tolerance, m})
		case !m.holder && !(guarded && g.guarded(m)) && g.counted(m) == both:
			uses = append(uses, window{m.at, r.until(), m})
		}
	}
	return uses, windows
}

// schedule gives uses to windows, those that begin first before the others.
func (g *group) schedule(uses, windows []window) {
	slices.SortFunc(uses, func(a, b window) int {
		if c := cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.until, b.until)); c != 0 {
			return c
		}
		return g.compareTies(g.record(a.member), g.record(b.member))
	})
	slices.SortFunc(windows, func(a, b window) int {
		if c := cmp.Or(cmp.Compare(a.until, b.until), cmp.Compare(a.from, b.from)); c != 0 {
			return c
		}
		return g.compareTies(g.record(a.member), g.record(b.member))
	})
	longest := int64(0)
	for _, w := range windows {
		longest = max(longest, w.until-w.from)
	}
	over := 0 // windows before this one are over before any further use began
	full := skips(make([]int, len(windows)+1))
	for _, use := range uses {
		for over < len(windows) && windows[over].until < use.from {
			over++
		}
		for w := full.next(over); w < len(windows) && g.left.get(use.i) > 0 && windows[w].until-longest <= use.until; w = full.next(w + 1) {
			if windows[w].from > use.until {
				continue
			}
			g.take(use.i, windows[w].i, min(g.left.get(use.i), g.free.get(windows[w].i)))
			if g.free.get(windows[w].i) == 0 {
				full[w] = 1
			}
		}
	}
}

// skips steps over what is used up: an entry is how far it is, at least, to the
// next that may not be.
type skips []int

func (s skips) next(i int) int {
	end := i
	for end < len(s) && s[end] > 0 {
		end += s[end]
	}
	for i < end { // so that the next time it is one step
		step := s[i]
		s[i] = end - i
		i += step
	}
	return end
}
