// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"unsafe"
)

// A cursor walks over one JSON value (RFC 8259) without building it: the few
// members that a reader wants are slices of the text, the rest is stepped over.
// encoding/json takes some ten times as long for the same (bench/reconcile).
//
// It checks brackets, quotes, commas and colons, and is lenient about what no
// reader looks at: the inside of numbers, and bytes that are not UTF-8. A thief
// could otherwise hide a record behind one byte of a user agent.
type cursor struct {
	text string
	at   int
}

var (
	errEnd     = errors.New("expected JSON that is whole, and it ends in the middle")
	errTooDeep = errors.New("expected JSON with fewer than 200 levels")
)

// maxDepth bounds nesting; the logs that are read nest some six levels deep.
const maxDepth = 200

func (c *cursor) unexpected(want string) error {
	if c.at >= len(c.text) {
		return errEnd
	}
	return fmt.Errorf("expected %s at byte %d", want, c.at+1)
}

// space steps over white space and returns the byte that follows, or 0.
func (c *cursor) space() byte {
	for c.at < len(c.text) {
		switch b := c.text[c.at]; b {
		case ' ', '\n', '\r', '\t':
			c.at++
		default:
			return b
		}
	}
	return 0
}

// object calls member with every key of the object that begins here; member
// must take the value, by text, skip or another call.
func (c *cursor) object(member func(key string) error) error {
	if c.space() != '{' {
		return c.unexpected("a JSON object")
	}
	c.at++
	if c.space() == '}' {
		c.at++
		return nil
	}
	for {
		key, err := c.key()
		if err != nil {
			return err
		}
		if err := member(key); err != nil {
			return err
		}
		switch c.space() {
		case ',':
			c.at++
		case '}':
			c.at++
			return nil
		default:
			return c.unexpected("a comma or the end of the object")
		}
	}
}

// key returns the name of the member that begins here, and steps to its value.
func (c *cursor) key() (string, error) {
	if c.space() != '"' {
		return "", c.unexpected("the name of a member")
	}
	key, err := c.string()
	if err != nil {
		return "", err
	}
	if c.space() != ':' {
		return "", c.unexpected("a colon")
	}
	c.at++
	return key, nil
}

// array calls element at every element of the array that begins here.
func (c *cursor) array(element func() error) error {
	if c.space() != '[' {
		return c.unexpected("a JSON array")
	}
	c.at++
	if c.space() == ']' {
		c.at++
		return nil
	}
	for {
		if err := element(); err != nil {
			return err
		}
		switch c.space() {
		case ',':
			c.at++
		case ']':
			c.at++
			return nil
		default:
			return c.unexpected("a comma or the end of the array")
		}
	}
}

// scalar returns the text of a string, number or literal; of null it is "". An
// object or array is stepped over and is "" too.
func (c *cursor) scalar() (string, error) {
	switch c.space() {
	case '"':
		return c.string()
	case '{', '[':
		return "", c.skip()
	}
	word, err := c.word()
	if word == "null" {
		word = ""
	}
	return word, err
}

// into returns what takes a scalar into a field.
func (c *cursor) into(field *string) (err error) {
	*field, err = c.scalar()
	return err
}

// strings returns one string, or the strings of an array.
func (c *cursor) strings() ([]string, error) { return c.appendStrings(nil) }

// appendStrings appends them to list.
func (c *cursor) appendStrings(list []string) ([]string, error) {
	if c.space() != '[' {
		one, err := c.scalar()
		if one == "" {
			return list, err
		}
		return append(list, one), err
	}
	err := c.array(func() error {
		one, err := c.scalar()
		list = append(list, one)
		return err
	})
	return list, err
}

// raw returns the text of any value.
func (c *cursor) raw() (string, error) {
	c.space()
	from := c.at
	err := c.skip()
	return c.text[from:c.at], err
}

// string returns the string that begins here, which is at a quote.
func (c *cursor) string() (string, error) {
	from := c.at + 1
	end := from + plainLen(c.text[from:])
	if end == len(c.text) {
		c.at = end
		return "", errEnd
	}
	if c.text[end] == '"' {
		c.at = end + 1
		return c.text[from:end], nil
	}
	c.at = from
	if err := c.pastString(); err != nil {
		return "", err
	}
	var whole string
	if err := json.Unmarshal([]byte(c.text[from-1:c.at]), &whole); err != nil {
		return "", fmt.Errorf("expected a JSON string at byte %d", from)
	}
	return whole, nil
}

