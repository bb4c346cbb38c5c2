// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"strings"
	"unicode"
)

// answerLimit bounds what is kept of an answer, in bytes.
const answerLimit = 1 << 10

// Clean makes foreign text fit for the Answer of an attempt.
func Clean(text string) string { return clean(text) }

// clean makes foreign text fit for a page, a terminal and a log: printable, lines
// joined by spaces, at most answerLimit bytes.
func clean(text string) string {
	cut := len(text) > answerLimit
	text = strings.ToValidUTF8(text[:min(len(text), answerLimit)], "")
	text = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case r == '\r':
			return -1
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, text)
	if cut {
		text = strings.ToValidUTF8(text[:min(len(text), answerLimit-3)], "") + "..."
	}
	return strings.TrimSpace(text)
}
