// SPDX-License-Identifier: Apache-2.0

package recalltest

import (
	"fmt"
	"slices"

	"github.com/tallystick/tallystick/driver"
)

// A Connection is a door that signs in at another.
type Connection struct{ Holder, Relying string }

// Without returns the connections whose holder has no credential that works now.
func (e *Estate) Without(connections []Connection) []Connection {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var list []Connection
	for _, c := range connections {
		if !e.doors[c.Relying].letsIn(e.doors[c.Holder].has) {
			list = append(list, c)
		}
	}
	return list
}

// Shown returns what a door holds or shows.
func (e *Estate) Shown(name string) driver.Public {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.doors[name].shown
}

// Lets says whether a door lets a credential in.
func (e *Estate) Lets(name string, p driver.Public) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.doors[name].lets(p)
}

// Denies says whether a door refuses a credential by name.
func (e *Estate) Denies(name string, p driver.Public) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.doors[name].denies[fingerprint(p)]
}

// Trusted returns how many credentials a door lets in.
func (e *Estate) Trusted(name string) int {
	e.mu.RLock()
	defer e.mu.RUnlock()
	n := 0
	for f := range e.doors[name].accepts {
		if !e.doors[name].denies[f] {
			n++
		}
	}
	return n
}

// Wrongs says what was ever done that must never be: a credential was blocked at a door
// before the one that its holder has now was let in there.
func (e *Estate) Wrongs() []string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return slices.Clone(e.wrongs)
}

// watch notes a block that comes before the new one is used. The caller holds mu.
func (e *Estate) watch(relying *door, old driver.Public) {
	f := fingerprint(old)
	for _, holder := range e.holders[f] {
		if relying.accepts[f] {
			e.wrongs = append(e.wrongs, fmt.Sprintf("%.8s was blocked at %s while %s has nothing else", f, relying.Name, holder.Name))
		}
	}
}

// Forgive forgets what Wrongs says: a deadline or a rehearsal was to do so.
func (e *Estate) Forgive() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.wrongs = nil
}
