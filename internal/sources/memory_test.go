// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/store"
)

type elephantOptions struct{}

// An elephant counts its rounds in what it asks to be remembered, and has no position.
type elephant struct{ counted chan string }

// Watch remembers one round more than the round before.
func (e elephant) Watch(ctx context.Context, request driver.WatchRequest, sink driver.WatchSink) (time.Duration, error) {
	values, err := request.Memory.Remembered(ctx, []string{"rounds", "nothing"})
	if err != nil {
		return 0, err
	}
	select {
	case e.counted <- fmt.Sprintf("%s %v", values[0], values[1] == nil):
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	_, err = sink.Take(driver.WatchBatch{Remember: []driver.Remembered{{Key: "rounds", Value: append(values[0], 'I')}}})
	return time.Millisecond, err
}

// What a driver asks to be remembered is there in its next round, also after a start.
func TestADriverRemembers(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	counted := make(chan string)
	h.Drivers = []driver.Driver{driver.New("elephant", "a watcher of a test", func(elephantOptions) (elephant, error) { return elephant{counted}, nil })}
	h.add(store.Source{Name: "zoo", Kind: store.SourceDriver, Driver: "elephant"})
	for _, want := range []string{" true", "I true"} {
		stop := h.run()
		if got := <-counted; got != want {
			t.Errorf("it remembers %q, want %q", got, want)
		}
		h.await("it is remembered", func() bool {
			values, err := h.DB.Remembered(t.Context(), h.source("zoo").ID, []string{"rounds"})
			return err == nil && len(values[0]) == len(want)-len(" true")+1
		})
		stop()
	}
}
