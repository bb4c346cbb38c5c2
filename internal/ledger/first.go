// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"context"
	"errors"

	"github.com/tallystick/tallystick"
)

var errFound = errors.New("found")

// First returns the earliest use that a query asks for and wanted accepts; nil is
// none. It sees what Scan sees.
func (l *Ledger) First(ctx context.Context, q Query, wanted func(*tallystick.Use) bool) (*tallystick.Use, error) {
	var first *tallystick.Use
	err := l.Scan(ctx, q, func(u *tallystick.Use) error {
		if !wanted(u) {
			return nil
		}
		found := *u
		first = &found
		return errFound
	})
	if errors.Is(err, errFound) {
		err = nil
	}
	return first, err
}
