// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// The file is a ZIP archive (PKWARE APPNOTE 6.3) of which the members decide every other byte: they
// stand one after the other in a fixed order from the first byte on, with
// no time, no comment, no extra field, nothing between them and nothing behind. So there is one
// archive for given members, and all programs that read archives find the same in it.

// The ways in which a member is packed (APPNOTE section 4.4.5).
const (
	stored   = 0
	deflated = 8
)

// Sizes of the parts of an archive, without names, and the most that a size can be
// without ZIP64.
const (
	localSize   = 30
	centralSize = 46
	endSize     = 22
	maxSize     = 1<<32 - 2
)

// A part is one member in the archive.
type part struct {
	name   string
	method uint16
	crc    uint32 // of the content (IEEE)
	packed uint32 // bytes in the archive
	size   uint32 // bytes of the content
	offset int64  // of the local header
}

// begin returns where the bytes of a part begin.
func (p part) begin() int64 { return p.offset + localSize + int64(len(p.name)) }

// end returns where they end.
func (p part) end() int64 { return p.begin() + int64(p.packed) }

// midnight is the first day that an archive can name, 1980-01-01 (APPNOTE
// section 4.4.6): when a member was made stands in the manifest.
const midnight = 1<<5 | 1

// common returns the fields that both headers of a part have.
func (p part) common() []byte {
	var b []byte
	le := binary.LittleEndian
	b = le.AppendUint16(b, 20) // what is needed to unpack: 2.0
	b = le.AppendUint16(b, 0)  // flags
	b = le.AppendUint16(b, p.method)
	b = le.AppendUint16(b, 0) // time
	b = le.AppendUint16(b, midnight)
	b = le.AppendUint32(b, p.crc)
	b = le.AppendUint32(b, p.packed)
	b = le.AppendUint32(b, p.size)
	b = le.AppendUint16(b, uint16(len(p.name)))
	return le.AppendUint16(b, 0) // no extra field
}

// local returns what stands before the bytes of a part (APPNOTE section 4.3.7).
func (p part) local() []byte {
	return slices.Concat([]byte("PK\x03\x04"), p.common(), []byte(p.name))
}

// directory returns what stands behind the last part (APPNOTE sections 4.3.12 and 4.3.16).
func directory(parts []part) []byte {
	var b []byte
	le := binary.LittleEndian
	var begin int64
	for _, p := range parts {
		begin = p.end()
		b = append(b, "PK\x01\x02"...)
		b = le.AppendUint16(b, 20) // made by version 2.0, for a file system without permissions
		b = append(b, p.common()...)
		b = append(b, make([]byte, 10)...) // no comment, disk, attributes
		b = le.AppendUint32(b, uint32(p.offset))
		b = append(b, p.name...)
	}
	size := len(b)
	b = append(b, "PK\x05\x06\x00\x00\x00\x00"...)
	b = le.AppendUint16(b, uint16(len(parts)))
	b = le.AppendUint16(b, uint16(len(parts)))
	b = le.AppendUint32(b, uint32(size))
	b = le.AppendUint32(b, uint32(begin))
	return le.AppendUint16(b, 0) // no comment
}

// writeArchive writes an archive of parts whose offsets are set, each with its bytes.
func writeArchive(w io.Writer, parts []part, content func(part) io.Reader) error {
	for _, p := range parts {
		if _, err := w.Write(p.local()); err != nil {
			return err
		}
		if n, err := io.Copy(w, content(p)); err != nil || n != int64(p.packed) {
			return fmt.Errorf("couldn't write %s, %d bytes of %d: %w", p.name, n, p.packed, err)
		}
	}
	_, err := w.Write(directory(parts))
	return err
}

// readArchive returns the parts of an archive that has exactly these names, in this
// order. It reads nothing of what is packed.
func readArchive(r io.ReaderAt, size int64, names []string) ([]part, error) {
	if size > maxSize {
		return nil, broken("it is larger than any evidence is")
	}
	var parts []part
	var offset int64
	for _, name := range names {
		head := make([]byte, localSize+len(name))
		if _, err := r.ReadAt(head, offset); err != nil && err != io.EOF {
			return nil, fmt.Errorf("couldn't read the evidence: %w", err)
		}
		le := binary.LittleEndian
		p := part{
			name: name, method: le.Uint16(head[8:]), crc: le.Uint32(head[14:]),
			packed: le.Uint32(head[18:]), size: le.Uint32(head[22:]), offset: offset,
		}
		if !bytes.Equal(head, p.local()) || p.method != stored && p.method != deflated || p.method == stored && p.packed != p.size {
			return nil, broken("where %s should begin there is something else", name)
		}
		if offset = p.end(); offset > size {
			return nil, broken("it ends within %s", name)
		}
		parts = append(parts, p)
	}
	want := directory(parts)
	if size-offset != int64(len(want)) {
		return nil, broken("there is more or less in it than what evidence has")
	}
	have := make([]byte, len(want))
	if _, err := r.ReadAt(have, offset); err != nil && err != io.EOF {
		return nil, fmt.Errorf("couldn't read the evidence: %w", err)
	}
	if !bytes.Equal(have, want) {
		return nil, broken("its directory does not list what is in it")
	}
	return parts, nil
}
