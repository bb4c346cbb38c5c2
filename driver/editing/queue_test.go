// SPDX-License-Identifier: Apache-2.0

package editing_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/editing"
)

// Of those who share a queue one at a time has a file in memory; other files do not wait for it.
func TestOneAtATime(t *testing.T) {
	t.Parallel()
	queue := &editing.Queue{}
	f, other := file(t, "a"), file(t, "b")
	f.Queue, other.Queue = queue, queue
	var at atomic.Int32
	alone := func() {
		if n := at.Add(1); n > 1 {
			t.Errorf("%d are at the file", n)
		}
		time.Sleep(2 * time.Millisecond) // so that others would come
		at.Add(-1)
	}
	var group sync.WaitGroup
	for i := range 12 {
		group.Go(func() {
			_, err := f.Edit(t.Context(), func(text []byte) ([]byte, error) {
				alone()
				return fmt.Appendf(text, "%d\n", i), nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			if err := f.Read(t.Context(), func([]byte) { alone() }); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	_, err := f.Edit(t.Context(), func(text []byte) ([]byte, error) {
		if _, err := other.Edit(t.Context(), func([]byte) ([]byte, error) { return []byte("c"), nil }); err != nil || read(t, other.Path) != "c" {
			t.Errorf("while a file is edited, another has %q: %v", read(t, other.Path), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := f.Read(ctx, func([]byte) {}); !errors.Is(err, context.Canceled) {
			t.Errorf("who waits no longer gets %v", err)
		}
		return text, nil
	})
	if err != nil {
		t.Error(err)
	}
	if err := f.Read(t.Context(), func([]byte) {}); err != nil {
		t.Errorf("after all of that: %v", err)
	}
}

// A file that is too long, or would be, is left as it is.
func TestTooLong(t *testing.T) {
	t.Parallel()
	f := file(t, "short")
	long := make([]byte, editing.MaxFile+1)
	if _, err := f.Edit(t.Context(), func([]byte) ([]byte, error) { return long, nil }); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "32 MiB") {
		t.Errorf("a text that is too long gives %v", err)
	}
	if read(t, f.Path) != "short" {
		t.Error("it was written")
	}
	if err := os.Truncate(f.Path, 32<<20+1); err != nil {
		t.Fatal(err)
	}
	_, err := f.Edit(t.Context(), func([]byte) ([]byte, error) { return nil, errors.New("it was read") })
	if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), f.Path) {
		t.Errorf("a file that is too long gives %v", err)
	}
}
