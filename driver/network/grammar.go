// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/tallystick/tallystick"
)

// A Grammar says which targets a driver takes. A target is one of
//
//	mail.example.com                  a name; one outside ASCII is turned into its A-label
//	192.0.2.7, 2001:db8::7, [::1]     an address
//	192.0.2.0/24, [2001:db8::/120]    a block
//	192.0.2.1-192.0.2.50              a range of addresses, both ends within
//	TARGET:443, TARGET:443,8000-8010  any of these at ports; IPv6 in brackets
//	smtp://TARGET                     any of these with a scheme
//	@FILE                             a file with one target a line
//
// Without ports a target is asked at the port of its scheme, and without a
// scheme at Ports. Empty lines of a file and those that begin with # do not
// count. An address that maps an IPv4 one (::ffff:192.0.2.7) is that one.
// A zone (fe80::1%eth0) is refused.
type Grammar struct {
	Schemes map[string]uint16 // in lower case, to their default ports; 0 where the target must name it
	Ports   []uint16          // of a target with neither scheme nor port; without any it must name one
}

// maxBits bounds a block or a range: 2^24 addresses.
const maxBits = 24

// A span is one target that has been read: a name or addresses, at ports.
type span struct {
	scheme string
	name   string // or
	first  netip.Addr
	last   netip.Addr
	ports  []uint16
}

// Count returns how many endpoints a target names; an error is
// tallystick.ErrInvalid and says what was expected. @FILE is no target here.
func (g Grammar) Count(text string) (int64, error) {
	s, err := g.span(text)
	if err != nil || s.name != "" {
		return int64(len(s.ports)), err
	}
	apart, _ := distance(s.first, s.last)
	return (apart + 1) * int64(len(s.ports)), nil
}

// Parse reads targets. One that is none is tallystick.ErrInvalid, but a line
// of a file is given to bad and does not stop the rest, unless bad returns an
// error. bad may be nil when texts name no files.
func (g Grammar) Parse(ctx context.Context, texts []string, bad func(BadLine) error) (*Targets, error) {
	var b builder
	for _, text := range texts {
		if file, ok := strings.CutPrefix(text, "@"); ok {
			if err := g.readFile(ctx, file, &b, bad); err != nil {
				return nil, err
			}
			continue
		}
		s, err := g.span(text)
		if err == nil {
			err = b.add(s, "")
		}
		if err != nil {
			return nil, err
		}
	}
	return b.finish()
}

// span reads one target.
func (g Grammar) span(text string) (span, error) {
	s := span{ports: g.Ports}
	if strings.Contains(text, "@") {
		// Not quoted: what stands there may be a password.
		return s, invalid("a target names no user: leave out what stands before the @")
	}
	rest := text
	if scheme, after, ok := strings.Cut(text, "://"); ok {
		s.scheme = strings.ToLower(scheme)
		port, known := g.Schemes[s.scheme]
		if !known {
			return s, invalid("%s: the protocols are %s", Quote(text), strings.Join(slices.Sorted(maps.Keys(g.Schemes)), ", "))
		}
		s.ports = nil
		if port != 0 {
			s.ports = []uint16{port}
		}
		rest = strings.TrimSuffix(after, "/") // as browsers give addresses away
	}
	host, ports, err := splitPorts(rest)
	if err == nil && ports != "" {
		s.ports, err = portList(ports)
	}
	if err == nil {
		err = s.host(host)
	}
	if err != nil {
		return s, invalid("%s: %w", Quote(text), err)
	}
	if len(s.ports) == 0 {
		return s, invalid("%s: it names no port: write it as HOST:PORT", Quote(text))
	}
	return s, nil
}

// splitPorts parts "host:443" at the colon that is not one of an IPv6 address.
func splitPorts(text string) (host, ports string, err error) {
	if inside, ok := strings.CutPrefix(text, "["); ok {
		host, after, closed := strings.Cut(inside, "]")
		switch {
		case !closed:
			return "", "", errors.New("the bracket is not closed")
		case !strings.Contains(host, ":"):
			return "", "", errors.New("brackets are for IPv6 addresses")
		case after == "":
			return host, "", nil
		}
		if ports, ok = strings.CutPrefix(after, ":"); !ok || ports == "" {
			return "", "", errors.New("what follows the bracket is not a colon with a port")
		}
		return host, ports, nil
	}
	if strings.Count(text, ":") != 1 {
		return text, "", nil // a name, or an IPv6 address as it is
	}
	host, ports, _ = strings.Cut(text, ":")
	if ports == "" {
		return "", "", errors.New("there is no port after the colon")
	}
	return host, ports, nil
}

