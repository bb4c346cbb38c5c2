// SPDX-License-Identifier: Apache-2.0

package probing_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/probing"
)

// probe tries a credential from this machine.
func probe(t *testing.T, m driver.Material, sessions []byte, hold bool, listeners ...driver.Listener) driver.Probed {
	t.Helper()
	probed, err := probing.Probe(t.Context(), driver.ProbeRequest{
		Host: host.Local(), Credential: m, Listeners: listeners, Sessions: sessions, Hold: hold, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, open := range probed.Open {
		t.Cleanup(func() { open.Close() })
	}
	return probed
}

// outcomes writes attempts as "way outcome", sorted.
func outcomes(attempts []driver.Attempt) []string {
	var lines []string
	for _, a := range attempts {
		lines = append(lines, a.Way+" "+a.Outcome)
	}
	slices.Sort(lines)
	return lines
}

// want tests what came of attempts.
func want(t *testing.T, what string, attempts []driver.Attempt, lines ...string) {
	t.Helper()
	if d := cmp.Diff(lines, outcomes(attempts)); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
		for _, a := range attempts {
			t.Logf("%s %s %s: %s", a.Address, a.Way, a.Outcome, a.Answer)
		}
	}
}

// tryOpen uses the open connections once more.
func tryOpen(t *testing.T, open []driver.OpenConnection) []driver.Attempt {
	t.Helper()
	var attempts []driver.Attempt
	for _, o := range open {
		attempts = append(attempts, o.Try(t.Context()))
	}
	return attempts
}

// times repeats a line for as many attempts.
func times(n int, line string) []string { return slices.Repeat([]string{line}, n) }

func at(protocol, address string, details ...string) driver.Listener {
	l := driver.Listener{Address: address, Protocol: protocol, ServerName: "localhost"}
	for _, detail := range details {
		if l.Details == nil {
			l.Details = map[string]string{}
		}
		name, value, _ := strings.Cut(detail, "=")
		l.Details[name] = value
	}
	return l
}
