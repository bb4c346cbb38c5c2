// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"cmp"
	"context"
	"runtime"
	"slices"

	"github.com/tallystick/tallystick"
)

// manyRecords is from how many records on room is worth some milliseconds.
const manyRecords = 1 << 20

// none stands for no record.
const none = ^uint32(0)

// A settlement is a tally being settled.
type settlement struct {
	*Tally
	known   map[uint32]*credential // by root name
	unknown credential

	left  amounts  // of relying records, uses that are not matched yet
	free  amounts  // of holder records, uses that may still match
	taken []bool   // holder records of which a use, or a child, is matched
	child []uint32 // of holder records, the record that was made with it, or none; nil when there are none
	why   []Reason // of relying records
	// hereByToken and thereByToken are the records that a token id matched, of the
	// relying parties and of the holders; nil when nobody asks.
	hereByToken, thereByToken []bool

	next  []uint32                 // of holder records, another with the same token id; nil when no token has two
	many  map[tokenKey]holderToken // tokens of which there are several records
	first map[uint32]string        // the least name of a credential, when it is wanted

	lossyOf               map[uint32][]uint32 // by root name, the books of a credential that lost uses
	silentLossy, allLossy []uint32            // books that lost uses: those that have no record, and all
}

// Settle matches the two sides. Nothing may be written to the tally any more.
func (t *Tally) Settle(ctx context.Context) (Result, error) {
	s := &settlement{Tally: t}
	t.dropRepeats(&t.holder)
	t.dropRepeats(&t.relying)
	if t.holder.len()+t.relying.len() > manyRecords {
		runtime.GC() // so that what settling notes lies where that was which is not needed any more
	}
	for _, step := range []func(){s.gather, s.tieLevels, s.matchTokens, s.matchRest, s.tieVerdicts, s.explain} {
		if err := ctx.Err(); err != nil {
			return Result{}, err
		}
		step()
	}
	s.tellMatched()
	return s.result(), nil
}

// tellMatched tells which records are matched altogether.
func (s *settlement) tellMatched() {
	if s.options.Matched == nil {
		return
	}
	for i := range uint32(s.relying.len()) {
		if r := s.relying.at(i); s.left.get(i) == 0 && !s.isAttempt(r) {
			s.options.Matched(r.where(), s.hereByToken[i])
		}
	}
	for i := range uint32(s.holder.len()) {
		if s.free.get(i) > 0 {
			continue
		}
		last := i
		for s.child != nil && s.child[last] != none {
			last = s.child[last]
		}
		s.options.Matched(s.holder.at(i).where(), s.thereByToken[last])
	}
}

// gather counts what there is to match.
func (s *settlement) gather() {
	holderKinds := make([]bool, len(s.kinds.list))
	s.free = newAmounts(s.holder.len())
	s.taken = make([]bool, s.holder.len())
	for i := range uint32(s.holder.len()) {
		r := s.holder.at(i)
		holderKinds[r.kind()] = true
		s.kinds.list[r.kind()].utis = s.kinds.list[r.kind()].utis || r.uti() != 0
		s.free.set(i, r.count())
	}
	s.known, s.unknown = s.credentials(holderKinds)
	for i := range s.books.list {
		s.books.list[i].settleLosses()
	}
	s.lossyOf, s.silentLossy, s.allLossy = s.lossy(holderKinds)
	if s.options.Matched != nil {
		s.hereByToken, s.thereByToken = make([]bool, s.relying.len()), make([]bool, s.holder.len())
	}
	s.left = newAmounts(s.relying.len())
	s.why = make([]Reason, s.relying.len())
	for i := range uint32(s.relying.len()) {
		s.left.set(i, s.relying.at(i).count())
	}
}

func (s *settlement) kind(r row) *kind { return &s.kinds.list[r.kind()] }

func (s *settlement) root(r row) uint32 { return s.names.root(s.kind(r).name) }

func (s *settlement) isAttempt(r row) bool {
	return s.kind(r).outcome == tallystick.OutcomeAttempt
}

// book returns what the holders' books say about the credential of a relying record.
func (s *settlement) book(r row) *credential {
	if c, ok := s.known[s.credentialOf(r)]; ok {
		return c
	}
	return &s.unknown
}

// credentialOf returns the credential of a relying record. Where the record does
// not name the key, a token that a holder received tells whose it is.
func (s *settlement) credentialOf(r row) uint32 {
	root := s.root(r)
	if r.uti() == 0 || !s.kind(r).weak {
		return root
	}
	if _, ok := s.known[root]; ok && root != noName {
		return root
	}
	owner := root
	s.eachWith(r.link(), func(i uint32) {
		// Two credentials with one token id are a mistake in a book; take the
		// same one whatever the order.
		if other := s.root(s.holder.at(i)); other != noName && (owner == root || s.firstName(other) < s.firstName(owner)) {
			owner = other
		}
	})
	return owner
}

