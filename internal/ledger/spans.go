// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"slices"
)

// A Span is the numbers From to To, both included.
type Span struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// spans are the numbers that a book has, in order and apart from each other.
type spans struct {
	List []Span `json:"list,omitempty"`
	// Forgotten counts missing numbers of gaps that are no longer told apart,
	// because there were more than maxSpans.
	Forgotten uint64 `json:"forgotten,omitempty"`
}

const maxSpans = 4096

// add returns whether n was not there.
func (s *spans) add(n uint64) bool {
	last := len(s.List) - 1
	if last >= 0 && n == s.List[last].To+1 {
		s.List[last].To = n
		return true
	}
	i, found := slices.BinarySearchFunc(s.List, n, func(span Span, n uint64) int {
		switch {
		case n < span.From:
			return 1
		case n > span.To:
			return -1
		}
		return 0
	})
	if found {
		return false
	}
	before, after := i > 0 && s.List[i-1].To+1 == n, i < len(s.List) && s.List[i].From == n+1
	switch {
	case before && after:
		s.List[i-1].To = s.List[i].To
		s.List = slices.Delete(s.List, i, i+1)
	case before:
		s.List[i-1].To = n
	case after:
		s.List[i].From = n
	default:
		s.List = slices.Insert(s.List, i, Span{n, n})
	}
	if len(s.List) > maxSpans {
		s.Forgotten += s.List[1].From - s.List[0].To - 1
		s.List[0].To = s.List[1].To
		s.List = slices.Delete(s.List, 1, 2)
	}
	return true
}

// gaps returns what is missing between the first number and the last, and from
// 1 on: a book starts there.
func (s *spans) gaps(last uint64) (gaps []Span) {
	next := uint64(1)
	for _, span := range s.List {
		if span.From > next {
			gaps = append(gaps, Span{next, span.From - 1})
		}
		next = span.To + 1
	}
	if last >= next && next > 0 {
		gaps = append(gaps, Span{next, last})
	}
	return gaps
}
