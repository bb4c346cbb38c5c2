// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tallystick/tallystick"
)

// clean makes foreign text fit for a terminal: what could move the cursor,
// change colours or turn the writing round becomes a replacement character.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
}

// clip shortens text to a number of characters.
func clip(text string, limit int) string {
	if utf8.RuneCountInString(text) > limit {
		return string([]rune(text)[:limit-1]) + "…"
	}
	return text
}

// clipStart shortens text to a number of characters by its beginning, because
// the end of a path says more.
func clipStart(text string, limit int) string {
	if n := utf8.RuneCountInString(text); n > limit {
		return "…" + string([]rune(text)[n-limit+1:])
	}
	return text
}

// clipMiddle shortens text to a number of characters in its middle: how a place
// begins and how it ends say most.
func clipMiddle(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	begin := limit / 3
	return string(runes[:begin]) + "…" + string(runes[len(runes)-(limit-begin-1):])
}

// asLine writes a sentence as the hints of a terminal are written.
func asLine(sentence string) string {
	if len(sentence) > 1 && sentence[1] >= 'a' && sentence[1] <= 'z' {
		sentence = strings.ToLower(sentence[:1]) + sentence[1:]
	}
	return strings.TrimSuffix(sentence, ".")
}

// plural writes a number with its noun.
func plural(n int, noun string) string {
	text := strconv.Itoa(n) + " " + noun
	if n != 1 {
		text += "s"
	}
	return text
}

// name returns what people call a credential: its first name, the common name
// of its subject, its comment, or the beginning of its fingerprint.
func name(c *tallystick.Credential) string {
	switch {
	case commonName(c.Subject) != "":
		return commonName(c.Subject)
	case len(c.Names) > 0:
		return c.Names[0]
	case c.Subject != "":
		return c.Subject
	}
	return string(c.Kind) + " " + c.ID.Short()
}

// commonName returns the CN of an RFC 4514 name, or "". Escapes stay as they are.
func commonName(subject string) string {
	_, rest, ok := strings.Cut(","+subject, ",CN=")
	if !ok {
		return ""
	}
	for i := 0; i < len(rest); i++ {
		switch rest[i] {
		case '\\':
			i++
		case ',', '+':
			return rest[:i]
		}
	}
	return rest
}

// textWidth is how wide running text is.
const textWidth = 80

// wrap breaks text into lines that begin with indent.
func wrap(text, indent string, width int) string {
	var lines []string
	line := indent
	for word := range strings.FieldsSeq(text) {
		if len(line) > len(indent) && len(line)+1+len(word) > width {
			lines, line = append(lines, line), indent
		}
		if len(line) > len(indent) {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}
