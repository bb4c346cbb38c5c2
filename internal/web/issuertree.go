// SPDX-License-Identifier: Apache-2.0

package web

import (
	"time"

	"github.com/tallystick/tallystick/internal/ca"
)

// deepest is how far the tree is set in.
const deepest = 3

// tree puts CAs below those that signed them; a generation stands right behind the
// one that it follows.
func tree(all []ca.Overview, lists map[string]*crlView, now time.Time) []authorityRow {
	var rows []authorityRow
	seen := map[string]bool{}
	var add func(a ca.Overview, depth int)
	add = func(a ca.Overview, depth int) {
		if seen[a.Name] {
			return
		}
		seen[a.Name] = true
		rows = append(rows, authorityRow{Overview: a, Depth: min(depth, deepest), CRL: lists[a.Name], Next: nextStep(all, a, now)})
		for _, below := range all {
			if below.Parent == a.Name {
				add(below, depth+1)
			}
		}
		for _, next := range all {
			if next.Follows == a.Name {
				add(next, depth)
			}
		}
	}
	for _, a := range all {
		if a.Parent == "" && a.Follows == "" {
			add(a, 0)
		}
	}
	for _, a := range all { // whose parent is not there
		add(a, 0)
	}
	return rows
}

// A step is what is to be done with a CA next.
type step struct {
	Words string // what there is to do; "" is nothing
	Verb  string // the action of a form: prepare, activate, distrust; "" where it is done elsewhere
	Word  string // on its button
	Loud  bool
	Left  int64 // certificates that stand in its way
}

// nextStep says where the replacement of a CA stands.
func nextStep(all []ca.Overview, a ca.Overview, now time.Time) step {
	var next *ca.Overview
	for i := range all {
		if all[i].Follows == a.Name {
			next = &all[i]
		}
	}
	left := a.Counts.InUse
	switch a.State {
	case ca.Pending:
		return step{Words: "Have its request signed, then bring the certificate in with “tally ca install " + a.Name + "”."}
	case ca.Prepared:
		return step{Words: "Trust it everywhere; then let it sign in place of " + a.Follows + "."}
	case ca.Active:
		switch {
		case next != nil:
			return step{Words: next.Name + " is ready to sign. When it is trusted everywhere, let it.", Verb: "activate", Word: "Let " + clip(48, next.Name) + " sign"}
		case lifeOf(now, a.NotBefore, a.NotAfter).State != "good":
			return step{Words: "It ends " + relative(a.NotAfter.Sub(now)) + ": begin to replace it.", Verb: "prepare", Word: "Prepare the next generation", Loud: true}
		}
		return step{Verb: "prepare", Word: "Prepare the next generation"}
	case ca.Retired:
		if left > 0 {
			return step{Words: plural(left, "certificate by it is", "certificates by it are") + " still in use. Have them renewed, then distrust it.", Verb: "distrust", Word: "Distrust it", Left: left}
		}
		return step{Words: "Nothing that it signed is in use: take it out of trust stores.", Verb: "distrust", Word: "Distrust it"}
	case ca.Compromised:
		words := "Its key is in other hands. Take it out of every trust store."
		if left > 0 {
			words = "Its key is in other hands, and " + plural(left, "certificate by it is", "certificates by it are") + " not replaced."
		}
		if next == nil {
			return step{Words: words, Verb: "prepare", Word: "Prepare the next generation", Loud: true, Left: left}
		}
		if next.State == ca.Prepared {
			return step{Words: words, Verb: "activate", Word: "Let " + clip(48, next.Name) + " sign", Loud: true, Left: left}
		}
		return step{Words: words, Verb: "distrust", Word: "Distrust it", Loud: true, Left: left}
	}
	return step{}
}
