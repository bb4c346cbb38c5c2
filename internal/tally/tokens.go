// SPDX-License-Identifier: Apache-2.0

package tally

import "cmp"

// A holderToken is a token that a holder recorded, under all its records of it.
type holderToken struct {
	first uint32 // the earliest of the records, or none
	calls bool   // there are only records of calls made with it
}

// A tokenKey is a token id and the credential that it was issued for.
type tokenKey struct {
	uti  uint64
	root uint32
}

// matchTokens matches by token id. The platform chose it and gave it to nobody
// but who held the key, so where a holder's book carries token ids, one that is
// not there is foreign, whatever else looks right.
func (s *settlement) matchTokens() {
	s.indexTokens()
	given := make([]uint32, s.holder.len()) // the use that a token is given to, and one more
	for i := range uint32(s.relying.len()) {
		s.warm(&s.relying, i)
		r := s.relying.at(i)
		if r.uti == 0 || s.isAttempt(r) {
			continue
		}
		root := s.credentialOf(r)
		book, ok := s.known[root]
		if !ok || !book.utis {
			continue
		}
		token := s.tokenOf(r.uti, root)
		switch {
		case token.first == none:
			s.why[i] = reasonUnknownToken
		case s.kind(r).call() && book.calls:
			s.why[i] = reasonStolenToken // unless one of the holder's calls is it, see matchRest
		case s.kind(r).call():
			s.left.set(i, 0) // the token speaks for its calls, and it is used many times
			note(s.hereByToken, i)
		default:
			s.give(i, token.first, given)
		}
	}
	for i, n := range given {
		if n != 0 {
			s.left.set(n-1, 0)
			s.why[n-1] = reasonNone
			note(s.hereByToken, n-1)
			if s.options.Paired != nil {
				s.options.Paired(s.relying.at(n-1).where, s.holder.at(uint32(i)).where)
			}
			s.takeToken(uint32(i))
		}
	}
}

// indexTokens finds holders' records by token id.
func (s *settlement) indexTokens() {
	s.many = map[tokenKey]holderToken{}
	s.token.grow(s.holder.tokens())
	for i := range uint32(s.holder.len()) {
		s.warm(&s.holder, i)
		uti := s.holder.at(i).uti
		if uti == 0 {
			continue
		}
		slot, found := s.token.find(uti, s.hasUTI(uti))
		if !found {
			s.token.put(slot, uti, i)
			continue
		}
		if s.next == nil {
			s.next = make([]uint32, s.holder.len())
		}
		s.next[i] = s.token.slots[slot].number // which is one more, so that 0 is the end
		s.token.slots[slot].number = i + 1
	}
}

// tokens counts the records that have a token id.
func (s *side) tokens() int {
	n := 0
	for i := range uint32(s.len()) {
		if s.at(i).uti != 0 {
			n++
		}
	}
	return n
}

// warm brings near what is wanted of the token table for the records from i on,
// at the first of every few of them.
func (s *settlement) warm(of *side, i uint32) {
	if i%warmed != 0 {
		return
	}
	for j := i; j < min(i+warmed, uint32(of.len())); j++ {
		s.near += s.token.warm(of.at(j).uti)
	}
}

// warmed is for how many records that is done.
const warmed = 64

func (s *settlement) hasUTI(uti uint64) func(uint32) bool {
	return func(i uint32) bool { return s.holder.at(i).uti == uti }
}

// eachWith calls do with every holder's record of a token id.
func (s *settlement) eachWith(uti uint64, do func(i uint32)) {
	slot, found := s.token.find(uti, s.hasUTI(uti))
	if !found {
		return
	}
	for n := s.token.slots[slot].number; n != 0; {
		do(n - 1)
		if s.next == nil {
			return
		}
		n = s.next[n-1]
	}
}

// tokenOf returns the token of an id, if the credential's holder has a record of it.
func (s *settlement) tokenOf(uti uint64, root uint32) holderToken {
	key := tokenKey{uti, root}
	if token, ok := s.many[key]; ok {
		return token
	}
	token, records := holderToken{first: none, calls: true}, 0
	s.eachWith(uti, func(i uint32) {
		records++
		h := s.holder.at(i)
		if s.root(h) != root {
			return
		}
		call := s.kind(h).call()
		if token.first == none || token.calls && !call || token.calls == call && s.earlier(h, s.holder.at(token.first)) {
			token.first = i
		}
		token.calls = token.calls && call
	})
	if records > 1 {
		s.many[key] = token
	}
	return token
}

// give gives a token to a use; of two uses, to the one that is more likely the
// holder's own.
func (s *settlement) give(i, token uint32, given []uint32) {
	if before := given[token]; before != 0 {
		rival := before - 1
		if !s.likelier(i, rival, token) {
			s.why[i] = reasonTokenTwice
			return
		}
		s.why[rival] = reasonTokenTwice
	}
	given[token] = i + 1
}

// likelier says whether use a is more likely than use b what the holder made: the
// same address, the same correlation id, then the nearer time.
func (s *settlement) likelier(a, b, token uint32) bool {
	h := s.holder.at(token)
	key := func(i uint32) (key [4]int64) {
		r := s.relying.at(i)
		if h.addr == 0 || r.addr != h.addr {
			key[0] = 1
		}
		if h.corr == 0 || r.corr != h.corr {
			key[1] = 1
		}
		key[2] = max(r.at-h.at, h.at-r.at)
		key[3] = r.at
		return key
	}
	x, y := key(a), key(b)
	for i := range x {
		if c := cmp.Compare(x[i], y[i]); c != 0 {
			return c < 0
		}
	}
	return s.relying.at(a).id < s.relying.at(b).id
}

// takeToken marks every record of a token as matched: it is one token, however
// many of the holder's programs wrote it down.
func (s *settlement) takeToken(token uint32) {
	take := func(i uint32) {
		s.free.set(i, 0)
		s.taken[i] = true
		note(s.thereByToken, i)
	}
	if s.next == nil { // no token has a second record
		take(token)
		return
	}
	h := s.holder.at(token)
	s.eachWith(h.uti, func(i uint32) {
		if other := s.holder.at(i); s.root(other) == s.root(h) && s.kind(other).call() == s.kind(h).call() {
			take(i)
		}
	})
}

// note marks a record where anybody asks.
func note(list []bool, i uint32) {
	if list != nil {
		list[i] = true
	}
}
