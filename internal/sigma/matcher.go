// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// A matcher is one value of a rule.
type matcher interface {
	fits(f *found, v *view) bool
}

// found is what an event has in a field.
type found struct {
	present bool
	values  []string              // as written; none of a field that is null
	ready   [comparisons][]string // the same for comparisons, made when wanted
}

// as returns the values ready for a comparison.
func (f *found) as(c comparison) []string {
	if c == asWritten || len(f.values) == 0 {
		return f.values
	}
	if f.ready[c] == nil {
		list := make([]string, len(f.values))
		for i, value := range f.values {
			list[i] = c.apply(value)
		}
		f.ready[c] = list
	}
	return f.ready[c]
}

// textMatcher compares text with a pattern.
type textMatcher struct {
	pattern pattern
	as      comparison
}

func (m *textMatcher) fits(f *found, _ *view) bool {
	for _, value := range f.as(m.as) {
		if m.pattern.match(value) {
			return true
		}
	}
	return false
}

// nullMatcher wants a field that is not there, or is null.
type nullMatcher struct{}

func (nullMatcher) fits(f *found, _ *view) bool { return len(f.values) == 0 }

// existsMatcher wants a field to be there or not, whatever it holds.
type existsMatcher bool

func (m existsMatcher) fits(f *found, _ *view) bool { return f.present == bool(m) }

// regexpMatcher looks for an expression anywhere in the value.
type regexpMatcher struct {
	expression *regexp.Regexp
	as         comparison
}

func (m *regexpMatcher) fits(f *found, _ *view) bool {
	for _, value := range f.as(m.as) {
		if m.expression.MatchString(value) {
			return true
		}
	}
	return false
}

// cidrMatcher wants an address of a network.
type cidrMatcher struct{ network netip.Prefix }

func (m cidrMatcher) fits(f *found, _ *view) bool {
	for _, value := range f.values {
		address, err := netip.ParseAddr(strings.Trim(value, " []"))
		if err == nil && m.network.Contains(address.Unmap().WithZone("")) {
			return true
		}
	}
	return false
}

// numberMatcher compares a number.
type numberMatcher struct{ Limit }

func (m numberMatcher) fits(f *found, _ *view) bool {
	for _, value := range f.values {
		if n, ok := number(value); ok && m.holds(n) {
			return true
		}
	}
	return false
}

// holds says whether the comparison is true of n.
func (l Limit) holds(n float64) bool {
	switch l.Operator {
	case "gt":
		return n > l.Value
	case "gte":
		return n >= l.Value
	case "lt":
		return n < l.Value
	case "lte":
		return n <= l.Value
	case "eq":
		return n == l.Value
	}
	return n != l.Value
}

// number reads a decimal number, or a whole one in the hexadecimal form of Windows.
func number(s string) (float64, bool) {
	s = strings.TrimSpace(s)
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		n, err := strconv.ParseUint(hex, 16, 64)
		return float64(n), err == nil
	}
	if s == "" || s[0] != '-' && s[0] != '+' && s[0] != '.' && (s[0] < '0' || s[0] > '9') || strings.ContainsAny(s, "xX_") {
		return 0, false
	}
	n, err := strconv.ParseFloat(s, 64)
	return n, err == nil && !math.IsInf(n, 0)
}

// timeMatcher compares a part of a time, in the zone in which it is written.
type timeMatcher struct {
	part string
	Limit
}

func (m timeMatcher) fits(f *found, _ *view) bool {
	for _, value := range f.values {
		if at, ok := readTime(value); ok && m.holds(float64(partOf(at, m.part))) {
			return true
		}
	}
	return false
}

func partOf(at time.Time, part string) int {
	switch part {
	case "minute":
		return at.Minute()
	case "hour":
		return at.Hour()
	case "day":
		return at.Day()
	case "week":
		_, week := at.ISOWeek()
		return week
	case "month":
		return int(at.Month())
	}
	return at.Year()
}

// readTime reads a time in one of the ways of logs. One without a zone is UTC.
func readTime(s string) (time.Time, bool) {
	s = strings.TrimSpace(s)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02 15:04:05.999999999Z07:00",
		"2006-01-02 15:04:05.999999999", "2006-01-02T15:04:05.999999999-0700", "02/Jan/2006:15:04:05 -0700", "2006-01-02"} {
		if at, err := time.Parse(layout, s); err == nil {
			return at, true
		}
	}
	// Seconds since 1970, as Zeek writes them; what is shorter is no time of a log.
	whole, _, _ := strings.Cut(s, ".")
	if seconds, ok := number(s); ok && len(whole) == 10 && seconds > 0 {
		return time.UnixMicro(int64(math.Round(seconds * 1e6))).UTC(), true
	}
	return time.Time{}, false
}

// fieldMatcher compares with another field of the event.
type fieldMatcher struct {
	other        *field
	as           comparison
	before, past bool // text may stand before and behind the other value
}

func (m *fieldMatcher) fits(f *found, v *view) bool {
	others := v.field(m.other).as(m.as)
	for _, value := range f.as(m.as) {
		for _, other := range others {
			switch {
			case m.before && m.past && strings.Contains(value, other), m.before && !m.past && strings.HasSuffix(value, other),
				m.past && !m.before && strings.HasPrefix(value, other), value == other:
				return true
			}
		}
	}
	return false
}
