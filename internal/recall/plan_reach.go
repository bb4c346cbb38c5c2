// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
)

// listening returns the addresses of the doors of an agent, or with "" of the server.
func listening(all []*seen, agent string) map[string]bool {
	addresses := map[string]bool{}
	for _, s := range all {
		if s.Agent == agent {
			for _, l := range s.view.Listeners {
				addresses[l.Address] = true
			}
		}
	}
	return addresses
}

// markTold notes which addresses the server knows from agents alone. One that its own doors have as
// well is such an address too where the agent says that something else is to be asked there.
// Whom to trust there is not for an agent to say.
func markTold(all []*seen) {
	own := map[string]bool{}
	for _, s := range all {
		for _, l := range s.view.Listeners {
			if s.Agent == "" {
				own[asked(l)] = true
			}
		}
	}
	for _, s := range all {
		for i, l := range s.view.Listeners {
			if s.Agent == "" || own[asked(l)] {
				continue
			}
			if !slices.Contains(s.told, l.Address) {
				s.told = append(s.told, l.Address)
			}
			s.view.Listeners[i].Details = maps.Clone(l.Details)
			delete(s.view.Listeners[i].Details, "roots")
		}
	}
}

// asked names what is asked at a listener, and on whose word: see probing.
func asked(l driver.Listener) string {
	return strings.Join([]string{l.Address, l.Protocol, l.Details["token_endpoint"], l.Details["roots"]}, "\x00")
}

// outOfReach says where a credential will not be tried, because who would do it may not
// connect there.
func (e *Engine) outOfReach(groups []*group, all []*seen) []string {
	var list []string
	more := 0
	add := func(warning string) {
		switch {
		case slices.Contains(list, warning):
		case len(list) < mostReach:
			list = append(list, warning)
		default:
			more++
		}
	}
	own := map[string]map[string]bool{} // by agent
	for _, g := range groups {
		if g.holder == nil {
			continue
		}
		agent, reach := g.holder.Agent, e.Connect
		if agent != "" {
			reach = doors.ReachOf(g.holder.Connect)
		}
		if own[agent] == nil {
			own[agent] = listening(all, agent)
		}
		for _, s := range g.relying {
			for _, l := range s.view.Listeners {
				known := own[agent][l.Address]
				if agent == "" {
					known = !slices.Contains(s.told, l.Address)
				}
				switch {
				case known || reach.May(l.Address):
				case agent == "":
					add(fmt.Sprintf("the server may not connect to %s, where the agent %s says that the door %s is: add it to connect under recall in the configuration", l.Address, s.Agent, s.Name))
				default:
					add(fmt.Sprintf("the agent %s may not connect to %s, where the door %s is: add it to connect in the configuration of the agent", agent, l.Address, s.Name))
				}
			}
		}
	}
	if more > 0 {
		list = append(list, fmt.Sprintf("the same is so of %d more", more))
	}
	return list
}

// mostReach bounds how many addresses out of reach a plan names.
const mostReach = 20
