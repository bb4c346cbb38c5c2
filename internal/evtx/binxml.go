// SPDX-License-Identifier: Apache-2.0

package evtx

import (
	"errors"
	"fmt"
	"strconv"
)

// The tokens of binary XML ([MS-EVEN6] section 2.2.12).
const (
	tokenEnd            = 0x00
	tokenOpenElement    = 0x01
	tokenCloseStart     = 0x02
	tokenCloseEmpty     = 0x03
	tokenEndElement     = 0x04
	tokenValue          = 0x05
	tokenAttribute      = 0x06
	tokenCDATA          = 0x07
	tokenCharRef        = 0x08
	tokenEntityRef      = 0x09
	tokenPITarget       = 0x0a
	tokenPIData         = 0x0b
	tokenTemplate       = 0x0c
	tokenSubstitution   = 0x0d
	tokenOptional       = 0x0e
	tokenFragmentHeader = 0x0f

	flagMore = 0x40 // attributes or more content follow
)

const (
	maxDepth     = 48   // of elements and templates
	maxValues    = 4096 // of a template instance
	noDependency = 0xffff
)

var (
	errTooDeep = errors.New("its elements are nested too deep")
	errNoValue = errors.New("its template asks for a value that is not there")
)

// unexpected is the error of a token in the wrong place.
func unexpected(token byte, where string) error {
	return fmt.Errorf("token 0x%02x in %s", token, where)
}

// fragment writes elements and template instances up to the end. Dependent says
// that elements begin with the number of the value that they depend on, as they do
// in the definitions of templates and nowhere else.
func (d *decoder) fragment(c *cursor, values []value, dependent bool) error {
	if d.depth++; d.depth > maxDepth {
		return errTooDeep
	}
	defer func() { d.depth-- }()
	for {
		if err := d.spend(); err != nil {
			return err
		}
		var err error
		switch token := c.token(); token {
		case tokenEnd:
			return c.err()
		case tokenFragmentHeader:
			c.take(4)
		case tokenOpenElement:
			err = d.element(c, values, dependent)
		case tokenTemplate:
			err = d.template(c)
		case tokenPITarget, tokenPIData:
			err = d.instruction(c)
		default:
			err = unexpected(token, "a fragment")
		}
		if err != nil {
			return err
		}
	}
}

// element writes an element, unless the value that it depends on is null.
func (d *decoder) element(c *cursor, values []value, dependent bool) error {
	from := len(d.out)
	attributes := c.u8()&flagMore != 0
	dependency := uint16(noDependency)
	if dependent {
		dependency = c.u16()
	}
	c.u32() // its size, which its end says too
	name, err := d.name(c)
	if err != nil {
		return err
	}
	d.out = append(append(d.out, '<'), name...)
	if attributes {
		c.u32() // their size, likewise
		for c.token() == tokenAttribute {
			if err := d.attribute(c, values); err != nil {
				return err
			}
		}
	}
	switch token := c.u8(); token {
	case tokenCloseEmpty:
		d.out = append(d.out, "/>"...)
	case tokenCloseStart:
		d.out = append(d.out, '>')
		d.depth++
		err = d.content(c, values, dependent, span{from, len(d.out)}, name)
		d.depth--
		d.out = append(append(append(d.out, "</"...), name...), '>')
	default:
		err = unexpected(token, "the start of an element")
	}
	if int(dependency) < len(values) && values[dependency].kind == typeNull {
		d.drop(from)
	}
	return errors.Join(err, c.err())
}

// attribute writes an attribute, unless it is only an optional value that is null.
func (d *decoder) attribute(c *cursor, values []value) error {
	from := len(d.out)
	c.u8()
	name, err := d.name(c)
	if err != nil {
		return err
	}
	d.out = append(append(append(d.out, ' '), name...), "='"...)
	empty, null := len(d.out), false
	for {
		if err := d.spend(); err != nil {
			return err
		}
		switch c.token() {
		case tokenOptional, tokenSubstitution:
			optional := c.token() == tokenOptional
			var v value
			if v, err = substitution(c, values); err == nil {
				null = optional && v.kind == typeNull
				err = d.attributeValue(v)
			}
		case tokenValue, tokenCharRef, tokenEntityRef:
			err = d.text(c)
		default:
			d.out = append(d.out, '\'')
			if null && len(d.out) == empty+1 {
				d.drop(from)
			}
			return c.err()
		}
		if err != nil {
			return err
		}
	}
}

