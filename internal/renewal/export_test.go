// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"context"

	"github.com/tallystick/tallystick/internal/store"
)

// Turn does in one goroutine what Run does in several: it begins orders, takes up
// those whose time has come, and works at them. It returns how many.
func (e *Engine) Turn(ctx context.Context) (int, error) {
	var failure error
	c := &crew{Engine: e, failed: func(err error) { failure = err }, busy: map[string]int{}}
	if err := c.open(ctx); err != nil {
		return 0, err
	}
	orders, err := e.DB.ClaimOrders(ctx, e.Node, e.Now(), leaseTime, 1000, c.resting()...)
	if err != nil {
		return 0, err
	}
	for _, o := range orders {
		if err := c.work(ctx, o); err != nil {
			return 0, err
		}
	}
	return len(orders), failure
}

// TurnMoves takes moves as far as they go.
func (e *Engine) TurnMoves(ctx context.Context) error {
	return (&crew{Engine: e, failed: func(error) {}, busy: map[string]int{}}).goOnMoving(ctx)
}

// Looks asks issuers what it is time to ask.
func (e *Engine) Looks(ctx context.Context) error {
	var failure error
	(&crew{Engine: e, failed: func(err error) { failure = err }}).look(ctx)
	return failure
}

// What is tested from inside.
var (
	WriteFiles  = writeFiles
	RequestFor  = requestFor
	ByWindow    = byWindow
	Planned     = planned
	BackOff     = backOff
	NormalNames = normalNames
	Foresee     = foresee
)

// LeaseTime is how long a dead process holds an order up.
const LeaseTime = leaseTime

// Life is a row of the calendar.
type Life = store.RenewalLife
