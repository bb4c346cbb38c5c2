// SPDX-License-Identifier: Apache-2.0

// Package turns lets one at a time at each of many things, such as the files or the accounts that
// a recall changes at once. Unlike a mutex it is left by who does not want to wait any longer.
package turns

import (
	"context"
	"sync"
)

// Turns are at things that a key names. The zero value is ready. Of a thing that nobody is at, or
// waits for, nothing is kept.
type Turns[K comparable] struct {
	mu sync.Mutex
	at map[K]*turn // guarded by mu
}

type turn struct {
	taken  chan struct{} // holds one while somebody is at it
	wanted int           // by how many, with who is at it; guarded by mu of the Turns
}

// Take waits until nobody else is at a thing. Who has taken the turn calls leave, exactly once, and
// does not take the same turn before. Those who wait come in any order. The error is that of a
// context that has ended before it was their turn.
func (t *Turns[K]) Take(ctx context.Context, key K) (leave func(), err error) {
	one := t.want(key)
	select {
	case one.taken <- struct{}{}:
		leave = func() { <-one.taken; t.forgo(key, one) }
		if err := ctx.Err(); err != nil { // as well: which of the two comes first is chance
			leave()
			return nil, err
		}
		return leave, nil
	case <-ctx.Done():
		t.forgo(key, one)
		return nil, ctx.Err()
	}
}

func (t *Turns[K]) want(key K) *turn {
	t.mu.Lock()
	defer t.mu.Unlock()
	one := t.at[key]
	if one == nil {
		if t.at == nil {
			t.at = map[K]*turn{}
		}
		one = &turn{taken: make(chan struct{}, 1)}
		t.at[key] = one
	}
	one.wanted++
	return one
}

func (t *Turns[K]) forgo(key K, one *turn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one.wanted--; one.wanted == 0 {
		delete(t.at, key)
	}
}
