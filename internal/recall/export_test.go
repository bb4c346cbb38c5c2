// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"errors"

	"github.com/tallystick/tallystick/internal/store"
)

// Turn does in one goroutine what Run does in several: it tends the recalls, takes up
// what is ready, and works at it. It returns how many steps it worked at.
func (e *Engine) Turn(ctx context.Context) (int, error) {
	if _, err := e.tend(ctx); err != nil {
		return 0, err
	}
	steps, err := e.DB.ClaimRecallSteps(ctx, store.StepClaim{Owner: e.Node, Now: e.Now(), Lease: leaseTime, Most: 4})
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, s := range steps {
		errs = append(errs, e.work(ctx, s))
	}
	return len(steps), errors.Join(errs...)
}

// OpenLaid keeps a plan.
var OpenLaid = (*Engine).open

// What is tested from inside.
const (
	LeaseTime = leaseTime
	HoldGrace = holdGrace
	LastCall  = lastCall
)
