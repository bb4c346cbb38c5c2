// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// batchSize is how many sightings one transaction writes. With 4,000 the fsync
// of a commit no longer shows, and a batch is some ten megabytes.
const batchSize = 4000

// batchBytes bounds a batch of certificates that are megabytes each.
const batchBytes = 32 << 20

// A sink gathers what a driver sees into batches for the store. It holds at
// most one batch: a driver that is faster than the store waits.
type sink struct {
	ctx context.Context
	d   *Discovery

	done, total atomic.Int64

	mu    sync.Mutex
	run   store.Run   // guarded by mu; its numbers grow
	batch store.Batch // guarded by mu
	bytes int         // guarded by mu; of the credentials in batch
}

func newSink(ctx context.Context, d *Discovery, run store.Run) *sink {
	// A run that is done again counts anew.
	run.Sightings, run.Misses = 0, 0
	return &sink{ctx: ctx, d: d, run: run, batch: store.Batch{Run: run.ID, Source: run.Source}}
}

// Saw takes a sighting; the further certificates of its chain become sightings
// of their own at the same place.
func (s *sink) Saw(sighting tallystick.Sighting) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	further := sighting.Further()
	sighting.Chain = nil
	for _, one := range append([]tallystick.Sighting{sighting}, further...) {
		s.bytes += len(one.Credential.Raw)
		s.batch.Sightings = append(s.batch.Sightings, one)
	}
	return s.flushIfFull()
}

// Missed takes a miss.
func (s *sink) Missed(m tallystick.Miss) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batch.Misses = append(s.batch.Misses, m)
	s.run.Misses++
	return s.flushIfFull()
}

// Progress takes how far the look has come.
func (s *sink) Progress(done, total int64) {
	s.done.Store(done)
	s.total.Store(total)
}

// flush writes what has gathered.
func (s *sink) flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write()
}

// flushIfFull needs mu.
func (s *sink) flushIfFull() error {
	if len(s.batch.Sightings)+len(s.batch.Misses) < batchSize && s.bytes < batchBytes {
		return nil
	}
	return s.write()
}

// write needs mu.
func (s *sink) write() error {
	if len(s.batch.Sightings)+len(s.batch.Misses) == 0 {
		return nil
	}
	recorded, err := s.d.db.Record(s.ctx, s.batch)
	if err != nil {
		return err
	}
	s.run.Sightings += recorded.Sightings
	s.run.Appeared += recorded.Appeared
	clear(s.batch.Sightings) // so that their bytes are not held on to
	s.batch.Sightings, s.batch.Misses, s.bytes = s.batch.Sightings[:0], s.batch.Misses[:0], 0
	s.d.changed(false)
	return nil
}

// snapshot returns the run with its numbers so far.
func (s *sink) snapshot() store.Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	run := s.run
	run.Done, run.Total = s.done.Load(), s.total.Load()
	return run
}
