// SPDX-License-Identifier: Apache-2.0

package network_test

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver/network"
)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"0": 0, "120": 2 * time.Minute, "4294967295": 4294967295 * time.Second,
		"Sun, 22 Nov 2026 12:01:00 GMT": time.Minute, "Sun, 22 Nov 2026 11:59:00 GMT": -time.Minute,
	} {
		if got, ok := network.RetryAfter(value, now); !ok || got != want {
			t.Errorf("%q: %s, %v; want %s", value, got, ok, want)
		}
	}
	for _, value := range []string{"", "soon", "-1", "1.5", "4294967296"} {
		if got, ok := network.RetryAfter(value, now); ok || got != 0 {
			t.Errorf("%q: %s, %v; want nothing", value, got, ok)
		}
	}
}
