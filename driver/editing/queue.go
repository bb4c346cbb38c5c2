// SPDX-License-Identifier: Apache-2.0

package editing

import (
	"context"

	"github.com/tallystick/tallystick/driver/turns"
)

// A Queue lets one of this process at a time at each file: a file that is edited is in memory
// several times, and a recall may want to change many accounts of one at once. Its zero value
// is ready.
type Queue struct {
	turns turns.Turns[place]
}

type place struct{ host, path string }

// enter waits until the file is free. Who has entered leaves.
func (q *Queue) enter(ctx context.Context, f File) (leave func(), err error) {
	if q == nil {
		return func() {}, nil
	}
	return q.turns.Take(ctx, place{f.Host.Name(), f.Path})
}
