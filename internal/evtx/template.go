// SPDX-License-Identifier: Apache-2.0

package evtx

import (
	"bytes"
	"errors"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	templateHead = 24 // of a definition: the next one, its GUID, its size
	maxName      = 256
)

// template writes an instance of a template. Its definition is where it was used
// first in the chunk.
func (d *decoder) template(c *cursor) error {
	c.u8()
	c.take(5) // a version and an identifier
	at := int(c.u32())
	inline := at == c.at
	if at > len(d.data) {
		return errors.New("its template is not in the chunk")
	}
	definition := cursor{data: d.data, at: at, end: len(d.data)}
	definition.take(templateHead - 4)
	size := int(definition.u32())
	body := cursor{data: d.data, at: definition.at}
	definition.take(size)
	body.end = definition.at
	if err := errors.Join(c.err(), definition.err()); err != nil {
		return err
	}
	if inline {
		c.take(templateHead + size)
	}
	kept := len(d.values)
	values, err := d.instance(c)
	if err == nil {
		err = d.fragment(&body, values, true)
	}
	d.values = d.values[:kept]
	return err
}

// instance reads the values of a template instance.
func (d *decoder) instance(c *cursor) ([]value, error) {
	count := int(c.u32())
	if count > maxValues {
		return nil, errors.New("it has too many values")
	}
	d.tokens += count
	specs := cursor{data: c.data, at: c.at, end: c.end}
	c.take(4 * count)
	kept := len(d.values)
	for range count {
		size := int(specs.u16())
		kind := specs.u8()
		specs.u8()
		at := c.at
		d.values = append(d.values, value{kind: kind, at: at, data: c.take(size)})
	}
	// More values of inner templates must not be written over these.
	return d.values[kept:len(d.values):len(d.values)], c.err()
}

// name reads the name of an element, an attribute or an entity. It is stored where
// the chunk uses it first.
func (d *decoder) name(c *cursor) (string, error) {
	at := c.u32()
	n := cursor{data: d.data, at: int(min(at, chunkSize)), end: len(d.data)}
	n.take(6) // the next name, and a hash
	length := int(n.u16())
	if n.cut || c.cut {
		return "", errCut
	}
	if int(at) == c.at {
		c.take(8 + 2*length + 2)
	}
	if name, ok := d.names[at]; ok {
		return name, c.err()
	}
	text := n.take(2 * length)
	if n.cut || length == 0 || length > maxName {
		return "", errors.New("a name that is no name")
	}
	name := make([]byte, length)
	for i := range name {
		name[i] = text[2*i]
		if text[2*i+1] != 0 || !inName(name[i]) {
			return "", errors.New("a name of characters that no event has")
		}
	}
	if name[0] < 'A' || bytes.Count(name, []byte{':'}) > 1 { // digits and signs are before the letters
		return "", errors.New("a name that is none in XML")
	}
	d.names[at] = string(name)
	return d.names[at], c.err()
}

// inName says whether a character can be in a name. XML allows letters of all
// scripts; Windows uses those of English.
func inName(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b == '-' || b == '.' || b == ':'
}

// inXML says whether XML 1.0 can hold a character (section 2.2).
func inXML(r rune) bool {
	return r >= 0x20 && r < 0xd800 || r == '\t' || r == '\n' || r == '\r' || r >= 0xe000 && r <= 0xfffd || r > 0xffff
}

// appendUTF16 writes text so that XML means it, in elements and attributes. What
// XML cannot hold becomes U+FFFD.
func appendUTF16(out, text []byte) []byte {
	for i := 0; i+1 < len(text); i += 2 {
		if b := text[i]; text[i+1] == 0 && (b > '>' && b < utf8.RuneSelf || b >= '(' && b < '<') {
			out = append(out, b) // most are, and need no second look
			continue
		}
		r := rune(text[i]) | rune(text[i+1])<<8
		if utf16.IsSurrogate(r) && i+3 < len(text) {
			if pair := utf16.DecodeRune(r, rune(text[i+2])|rune(text[i+3])<<8); pair != utf8.RuneError {
				r = pair
				i += 2
			}
		}
		out = appendRune(out, r)
	}
	return out
}

func appendRune(out []byte, r rune) []byte {
	switch {
	case r == '&':
		return append(out, "&amp;"...)
	case r == '<':
		return append(out, "&lt;"...)
	case r == '>':
		return append(out, "&gt;"...)
	case r == '\'':
		return append(out, "&apos;"...)
	case r >= 0x20 && r < utf8.RuneSelf:
		return append(out, byte(r))
	case !inXML(r):
		r = utf8.RuneError
	}
	return utf8.AppendRune(out, r)
}
