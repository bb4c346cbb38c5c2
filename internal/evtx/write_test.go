// SPDX-License-Identifier: Apache-2.0

package evtx

import (
	"encoding/binary"
	"encoding/xml"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"
	"unicode/utf16"
)

// A writer makes event logs as Windows does: names and templates are written where
// a chunk uses them first, and values stand in the records.
type writer struct {
	file      []byte
	chunk     []byte // that is being written
	names     map[string]int
	templates map[string]int
	last      int // where the last record begins
	id        uint64
	values    []value
}

// A node is an element. In a template its values are substitutions.
type node struct {
	name       string
	attributes []attribute
	content    []any // node or value
	depends    int   // number of a value, from 1
}

// An attribute is that of an element; a fixed one is text of the template.
type attribute struct {
	name  string
	value value
	fixed bool
}

func fixed(name, s string) attribute { return attribute{name, text(s), true} }

func newWriter() *writer {
	w := &writer{file: make([]byte, headerSize), id: 1}
	w.begin()
	return w
}

func (w *writer) begin() {
	w.chunk = append([]byte(chunkMagic), make([]byte, recordsStart-8)...)
	w.names, w.templates = map[string]int{}, map[string]int{}
}

// end ends the chunk with its checksums.
func (w *writer) end() {
	le := binary.LittleEndian
	free := len(w.chunk)
	chunk := append(w.chunk, make([]byte, chunkSize-free)...)
	le.PutUint32(chunk[40:], 128)
	le.PutUint32(chunk[44:], uint32(w.last))
	le.PutUint32(chunk[48:], uint32(free))
	w.file = append(w.file, chunk...)
	seal(w.file[len(w.file)-chunkSize:])
	w.begin()
}

// seal makes the checksums of a chunk right.
func seal(chunk []byte) {
	le := binary.LittleEndian
	le.PutUint32(chunk[52:], crc32.ChecksumIEEE(chunk[recordsStart:le.Uint32(chunk[48:])]))
	le.PutUint32(chunk[124:], headerSum(chunk))
}

// log returns the file with these flags.
func (w *writer) log(flags byte) []byte {
	if len(w.chunk) > recordsStart {
		w.end()
	}
	le := binary.LittleEndian
	copy(w.file, Magic)
	le.PutUint32(w.file[32:], 128)
	le.PutUint16(w.file[36:], 1)
	le.PutUint16(w.file[38:], 3)
	le.PutUint16(w.file[40:], headerSize)
	le.PutUint16(w.file[42:], uint16(len(w.file)/chunkSize))
	w.file[120] = flags
	le.PutUint32(w.file[124:], crc32.ChecksumIEEE(w.file[:120]))
	return w.file
}

func (w *writer) u8(b ...byte) { w.chunk = append(w.chunk, b...) }
func (w *writer) u16(n int)    { w.chunk = binary.LittleEndian.AppendUint16(w.chunk, uint16(n)) }
func (w *writer) u32(n int)    { w.chunk = binary.LittleEndian.AppendUint32(w.chunk, uint32(n)) }

// sized writes what write writes behind its size.
func (w *writer) sized(write func()) {
	at := len(w.chunk)
	w.u32(0)
	write()
	binary.LittleEndian.PutUint32(w.chunk[at:], uint32(len(w.chunk)-at-4))
}

func utf16Of(s string) []byte {
	var out []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		out = binary.LittleEndian.AppendUint16(out, unit)
	}
	return out
}

func text(s string) value { return value{kind: typeString, data: utf16Of(s)} }

func (w *writer) name(s string) {
	if at, ok := w.names[s]; ok {
		w.u32(at)
		return
	}
	at := len(w.chunk) + 4
	w.names[s] = at
	w.u32(at)
	w.u32(0)
	w.u16(0) // the hash, which is for finding
	w.u16(len(utf16.Encode([]rune(s))))
	w.u8(utf16Of(s)...)
	w.u16(0)
}

// element writes an element; template says that it is in a definition.
func (w *writer) element(n node, template bool) {
	token := byte(tokenOpenElement)
	if len(n.attributes) > 0 {
		token |= flagMore
	}
	w.u8(token)
	if template {
		w.u16(n.depends - 1)
	}
	w.sized(func() {
		w.name(n.name)
		if len(n.attributes) > 0 {
			w.sized(func() {
				for i, a := range n.attributes {
					token := byte(tokenAttribute)
					if i < len(n.attributes)-1 {
						token |= flagMore
					}
					w.u8(token)
					w.name(a.name)
					w.value(a.value, template && !a.fixed)
				}
			})
		}
		if n.content == nil {
			w.u8(tokenCloseEmpty)
			return
		}
		w.u8(tokenCloseStart)
		for _, c := range n.content {
			switch c := c.(type) {
			case node:
				w.element(c, template)
			case value:
				w.value(c, template)
			}
		}
		w.u8(tokenEndElement)
	})
}

