// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"slices"

	"github.com/tallystick/tallystick"
)

// A copied is a correlation id and the credential that it was used with.
type copied struct {
	root uint32
	corr uint32
}

// explain says of every relying use that is left why it is.
func (s *settlement) explain() {
	wanted := map[copied]bool{} // whether a holder used it too
	for i := range uint32(s.relying.len()) {
		if r := s.relying.at(i); s.left.get(i) > 0 && r.corr() != 0 && !s.isAttempt(r) {
			wanted[copied{s.credentialOf(r), r.corr()}] = false
		}
	}
	if len(wanted) > 0 {
		for i := range uint32(s.holder.len()) {
			r := s.holder.at(i)
			key := copied{s.root(r), r.corr()}
			if _, ok := wanted[key]; ok {
				wanted[key] = true
			}
		}
	}
	for i := range uint32(s.relying.len()) {
		if r := s.relying.at(i); s.left.get(i) > 0 && !s.isAttempt(r) {
			s.why[i] = s.reason(r, s.why[i], wanted[copied{s.credentialOf(r), r.corr()}])
		}
	}
}

// reason sharpens what the matching found out.
func (s *settlement) reason(r row, why Reason, corrKnown bool) Reason {
	book, known := s.known[s.credentialOf(r)]
	switch {
	case !known:
		return reasonNoBook
	case why == reasonUnknownToken && corrKnown:
		return reasonUnknownTokenCopied
	case why == reasonNone && corrKnown:
		return reasonLeftOverCopied
	case (why == reasonNone || why == reasonUnknownToken) && r.until() < book.first-s.options.Tolerance.Microseconds():
		return reasonBeforeBook
	case why == reasonNone:
		return reasonLeftOver
	}
	return why
}

// firstName returns the least of the names of a credential. What stands for a set
// of names depends on the order in which they came, and decides nothing.
func (s *settlement) firstName(root uint32) string {
	if s.first == nil {
		s.first = map[uint32]string{}
		for name, number := range s.names.number {
			root := s.names.root(number)
			if least, ok := s.first[root]; !ok || name < least {
				s.first[root] = name
			}
		}
	}
	return s.first[root]
}

// namesOf returns all names of the credentials with foreign uses.
func (s *settlement) namesOf(items []Item) map[uint32][]string {
	all := map[uint32][]string{}
	for _, item := range items {
		if item.Verdict == tallystick.VerdictForeign {
			all[item.Credential] = nil
		}
	}
	if len(all) == 0 {
		return all
	}
	for name, number := range s.names.number {
		if list, ok := all[s.names.root(number)]; ok {
			all[s.names.root(number)] = append(list, name)
		}
	}
	for _, list := range all {
		slices.Sort(list)
	}
	return all
}
