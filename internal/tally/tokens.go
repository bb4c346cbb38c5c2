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
	s.many = map[tokenKey]holderToken{}
	s.indexTokens()
	for i := range uint32(s.relying.len()) {
		r := s.relying.at(i)
		if r.uti() == 0 || s.isAttempt(r) {
			continue
		}
		root := s.credentialOf(r)
		book, ok := s.known[root]
		if !ok || !book.utis {
			continue
		}
		token := s.tokenOf(r, root)
		switch {
		case token.first == none:
			s.why[i] = reasonUnknownToken
		case s.kind(r).call() && book.calls:
			s.why[i] = reasonStolenToken // unless one of the holder's calls is it, see matchRest
		case s.kind(r).call():
			s.left.set(i, 0) // the token speaks for its calls, and it is used many times
			note(s.hereByToken, i)
		default:
			s.give(i, token.first)
		}
	}
	for i := range uint32(s.holder.len()) {
		n := s.holder.at(i).link() // the use that the token is given to, and one more
		if n == 0 {
			continue
		}
		s.left.set(n-1, 0)
		s.why[n-1] = reasonNone
		note(s.hereByToken, n-1)
		if s.options.Paired != nil {
			s.options.Paired(s.relying.at(n-1).where(), s.holder.at(i).where())
		}
		s.takeToken(i)
	}
}

// indexTokens links each relying record to a holder's record of the same token id,
// and the holders' records of one to each other, in a ring. Numbers are one more,
// so that 0 is none.
func (s *settlement) indexTokens() {
	p := newParts(max(s.holder.len(), s.relying.len()), s.secret)
	var there, here spread
	for round := range p.rounds {
		p.spread(&there, &s.holder, columnUTI, round)
		p.spread(&here, &s.relying, columnUTI, round)
		for n := range p.inRound() {
			s.linkTokens(p, there.list(n), here.list(n))
		}
	}
}

func (s *settlement) linkTokens(p *parts, there, here []keyed) {
	p.clear(there)
	for n, key := range there {
		place := p.find(there, key.hash)
		if *place == 0 {
			*place = uint32(n + 1)
			continue
		}
		if s.next == nil {
			s.next = make([]uint32, s.holder.len())
		}
		first := there[*place-1].i
		after := s.next[first]
		if after == 0 {
			after = first + 1
		}
		s.next[first], s.next[key.i] = key.i+1, after
	}
	for _, key := range here {
		if place := p.find(there, key.hash); *place != 0 {
			s.relying.put(columnLink, key.i, uint64(there[*place-1].i)+1)
		}
	}
}

// eachWith calls do with every holder's record of the token of one of them, which
// is given by its number and one more.
func (s *settlement) eachWith(one uint32, do func(i uint32)) {
	if one == 0 {
		return
	}
	do(one - 1)
	if s.next == nil {
		return
	}
	for n := s.next[one-1]; n != 0 && n != one; n = s.next[n-1] {
		do(n - 1)
	}
}

// tokenOf returns the token of a relying record, if the credential's holder has a
// record of it.
func (s *settlement) tokenOf(r row, root uint32) holderToken {
	key := tokenKey{r.uti(), root}
	if token, ok := s.many[key]; ok {
		return token
	}
	token, records := holderToken{first: none, calls: true}, 0
	s.eachWith(r.link(), func(i uint32) {
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
func (s *settlement) give(i, token uint32) {
	if before := s.holder.at(token).link(); before != 0 {
		rival := before - 1
		if !s.likelier(i, rival, token) {
			s.why[i] = reasonTokenTwice
			return
		}
		s.why[rival] = reasonTokenTwice
	}
	s.holder.put(columnLink, token, uint64(i)+1)
}

// likelier says whether use a is more likely than use b what the holder made: the
// same address, the same correlation id, then the nearer time.
func (s *settlement) likelier(a, b, token uint32) bool {
	h := s.holder.at(token)
	key := func(i uint32) (key [4]int64) {
		r := s.relying.at(i)
		if h.addr() == 0 || r.addr() != h.addr() {
			key[0] = 1
		}
		if h.corr() == 0 || r.corr() != h.corr() {
			key[1] = 1
		}
		key[2] = max(r.at()-h.at(), h.at()-r.at())
		key[3] = r.at()
		return key
	}
	x, y := key(a), key(b)
	for i := range x {
		if c := cmp.Compare(x[i], y[i]); c != 0 {
			return c < 0
		}
	}
	return s.compareTies(s.relying.at(a), s.relying.at(b)) < 0
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
	s.eachWith(token+1, func(i uint32) {
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
