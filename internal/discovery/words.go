// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// A Difference is one part of what a run changed, in words: "5 renewed".
type Difference struct {
	Kind  string // store.ChangeRenewed ...
	Count int64
	Words string // without the number
}

// Differences says what was changed, without what is nothing.
func Differences(c store.ChangeCounts) []Difference {
	var list []Difference
	for _, d := range []Difference{
		{store.ChangeNew, c.New, "new"}, {store.ChangeGone, c.Gone, "gone"}, {store.ChangeRenewed, c.Renewed, "renewed"},
		{store.ChangeWentBack, c.WentBack, "went back to an older certificate"}, {store.ChangeReturned, c.Returned, "back again"},
		{store.ChangeFacts, c.Changed, "changed"},
	} {
		if d.Count > 0 {
			list = append(list, d)
		}
	}
	return list
}

// Sentence says what was changed in a line: "12 new, 3 gone, 5 renewed". Of a
// first look, for which all is new, it tells the kinds.
func Sentence(c store.ChangeCounts) string {
	var parts []string
	for _, d := range Differences(c) {
		parts = append(parts, fmt.Sprintf("%d %s", d.Count, d.Words))
	}
	switch {
	case len(parts) == 0 && c.First:
		return "the first look: nothing was found"
	case len(parts) == 0:
		return "nothing changed"
	case c.First:
		return "the first look: " + Kinds(c)
	}
	return strings.Join(parts, ", ")
}

// Kinds says how many of each kind are new, the most first: "12 certificates, 1 key".
func Kinds(c store.ChangeCounts) string {
	kinds := slices.SortedFunc(maps.Keys(c.Kinds), func(a, b tallystick.Kind) int {
		return cmp.Or(cmp.Compare(c.Kinds[b], c.Kinds[a]), cmp.Compare(a, b))
	})
	var parts []string
	for _, kind := range kinds {
		parts = append(parts, fmt.Sprintf("%d %s", c.Kinds[kind], kindWord(kind, c.Kinds[kind])))
	}
	return strings.Join(parts, ", ")
}

func kindWord(kind tallystick.Kind, n int64) string {
	word := strings.ReplaceAll(string(kind), "-", " ")
	switch {
	case kind == tallystick.KindSealed:
		return "that nobody could open"
	case kind == tallystick.KindNamed:
		return "known by uses alone"
	case n == 1:
		return word
	}
	return word + "s"
}
