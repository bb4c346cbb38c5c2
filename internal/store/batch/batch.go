// SPDX-License-Identifier: Apache-2.0

// Package batch lets callers that come at the same time share one piece of work,
// such as a transaction: most of what a small change costs is to make it durable.
package batch

import (
	"errors"
	"sync"
)

// most bounds how many items one piece of work holds.
const most = 256

// errUnfinished is that of items whose work panicked.
var errUnfinished = errors.New("the work was not finished")

// A Queue gathers items. The zero value is ready; its methods are safe to call from
// several goroutines.
type Queue[T any] struct {
	mu      sync.Mutex
	waiting []*member[T] // guarded by mu
	busy    bool         // guarded by mu
}

type member[T any] struct {
	item T
	err  error
	done chan struct{} // closed when err stands
	lead chan struct{} // closed when this caller is to work for all who wait
}

// Do has item worked on and returns its error. work is called with this item and
// those that came meanwhile, in the order in which they came, and sets the error of
// each; it runs in the goroutine of one of the callers, never twice at a time.
func (q *Queue[T]) Do(item T, work func(items []T, errs []error)) error {
	m := &member[T]{item: item, done: make(chan struct{}), lead: make(chan struct{})}
	q.mu.Lock()
	q.waiting = append(q.waiting, m)
	if !q.busy {
		q.busy = true
		close(m.lead)
	}
	q.mu.Unlock()
	select {
	case <-m.done:
	case <-m.lead:
		q.lead(work)
	}
	return m.err
}

// lead does what waits, and hands on to whoever waits behind.
func (q *Queue[T]) lead(work func([]T, []error)) {
	q.mu.Lock()
	n := min(len(q.waiting), most)
	group := q.waiting[:n:n]
	q.waiting = append([]*member[T](nil), q.waiting[n:]...)
	q.mu.Unlock()
	items, errs := make([]T, n), make([]error, n)
	for i, m := range group {
		items[i], errs[i] = m.item, errUnfinished
	}
	defer func() { // also when work panics: nobody must wait for ever
		for i, m := range group {
			m.err = errs[i]
		}
		q.mu.Lock()
		if len(q.waiting) > 0 {
			close(q.waiting[0].lead)
		} else {
			q.busy = false
		}
		q.mu.Unlock()
		for _, m := range group {
			close(m.done)
		}
	}()
	work(items, errs)
}
