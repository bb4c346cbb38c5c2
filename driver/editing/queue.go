// SPDX-License-Identifier: Apache-2.0

package editing

import (
	"context"
	"sync"
)

// A Queue lets one of this process at a time at each file: a file that is edited is in memory
// several times, and a recall may want to change many accounts of one at once. Its zero value
// is ready.
type Queue struct {
	mu    sync.Mutex
	files map[place]*turn // guarded by mu; those that somebody is at, or waits for
}

type place struct{ host, path string }

type turn struct {
	taken  chan struct{} // holds one while somebody is at the file
	wanted int           // by how many, with who is at it; guarded by mu of the queue
}

// enter waits until the file is free. Who has entered leaves.
func (q *Queue) enter(ctx context.Context, f File) (leave func(), err error) {
	if q == nil {
		return func() {}, nil
	}
	at := place{f.Host.Name(), f.Path}
	q.mu.Lock()
	t := q.files[at]
	if t == nil {
		if q.files == nil {
			q.files = map[place]*turn{}
		}
		t = &turn{taken: make(chan struct{}, 1)}
		q.files[at] = t
	}
	t.wanted++
	q.mu.Unlock()
	select {
	case t.taken <- struct{}{}:
		return func() { <-t.taken; q.forgo(at, t) }, nil
	case <-ctx.Done():
		q.forgo(at, t)
		return nil, ctx.Err()
	}
}

// forgo forgets the file once nobody wants it any more.
func (q *Queue) forgo(at place, t *turn) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if t.wanted--; t.wanted == 0 {
		delete(q.files, at)
	}
}
