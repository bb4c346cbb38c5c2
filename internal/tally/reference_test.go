// SPDX-License-Identifier: Apache-2.0

package tally

import (
	"cmp"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
)

// The reference is the rules of docs/reconcile.md written down as plainly as
// possible, for uses of keys at relying parties that are named exactly: it
// compares everything with everything, and knows no index.

type referenceUse struct {
	*tallystick.Use
	id      uint64
	left    int64 // uses that are not matched
	verdict tallystick.Verdict
}

type reference struct {
	options Options
	holder  []*referenceUse
	relying []*referenceUse
	marks   []tallystick.ClosingMark
	lost    []*tallystick.Use
	all     []*tallystick.Use
	joined  map[*tallystick.Use]map[string]bool
}

// newReference drops what is there twice.
func newReference(options Options, h *records) *reference {
	uses := h.uses
	r := &reference{options: options, marks: h.marks, lost: h.lost, all: uses, joined: map[*tallystick.Use]map[string]bool{}}
	seen := map[string]bool{} // all of them have an id or a number
	for _, u := range uses {
		if seen[idOf(u)] {
			continue
		}
		seen[idOf(u)] = true
		tie := uint64(tieOf(u, appendRest(nil, u)))<<32 | uint64(fold(hashOf(refOf(u))))
		use := &referenceUse{Use: u, id: tie, left: u.Count}
		if u.Side == tallystick.SideHolder {
			r.holder = append(r.holder, use)
		} else if u.Outcome != tallystick.OutcomeAttempt {
			r.relying = append(r.relying, use)
		}
	}
	for _, side := range [][]*referenceUse{r.holder, r.relying} {
		slices.SortFunc(side, func(a, b *referenceUse) int { return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.id, b.id)) })
	}
	return r
}

// names returns every name of a credential: those that it shows, those of
// records that share one of them, and so on.
func (r *reference) names(u *tallystick.Use) map[string]bool {
	if names, ok := r.joined[u]; ok {
		return names
	}
	names := map[string]bool{}
	r.joined[u] = names
	for _, name := range u.Credential {
		names[tallystick.NormalName(name)] = true
	}
	for grown := true; grown; {
		grown = false
		for _, other := range r.all {
			if other.Side == tallystick.SideRelying && other.Outcome == tallystick.OutcomeAttempt {
				continue // it can have named any
			}
			shared := slices.ContainsFunc(other.Credential, func(name string) bool { return names[tallystick.NormalName(name)] })
			for _, name := range other.Credential {
				if shared && !names[tallystick.NormalName(name)] {
					names[tallystick.NormalName(name)], grown = true, true
				}
			}
		}
	}
	return names
}

func (r *reference) same(a, b *tallystick.Use) bool {
	names := r.names(a)
	return slices.ContainsFunc(b.Credential, func(name string) bool { return names[tallystick.NormalName(name)] })
}

func (r *reference) book(u *tallystick.Use) (of []*referenceUse) {
	for _, h := range r.holder {
		if r.same(u, h.Use) {
			of = append(of, h)
		}
	}
	return of
}

func (r *reference) settle() {
	var rest []*referenceUse
	for _, u := range r.relying {
		carries := slices.ContainsFunc(r.book(u.Use), func(h *referenceUse) bool { return h.IDs.UTI != "" })
		if u.IDs.UTI == "" || !carries {
			rest = append(rest, u)
		}
	}
	r.tokens(rest)
	r.values(rest, func(u *tallystick.Use) string { return u.IDs.Request })
	r.values(rest, func(u *tallystick.Use) string { return u.IDs.Correlation })
	r.values(rest, func(u *tallystick.Use) string { return u.Address })
	r.values(rest, func(*tallystick.Use) string { return "all" })
	r.counts(rest, true)
	r.counts(rest, false)
	for _, u := range r.relying {
		u.verdict = tallystick.VerdictMatched
		if u.left > 0 {
			u.verdict = r.leftOver(u)
		}
	}
	for _, h := range r.holder {
		h.verdict = tallystick.VerdictMatched
		if h.left > 0 {
			h.verdict = tallystick.VerdictUnconfirmed
		}
	}
}

// tokens gives each token of a holder to the likeliest of its uses.
func (r *reference) tokens(rest []*referenceUse) {
	given := map[*referenceUse]bool{}
	for _, u := range r.relying {
		if slices.Contains(rest, u) || given[u] {
			continue
		}
		uti := tallystick.NormalUTI(u.IDs.UTI)
		var records, rivals []*referenceUse
		for _, h := range r.book(u.Use) {
			if tallystick.NormalUTI(h.IDs.UTI) == uti {
				records = append(records, h)
			}
		}
		for _, other := range r.relying {
			if tallystick.NormalUTI(other.IDs.UTI) == uti && r.same(u.Use, other.Use) {
				rivals = append(rivals, other)
				given[other] = true
			}
		}
		if len(records) == 0 {
			continue
		}
		first := records[0] // they are in order of time
		differ := func(a, b string) int {
			if a == "" || a != b {
				return 1
			}
			return 0
		}
		slices.SortStableFunc(rivals, func(a, b *referenceUse) int {
			return cmp.Or(
				cmp.Compare(differ(first.Address, a.Address), differ(first.Address, b.Address)),
				cmp.Compare(differ(first.IDs.Correlation, a.IDs.Correlation), differ(first.IDs.Correlation, b.IDs.Correlation)),
				cmp.Compare(a.Time.Sub(first.Time).Abs(), b.Time.Sub(first.Time).Abs()))
		})
		rivals[0].left = 0
		for _, h := range records {
			h.left = 0
		}
	}
}

