// SPDX-License-Identifier: Apache-2.0

package discovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// A crew is the runs that go on in one Run.
type crew struct {
	*Discovery
	failed func(error)
	runs   sync.WaitGroup

	mu   sync.Mutex
	busy map[string]bool // guarded by mu; the jobs whose runs go on, or have not yet come to rest
}

// claim begins runs until as many go on as may, or none is left to claim.
func (c *crew) claim(ctx context.Context) error {
	for {
		busy := c.jobs()
		if len(busy) >= c.atOnce {
			return nil
		}
		run, err := c.db.ClaimRun(ctx, c.node, c.now(), leaseTime, busy...)
		if errors.Is(err, tallystick.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		c.begin(ctx, run)
	}
}

// jobs returns those that are busy.
func (c *crew) jobs() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.busy))
}

// begin does a run beside the others. A panic in it is told and takes nobody
// along; the run is taken up again when its lease has run out, a few times.
func (c *crew) begin(ctx context.Context, run store.Run) {
	c.mu.Lock()
	c.busy[run.Source] = true
	c.mu.Unlock()
	c.runs.Go(func() {
		defer c.rest(run)
		defer func() {
			if failure := recover(); failure != nil {
				c.failed(fmt.Errorf("run %d of %s panicked: %v\n%s", run.ID, run.Source, failure, debug.Stack()))
			}
		}()
		if err := c.do(ctx, run); err != nil && ctx.Err() == nil {
			c.failed(err)
		}
	})
}

// rest lets the next run of the job begin, or of another one that waits.
func (c *crew) rest(run store.Run) {
	c.mu.Lock()
	delete(c.busy, run.Source)
	c.mu.Unlock()
	c.look()
}
