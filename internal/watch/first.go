// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
)

var errFound = errors.New("found")

// FirstUse returns a function that returns the first use that relying parties
// accepted under some accounts or of some credentials between two times; a zero
// time is none. It is for changes that are told after the uses that they made
// possible.
func FirstUse(l *ledger.Ledger) func(ctx context.Context, accounts, credentials []string, from, to time.Time) (time.Time, string, error) {
	return func(ctx context.Context, accounts, credentials []string, from, to time.Time) (at time.Time, address string, err error) {
		q := ledger.Query{Names: slices.Concat(accounts, credentials), From: from, To: to, Side: tallystick.SideRelying}
		if len(q.Names) == 0 {
			return at, "", nil
		}
		err = l.Scan(ctx, q, func(u *tallystick.Use) error {
			if u.Outcome != tallystick.OutcomeSuccess {
				return nil
			}
			at, address = u.Time, u.Address
			return errFound
		})
		if errors.Is(err, errFound) {
			err = nil
		}
		return at, address, err
	}
}