// values matches single uses that have a value in common, nearest first.
func (r *reference) values(rest []*referenceUse, value func(*tallystick.Use) string) {
	var line []*referenceUse // both sides, in the order that breaks ties
	for _, u := range slices.Concat(rest, r.holder) {
		if u.left > 0 {
			line = append(line, u)
		}
	}
	slices.SortStableFunc(line, func(a, b *referenceUse) int {
		return cmp.Or(a.Time.Compare(b.Time), -cmp.Compare(a.Side, b.Side), cmp.Compare(a.id, b.id))
	})
	for {
		var best [2]*referenceUse
		var bestKey []int64
		for i, a := range line {
			// How many stand between two is counted among those that are
			// compared with each other.
			between := int64(0)
			for _, b := range line[i+1:] {
				if !r.compared(a, b, value) {
					continue
				}
				between++
				if a.Side == b.Side || a.left == 0 || b.left == 0 || !r.may(a, b) {
					continue
				}
				key := []int64{int64(b.Time.Sub(a.Time)), between}
				if bestKey == nil || slices.Compare(key, bestKey) < 0 {
					best, bestKey = [2]*referenceUse{a, b}, key
				}
			}
		}
		if bestKey == nil {
			return
		}
		best[0].left--
		best[1].left--
	}
}

// compared says whether two records are of one credential, relying party and value.
func (r *reference) compared(a, b *referenceUse, value func(*tallystick.Use) string) bool {
	return a.Count == 1 && b.Count == 1 && value(a.Use) != "" && value(a.Use) == value(b.Use) &&
		a.RelyingParty == b.RelyingParty && r.same(a.Use, b.Use)
}

// may says whether two records may be of one use.
func (r *reference) may(a, b *referenceUse) bool {
	holder, relying := a, b
	if b.Side == tallystick.SideHolder {
		holder, relying = b, a
	}
	return b.Time.Sub(a.Time) <= r.options.Tolerance &&
		(holder.IDs.UTI == "" || relying.Outcome == tallystick.OutcomeSuccess)
}

// counts matches single uses with the holders' counted records that they fall
// into, those without a token first and the first to end before the others.
func (r *reference) counts(rest []*referenceUse, address bool) {
	for _, token := range []bool{false, true} {
		for _, u := range rest {
			var windows []*referenceUse
			for _, h := range r.holder {
				in := !u.Time.Before(h.Time.Add(-r.options.Tolerance)) && !u.Time.After(h.Until.Add(r.options.Tolerance))
				if h.Count > 1 && h.left > 0 && in && u.left > 0 && u.Count == 1 && h.RelyingParty == u.RelyingParty && r.same(h.Use, u.Use) &&
					(h.IDs.UTI != "") == token && !(token && u.Outcome != tallystick.OutcomeSuccess) &&
					(!address || h.Address != "" && h.Address == u.Address) {
					windows = append(windows, h)
				}
			}
			if len(windows) == 0 {
				continue
			}
			slices.SortStableFunc(windows, func(a, b *referenceUse) int {
				return cmp.Or(a.Until.Compare(b.Until), a.Time.Compare(b.Time), cmp.Compare(a.id, b.id))
			})
			u.left--
			windows[0].left--
		}
	}
}

// leftOver says whether the books are closed.
func (r *reference) leftOver(u *referenceUse) tallystick.Verdict {
	sources := map[string]bool{}
	for _, h := range r.book(u.Use) {
		sources[h.Source] = true
	}
	if len(sources) == 0 { // any book could still show it
		for _, h := range r.holder {
			sources[h.Source] = true
		}
		for _, m := range r.marks {
			sources[m.Source] = true
		}
		for _, l := range r.lost {
			sources[l.Source] = true
		}
	}
	if r.mayBeLost(u, sources) {
		return tallystick.VerdictPending
	}
	closed := len(sources) > 0
	for source := range sources {
		var latest time.Time
		for _, m := range r.marks {
			if m.Source == source && m.Closed.After(latest) {
				latest = m.Closed
			}
		}
		closed = closed && latest.After(u.Until.Add(r.options.Tolerance))
	}
	if closed || r.options.CloseAtEnd {
		return tallystick.VerdictForeign
	}
	return tallystick.VerdictPending
}

// mayBeLost says whether one of the books, or one that holds nothing else, lost
// uses of the time.
func (r *reference) mayBeLost(u *referenceUse, sources map[string]bool) bool {
	return slices.ContainsFunc(r.lost, func(l *tallystick.Use) bool {
		silent := !slices.ContainsFunc(r.holder, func(h *referenceUse) bool { return h.Source == l.Source })
		return (sources[l.Source] || silent) &&
			!u.Until.Before(l.Time.Add(-r.options.Tolerance)) && !u.Time.After(l.Until.Add(r.options.Tolerance))
	})
}
