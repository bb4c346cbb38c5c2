// SPDX-License-Identifier: Apache-2.0

package driver_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// What fails after a write does not say that nothing was done.
func TestUnsettled(t *testing.T) {
	t.Parallel()
	for _, kind := range []error{tallystick.ErrInvalid, tallystick.ErrDenied, tallystick.ErrNotFound} {
		err := driver.Unsettled(fmt.Errorf("couldn't go on: %w: why", kind))
		if errors.Is(err, kind) || !errors.Is(err, tallystick.ErrUnavailable) || !strings.Contains(err.Error(), "why") {
			t.Errorf("%v gives %v", kind, err)
		}
		if err := driver.Unsettled(errors.Join(kind, tallystick.ErrDamaged)); errors.Is(err, kind) || !errors.Is(err, tallystick.ErrDamaged) {
			t.Errorf("%v and damage give %v", kind, err)
		}
	}
	if err := driver.Unsettled(tallystick.ErrConflict); err != tallystick.ErrConflict || driver.Unsettled(nil) != nil {
		t.Errorf("another gives %v", err)
	}
}
