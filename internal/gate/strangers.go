// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"sync"
	"time"
)

// refusalsPerMinute is how many refusals of one who is not signed in are
// recorded in a minute.
const refusalsPerMinute = 30

// refusals keeps those who are not signed in from filling the audit log.
// Nobody is locked out by it: secrets have 256 random bits, so that guessing
// them need not be slowed down, and a lock would shut out those who have one.
//
// All strangers are counted as one, for they choose what they say of themselves.
// One who showed a secret that is known and no longer good has a name and is
// counted by it: otherwise any stranger could keep the use of a stolen token out
// of the log by being refused thirty times before.
type refusals struct {
	mu     sync.Mutex
	counts map[Actor]*count // guarded by mu; no more than there are names, and one
}

// A count is of the refusals of one actor.
type count struct {
	minute     time.Time // when it began
	recorded   int
	unrecorded int
}

// next says whether one more refusal of the actor is to be recorded now, and if
// so, how many were not since the last one that was.
func (r *refusals) next(who Actor, now time.Time) (unrecorded int, ok bool) {
	if who.Name == "" {
		who = Actor{}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counts[who]
	if c == nil {
		c = &count{}
		r.counts[who] = c
	}
	if now.Sub(c.minute) >= time.Minute {
		c.minute, c.recorded = now, 0
	}
	if c.recorded >= refusalsPerMinute {
		c.unrecorded++
		return 0, false
	}
	c.recorded++
	unrecorded, c.unrecorded = c.unrecorded, 0
	return unrecorded, true
}
