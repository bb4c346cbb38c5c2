// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"cmp"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// A skewPair is the two sources of the halves of uses.
type skewPair struct{ relying, holder string }

// A skew is how much later than the holder's the relying party's records of the
// same uses are, of the newest of them, in microseconds.
type skew struct {
	newest [skewKept]int64
	n      int // that there were
}

const (
	skewKept = 255
	// skewLeast is how many it takes to say anything.
	skewLeast = 20
)

func (s *skew) add(apart int64) {
	s.newest[s.n%skewKept] = apart
	s.n++
}

// median returns the median, and whether it means anything. It is that of the
// clocks and of the time that a use takes.
func (s *skew) median() (time.Duration, bool) {
	if s.n < skewLeast {
		return 0, false
	}
	list := slices.Clone(s.newest[:min(s.n, skewKept)])
	slices.Sort(list)
	return time.Duration(list[len(list)/2]) * time.Microsecond, true
}

// compareClocks takes the times of the halves that a set has matched.
func (w *Watch) compareClocks(s *set) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, pair := range s.pairs {
		here, there := s.entries[pair[0]], s.entries[pair[1]]
		if !here.certain && here.verdict != tallystick.VerdictMatched {
			continue
		}
		w.compareClock(here.use, there.use)
	}
}

// compareClock takes the times of the halves of a use.
func (w *Watch) compareClock(relying, holder *tallystick.Use) {
	key := skewPair{relying.Source, holder.Source}
	one, ok := w.skews[key]
	if !ok {
		one = &skew{}
		w.skews[key] = one
	}
	one.add(micro(relying.Time) - micro(holder.Time))
}

// A Skew is how much later the records of a relying party's source are than those
// of a holder's, of the same uses.
type Skew struct {
	Relying string        `json:"relying"`
	Holder  string        `json:"holder"`
	By      time.Duration `json:"by"` // nanoseconds; negative is earlier
}

// Skews returns what is known of the clocks of pairs of sources.
func (w *Watch) Skews() []Skew {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []Skew
	for pair, one := range w.skews {
		if by, ok := one.median(); ok {
			list = append(list, Skew{pair.relying, pair.holder, by})
		}
	}
	slices.SortFunc(list, func(a, b Skew) int { return cmp.Or(cmp.Compare(a.Relying, b.Relying), cmp.Compare(a.Holder, b.Holder)) })
	return list
}

// SkewOf returns how far the clock of a source is before that of its counterparts,
// less than zero when it is behind; 0 when it agrees with one of them, or none is
// known.
func (w *Watch) SkewOf(source string, side tallystick.Side) time.Duration {
	return skewOf(w.Skews(), bookName{source, side})
}

func skewOf(all []Skew, name bookName) time.Duration {
	least := time.Duration(0)
	for _, s := range all {
		by := s.By
		switch {
		case name.side == tallystick.SideRelying && s.Relying == name.source:
		case name.side == tallystick.SideHolder && s.Holder == name.source:
			by = -by
		default:
			continue
		}
		if least == 0 || by.Abs() < least.Abs() {
			least = by
		}
	}
	return least
}
