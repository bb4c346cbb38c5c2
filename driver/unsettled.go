// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"errors"
	"fmt"

	"github.com/tallystick/tallystick"
)

// Unsettled makes an error of what failed after something was written. ErrInvalid, ErrDenied and
// ErrNotFound say that nothing was, and would be the end of it. So of one of those the words are
// kept, and it is ErrUnavailable: the next call goes on. ErrDamaged stays.
func Unsettled(err error) error {
	for _, kind := range []error{tallystick.ErrInvalid, tallystick.ErrDenied, tallystick.ErrNotFound} {
		if !errors.Is(err, kind) {
			continue
		}
		now := tallystick.ErrUnavailable
		if errors.Is(err, tallystick.ErrDamaged) {
			now = tallystick.ErrDamaged
		}
		return fmt.Errorf("%w: it is written, and not all is done: %s", now, err)
	}
	return err
}
