// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

const (
	// defaultRounds is how many sources of drivers are read at a time: each waits for
	// somebody else's server nearly all of it.
	defaultRounds = 16
	// idleStore is how old a stored position may become while nothing is read: what
	// lies behind it is then read once more after a start.
	idleStore = time.Minute
	// storeTime is how long storing may take when everything stops.
	storeTime = 10 * time.Second
)

// rounds has the sources of drivers read in turns by a few goroutines: there can be
// thousands, and most have nothing to say most of the time.
type rounds struct {
	*Sources
	failed func(error)

	turn chan struct{} // whoever has it waits for the next source that is due
	wake chan struct{} // has something when one became due earlier

	mu   sync.Mutex
	due  remotes           // guarded by mu
	all  map[int64]*remote // guarded by mu
	kept map[int64]store.SourceProgress
}

// remotes are sources that wait for their next round, a heap.
type remotes []*remote

func (r remotes) Len() int           { return len(r) }
func (r remotes) Less(i, j int) bool { return r[i].next.Before(r[j].next) }
func (r remotes) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }

// Push is for package heap.
func (r *remotes) Push(x any) { *r = append(*r, x.(*remote)) }

// Pop is for package heap.
func (r *remotes) Pop() any {
	last := len(*r) - 1
	x := (*r)[last]
	(*r)[last] = nil
	*r = (*r)[:last]
	return x
}

func (s *Sources) newRounds(failed func(error)) *rounds {
	r := &rounds{
		Sources: s, failed: failed, turn: make(chan struct{}, 1), wake: make(chan struct{}, 1),
		all: map[int64]*remote{}, kept: map[int64]store.SourceProgress{},
	}
	r.turn <- struct{}{}
	return r
}

// run reads until ctx ends.
func (r *rounds) run(ctx context.Context) {
	var workers sync.WaitGroup
	for range r.Rounds {
		workers.Go(func() {
			streams := streamSet{}
			for one := r.take(ctx); one != nil; one = r.take(ctx) {
				again := r.round(ctx, one, streams)
				r.put(one, again)
			}
		})
	}
	workers.Wait()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	if err := r.store(ctx); err != nil {
		r.failed(err)
	}
}

// assign takes up sources that are new, and drops those that are not to be read.
func (r *rounds) assign(list []store.Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := map[int64]bool{}
	for _, one := range list {
		if one.Kind != store.SourceDriver || one.Paused {
			continue
		}
		wanted[one.ID] = true
		if r.all[one.ID] == nil {
			added := r.newRemote(one)
			r.all[one.ID] = added
			heap.Push(&r.due, added)
		}
	}
	for id, one := range r.all {
		if !wanted[id] {
			one.stop()
			delete(r.all, id)
		}
	}
	r.nudge()
}

// nudge lets whoever waits look again.
func (r *rounds) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take returns the next source that is due, or nil when ctx ends.
func (r *rounds) take(ctx context.Context) *remote {
	select {
	case <-ctx.Done():
		return nil
	case <-r.turn:
	}
	defer func() { r.turn <- struct{}{} }()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		one, wait := r.first()
		if one != nil {
			return one
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-r.wake:
		case <-timer.C:
		}
	}
	return nil
}

// first returns the source that is due, or how long to wait for one.
func (r *rounds) first() (*remote, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.due) > 0 {
		one := r.due[0]
		if one.stopped.Err() != nil {
			heap.Pop(&r.due)
			continue
		}
		if wait := time.Until(one.next); wait > 0 {
			return nil, wait
		}
		heap.Pop(&r.due)
		return one, 0
	}
	return nil, time.Hour
}

// put has a source wait for its next round, and keeps what was read of it.
func (r *rounds) put(one *remote, again time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	one.next = time.Now().Add(again)
	if p, ok := one.unkept(r.Now()); ok {
		sum := r.kept[one.source.ID]
		sum.Add(p)
		r.kept[one.source.ID] = sum
	}
	if one.stopped.Err() == nil {
		heap.Push(&r.due, one)
		r.nudge()
	}
}

// store stores how far sources are read, all in one transaction.
func (r *rounds) store(ctx context.Context) error {
	r.mu.Lock()
	kept := r.kept
	r.kept = map[int64]store.SourceProgress{}
	r.mu.Unlock()
	err := r.DB.AdvanceSources(ctx, kept)
	if err == nil || errors.Is(err, tallystick.ErrNotFound) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, p := range kept {
		if later, ok := r.kept[id]; ok {
			p.Add(later)
		}
		r.kept[id] = p
	}
	return err
}
