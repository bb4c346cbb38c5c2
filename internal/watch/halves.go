// SPDX-License-Identifier: Apache-2.0

package watch

import "github.com/tallystick/tallystick"

// halves finds the other half of a token's use while both sides' records come in,
// which is most of all matching: it needs no more than to look the token up. What
// is not so simple is left to the tally: calls, counted records, those that are
// tied to others by a parent, and tokens of which there is more than one record of
// a side. A second use of a token that comes later is found with the first by
// seek.
type halves map[string]*entry // by token id in its normal form

// isSimple says whether a record is one of those.
func isSimple(u *tallystick.Use) bool {
	return u.IDs.UTI != "" && u.Level != tallystick.LevelCall && u.Count <= 1 && u.IDs.Parent == ""
}

// match takes a record. It returns its other half, which is matched with it, if
// there is one; else the record is one that waits.
func (h halves) match(e *entry) *entry {
	uti := tallystick.NormalUTI(e.use.IDs.UTI)
	other, ok := h[uti]
	switch {
	case !ok:
		h[uti], e.token = e, uti
		return nil
	case other == nil || other.use.Side == e.use.Side || other.owner.now() != e.owner:
		h[uti], e.token = nil, uti // contested: the tally decides
		return nil
	}
	delete(h, uti)
	return other
}

// leave forgets a record that leaves the memory.
func (h halves) leave(e *entry) {
	if e.token != "" {
		delete(h, e.token)
	}
}
