// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"testing"

	"github.com/tallystick/tallystick/internal/doors"
)

func TestReach(t *testing.T) {
	r := doors.ReachOf([]string{"127.0.0.0/30", "10.1.2.3", "10.1.2.4:636", "[fd00::1]:443", "dir.example.com", "Mail.example.com:465", "not a place"})
	for address, want := range map[string]bool{
		"127.0.0.2:1": true, "127.0.0.9:1": false, "[::ffff:127.0.0.1]:1": true, "10.1.2.3:9": true, "10.1.2.4:636": true, "10.1.2.4:637": false,
		"[fd00::1]:443": true, "[fd00::1]:444": false, "[fd00::2]:443": false, "DIR.example.com:1": true, "example.com:1": false,
		"mail.example.com:465": true, "mail.example.com:25": false, "/run/x.sock": false, "dir.example.com": false, "": false,
	} {
		if got := r.May(address); got != want {
			t.Errorf("%q: %v", address, got)
		}
	}
	if (doors.Reach{}).May("127.0.0.1:1") {
		t.Error("nowhere is somewhere")
	}
}
