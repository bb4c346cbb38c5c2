// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"context"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/uses"
)

// A Follower watches one directory without a store, for who wants to see its changes now.
type Follower struct {
	Watcher driver.Watcher
	Now     func() time.Time
	// Told is called with each change, Trouble with what keeps it from being read, and Ready once, with
	// how many objects are remembered, when everything was read.
	Told    func(tallystick.Change) error
	Trouble func(driver.WatchTrouble)
	Ready   func(objects int)

	memory   map[string][]byte
	position string
	stream   *uses.Stream
}

// usualRound is when the next round is, where a driver leaves that to us.
const usualRound = 5 * time.Second

// Run follows until ctx ends, which is no error.
func (f *Follower) Run(ctx context.Context) error {
	f.memory = map[string][]byte{}
	ready := false
	for {
		taking := &followed{Follower: f}
		again, err := f.Watcher.Watch(ctx, driver.WatchRequest{Position: f.position, Now: f.Now, Memory: f}, taking)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if !ready && f.position != "" && !taking.troubled {
			ready = true
			f.Ready(len(f.memory))
		}
		if again <= 0 {
			again = usualRound
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		}
	}
}

// Remembered returns what is remembered.
func (f *Follower) Remembered(_ context.Context, keys []string) ([][]byte, error) {
	values := make([][]byte, len(keys))
	for i, key := range keys {
		values[i] = f.memory[key]
	}
	return values, nil
}

// A followed round is its sink, and that of what its records say.
type followed struct {
	*Follower
	troubled bool
	failed   error
}

// Take reads what a batch says.
func (f *followed) Take(b driver.WatchBatch) (int, error) {
	for _, record := range b.Records {
		if f.stream == nil || f.stream.Format.Name != b.Format {
			stream, err := uses.NewStream(b.Format, uses.Settings{Side: tallystick.SideRelying, Near: f.Now()})
			if err != nil {
				return 0, err
			}
			f.stream = stream
		}
		if err := f.stream.Read(string(record), f); err != nil {
			f.Trouble(driver.WatchTrouble{Log: b.Log, Err: err})
		}
		if f.failed != nil {
			return 0, f.failed
		}
	}
	for _, r := range b.Remember {
		if f.memory[r.Key] = r.Value; len(r.Value) == 0 {
			delete(f.memory, r.Key)
		}
	}
	if b.Position != "" {
		f.position = b.Position
	}
	return len(b.Records), nil
}

// Trouble passes trouble on.
func (f *followed) Trouble(trouble driver.WatchTrouble) {
	f.troubled = true
	f.Follower.Trouble(trouble)
}

// Change passes a change on.
func (f *followed) Change(c *tallystick.Change) {
	if f.failed == nil {
		f.failed = f.Told(uses.KeepChange(c))
	}
}

// Use, Close and Lost are of books, and this is none.
func (f *followed) Use(*tallystick.Use)          {}
func (f *followed) Close(tallystick.ClosingMark) {}
func (f *followed) Lost(*tallystick.Use)         {}
