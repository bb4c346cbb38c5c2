// SPDX-License-Identifier: Apache-2.0

package web

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// visible writes out by number the characters that show as nothing or change
// how the text around them shows: controls, bidirectional overrides, zero-width
// and tag characters. With them a certificate's subject could pretend to be
// another one (Unicode UTR #36 section 2.8). Every page passes here as a whole,
// so that no template can forget it.
//
// What is in a form field stays as it is: it comes back with the form, and would
// be changed by whoever saves something else beside it. A field is a box of its
// own, which the text around it does not follow.
func visible(page []byte) []byte {
	if !bytes.ContainsFunc(page, hidden) {
		return page
	}
	var out bytes.Buffer
	out.Grow(len(page) + 1024)
	done := 0
	for _, field := range fieldValue.FindAllSubmatchIndex(page, -1) {
		begin, end := max(field[2], field[4]), max(field[3], field[5]) // of the one that matched; the other's are -1
		writeVisible(&out, page[done:begin])
		out.Write(page[begin:end])
		done = end
	}
	writeVisible(&out, page[done:])
	return out.Bytes()
}

// fieldValue matches a form field and captures what is in it. That cannot end
// the match early or begin one: templates escape angle brackets and quotes.
var fieldValue = regexp.MustCompile(`<textarea[^>]*>([^<]*)|<input[^>]* value="([^"]*)"`)

func writeVisible(out *bytes.Buffer, text []byte) {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if hidden(r) {
			fmt.Fprintf(out, "[U+%04X]", r)
		} else {
			out.Write(text[:size])
		}
		text = text[size:]
	}
}

func hidden(r rune) bool {
	switch {
	case r == '\n', r == '\t', r >= ' ' && r < 0x7f:
		return false
	case r == '\u034F', r == '\u115F', r == '\u1160', r == '\u3164', r == '\uFFA0':
		return true // fillers: letters and marks by category, and invisible
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Zl, unicode.Zp)
}

// clip shortens text to a number of characters.
func clip(limit int, text string) string {
	if len(text) <= limit {
		return text
	}
	n := 0
	for i := range text {
		if n == limit {
			return text[:i] + "…"
		}
		n++
	}
	return text
}

// head returns the beginning of a list.
func head[T any](limit int, list []T) []T { return list[:min(limit, len(list))] }

// number writes n with its digits in threes.
func number(n int64) string {
	digits := strconv.FormatInt(n, 10)
	first := len(digits) % 3
	if n < 0 || len(digits) <= 3 {
		return digits
	}
	parts := make([]string, 0, 4)
	if first > 0 {
		parts = append(parts, digits[:first])
	}
	for i := first; i < len(digits); i += 3 {
		parts = append(parts, digits[i:i+3])
	}
	return strings.Join(parts, ",")
}

// total writes how long a list is, as far as it was counted.
func total(n int64) string {
	if n >= store.CountCap {
		return number(store.CountCap) + "+"
	}
	return number(n)
}

// plural writes a number with its noun.
func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return number(n) + " " + many
}

// groups writes hexadecimal digits in groups of four, as people compare them.
func groups(digits string) string {
	var parts []string
	for len(digits) > 4 {
		parts, digits = append(parts, digits[:4]), digits[4:]
	}
	return strings.Join(append(parts, digits), " ")
}

// maxName is how many characters of a name a list shows.
const maxName = 96

// nameOf returns what people call a credential: the common name of its subject,
// one of the names it speaks for, its comment, or the beginning of its
// fingerprint.
func nameOf(subject string, names []string, kind tallystick.Kind, id tallystick.Fingerprint) string {
	name := commonName(subject)
	if name == "" && len(names) > 0 {
		name = names[0]
	}
	if name == "" {
		name = subject
	}
	if name == "" {
		name = string(kind) + " " + id.Short()
	}
	return clip(maxName, name)
}

// commonName returns the CN of an RFC 4514 name, or "".
func commonName(subject string) string {
	for rest := subject; rest != ""; {
		end := attributeEnd(rest)
		if value, ok := strings.CutPrefix(rest[:end], "CN="); ok {
			return unescape(value)
		}
		if end == len(rest) {
			return ""
		}
		rest = rest[end+1:]
	}
	return ""
}

// attributeEnd returns where the first attribute of a name ends: at a comma or
// plus that no backslash escapes (RFC 4514 section 2.4).
func attributeEnd(name string) int {
	for i := 0; i < len(name); i++ {
		switch name[i] {
		case '\\':
			i++
		case ',', '+':
			return i
		}
	}
	return len(name)
}

// unescape takes the backslashes before special characters away; escapes of
// bytes stay as they are.
func unescape(value string) string {
	var out strings.Builder
	for i := 0; i < len(value); i++ {
		if value[i] == '\\' && i+1 < len(value) && strings.IndexByte(" \"#+,;<=>\\", value[i+1]) >= 0 {
			i++
		}
		out.WriteByte(value[i])
	}
	return out.String()
}
