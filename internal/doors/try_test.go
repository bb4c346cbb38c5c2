// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"slices"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// What a driver has no name for is a use of what is replaced, and what it has one for is that.
func TestNamesOfWhatIsTold(t *testing.T) {
	t.Parallel()
	var told []tallystick.Use
	s := &Set{Config: Config{Used: func(_ driver.Public, u tallystick.Use) { told = append(told, u) }}}
	used := s.usedBy(&door{Door: Door{Holder: "erp"}}, driver.Public{Account: "entrusted:a"})
	used(tallystick.Use{})
	used(tallystick.Use{Credential: []string{"account:ldap/uid=a"}})
	for i, want := range []string{"entrusted:a", "account:ldap/uid=a"} {
		if !slices.Equal(told[i].Credential, []string{want}) || told[i].Holder != "erp" {
			t.Errorf("told is %+v, want %s", told[i], want)
		}
	}
}
