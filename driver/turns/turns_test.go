// SPDX-License-Identifier: Apache-2.0

package turns

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// One is at a thing at a time, others are not kept waiting by it, and who does not want to wait any
// longer leaves nothing behind.
func TestTurns(t *testing.T) {
	var all Turns[string]
	leave, err := all.Take(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	other, err := all.Take(t.Context(), "b")
	if err != nil {
		t.Fatal(err)
	}
	other()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := all.Take(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("who was called off has entered: %v", err)
	}
	count, inside := 0, atomic.Int32{} // count is guarded by the turn
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			leave, err := all.Take(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			defer leave()
			count++
			if inside.Add(1) != 1 {
				t.Error("two are at it")
			}
			runtime.Gosched()
			inside.Add(-1)
		})
	}
	leave()
	wg.Wait()
	if count != 50 || len(all.at) != 0 {
		t.Errorf("%d were at it, and %d are remembered", count, len(all.at))
	}
}