// host reads what stands before the ports.
func (s *span) host(text string) (err error) {
	if strings.Contains(text, "%") {
		return errors.New("an address with a zone holds on one machine only: leave the zone out, or name the host")
	}
	if strings.Contains(text, "/") {
		block, err := netip.ParsePrefix(text)
		if err != nil {
			return errors.New("it is not a block such as 10.0.0.0/24")
		}
		return s.block(block)
	}
	if from, to, ok := strings.Cut(text, "-"); ok {
		first, err := netip.ParseAddr(from)
		last, err2 := netip.ParseAddr(to)
		if err == nil && err2 == nil {
			return s.between(first.Unmap(), last.Unmap())
		}
		if err == nil {
			return errors.New("a range is written as 10.0.0.1-10.0.0.50")
		}
	}
	if address, err := netip.ParseAddr(text); err == nil {
		s.first, s.last = address.Unmap(), address.Unmap()
		return nil
	}
	s.name, err = asciiName(text)
	return err
}

// block takes the addresses of a block.
func (s *span) block(block netip.Prefix) error {
	s.first, s.last = ends(block)
	if free := block.Addr().BitLen() - block.Bits(); free > maxBits {
		return fmt.Errorf("it has 2^%d addresses, and 2^%d are the most: name smaller blocks", free, maxBits)
	}
	return nil
}

// ends returns the lowest and the highest address of a block.
func ends(block netip.Prefix) (first, last netip.Addr) {
	first = block.Masked().Addr()
	raw := first.AsSlice()
	for i := range first.BitLen() - block.Bits() {
		raw[len(raw)-1-i/8] |= 1 << (i % 8)
	}
	last, _ = netip.AddrFromSlice(raw)
	if block.Bits() >= 96 || first.Is4() {
		return first.Unmap(), last.Unmap()
	}
	return first, last
}

// between takes the addresses of a range.
func (s *span) between(first, last netip.Addr) error {
	if first.Is4() != last.Is4() || last.Less(first) {
		return errors.New("the range does not go from a lower to a higher address")
	}
	if n, ok := distance(first, last); !ok || n >= 1<<maxBits {
		return fmt.Errorf("it has more than 2^%d addresses: name smaller ranges", maxBits)
	}
	s.first, s.last = first, last
	return nil
}

// distance is how many addresses last lies above first; ok is false when that
// does not fit in 62 bits.
func distance(first, last netip.Addr) (n int64, ok bool) {
	a, b := first.As16(), last.As16()
	if [8]byte(a[:8]) != [8]byte(b[:8]) {
		return 0, false
	}
	var low, high uint64
	for i := 8; i < 16; i++ {
		low, high = low<<8|uint64(a[i]), high<<8|uint64(b[i])
	}
	return int64(high - low), high-low < 1<<62
}

// plus returns the address n above a, which must exist within 64 bits.
func plus(a netip.Addr, n int64) netip.Addr {
	raw := a.AsSlice()
	for i := len(raw) - 1; i >= 0 && n > 0; i-- {
		n += int64(raw[i])
		raw[i] = byte(n)
		n >>= 8
	}
	sum, _ := netip.AddrFromSlice(raw)
	return sum
}

// asciiName reads the name of a host: letters, digits, hyphens and dots (RFC
// 1123 section 2.1) with the underscores that people use all the same, in
// lower case. Other scripts become A-labels (RFC 5891 section 5).
func asciiName(text string) (string, error) {
	name := strings.TrimSuffix(text, ".")
	if strings.ContainsFunc(name, func(r rune) bool { return r >= 0x80 }) {
		ascii, err := idna.Lookup.ToASCII(name)
		if err != nil || !utf8.ValidString(name) {
			return "", errors.New("it is not an international host name")
		}
		name = ascii
	}
	name = strings.ToLower(name)
	if len(name) > 253 || name == "" || strings.Trim(name, "0123456789.") == "" {
		return "", errors.New("it is neither the name of a host nor an address")
	}
	for label := range strings.SplitSeq(name, ".") {
		bad := strings.ContainsFunc(label, func(r rune) bool {
			return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_')
		})
		if bad || label == "" || len(label) > 63 || label[0] == '-' {
			return "", errors.New("it is neither the name of a host nor an address")
		}
	}
	return name, nil
}

// ParsePorts reads lists such as "443,8443,9000-9010" and returns the ports in
// order, each once. An error is tallystick.ErrInvalid.
func ParsePorts(lists ...string) ([]uint16, error) {
	ports, err := portList(strings.Join(lists, ","))
	if err != nil {
		return nil, invalid("%w", err)
	}
	return ports, nil
}

func portList(list string) ([]uint16, error) {
	var ports []uint16
	for part := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 16)
		last, err2 := strconv.ParseUint(to, 10, 16)
		if err != nil || err2 != nil || first == 0 || last < first {
			return nil, fmt.Errorf("%s is no port or range of ports: write them as 443,8443,9000-9010", Quote(part))
		}
		for n := first; n <= last; n++ {
			ports = append(ports, uint16(n))
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports), nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{tallystick.ErrInvalid}, args...)...)
}