// tieLevels finds the holders' records that were the beginning of another one: a
// signature of which a request was made, a request that brought a token. They
// match through what they became, and not once more.
func (s *settlement) tieLevels() {
	children := map[uint64][]uint32{}
	folded := map[uint32][]uint32{}
	for i := range uint32(s.holder.len()) {
		r := s.holder.at(i)
		x := r.more()
		if x == nil || s.kind(r).call() {
			continue
		}
		if x.parent != 0 {
			children[x.parent] = append(children[x.parent], i)
			folded[x.loose] = append(folded[x.loose], i)
		}
	}
	if len(children) == 0 {
		return
	}
	s.child = make([]uint32, s.holder.len())
	byCorrelation := parents{}
	for i := range uint32(s.holder.len()) {
		r := s.holder.at(i)
		s.child[i] = s.childOf(r, children[r.ref()])
		if s.child[i] == none && r.corr() != 0 {
			byCorrelation.take(s, i, s.childOf(r, folded[r.corr()]))
		}
		if s.child[i] != none {
			s.free.set(i, 0)
		}
	}
	for of, i := range byCorrelation {
		s.child[i] = of.child
		s.free.set(i, 0)
	}
}

// parents are those that are tied by a correlation id. A client that tries again
// keeps it, so of each level only the nearest is taken: the others were refused.
type parents map[parentOf]uint32

type parentOf struct {
	child uint32
	level uint8
}

// take takes a record for the parent of child, if none is nearer.
func (p parents) take(s *settlement, i, child uint32) {
	if child == none {
		return
	}
	r, of := s.holder.at(i), parentOf{child, s.kind(s.holder.at(i)).level}
	if before, ok := p[of]; ok {
		rival, at := s.holder.at(before), s.holder.at(child).at()
		apart := func(r row) int64 { return max(r.at()-at, at-r.at()) }
		if a, b := apart(r), apart(rival); a > b || a == b && !s.earlier(r, rival) {
			return
		}
	}
	p[of] = i
}

// tiedWithin bounds the time between a use and what was made with it, in
// microseconds. Assertions live for minutes.
const tiedWithin = 3600 * 1e6

// childOf returns the first of the candidates that was made with r.
func (s *settlement) childOf(r row, candidates []uint32) uint32 {
	best := none
	for _, c := range candidates {
		child := s.holder.at(c)
		apart := child.at() - r.at()
		if s.kind(child).level <= s.kind(r).level || s.root(child) != s.root(r) || max(apart, -apart) > tiedWithin {
			continue
		}
		if best == none || s.earlier(child, s.holder.at(best)) {
			best = c
		}
	}
	return best
}

// earlier orders records by time, and by what they are where that is the same.
func (s *settlement) earlier(a, b row) bool {
	if a.at() != b.at() {
		return a.at() < b.at()
	}
	return s.compareTies(a, b) < 0
}

// tieVerdicts gives the beginning the verdict of what it became.
func (s *settlement) tieVerdicts() {
	for i := range uint32(len(s.child)) {
		last := i
		for s.child[last] != none { // a child is of a higher level, so this ends
			last = s.child[last]
		}
		if last == i || s.taken[i] {
			continue
		}
		if s.taken[i] = s.taken[last]; !s.taken[i] {
			s.free.set(i, s.holder.at(i).count())
		}
	}
}

// result counts and lists.
func (s *settlement) result() Result {
	r := Result{Books: s.bookList()}
	sum := &r.Summary
	sum.Duplicates = s.holder.double + s.relying.double
	for i := range uint32(s.relying.len()) {
		one := s.relying.at(i)
		count := one.count()
		if s.isAttempt(one) {
			sum.Attempts += count
			r.Items = append(r.Items, s.item(one, tallystick.VerdictAttempt, reasonNotHeld, count, s.credentialOf(one)))
			continue
		}
		sum.Relying += count
		sum.Matched += count - s.left.get(i)
		if s.left.get(i) == 0 {
			continue
		}
		item := s.leftOver(i, one)
		if item.Verdict == tallystick.VerdictForeign {
			sum.Foreign += item.Count
		} else {
			sum.Pending += item.Count
		}
		if item.Reason == reasonLost {
			r.Doubtful += item.Count
		}
		r.Items = append(r.Items, item)
	}
	for i := range uint32(s.holder.len()) {
		one := s.holder.at(i)
		sum.Holder += one.count()
		if s.free.get(i) > 0 {
			sum.Unconfirmed += s.free.get(i)
			r.Items = append(r.Items, s.item(one, tallystick.VerdictUnconfirmed, reasonUnseen, s.free.get(i), s.root(one)))
		}
	}
	r.Names = s.namesOf(r.Items)
	slices.SortFunc(r.Items, func(a, b Item) int {
		if c := cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.Verdict, b.Verdict)); c != 0 {
			return c
		}
		return s.compareTies(a.record, b.record)
	})
	for i := range r.Items {
		r.Items[i].record = row{} // which would keep all records
	}
	return r
}

// leftOver is the verdict on a relying use that is not matched.
func (s *settlement) leftOver(i uint32, r row) Item {
	item := s.item(r, tallystick.VerdictForeign, s.why[i], s.left.get(i), s.credentialOf(r))
	if !s.book(r).closedPast(r.until(), s.options.Tolerance) {
		item.Verdict, item.Reason = tallystick.VerdictPending, reasonOpen
	} else if s.mayBeLost(r) {
		item.Verdict, item.Reason = tallystick.VerdictPending, reasonLost
	}
	return item
}

func (s *settlement) item(r row, verdict tallystick.Verdict, why Reason, count int64, root uint32) Item {
	return Item{Where: r.where(), Verdict: verdict, Reason: why, Count: count, Credential: root, at: r.at(), record: r}
}
