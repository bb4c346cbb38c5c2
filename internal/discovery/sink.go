// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/store"
)

// batchSize is how many sightings one transaction writes at most. The more there
// are, the fewer pages of the indexes are written again and again; with 16,000 a
// batch is some forty megabytes. A small look waits for none: what has gathered
// is written every renewEvery.
const batchSize = 16_000

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
	// told is the last position that the driver told, and becomes that of the
	// run when everything before it is written. Guarded by mu.
	told string

	// The pace since paceAt; guarded by mu.
	paceAt   time.Time
	paceDone int64
}

var _ driver.Checkpointer = (*sink)(nil)

func newSink(ctx context.Context, d *Discovery, run store.Run) *sink {
	s := &sink{ctx: ctx, d: d, run: run, batch: store.Batch{Run: run.ID, Source: run.Source}, told: run.Position}
	s.run.Missed, s.run.Rate, s.run.Expected = maps.Clone(run.Missed), 0, time.Time{}
	if run.Position != "" {
		s.done.Store(run.Done)
		s.total.Store(run.Total)
	}
	return s
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
	if s.run.Missed == nil {
		s.run.Missed = map[string]int64{}
	}
	s.run.Missed[m.Error]++
	return s.flushIfFull()
}

// Checkpoint takes how far the look has come, for whoever goes on with it. It
// costs nothing: the position is stored with the next batch, or the next renewal.
func (s *sink) Checkpoint(position string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = s.d.planOf(s.run) + " " + position
	return nil
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
		s.run.Position = s.told
		return nil
	}
	recorded, err := s.record()
	if err != nil {
		return err
	}
	s.run.Sightings += recorded.Sightings
	s.run.Appeared += recorded.Appeared
	s.run.Position = s.told
	clear(s.batch.Sightings) // so that their bytes are not held on to
	s.batch.Sightings, s.batch.Misses, s.bytes = s.batch.Sightings[:0], s.batch.Misses[:0], 0
	s.d.changed(false)
	return nil
}

// record writes the batch when no other run writes one. It needs mu.
func (s *sink) record() (store.Recorded, error) {
	s.d.writing.Lock()
	defer s.d.writing.Unlock()
	return s.d.db.Record(s.ctx, s.batch)
}

// snapshot returns the run with its numbers so far.
func (s *sink) snapshot() store.Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	run := s.run
	run.Missed = maps.Clone(s.run.Missed)
	run.Done, run.Total = s.done.Load(), s.total.Load()
	return run
}

// paceShare is how much the last interval weighs in the rate: with a renewal
// every two seconds, what was half a minute ago hardly counts.
const paceShare = 0.2

// pace measures how fast the look goes, and when it ends by that.
func (s *sink) pace(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	done, total := s.done.Load(), s.total.Load()
	before, at := s.paceDone, s.paceAt
	s.paceDone, s.paceAt = done, now
	took := now.Sub(at).Seconds()
	if at.IsZero() || took <= 0 || done < before {
		return
	}
	lately := float64(done-before) / took
	if s.run.Rate == 0 {
		s.run.Rate = lately
	} else {
		s.run.Rate += paceShare * (lately - s.run.Rate)
	}
	s.run.Expected = time.Time{}
	if left := float64(total - done); left > 0 && s.run.Rate*maxExpected.Seconds() > left {
		s.run.Expected = now.Add(time.Duration(left / s.run.Rate * float64(time.Second)))
	}
}

// maxExpected is how far away an end is still told.
const maxExpected = 30 * 24 * time.Hour
