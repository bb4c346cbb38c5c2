// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// A Recorder is a driver.Sink that remembers. What it remembers is read when the look is over.
type Recorder struct {
	// Answer, when it is not nil, is what the driver is told after each sighting and miss.
	Answer func() error

	mu        sync.Mutex
	Sightings []tallystick.Sighting // guarded by mu
	Misses    []tallystick.Miss     // guarded by mu
}

// Saw remembers a sighting.
func (r *Recorder) Saw(s tallystick.Sighting) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Sightings = append(r.Sightings, s)
	return r.answer()
}

// Missed remembers a miss.
func (r *Recorder) Missed(m tallystick.Miss) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Misses = append(r.Misses, m)
	return r.answer()
}

func (r *Recorder) answer() error {
	if r.Answer == nil {
		return nil
	}
	return r.Answer()
}

// Progress is not remembered.
func (r *Recorder) Progress(done, total int64) {}

// Words lists what the misses say.
func (r *Recorder) Words() []string {
	var words []string
	for _, m := range r.Misses {
		words = append(words, m.Error)
	}
	return words
}

// Clock is the time of every look that Find and the suite do.
func Clock() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }

// Find opens a driver and has it look at targets.
func Find(t testing.TB, d driver.Driver, options map[string]string, targets ...string) *Recorder {
	t.Helper()
	sink := &Recorder{}
	if err := finder(t, d, options).Find(t.Context(), driver.FindRequest{Targets: targets, Now: Clock}, sink); err != nil {
		t.Fatal(err)
	}
	return sink
}

func finder(t testing.TB, d driver.Driver, options map[string]string) driver.Finder {
	t.Helper()
	opened, err := d.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	finder, ok := opened.(driver.Finder)
	if !ok {
		t.Fatalf("driver %s does not find", d.Name())
	}
	return finder
}
