// SPDX-License-Identifier: Apache-2.0

package usage

import "time"

// StepOf is stepOf for tests.
func StepOf(span time.Duration) time.Duration { return stepOf(span) }

// IsNameOfUse is isNameOfUse for tests.
func IsNameOfUse(name string) bool { return isNameOfUse(name) }
