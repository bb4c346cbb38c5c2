// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"strings"
	"unicode"
)

// Clean makes foreign text fit for a terminal and a log: no control
// characters, at most 300 bytes.
func Clean(text string) string {
	const most = 300
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text[:min(len(text), 4*most)])
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most-3], "") + "..."
	}
	return text
}

// Quote quotes foreign text in an error: what is not printable is escaped, and
// what is behind 120 bytes left out.
func Quote(text string) string {
	const most = 120
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most-3], "") + "..."
	}
	return fmt.Sprintf("%q", text)
}
