// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// A Look is one pass over targets.
type Look struct {
	Targets *Targets
	// Resume is a position that a Checkpointer was told by a look at the same
	// targets. One that does not fit them begins at the start: to ask twice is
	// better than to leave out.
	Resume      string
	Concurrency int         // how many endpoints to look at together
	Sink        driver.Sink // told of Progress, and of positions when it is a driver.Checkpointer
}

// window bounds how far the fastest endpoint may be ahead of the slowest, in
// endpoints; it takes a bit each.
const window = 1 << 20

// checkpointEvery is how often a position is told at most, but for the last.
const checkpointEvery = time.Second

// Each calls fn for every endpoint, several at a time, in the order of the
// targets, until fn fails or ctx ends; it returns that error. fn reports to the
// sink by itself; what it has reported when it returns nil is done.
func (l Look) Each(ctx context.Context, fn func(context.Context, Endpoint) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	total := l.Targets.Size()
	from := resume(l.Resume, l.Targets)
	marks := newMarks(from)
	type turn struct {
		position int64
		endpoint Endpoint
	}
	queue := make(chan turn)
	var workers sync.WaitGroup
	for range min(int64(max(l.Concurrency, 1)), total-from) {
		workers.Go(func() {
			for t := range queue {
				err := fn(ctx, t.endpoint)
				if err == nil {
					err = l.done(marks, t.position, from, total)
				}
				if err != nil {
					cancel(err)
				}
			}
		})
	}
	l.Sink.Progress(from, total)
	for position, endpoint := range l.Targets.All(from) {
		if marks.wait(ctx, position) != nil {
			break
		}
		select {
		case queue <- turn{position, endpoint}:
		case <-ctx.Done():
		}
	}
	close(queue)
	workers.Wait()
	if err := l.checkpoint(marks.last(), total); err != nil {
		cancel(err)
	}
	return context.Cause(ctx)
}

// done notes that an endpoint is done.
func (l Look) done(marks *marks, position, from, total int64) error {
	count, below, due := marks.done(position, time.Now())
	l.Sink.Progress(from+count, total)
	if !due {
		return nil
	}
	return l.checkpoint(below, total)
}

func (l Look) checkpoint(below, total int64) error {
	if c, ok := l.Sink.(driver.Checkpointer); ok {
		return c.Checkpoint(fmt.Sprintf("%d/%d/%s", below, total, l.Targets.mark))
	}
	return nil
}

// resume reads a position: how many of how many endpoints are done, of which targets.
func resume(text string, targets *Targets) int64 {
	var from, of int64
	var mark string
	n, _ := fmt.Sscanf(text, "%d/%d/%s", &from, &of, &mark)
	if n != 3 || of != targets.size || mark != targets.mark || from < 0 || from > of {
		return 0
	}
	return from
}

// marks keep which positions are done. All below base are.
type marks struct {
	mu     sync.Mutex
	moved  chan struct{} // guarded by mu; closed when base moves and somebody waits
	base   int64         // guarded by mu
	bits   []uint64      // guarded by mu; of base and what follows, at position%window
	count  int64         // guarded by mu; how many are done
	told   int64         // guarded by mu; base at the last checkpoint
	toldAt time.Time     // guarded by mu
}

func newMarks(from int64) *marks {
	return &marks{base: from, told: from, toldAt: time.Now(), bits: make([]uint64, window/64)}
}

// wait returns when a position fits into the window.
func (m *marks) wait(ctx context.Context, position int64) error {
	for {
		m.mu.Lock()
		if position < m.base+window {
			m.mu.Unlock()
			return ctx.Err()
		}
		if m.moved == nil {
			m.moved = make(chan struct{})
		}
		moved := m.moved
		m.mu.Unlock()
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// done marks a position. It returns how many are done, the position below
// which all are, and whether it is time to tell that.
func (m *marks) done(position int64, now time.Time) (count, below int64, due bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.count++
	m.bits[position%window/64] |= 1 << (position % 64)
	before := m.base
	for m.bits[m.base%window/64]&(1<<(m.base%64)) != 0 {
		m.bits[m.base%window/64] &^= 1 << (m.base % 64)
		m.base++
	}
	if m.base != before && m.moved != nil {
		close(m.moved)
		m.moved = nil
	}
	if due = m.base > m.told && now.Sub(m.toldAt) >= checkpointEvery; due {
		m.told, m.toldAt = m.base, now
	}
	return m.count, m.base, due
}

// last returns the position below which all are done.
func (m *marks) last() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.base
}
