// SPDX-License-Identifier: Apache-2.0

package query

import (
	"errors"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

func TestOneOf(t *testing.T) {
	for word, hint := range map[string]string{
		"foren":   `Did you mean "foreign"? It is one of foreign, matched.`,
		"m":       `Did you mean "matched"? It is one of foreign, matched.`,
		"nothing": "It is one of foreign, matched.",
	} {
		err := OneOf("verdict", word, "foreign", "matched")
		if got := problem.Of(err).Hint; !errors.Is(err, tallystick.ErrInvalid) || got != hint {
			t.Errorf("%s: %v, hint %q, want %q", word, err, got, hint)
		}
	}
	for _, word := range []string{"", "matched"} {
		if err := OneOf("verdict", word, "foreign", "matched"); err != nil {
			t.Errorf("%q: %v", word, err)
		}
	}
}

func TestParseSpan(t *testing.T) {
	from, to, err := ParseSpan("1066-10-14", "2026-11-22T10:00:00+01:00")
	if err != nil || !from.Equal(time.Unix(0, 0)) || !to.Equal(time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)) {
		t.Errorf("%v, %v, %v", from, to, err)
	}
	if from, to, err := ParseSpan("", ""); err != nil || !from.IsZero() || !to.IsZero() {
		t.Errorf("nothing is %v, %v, %v", from, to, err)
	}
	for _, bad := range [][2]string{{"yesterday", ""}, {"", "22.11.2026"}} {
		if _, _, err := ParseSpan(bad[0], bad[1]); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestParseEnd(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-11-23":           time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC),
		"2026-11-23T00:00:00Z": time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC),
		"":                     {},
	} {
		if got, err := ParseEnd(text); err != nil || !got.Equal(want) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	if _, err := ParseEnd("soon"); !errors.Is(err, tallystick.ErrInvalid) {
		t.Error(err)
	}
}
