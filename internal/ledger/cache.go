// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"errors"
	"fmt"
	"sync"
)

// A cache keeps a bounded number of segments open, those that were asked for
// last, so that memory does not grow with the ledger.
type cache struct {
	files files
	bound int

	mu   sync.Mutex
	open map[uint32]*opened // guarded by mu
	used uint64             // guarded by mu; a clock of uses
}

func newCache(files files, bound int) *cache {
	return &cache{files: files, bound: bound, open: map[uint32]*opened{}}
}

// get returns a segment that stays open until it is given back.
func (c *cache) get(s *Segment) (*opened, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.used++
	if o, ok := c.open[s.Number]; ok {
		o.users++
		o.last = c.used
		return o, nil
	}
	o := &opened{segment: *s, users: 1, last: c.used, cached: true}
	var err error
	if o.index, err = c.files.open(s.indexName()); err != nil {
		return nil, fmt.Errorf("couldn't open %s: %w", s.indexName(), err)
	}
	if o.data, err = c.files.open(s.Name()); err != nil {
		return nil, errors.Join(fmt.Errorf("couldn't open %s: %w", s.Name(), err), o.index.Close())
	}
	c.open[s.Number] = o
	c.evict()
	return o, nil
}

// evict closes what was used longest ago, beyond the bound. Files are only read,
// so that there is nothing in an error of closing them.
func (c *cache) evict() {
	for len(c.open) > c.bound {
		var oldest *opened
		for _, o := range c.open {
			if oldest == nil || o.last < oldest.last {
				oldest = o
			}
		}
		c.drop(oldest)
	}
}

func (c *cache) drop(o *opened) {
	delete(c.open, o.segment.Number)
	o.cached = false
	if o.users == 0 {
		o.close()
	}
}

func (c *cache) giveBack(o *opened) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o.users--
	if o.users == 0 && !o.cached {
		o.close()
	}
}

// forget closes a segment that is no more.
func (c *cache) forget(number uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if o, ok := c.open[number]; ok {
		c.drop(o)
	}
}

func (c *cache) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.open {
		c.drop(o)
	}
	return nil
}
