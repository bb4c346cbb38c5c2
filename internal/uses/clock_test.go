// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"testing"
	"time"
)

func TestTimes(t *testing.T) {
	for text, want := range map[string]string{
		"2026-11-20T10:15:30Z":              "2026-11-20T10:15:30Z",
		"2026-11-20T10:15:30.123456Z":       "2026-11-20T10:15:30.123456Z",
		"2022-02-08T06:22:28.3518405+00:00": "2022-02-08T06:22:28.3518405Z",
		"2026-11-22T04:40:32.763641+0000":   "2026-11-22T04:40:32.763641Z",
		"2026-11-22 04:58:49.374 UTC":       "2026-11-22T04:58:49.374Z",
		"2026-11-22 04:58:49.374 GMT":       "2026-11-22T04:58:49.374Z",
		"2026-11-20T10:15:30+01:30":         "2026-11-20T08:45:30Z",
		"0000-01-01T00:00:00Z":              "0000-01-01T00:00:00Z",
		"9999-12-31T23:59:59.999999999Z":    "9999-12-31T23:59:59.999999999Z",
		"2024-02-29T00:00:00-00:01":         "2024-02-29T00:01:00Z",
		"2016-12-31T23:59:60Z":              "2017-01-01T00:00:00Z",
		"2026-02-29T00:00:00Z":              "",
		"2026-11-20T24:00:00Z":              "",
		"2026-11-20T10:15:30":               "",
		"2026-11-20T10:15:30.Z":             "",
		"20-11-2026 10:15:30 UTC":           "",
		"2026-1x-20T10:15:30Z":              "",
		"":                                  "",
	} {
		got, err := readTime(text)
		if (err == nil) != (want != "") || err == nil && got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q is %v, %v, want %s", text, got, err, want)
		}
	}
}

// TestTimesAsTheLibrary compares with time.Parse, day by day over eight centuries.
func TestTimesAsTheLibrary(t *testing.T) {
	for at := time.Date(1599, 12, 1, 1, 2, 3, 4000, time.UTC); at.Year() < 2410; at = at.AddDate(0, 0, 1) {
		text := at.Format(time.RFC3339Nano)
		if got, err := readTime(text); err != nil || !got.Equal(at) {
			t.Fatalf("%s is %v, %v", text, got, err)
		}
	}
}

func TestSyslogTimes(t *testing.T) {
	near := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"Jan  2 11:00:00": "2026-01-02T11:00:00Z",
		"Jan  3 11:00:00": "2026-01-03T11:00:00Z", // within a day: clocks differ
		"Dec 31 23:59:59": "2025-12-31T23:59:59Z",
		"Feb 30 10:00:00": "",
	} {
		got, err := syslogTime(text, near)
		if (err == nil) != (want != "") || err == nil && got.Format(time.RFC3339Nano) != want {
			t.Errorf("%q is %v, %v, want %s", text, got, err, want)
		}
	}
}
