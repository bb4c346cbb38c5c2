// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"

	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

var _ rule.Listeners = estate{}

// Listeners calls fn for every endpoint, by the names of what it shows.
func (e estate) Listeners(ctx context.Context, fn func(rule.Listener) error) error {
	return e.db.EachListener(ctx, func(l store.ListenerRow) error {
		return fn(rule.Listener{Place: l.Place, Address: l.Address, Certificate: l.Certificate})
	})
}
