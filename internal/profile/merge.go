// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/rule"
)

// Merge returns the profile of a credential of which a and b are parts, because it
// was known by two names. It is the same for b and a, and changes neither.
func Merge(a, b *rule.Profile) rule.Profile {
	m := rule.Profile{
		Uses: rule.Sum(a.Uses, b.Uses), Holder: mergeSides(a.Holder, b.Holder), Relying: mergeSides(a.Relying, b.Relying),
		LastRefused: a.LastRefused, Pause: max(a.Pause, b.Pause), Forgotten: a.Forgotten || b.Forgotten,
		Stays: mergeStays(a.Stays, b.Stays),
	}
	m.First, m.Last = spanOf(a.First, a.Last, b.First, b.Last)
	if b.LastRefused.After(m.LastRefused) {
		m.LastRefused = b.LastRefused
	}
	mergeNetworks(&m, a.Networks, b.Networks)
	mergeWays(&m, a.Ways, b.Ways)
	for i := range m.Rhythm {
		for j := range m.Rhythm[i] {
			m.Rhythm[i][j] = max(a.Rhythm[i][j], b.Rhythm[i][j])
		}
	}
	mergeHours(&m, a.Hours, b.Hours)
	return m
}

func spanOf(first, last, otherFirst, otherLast time.Time) (time.Time, time.Time) {
	if !otherFirst.IsZero() {
		span(&first, &last, otherFirst, otherLast)
	}
	return first, last
}

func mergeSides(a, b rule.SideUses) rule.SideUses {
	a.First, a.Last = spanOf(a.First, a.Last, b.First, b.Last)
	a.Uses = rule.Sum(a.Uses, b.Uses)
	return a
}

func mergeNetworks(m *rule.Profile, a, b []rule.Network) {
	all := slices.Clone(a)
	for _, n := range b {
		i := slices.IndexFunc(all, func(known rule.Network) bool { return known.Prefix == n.Prefix })
		if i < 0 {
			all = append(all, n)
			continue
		}
		span(&all[i].First, &all[i].Last, n.First, n.Last)
		all[i].Uses = rule.Sum(all[i].Uses, n.Uses)
	}
	slices.SortFunc(all, func(a, b rule.Network) int {
		if c := b.Last.Compare(a.Last); c != 0 {
			return c
		}
		return a.Prefix.Addr().Compare(b.Prefix.Addr())
	})
	if len(all) > rule.MaxNetworks {
		all, m.Forgotten = slices.Clip(all[:rule.MaxNetworks]), true
	}
	m.Networks = all
}

func mergeWays(m *rule.Profile, lists ...[]rule.Way) {
	for _, way := range slices.SortedFunc(slices.Values(slices.Concat(lists...)), func(a, b rule.Way) int {
		return cmp.Or(a.First.Compare(b.First), strings.Compare(a.Protocol, b.Protocol), strings.Compare(a.Method, b.Method))
	}) {
		learnWay(m, way)
	}
}

// mergeStays lets those that overlap stand beside each other: from here on, only
// what comes after all of them is added.
func mergeStays(a, b []rule.Stay) []rule.Stay {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(a, b rule.Stay) int {
		if c := a.To.Compare(b.To); c != 0 {
			return c
		}
		if c := a.From.Compare(b.From); c != 0 {
			return c
		}
		return a.Prefix.Addr().Compare(b.Prefix.Addr())
	})
	return slices.Clone(all[max(0, len(all)-rule.MaxStays):])
}

func mergeHours(m *rule.Profile, a, b []rule.Hour) {
	all := slices.Clone(a)
	for _, h := range b {
		i, found := slices.BinarySearchFunc(all, h.Start, func(known rule.Hour, start time.Time) int { return known.Start.Compare(start) })
		if !found {
			all = slices.Insert(all, i, h)
			continue
		}
		for word := range h.Parties {
			all[i].Parties[word] |= h.Parties[word]
		}
	}
	over := max(0, len(all)-rule.MaxHours)
	for i := range all[:over] {
		m.Rhythm.Note(&all[i])
	}
	m.Hours = slices.Clone(all[over:])
}
