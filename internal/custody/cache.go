// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"container/list"
	"context"
	"crypto"
	"errors"
	"sync"
)

// maxCached is how many signers are kept ready. A CA has a handful; the keys of
// accounts come and go.
const maxCached = 1024

// A cache keeps signers ready, those that were used last. Who asks for one that
// somebody is fetching already waits for that.
type cache struct {
	mu       sync.Mutex
	limit    int
	order    *list.List               // of *cached, the one used last in front
	ready    map[string]*list.Element // by id
	fetching map[string]*fetch        // by id
}

type cached struct {
	id     string
	signer crypto.Signer
}

// A fetch is one that goes on; its result may be read once done is closed.
type fetch struct {
	done   chan struct{}
	stale  bool // guarded by the mutex of the cache: it was dropped meanwhile
	signer crypto.Signer
	err    error
}

func newCache(limit int) *cache {
	return &cache{limit: limit, order: list.New(), ready: map[string]*list.Element{}, fetching: map[string]*fetch{}}
}

// get returns the signer of an id, and calls load when it is not ready.
func (c *cache) get(ctx context.Context, id string, load func(context.Context) (crypto.Signer, error)) (crypto.Signer, error) {
	for {
		c.mu.Lock()
		if element, ok := c.ready[id]; ok {
			c.order.MoveToFront(element)
			signer := element.Value.(*cached).signer
			c.mu.Unlock()
			return signer, nil
		}
		f, ok := c.fetching[id]
		if !ok {
			f = &fetch{done: make(chan struct{}), err: errFetch}
			c.fetching[id] = f
		}
		c.mu.Unlock()
		if !ok {
			c.fetch(ctx, id, f, load)
			return f.signer, f.err
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		// That somebody else no longer wanted it says nothing about the key.
		if !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
			return f.signer, f.err
		}
	}
}

// errFetch is that of a fetch that panicked.
var errFetch = errors.New("couldn't fetch a key")

func (c *cache) fetch(ctx context.Context, id string, f *fetch, load func(context.Context) (crypto.Signer, error)) {
	defer func() {
		c.mu.Lock()
		delete(c.fetching, id)
		if f.err == nil && !f.stale {
			c.add(id, f.signer)
		}
		c.mu.Unlock()
		close(f.done)
	}()
	f.signer, f.err = load(ctx)
}

// put makes a signer ready.
func (c *cache) put(id string, signer crypto.Signer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(id, signer)
}

// add is put for who has the mutex.
func (c *cache) add(id string, signer crypto.Signer) {
	if element, ok := c.ready[id]; ok {
		element.Value.(*cached).signer = signer
		return
	}
	c.ready[id] = c.order.PushFront(&cached{id, signer})
	if c.order.Len() > c.limit {
		c.remove(c.order.Back())
	}
}

func (c *cache) remove(element *list.Element) {
	c.order.Remove(element)
	delete(c.ready, element.Value.(*cached).id)
}

// drop forgets a signer.
func (c *cache) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element, ok := c.ready[id]; ok {
		c.remove(element)
	}
	if f, ok := c.fetching[id]; ok {
		f.stale = true
	}
}
