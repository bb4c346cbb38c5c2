// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"

	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

var _ rule.Shows = estate{}

// EachShown calls fn for every endpoint, by the names of what it shows.
func (e estate) EachShown(ctx context.Context, fn func(rule.Shown) error) error {
	return e.db.EachShown(ctx, func(l store.ShownRow) error {
		return fn(rule.Shown{Place: l.Place, Address: l.Address, Certificate: l.Certificate})
	})
}
