// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"testing"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
)

// What an agent says of a listener where the server has a door of its own is believed as far as
// that door says the same: a credential is signed for the token endpoint, and shown to
// whom the roots certify.
func TestAnAgentIsNotBelievedAboutADoorOfOurs(t *testing.T) {
	listener := func(endpoint, roots string) driver.Listener {
		l := driver.Listener{Address: "login.example:443", Protocol: "oauth", Details: map[string]string{"token_endpoint": endpoint, "client_id": "app"}}
		if roots != "" {
			l.Details["roots"] = roots
		}
		return l
	}
	const ours = "https://login.example/ours/token"
	for name, c := range map[string]struct {
		said driver.Listener
		told bool
	}{
		"the same":             {listener(ours, ""), false},
		"another endpoint":     {listener("https://login.example/theirs/token", ""), true},
		"roots of the agent's": {listener(ours, "a CA of the agent's"), true},
	} {
		all := []*seen{
			{Door: doors.Door{Name: "tenant"}, view: driver.View{Listeners: []driver.Listener{listener(ours, "")}}},
			{Door: doors.Door{Name: "site/tenant", Agent: "site"}, view: driver.View{Listeners: []driver.Listener{c.said}}},
		}
		markTold(all)
		if told := len(all[1].told) > 0; told != c.told || len(all[0].told) > 0 {
			t.Errorf("%s: told is %v", name, told)
		}
		if _, has := all[1].view.Listeners[0].Details["roots"]; has {
			t.Errorf("%s: the roots of an agent are believed", name)
		}
	}
}
