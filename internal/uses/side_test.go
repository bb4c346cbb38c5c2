// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
)

// Whoever can write to a relying party's log must not write the holder's book.
func TestAFileSpeaksForItsOwnSide(t *testing.T) {
	for _, own := range []tallystick.Side{tallystick.SideHolder, tallystick.SideRelying} {
		for _, member := range []string{`"time":"2026-11-20T10:00:00Z","credential":"x5t:aa"`, `"closed":"2026-11-20T10:00:00Z"`, `"time":"2026-11-20T10:00:00Z","lost":3`} {
			for _, side := range []tallystick.Side{"", tallystick.SideHolder, tallystick.SideRelying} {
				var p printer
				err := newUseReader(Settings{Side: own}).read(`{"v":1,"side":"`+string(side)+`",`+member+`}`, &p)
				if (err != nil) != (side != "" && side != own) {
					t.Errorf("side %q in a file of side %s: %v", side, own, err)
				}
				if err != nil && p.out.Len() > 0 || err == nil && strings.Contains(p.out.String(), other(own)) {
					t.Errorf("side %q in a file of side %s gives %s", side, own, p.out.String())
				}
			}
		}
	}
}

func other(side tallystick.Side) string {
	if side == tallystick.SideHolder {
		return string(tallystick.SideRelying)
	}
	return string(tallystick.SideHolder)
}