// plainLen returns how many bytes of s come before a quote or a backslash. It
// looks at eight at a time: a byte that is equal becomes 0, and the highest bit of
// the first 0 is set by subtracting one of each (Bit Twiddling Hacks, S. E.
// Anderson, "Determine if a word has a zero byte"). What wanted strings are is
// short, for which a call of IndexByte takes longer.
func plainLen(s string) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	at := 0
	for ; at+8 <= len(b); at += 8 {
		word := binary.LittleEndian.Uint64(b[at:])
		quote, slash := word^'"'*ones, word^'\\'*ones
		if found := ((quote-ones)&^quote | (slash-ones)&^slash) & highs; found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	for at < len(b) && b[at] != '"' && b[at] != '\\' {
		at++
	}
	return at
}

// pastString steps to behind the closing quote; it begins behind the opening one.
func (c *cursor) pastString() error {
	for {
		c.at += plainLen(c.text[c.at:])
		if c.at+1 >= len(c.text) && (c.at == len(c.text) || c.text[c.at] != '"') {
			c.at = len(c.text)
			return errEnd
		}
		if c.text[c.at] == '"' {
			c.at++
			return nil
		}
		c.at += 2 // a backslash, and what it stands before
	}
}

// word returns the number or literal that begins here.
func (c *cursor) word() (string, error) {
	from := c.at
	for c.at < len(c.text) {
		b := c.text[c.at]
		if b >= 'a' && b <= 'z' || b >= '0' && b <= '9' || b == '-' || b == '+' || b == '.' || b == 'E' {
			c.at++
			continue
		}
		break
	}
	word := c.text[from:c.at]
	if word == "" {
		return "", c.unexpected("a JSON value")
	}
	if b := word[0]; b == '-' || b >= '0' && b <= '9' || word == "null" || word == "true" || word == "false" {
		return word, nil
	}
	c.at = from
	return "", c.unexpected("a JSON value")
}

// skip steps over the value that begins here.
func (c *cursor) skip() error {
	switch c.space() {
	case '"':
		c.at++
		return c.pastString()
	case '{', '[':
		return c.skipNested()
	}
	_, err := c.word()
	return err
}

// skipNested steps over an object or array by its brackets.
func (c *cursor) skipNested() error {
	var closers [maxDepth]byte
	depth := 0
	for {
		if c.at += untilBracket(c.text[c.at:]); c.at == len(c.text) {
			return errEnd
		}
		b := c.text[c.at]
		c.at++
		switch b {
		case '"':
			if err := c.pastString(); err != nil {
				return err
			}
		case '{', '[':
			if depth == maxDepth {
				return errTooDeep
			}
			closers[depth] = b + 2 // '}' and ']' stand two behind in ASCII
			depth++
		case '}', ']':
			depth--
			if closers[depth] != b {
				c.at--
				return c.unexpected("the other closing bracket")
			}
			if depth == 0 {
				return nil
			}
		}
	}
}

// untilBracket returns how many bytes of s come before a quote or a bracket, or
// before one of a few letters that hardly occur outside of strings. Each bracket
// is 0x79 but for the bits 0x26; otherwise it works as plainLen does.
func untilBracket(s string) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	at := 0
	for ; at+8 <= len(b); at += 8 {
		word := binary.LittleEndian.Uint64(b[at:])
		quote, bracket := word^'"'*ones, (word|0x20*ones)&(0xf9*ones)^0x79*ones
		if found := ((quote-ones)&^quote | (bracket-ones)&^bracket) & highs; found != 0 {
			return at + bits.TrailingZeros64(found)/8
		}
	}
	for at < len(b) && b[at] != '"' && (b[at]|0x20)&0xf9 != 0x79 {
		at++
	}
	return at
}

// end checks that nothing follows.
func (c *cursor) end() error {
	if c.space() != 0 || c.at < len(c.text) {
		return c.unexpected("the end of the line")
	}
	return nil
}

// hasMembers says whether record begins with a JSON object that has all of the
// members, perhaps cut off behind them.
func hasMembers(record string, names ...string) bool {
	found := 0
	seen := map[string]bool{}
	c := cursor{text: record}
	_ = c.object(func(key string) error { // an error ends the look, no more
		for _, name := range names {
			if key == name && !seen[name] {
				seen[strings.Clone(name)] = true
				found++
			}
		}
		return c.skip()
	})
	return found == len(names)
}
