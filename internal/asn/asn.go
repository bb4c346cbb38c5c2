// SPDX-License-Identifier: Apache-2.0

// Package asn says which operator's network an address is in, by a table that
// whoever runs Tallystick brings along: that of iptoasn.com (lines of start, end,
// number, country and name between tabs) or GeoLite2 ASN as CSV, with or without
// gzip. None is shipped. Several files of either kind may stand behind each other
// in one, so that IPv4 and IPv6 are together.
package asn

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// A Table knows networks. It is read only, and nil is an empty one.
type Table struct {
	v4    []range4
	v6    []range6
	names []string // "AS8075 MICROSOFT-CORP-MSN-AS-BLOCK", each once
	// begins says how many of v4 begin below each value of the first 16 bits, so that a search
	// looks at a dozen neighbours and not all over the memory.
	begins []uint32
}

// Ranges do not overlap and are sorted. IPv4 has its own because that is a third
// of the size, and nearly all lookups.
type range4 struct {
	first, last uint32
	name        uint32
}

type range6 struct {
	first, last wide
	name        uint32
}

type wide struct{ high, low uint64 }

func (w wide) compare(x wide) int {
	if c := cmp.Compare(w.high, x.high); c != 0 {
		return c
	}
	return cmp.Compare(w.low, x.low)
}

func wideOf(a netip.Addr) wide {
	raw := a.As16()
	return wide{binary.BigEndian.Uint64(raw[:8]), binary.BigEndian.Uint64(raw[8:])}
}

func narrowOf(a netip.Addr) uint32 {
	raw := a.As4()
	return binary.BigEndian.Uint32(raw[:])
}

// Len returns how many ranges there are.
func (t *Table) Len() int {
	if t == nil {
		return 0
	}
	return len(t.v4) + len(t.v6)
}

// Network names the network of an address: its number and operator when the table
// has it, else the prefix that rule.NetworkOf returns. It is what
// rule.UseSubject.Network wants.
func (t *Table) Network(a netip.Addr) string {
	if name, ok := t.Lookup(a); ok {
		return name
	}
	return rule.NetworkOf(a).String()
}

// Lookup returns the number and operator of the network that has an address.
func (t *Table) Lookup(a netip.Addr) (string, bool) {
	if t == nil || !a.IsValid() {
		return "", false
	}
	if a = a.Unmap(); a.Is4() {
		return t.lookup4(narrowOf(a))
	}
	at := wideOf(a)
	i, _ := slices.BinarySearchFunc(t.v6, at, func(r range6, at wide) int {
		if r.first.compare(at) > 0 {
			return 1
		}
		return -1
	})
	if i == 0 || t.v6[i-1].last.compare(at) < 0 {
		return "", false
	}
	return t.names[t.v6[i-1].name], true
}

func (t *Table) lookup4(at uint32) (string, bool) {
	if len(t.v4) == 0 {
		return "", false
	}
	low, high := t.begins[at>>16], t.begins[at>>16+1]
	for low < high { // to the first that begins after it
		if middle := (low + high) / 2; t.v4[middle].first > at {
			high = middle
		} else {
			low = middle + 1
		}
	}
	if low == 0 || t.v4[low-1].last < at {
		return "", false
	}
	return t.names[t.v4[low-1].name], true
}

// settle sorts the ranges. The same range twice is one; others must not overlap.
func (t *Table) settle() error {
	slices.SortFunc(t.v4, func(a, b range4) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.last, b.last), cmp.Compare(a.name, b.name))
	})
	slices.SortFunc(t.v6, func(a, b range6) int {
		return cmp.Or(a.first.compare(b.first), a.last.compare(b.last), cmp.Compare(a.name, b.name))
	})
	t.v4, t.v6 = slices.Clone(slices.Compact(t.v4)), slices.Clone(slices.Compact(t.v6))
	for i := range t.v4[min(1, len(t.v4)):] {
		if t.v4[i].last >= t.v4[i+1].first {
			return t.overlap(t.v4[i].name, t.v4[i+1].name)
		}
	}
	for i := range t.v6[min(1, len(t.v6)):] {
		if t.v6[i].last.compare(t.v6[i+1].first) >= 0 {
			return t.overlap(t.v6[i].name, t.v6[i+1].name)
		}
	}
	t.index()
	return nil
}

func (t *Table) index() {
	t.begins = make([]uint32, 1<<16+1)
	for _, r := range t.v4 {
		t.begins[r.first>>16+1]++
	}
	for i := range t.begins[1:] {
		t.begins[i+1] += t.begins[i]
	}
}

func (t *Table) overlap(a, b uint32) error {
	return fmt.Errorf("a network of %q overlaps with one of %q: give one table, not several joined: %w", t.names[a], t.names[b], tallystick.ErrInvalid)
}
