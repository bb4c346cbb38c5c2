// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"sync"
	"time"

	"github.com/tallystick/tallystick/internal/ca"
)

// recent remembers certificates that were just made, since most clients fetch theirs
// at once, and once; and the other chains of authorities.
type recent struct {
	mu     sync.Mutex
	made   map[ca.Serial]ca.Certificate // guarded by mu; what is in one never changes
	chains map[string]otherChains       // guarded by mu; by authority
}

// otherChains are those of one authority, at a time.
type otherChains struct {
	list [][][]byte
	at   time.Time
}

// maxRecent bounds how many are remembered, some 5 MB. relied is for how long other
// chains are: a command beside the server may cross-sign.
const (
	maxRecent = 1000
	relied    = 5 * time.Second
)

func newRecent() recent {
	return recent{made: map[ca.Serial]ca.Certificate{}, chains: map[string]otherChains{}}
}

func (r *recent) put(made ca.Certificate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.made) >= maxRecent {
		clear(r.made)
	}
	r.made[made.Serial] = made
}

func (r *recent) get(serial ca.Serial) (ca.Certificate, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	made, ok := r.made[serial]
	return made, ok
}

func (r *recent) alternates(authority string, now time.Time) ([][][]byte, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known, ok := r.chains[authority]
	age := now.Sub(known.at)
	return known.list, ok && age >= 0 && age < relied
}

// putAlternates is for authorities that there are, so the map stays small.
func (r *recent) putAlternates(authority string, list [][][]byte, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.chains[authority] = otherChains{list, now}
}
