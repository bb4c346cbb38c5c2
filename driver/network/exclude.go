// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
)

// ErrExcluded says that the operator has left an endpoint out.
var ErrExcluded = errors.New("excluded by the operator")

// An Exclusion is what must not be dialled. The zero value and nil exclude
// nothing. A name is excluded as a name: its addresses may still be named by
// themselves or by another name.
type Exclusion struct {
	names  map[string]bool // "a.example", and ".a.example" for those beneath
	ranges []addressRange  // in order, not overlapping
}

// An addressRange holds both of its ends.
type addressRange struct{ first, last netip.Addr }

// ParseExclusion reads names ("old.example.com", and "*.example.com" for those
// beneath), addresses, blocks of any size and ranges, as a Grammar writes them
// without ports. Empty texts do not count; an error is tallystick.ErrInvalid.
func ParseExclusion(list []string) (*Exclusion, error) {
	x := &Exclusion{names: map[string]bool{}}
	for _, text := range list {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		if err := x.add(text); err != nil {
			return nil, invalid("%s: %w", Quote(text), err)
		}
	}
	slices.SortFunc(x.ranges, func(a, b addressRange) int { return a.first.Compare(b.first) })
	x.ranges = slices.CompactFunc(x.ranges, func(a, b addressRange) bool { return a == b })
	for i := 1; i < len(x.ranges); i++ {
		// A range within an earlier one must not hide the earlier one's end.
		if x.ranges[i].last.Less(x.ranges[i-1].last) {
			x.ranges[i].last = x.ranges[i-1].last
		}
	}
	return x, nil
}

func (x *Exclusion) add(text string) error {
	if parent, ok := strings.CutPrefix(text, "*."); ok {
		name, err := asciiName(parent)
		x.names["."+name] = true
		return err
	}
	if block, err := netip.ParsePrefix(strings.Trim(text, "[]")); err == nil {
		first, last := ends(block)
		x.ranges = append(x.ranges, addressRange{first, last})
		return nil
	}
	var s span
	if err := s.host(strings.Trim(text, "[]")); err != nil {
		return err
	}
	if s.name != "" {
		x.names[s.name] = true
		return nil
	}
	x.ranges = append(x.ranges, addressRange{s.first, s.last})
	return nil
}

// Name says whether a name is excluded.
func (x *Exclusion) Name(name string) bool {
	if x == nil || len(x.names) == 0 {
		return false
	}
	name = strings.TrimSuffix(strings.ToLower(name), ".")
	if x.names[name] {
		return true
	}
	for i := range len(name) {
		if name[i] == '.' && x.names[name[i:]] {
			return true
		}
	}
	return false
}

// Addr says whether an address is excluded.
func (x *Exclusion) Addr(address netip.Addr) bool {
	if x == nil {
		return false
	}
	address = address.Unmap().WithZone("")
	after, found := slices.BinarySearchFunc(x.ranges, address, func(r addressRange, a netip.Addr) int { return r.first.Compare(a) })
	if found {
		return true
	}
	// netip orders every IPv4 address before every IPv6 one, so a range never
	// reaches from one family into the other.
	return after > 0 && !x.ranges[after-1].last.Less(address)
}