// attributeValue writes a value, and the values of an array behind one another.
func (d *decoder) attributeValue(v value) (err error) {
	for i, item := range v.items() {
		if i > 0 {
			d.out = append(d.out, ", "...)
		}
		if d.out, err = item.append(d.out); err != nil {
			return err
		}
	}
	return d.spend()
}

// A span is a part of what is written.
type span struct{ from, to int }

// content writes what is in an element, to its end. An array makes an element of
// each of its values.
func (d *decoder) content(c *cursor, values []value, dependent bool, start span, name string) error {
	if d.depth > maxDepth {
		return errTooDeep
	}
	for {
		if err := d.spend(); err != nil {
			return err
		}
		var err error
		switch token := c.token(); token {
		case tokenEndElement:
			c.u8()
			return nil
		case tokenOpenElement:
			err = d.element(c, values, dependent)
		case tokenTemplate:
			err = d.template(c)
		case tokenSubstitution, tokenOptional:
			err = d.elementValue(c, values, start, name)
		case tokenValue, tokenCDATA, tokenCharRef, tokenEntityRef:
			err = d.text(c)
		case tokenPITarget, tokenPIData:
			err = d.instruction(c)
		default:
			err = unexpected(token, "an element")
		}
		if err = errors.Join(err, c.err()); err != nil {
			return err
		}
	}
}

func (d *decoder) elementValue(c *cursor, values []value, start span, name string) error {
	v, err := substitution(c, values)
	if err != nil {
		return err
	}
	if v.kind == typeBinXML {
		return d.fragment(&cursor{data: d.data, at: v.at, end: v.at + len(v.data)}, nil, false)
	}
	for i, item := range v.items() {
		if i > 0 {
			if err := d.spend(); err != nil {
				return err
			}
			d.out = append(append(append(d.out, "</"...), name...), '>')
			d.out = append(d.out, d.out[start.from:start.to]...)
		}
		if d.out, err = item.append(d.out); err != nil {
			return err
		}
	}
	return nil
}

// substitution returns the value that a token names.
func substitution(c *cursor, values []value) (value, error) {
	c.u8()
	index := int(c.u16())
	c.u8() // the type that the template means; the value says its own
	if index >= len(values) {
		return value{}, errNoValue
	}
	return values[index], c.err()
}

// text writes text of the template, or a reference to a character.
func (d *decoder) text(c *cursor) error {
	switch c.u8() &^ flagMore {
	case tokenValue:
		if kind := c.u8(); kind != typeString {
			return fmt.Errorf("text of type 0x%02x", kind)
		}
		fallthrough
	case tokenCDATA:
		d.out = appendUTF16(d.out, c.take(2*int(c.u16())))
	case tokenCharRef:
		r := rune(c.u16())
		if !inXML(r) {
			return fmt.Errorf("a reference to the character U+%04X", r)
		}
		d.out = append(strconv.AppendInt(append(d.out, "&#"...), int64(r), 10), ';')
	case tokenEntityRef:
		name, err := d.name(c)
		if err != nil {
			return err
		}
		switch name {
		case "lt", "gt", "amp", "quot", "apos":
			d.out = append(append(append(d.out, '&'), name...), ';')
		default:
			return fmt.Errorf("a reference to an entity that XML does not have")
		}
	}
	return c.err()
}

// instruction steps over a processing instruction, which says nothing about the event.
func (d *decoder) instruction(c *cursor) error {
	if c.u8() == tokenPITarget {
		_, err := d.name(c)
		return err
	}
	c.take(2 * int(c.u16()))
	return c.err()
}