func (w *writer) value(v value, template bool) {
	if !template {
		w.u8(tokenValue, typeString)
		w.u16(len(v.data) / 2)
		w.u8(v.data...)
		return
	}
	w.u8(tokenOptional)
	w.u16(len(w.values))
	w.u8(v.kind)
	w.values = append(w.values, v)
}

// instance writes a template instance of an element with its values.
func (w *writer) instance(n node) {
	w.values = nil
	w.definition(func() {
		w.u8(tokenFragmentHeader, 1, 1, 0)
		w.element(n, true)
	})
	w.valuesOf()
}

// definition begins a template instance with the definition that write writes.
func (w *writer) definition(write func()) {
	at := len(w.chunk)
	w.u8(tokenTemplate, 1)
	w.u32(1)
	w.u32(at + 10)
	w.u8(make([]byte, templateHead-4)...)
	w.sized(func() {
		write()
		w.u8(tokenEnd)
	})
}

func (w *writer) valuesOf() {
	w.u32(len(w.values))
	for _, v := range w.values {
		w.u16(len(v.data))
		w.u8(v.kind, 0)
	}
	for _, v := range w.values {
		w.u8(v.data...)
	}
}

// record writes a record whose binary XML is what write writes.
func (w *writer) record(write func()) {
	at := len(w.chunk)
	w.last = at
	w.u8([]byte(recordMagic)...)
	w.u32(0)
	w.chunk = binary.LittleEndian.AppendUint64(w.chunk, w.id)
	w.id++
	w.u8(make([]byte, 8)...)
	w.u8(tokenFragmentHeader, 1, 1, 0)
	write()
	w.u8(tokenEnd)
	size := len(w.chunk) - at + 4
	w.u32(size)
	binary.LittleEndian.PutUint32(w.chunk[at+4:], uint32(size))
}

// event writes an event; one of a shape that the chunk has uses its template.
func (w *writer) event(n node) {
	if len(w.chunk) > chunkSize-16<<10 {
		w.end()
	}
	w.record(func() {
		shape := n.shape()
		if at, ok := w.templates[shape]; ok {
			w.u8(tokenTemplate, 1)
			w.u32(1)
			w.u32(at)
			w.values = n.values(nil)
			w.valuesOf()
			return
		}
		w.templates[shape] = len(w.chunk) + 10
		w.instance(n)
	})
}

// shape says which template an element needs.
func (n node) shape() string {
	s := "<" + n.name
	for _, a := range n.attributes {
		s += " " + a.name
		if a.fixed {
			s += "=" + string(a.value.data)
		}
	}
	for _, c := range n.content {
		if child, ok := c.(node); ok {
			s += child.shape()
		} else {
			s += "="
		}
	}
	return s + ">"
}

func (n node) values(v []value) []value {
	for _, a := range n.attributes {
		if !a.fixed {
			v = append(v, a.value)
		}
	}
	for _, c := range n.content {
		switch c := c.(type) {
		case node:
			v = c.values(v)
		case value:
			v = append(v, c)
		}
	}
	return v
}

// nodes reads the elements Event of XML.
func nodes(t testing.TB, source string) []node {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(source))
	var found []node
	for {
		token, err := d.RawToken()
		if errors.Is(err, io.EOF) {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if start, ok := token.(xml.StartElement); ok && start.Name.Local == "Event" {
			found = append(found, nodeOf(t, d, start))
		}
	}
}

func nodeOf(t testing.TB, d *xml.Decoder, start xml.StartElement) node {
	t.Helper()
	n := node{name: start.Name.Local}
	for _, a := range start.Attr {
		n.attributes = append(n.attributes, attribute{a.Name.Local, text(a.Value), start.Name.Local != "TimeCreated"})
	}
	for {
		token, err := d.RawToken()
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			n.content = append(n.content, nodeOf(t, d, token))
		case xml.CharData:
			n.content = append(n.content, text(string(token)))
		case xml.EndElement:
			return n
		}
	}
}
