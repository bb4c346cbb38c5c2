// SPDX-License-Identifier: Apache-2.0

package batch

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
)

func TestEachIsWorkedOnOnceAndGetsItsError(t *testing.T) {
	var q Queue[int]
	var worked, calls, at atomic.Int64
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() {
			err := q.Do(i, func(items []int, errs []error) {
				if at.Add(1) != 1 {
					t.Error("two work at a time")
				}
				calls.Add(1)
				worked.Add(int64(len(items)))
				for n, item := range items {
					errs[n] = nil
					if item%7 == 0 {
						errs[n] = fmt.Errorf("item %d", item)
					}
				}
				at.Add(-1)
			})
			if want := i%7 == 0; (err != nil) != want || want && err.Error() != fmt.Sprintf("item %d", i) {
				t.Errorf("item %d got %v", i, err)
			}
		})
	}
	all.Wait()
	if worked.Load() != 1000 {
		t.Errorf("%d items were worked on in %d calls", worked.Load(), calls.Load())
	}
}

func TestAPanicLeavesNobodyWaiting(t *testing.T) {
	var q Queue[int]
	began, rest := make(chan struct{}), make(chan error)
	var behind sync.WaitGroup
	work := func(items []int, errs []error) {
		if items[0] == 0 {
			close(began)
			for q.length() == 0 { // until somebody waits
			}
			panic("no")
		}
		clear(errs)
	}
	behind.Go(func() {
		defer func() { _ = recover() }()
		_ = q.Do(0, work)
	})
	<-began
	go func() { rest <- q.Do(1, work) }()
	if err := <-rest; err != nil {
		t.Errorf("who came after a panic got %v", err)
	}
	behind.Wait()
	if err := q.Do(2, func(_ []int, errs []error) { errs[0] = errors.ErrUnsupported }); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("got %v", err)
	}
}

func (q *Queue[T]) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}
