// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"sync"
)

// idBlockSize is how many ids a process takes at once.
const idBlockSize = 4096

// An idBlock hands out ids that no other process hands out.
type idBlock struct {
	mu        sync.Mutex
	next, end int64 // guarded by mu; the ids [next, end) are ours
}

// newIDs returns the first of n ids in a row. A block that is lost with a
// process leaves a gap and nothing else. It writes outside any transaction, so
// it must be called before one begins: SQLite has one writer.
func (db *DB) newIDs(ctx context.Context, n int64) (int64, error) {
	db.ids.mu.Lock()
	defer db.ids.mu.Unlock()
	if db.ids.end-db.ids.next < n {
		take := max(n, idBlockSize)
		const query = `UPDATE counters SET next = next + $1 WHERE name = 'id' RETURNING next`
		var end int64
		if err := db.write.QueryRowContext(ctx, query, take).Scan(&end); err != nil {
			return 0, db.wrap("couldn't take new ids", err)
		}
		db.ids.next, db.ids.end = end-take, end
	}
	first := db.ids.next
	db.ids.next += n
	return first, nil
}

// knownIDsSize bounds knownIDs: two such maps of 64-byte keys take about 40 MB.
const knownIDsSize = 100_000

// knownIDs remembers the ids of credentials and places met lately, so that a
// look at the same estate need not ask for them again. Ids never change.
type knownIDs struct {
	mu  sync.Mutex
	ids map[string]int64 // guarded by mu; by fingerprint or by place
}

// get returns an id, or 0.
func (k *knownIDs) get(name string) int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ids[name]
}

// put takes over ids that are committed.
func (k *knownIDs) put(list []named) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ids == nil || len(k.ids)+len(list) > knownIDsSize {
		k.ids = make(map[string]int64, len(list))
	}
	for _, n := range list {
		k.ids[n.name] = n.id
	}
}
