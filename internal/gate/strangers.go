// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"sync"
	"time"
)

// strangersPerMinute is how many refusals of people who are not signed in are
// recorded in a minute.
const strangersPerMinute = 30

// strangers keeps those who are not signed in from filling the audit log.
// Nobody is locked out by it: secrets have 256 random bits, so that guessing
// them need not be slowed down, and a lock would shut out those who have one.
type strangers struct {
	mu         sync.Mutex
	minute     time.Time // guarded by mu, as are the following; when the count began
	recorded   int
	unrecorded int
}

// next says whether one more refusal is to be recorded now, and if so, how many
// were not since the last one that was.
func (s *strangers) next(now time.Time) (unrecorded int, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.minute) >= time.Minute {
		s.minute, s.recorded = now, 0
	}
	if s.recorded >= strangersPerMinute {
		s.unrecorded++
		return 0, false
	}
	s.recorded++
	unrecorded, s.unrecorded = s.unrecorded, 0
	return unrecorded, true
}
