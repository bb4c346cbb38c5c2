// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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
		if c.space() != '"' {
			return c.unexpected("the name of a member")
		}
		key, err := c.string()
		if err != nil {
			return err
		}
		if c.space() != ':' {
			return c.unexpected("a colon")
		}
		c.at++
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
func (c *cursor) strings() (list []string, err error) {
	if c.space() != '[' {
		one, err := c.scalar()
		if one == "" {
			return nil, err
		}
		return []string{one}, err
	}
	err = c.array(func() error {
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
	c.at++
	from := c.at
	end := strings.IndexByte(c.text[from:], '"')
	if end < 0 {
		c.at = len(c.text)
		return "", errEnd
	}
	plain := c.text[from : from+end]
	if strings.IndexByte(plain, '\\') < 0 {
		c.at = from + end + 1
		return plain, nil
	}
	if err := c.pastString(); err != nil {
		return "", err
	}
	var whole string
	if err := json.Unmarshal([]byte(c.text[from-1:c.at]), &whole); err != nil {
		return "", fmt.Errorf("expected a JSON string at byte %d", from)
	}
	return whole, nil
}

// pastString steps to behind the closing quote; it begins behind the opening one.
func (c *cursor) pastString() error {
	for {
		end := strings.IndexByte(c.text[c.at:], '"')
		if end < 0 {
			c.at = len(c.text)
			return errEnd
		}
		quote := c.at + end
		slashes := 0
		for quote-slashes > c.at && c.text[quote-slashes-1] == '\\' {
			slashes++
		}
		c.at = quote + 1
		if slashes%2 == 0 {
			return nil
		}
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
	for c.at < len(c.text) {
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
	return errEnd
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
