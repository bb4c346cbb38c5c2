// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"context"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// A directory that is watched tells what stood there before, and not who changed it; its audit
// log tells who. Both tell of one change: the same attribute of the same object at the same time.

const (
	// witnessTime is how far apart the two may be: a watch sees a change a moment later, and
	// dates it to the second.
	witnessTime = 10 * time.Second
	maxWitness  = 20
)

// witnessed returns a change with who made it, and from where, as an audit log tells it.
func (d *Directory) witnessed(ctx context.Context, c store.AccessChange) (store.AccessChange, error) {
	if c.Actor != "" || c.Values == nil {
		return c, nil
	}
	near, err := d.DB.AccessChangesAround(ctx, c.Target, "", c.Time.Add(-witnessTime), c.Time.Add(witnessTime), maxWitness)
	if err != nil {
		return c, err
	}
	var best *tallystick.Change
	for i := range near {
		other := &near[i].Change
		if other.Actor == "" || other.Failed || other.Kind != c.Kind || !strings.EqualFold(other.Detail, c.Detail) {
			continue
		}
		if best == nil || apart(other, &c) < apart(best, &c) {
			best = other
		}
	}
	if best != nil {
		c.Actor, c.ActorKind, c.Address, c.Agent, c.Correlation = best.Actor, best.ActorKind, best.Address, best.Agent, best.Correlation
	}
	return c, nil
}

func apart(other *tallystick.Change, c *store.AccessChange) time.Duration {
	return other.Time.Sub(c.Time).Abs()
}
