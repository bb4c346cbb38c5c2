// SPDX-License-Identifier: Apache-2.0

// Package query reads what the parameters of lists have in common, whichever
// feature the list is of: words out of a few, and times.
package query

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

// OneOf says whether a word is one of those that are known, or "". What it says
// otherwise is ErrInvalid and names the nearest one.
func OneOf(what, word string, known ...string) error {
	if word == "" || slices.Contains(known, word) {
		return nil
	}
	return Unknown(what, word, known, "It is one of "+strings.Join(known, ", ")+".")
}

// Unknown is the error for a word that is none of those that are known: it is
// ErrInvalid, and its hint names the nearest one before what hint says.
func Unknown(what, word string, known []string, hint string) error {
	if near := nearest(strings.ToLower(word), known); near != "" {
		hint = fmt.Sprintf("Did you mean %q? %s", near, hint)
	}
	return problem.With(fmt.Errorf("%w: there is no %s %.60q", tallystick.ErrInvalid, what, word), hint)
}

// nearest returns the word that is likely meant: the one that begins so, or that
// differs in a slip.
func nearest(word string, known []string) string {
	begun := slices.DeleteFunc(slices.Clone(known), func(k string) bool { return !strings.HasPrefix(k, word) })
	if len(begun) == 1 {
		return begun[0]
	}
	return problem.Nearest(word, known)
}

// ParseTime reads a day in UTC or an RFC 3339 time; "" is none. Anything else
// is ErrInvalid.
func ParseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: %.40q is not a day as in 2026-03-15", tallystick.ErrInvalid, text)
}

// ParseEnd reads when something ends as ParseTime does, but that a day is meant
// with all its hours.
func ParseEnd(text string) (time.Time, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	return ParseTime(text)
}

// ParseSpan reads the times from and to of a list, of which the second is not
// included: as ParseTime does, but that a time before 1970 is the beginning of
// all, which is what it means in a list.
func ParseSpan(from, to string) (begin, end time.Time, err error) {
	if begin, err = parseSince1970(from); err != nil {
		return begin, end, err
	}
	end, err = parseSince1970(to)
	return begin, end, err
}

func parseSince1970(text string) (time.Time, error) {
	t, err := ParseTime(text)
	if err == nil && !t.IsZero() && t.Before(time.Unix(0, 0)) {
		t = time.Unix(0, 0).UTC()
	}
	return t, err
}
