// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"cmp"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick"
)

// The index of a segment is a file beside it: a header, and sections that are
// read apart, each with a CRC-32C of its own. Everything in it could be made
// again from the Parquet file.
const (
	indexMagic = "TALLYIX1"

	sectionGroups     = 0 // where the rows of each list of names are, and their times
	sectionNames      = 1 // which groups have a name
	sectionIdentities = 2
	sectionSources    = 3 // how much of which source is there
	sections          = 4

	indexHeader = len(indexMagic) + sections*16 + 4
)

// A group is the rows of one list of names: they stand together, by time.
type group struct {
	start, end   uint32
	minAt, maxAt int64
}

// A nameGroup says that a name, by its hash, is in a group.
type nameGroup struct {
	hash  uint64
	group uint32
}

// A Source is how much a segment has of one source.
type Source struct {
	Source   string          `json:"source"`
	Side     tallystick.Side `json:"side"`
	Records  int64           `json:"records"`
	First    int64           `json:"first"` // microseconds since 1970
	Last     int64           `json:"last"`
	FirstSeq uint64          `json:"first_seq,omitempty"` // 0 when it numbers none
	LastSeq  uint64          `json:"last_seq,omitempty"`
}

// encodeIndex makes the file of its sections.
func encodeIndex(parts [sections][]byte) []byte {
	out := append([]byte{}, indexMagic...)
	at := uint64(indexHeader)
	for _, part := range parts {
		out = binary.LittleEndian.AppendUint32(out, uint32(at))
		out = binary.LittleEndian.AppendUint64(out, uint64(len(part)))
		out = binary.LittleEndian.AppendUint32(out, checksum(part))
		at += uint64(len(part))
	}
	out = binary.LittleEndian.AppendUint32(out, checksum(out))
	for _, part := range parts {
		out = append(out, part...)
	}
	return out
}

// readSection reads one section of an index and checks it.
func readSection(f file, section int) ([]byte, error) {
	var header [indexHeader]byte
	if _, err := f.ReadAt(header[:], 0); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	sum := binary.LittleEndian.Uint32(header[indexHeader-4:])
	if string(header[:len(indexMagic)]) != indexMagic || checksum(header[:indexHeader-4]) != sum {
		return nil, fmt.Errorf("its header is not what was written: %w", tallystick.ErrDamaged)
	}
	entry := header[len(indexMagic)+16*section:]
	at, size := binary.LittleEndian.Uint32(entry), binary.LittleEndian.Uint64(entry[4:])
	whole, err := f.size()
	if err != nil {
		return nil, err
	}
	if size > uint64(whole) || uint64(at)+size > uint64(whole) {
		return nil, fmt.Errorf("it is too short: %w", tallystick.ErrDamaged)
	}
	data := make([]byte, size)
	if _, err := f.ReadAt(data, int64(at)); err != nil {
		return nil, err
	}
	if checksum(data) != binary.LittleEndian.Uint32(entry[12:]) {
		return nil, fmt.Errorf("section %d is not what was written: %w", section, tallystick.ErrDamaged)
	}
	return data, nil
}

func appendGroups(out []byte, groups []group) []byte {
	out = binary.AppendUvarint(out, uint64(len(groups)))
	last := int64(0)
	for _, g := range groups {
		out = binary.AppendUvarint(out, uint64(g.end-g.start))
		out = binary.AppendVarint(out, g.minAt-last)
		out = binary.AppendVarint(out, g.maxAt-g.minAt)
		last = g.minAt
	}
	return out
}

var errIndex = errors.New("a section is not whole")

func readGroups(in []byte) ([]group, error) {
	n, size := binary.Uvarint(in)
	if size <= 0 || n > uint64(len(in)) {
		return nil, errIndex
	}
	in = in[size:]
	groups := make([]group, n)
	start, last := uint64(0), int64(0)
	for i := range groups {
		rows, a := binary.Uvarint(in)
		first, b := binary.Varint(in[max(a, 0):])
		span, c := binary.Varint(in[max(a, 0)+max(b, 0):])
		if a <= 0 || b <= 0 || c <= 0 || rows > 1<<31 || start+rows > 1<<31 {
			return nil, errIndex
		}
		in = in[a+b+c:]
		last += first
		groups[i] = group{start: uint32(start), end: uint32(start + rows), minAt: last, maxAt: last + span}
		start += rows
	}
	if len(in) > 0 {
		return nil, errIndex
	}
	return groups, nil
}

const nameSize = 12

func appendNames(out []byte, names []nameGroup) []byte {
	slices.SortFunc(names, func(a, b nameGroup) int {
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		return cmp.Compare(a.group, b.group)
	})
	for _, n := range names {
		out = binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(out, n.hash), n.group)
	}
	return out
}

// names is the section as it is; it is searched without being decoded.
type names []byte

// groups calls fn with each group that has a name.
func (n names) groups(hash uint64, fn func(group uint32)) {
	low, high := 0, len(n)/nameSize
	for low < high {
		middle := int(uint(low+high) / 2)
		if binary.LittleEndian.Uint64(n[middle*nameSize:]) < hash {
			low = middle + 1
		} else {
			high = middle
		}
	}
	for ; low < len(n)/nameSize && binary.LittleEndian.Uint64(n[low*nameSize:]) == hash; low++ {
		fn(binary.LittleEndian.Uint32(n[low*nameSize+8:]))
	}
}

func readSources(in []byte) (list []Source, err error) {
	if err := json.Unmarshal(in, &list); err != nil {
		return nil, errIndex
	}
	return list, nil
}
