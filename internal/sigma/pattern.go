// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"strings"
	"unicode/utf8"
)

// An atom is a piece of a pattern: text, or a wildcard.
type atom struct {
	kind atomKind
	text string // of literal
}

type atomKind int

const (
	literal atomKind = iota
	anyRun           // *
	anyOne           // ?
	anyDash          // what the modifier windash makes of a dash
)

// dashes are the characters that windash takes for each other.
const dashes = "-/–—―"

// readPattern reads a value of a rule. A backslash makes a wildcard or a
// backslash plain, and stands for itself before anything else ("Escape Character"
// in the specification).
func readPattern(value string) []atom {
	var atoms []atom
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			atoms = append(atoms, atom{literal, plain.String()})
			plain.Reset()
		}
	}
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && i+1 < len(value) && strings.IndexByte(`\*?`, value[i+1]) >= 0:
			i++
			plain.WriteByte(value[i])
		case c == '*':
			flush()
			if len(atoms) == 0 || atoms[len(atoms)-1].kind != anyRun {
				atoms = append(atoms, atom{kind: anyRun})
			}
		case c == '?':
			flush()
			atoms = append(atoms, atom{kind: anyOne})
		default:
			plain.WriteByte(c)
		}
	}
	flush()
	return atoms
}

// plainText returns the text of a pattern without wildcards.
func plainText(atoms []atom) (string, bool) {
	switch {
	case len(atoms) == 0:
		return "", true
	case len(atoms) == 1 && atoms[0].kind == literal:
		return atoms[0].text, true
	}
	return "", false
}

// withDashes replaces the dashes that begin a flag: before them there is no
// letter or digit, and behind them there is one.
func withDashes(atoms []atom) []atom {
	var out []atom
	for _, a := range atoms {
		if a.kind != literal {
			out = append(out, a)
			continue
		}
		from, before := 0, ' '
		for at := 0; at < len(a.text); {
			r, n := utf8.DecodeRuneInString(a.text[at:])
			next, _ := utf8.DecodeRuneInString(a.text[at+n:])
			if strings.ContainsRune(dashes, r) && !isWord(before) && isWord(next) {
				if at > from {
					out = append(out, atom{literal, a.text[from:at]})
				}
				out = append(out, atom{kind: anyDash})
				from = at + n
			}
			before = r
			at += n
		}
		if from < len(a.text) {
			out = append(out, atom{literal, a.text[from:]})
		}
	}
	return out
}

func isWord(r rune) bool {
	return r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r > 0x7f && r != utf8.RuneError
}

// A pattern is ready to be compared. Text and pattern have been folded alike.
type pattern struct {
	segments [][]atom // between the *; there is always one
	open     [2]bool  // begins and ends with *
}

// newPattern cuts atoms at their *.
func newPattern(atoms []atom) pattern {
	p := pattern{segments: [][]atom{nil}}
	if len(atoms) > 0 {
		p.open = [2]bool{atoms[0].kind == anyRun, atoms[len(atoms)-1].kind == anyRun}
	}
	for _, a := range atoms {
		last := len(p.segments) - 1
		switch {
		case a.kind != anyRun:
			p.segments[last] = append(p.segments[last], a)
		case len(p.segments[last]) > 0:
			p.segments = append(p.segments, nil)
		}
	}
	if last := len(p.segments) - 1; last > 0 && len(p.segments[last]) == 0 {
		p.segments = p.segments[:last]
	}
	return p
}

// exact returns the text that alone fits the pattern.
func (p pattern) exact() (string, bool) {
	if p.open != [2]bool{} || len(p.segments) != 1 {
		return "", false
	}
	return plainText(p.segments[0])
}

// match says whether the whole of s fits.
func (p pattern) match(s string) bool {
	first, last := 0, len(p.segments)
	if !p.open[0] {
		n, ok := prefix(p.segments[0], s)
		if !ok {
			return false
		}
		if last == 1 && !p.open[1] {
			return n == len(s)
		}
		s = s[n:]
		first++
	}
	if !p.open[1] {
		last--
	}
	for i := first; i < last; i++ {
		from, n := find(p.segments[i], s)
		if from < 0 {
			return false
		}
		s = s[from+n:]
	}
	return p.open[1] || hasSuffix(p.segments[last], s)
}

// prefix says whether s begins with the segment, and how much of it that is.
func prefix(segment []atom, s string) (int, bool) {
	at := 0
	for _, a := range segment {
		switch a.kind {
		case literal:
			if !strings.HasPrefix(s[at:], a.text) {
				return 0, false
			}
			at += len(a.text)
		default:
			r, n := utf8.DecodeRuneInString(s[at:])
			if n == 0 || a.kind == anyDash && !strings.ContainsRune(dashes, r) {
				return 0, false
			}
			at += n
		}
	}
	return at, true
}

// find returns where the segment stands first in s, or -1, and how long it is.
func find(segment []atom, s string) (from, n int) {
	if len(segment) == 0 {
		return 0, 0
	}
	for from <= len(s) {
		if segment[0].kind == literal {
			i := strings.Index(s[from:], segment[0].text)
			if i < 0 {
				return -1, 0
			}
			from += i
		}
		if n, ok := prefix(segment, s[from:]); ok {
			return from, n
		}
		_, width := utf8.DecodeRuneInString(s[from:])
		from += max(1, width)
	}
	return -1, 0
}

// hasSuffix says whether s ends with the segment.
func hasSuffix(segment []atom, s string) bool {
	if plain, ok := plainText(segment); ok {
		return strings.HasSuffix(s, plain)
	}
	// Each atom that is no literal is one character, so that where it begins is known.
	for i := len(segment) - 1; i >= 0; i-- {
		a := segment[i]
		if a.kind == literal {
			if !strings.HasSuffix(s, a.text) {
				return false
			}
			s = s[:len(s)-len(a.text)]
			continue
		}
		r, n := utf8.DecodeLastRuneInString(s)
		if n == 0 || a.kind == anyDash && !strings.ContainsRune(dashes, r) {
			return false
		}
		s = s[:len(s)-n]
	}
	return true
}
