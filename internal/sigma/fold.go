// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// fold makes texts that differ in case alone equal. Bytes that are not UTF-8
// stay as they are.
func fold(s string) string {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c >= utf8.RuneSelf {
			return foldUnicode(s)
		}
	}
	return strings.ToLower(s) // which returns s when there is nothing to do
}

func foldUnicode(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 {
			b.WriteByte(s[i])
		} else {
			b.WriteRune(foldRune(r))
		}
		i += n
	}
	return b.String()
}

// foldRune takes the long way through upper case, so that all of a Greek sigma's
// or an s's forms become one. The Turkish dotless i stays itself.
func foldRune(r rune) rune {
	if r == 'ı' {
		return r
	}
	return unicode.ToLower(unicode.ToUpper(r))
}

// normalise makes texts equal that look equal to a person who writes a rule:
// compatibility forms (NFKC: full-width and mathematical letters, ligatures,
// blanks of any width), dashes of any length, and characters that cannot be seen.
// The directory of a large cloud writes an en dash in the names of operations
// where its documentation has a hyphen. Letters of other alphabets that look
// alike stay what they are.
func normalise(s string) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] < utf8.RuneSelf
	}
	if plain {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(unicode.Cf, r), unicode.Is(unicode.Variation_Selector, r), unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r):
			return -1
		case unicode.Is(unicode.Pd, r), r == '−':
			return '-'
		case unicode.Is(unicode.Zs, r):
			return ' '
		}
		return r
	}, norm.NFKC.String(s))
}

// A comparison is how a rule compares texts.
type comparison int

const (
	folded comparison = iota
	asWritten
	normalFolded
	normalAsWritten
	comparisons
)

// of returns how text is compared.
func comparisonOf(cased, normalised bool) comparison {
	switch {
	case normalised && cased:
		return normalAsWritten
	case normalised:
		return normalFolded
	case cased:
		return asWritten
	}
	return folded
}

// apply makes a value of an event ready. White space around a normalised value
// does not count.
func (c comparison) apply(s string) string {
	switch c {
	case folded:
		return fold(s)
	case normalFolded:
		return fold(strings.TrimSpace(normalise(s)))
	case normalAsWritten:
		return strings.TrimSpace(normalise(s))
	}
	return s
}

// applyTo makes the atoms of a rule ready.
func (c comparison) applyTo(atoms []atom) []atom {
	out := make([]atom, len(atoms))
	for i, a := range atoms {
		if c == normalFolded || c == normalAsWritten {
			a.text = normalise(a.text)
			if i == 0 {
				a.text = strings.TrimLeftFunc(a.text, unicode.IsSpace)
			}
			if i == len(atoms)-1 {
				a.text = strings.TrimRightFunc(a.text, unicode.IsSpace)
			}
		}
		if c == folded || c == normalFolded {
			a.text = fold(a.text)
		}
		out[i] = a
	}
	return out
}
