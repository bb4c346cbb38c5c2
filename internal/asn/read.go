// SPDX-License-Identifier: Apache-2.0

package asn

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"unicode"

	"github.com/tallystick/tallystick"
)

// What is read at most. The tables of 2026 have 700,000 ranges in 40 MB.
const (
	maxBytes  = 512 << 20 // after unpacking
	maxRanges = 4_000_000
	maxLine   = 4 << 10
	maxName   = 80
)

// Load reads the table in a file.
func Load(path string) (*Table, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't open the table of networks: %w", err)
	}
	defer f.Close()
	t, err := Read(f)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the table of networks %s: %w", path, err)
	}
	return t, nil
}

// Read reads a table. One line that cannot be read makes all of it ErrInvalid: a
// table that is half known would call new what is not.
func Read(r io.Reader) (*Table, error) {
	in := bufio.NewReader(r)
	if magic, _ := in.Peek(2); bytes.Equal(magic, []byte{0x1f, 0x8b}) { // RFC 1952 section 2.3.1
		unpacked, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("it is no gzip: %w", tallystick.ErrInvalid)
		}
		in = bufio.NewReader(unpacked)
	}
	b := builder{table: &Table{}, known: map[string]uint32{}}
	limited := &io.LimitedReader{R: in, N: maxBytes + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, maxLine), maxLine)
	n := 0
	for lines.Scan() {
		n++
		if err := b.line(lines.Text()); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	switch err := lines.Err(); {
	case limited.N == 0:
		return nil, fmt.Errorf("it is larger than %d MB: %w", maxBytes>>20, tallystick.ErrInvalid)
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d is longer than %d bytes: %w", n+1, maxLine, tallystick.ErrInvalid)
	case err != nil:
		return nil, fmt.Errorf("it breaks off after line %d (%w): %w", n, err, tallystick.ErrInvalid)
	case b.table.Len() == 0:
		return nil, fmt.Errorf("there is no network in it: %w", tallystick.ErrInvalid)
	}
	return b.table, b.table.settle()
}

// A builder takes a table line by line.
type builder struct {
	table *Table
	known map[string]uint32 // names that the table has
}

var errForm = fmt.Errorf("it is neither start, end, number, country and name between tabs, nor network,number,name: %w", tallystick.ErrInvalid)

func (b *builder) line(line string) error {
	line = strings.TrimRight(line, "\r")
	if line == "" || line[0] == '#' || strings.HasPrefix(line, "network,") {
		return nil
	}
	var first, last netip.Addr
	var number, name string
	if strings.Contains(line, "\t") {
		parts := strings.SplitN(line, "\t", 5)
		if len(parts) != 5 {
			return errForm
		}
		var err, other error
		first, err = netip.ParseAddr(parts[0])
		last, other = netip.ParseAddr(parts[1])
		if err != nil || other != nil {
			return errForm
		}
		number, name = parts[2], parts[4]
	} else {
		network, rest, _ := strings.Cut(line, ",")
		prefix, err := netip.ParsePrefix(network)
		if err != nil {
			return errForm
		}
		first, last = prefix.Masked().Addr(), lastOf(prefix)
		number, name, _ = strings.Cut(rest, ",")
		name = unquote(name)
	}
	as, err := strconv.ParseUint(number, 10, 32)
	if err != nil || first.Zone() != "" || last.Zone() != "" || first.BitLen() != last.BitLen() || last.Less(first) {
		return errForm
	}
	if as == 0 { // RFC 7607: nobody's
		return nil
	}
	return b.add(first, last, "AS"+number, name)
}

func (b *builder) add(first, last netip.Addr, number, name string) error {
	if b.table.Len() == maxRanges {
		return fmt.Errorf("there are more than %d networks: %w", maxRanges, tallystick.ErrInvalid)
	}
	name = strings.TrimSpace(number + " " + plain(name))
	at, ok := b.known[name]
	if !ok {
		at = uint32(len(b.table.names))
		name = strings.Clone(name)
		b.table.names = append(b.table.names, name)
		b.known[name] = at
	}
	if first.Is4() {
		b.table.v4 = append(b.table.v4, range4{narrowOf(first), narrowOf(last), at})
	} else {
		b.table.v6 = append(b.table.v6, range6{wideOf(first), wideOf(last), at})
	}
	return nil
}

// lastOf returns the last address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ := netip.AddrFromSlice(raw)
	return last
}

// unquote reads the last field of a line of CSV (RFC 4180 section 2).
func unquote(field string) string {
	if len(field) < 2 || field[0] != '"' || field[len(field)-1] != '"' {
		return field
	}
	return strings.ReplaceAll(field[1:len(field)-1], `""`, `"`)
}

// plain makes a name fit for a page and a terminal.
func plain(name string) string {
	name = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, name)
	if len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName], "")
	}
	return name
}
