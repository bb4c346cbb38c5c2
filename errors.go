// SPDX-License-Identifier: Apache-2.0

package tallystick

import "errors"

// Errors that callers branch on. They are wrapped with what was being done;
// internal/problem turns them into an exit status, an HTTP status and a hint.
var (
	ErrNotFound  = errors.New("not found")
	ErrInvalid   = errors.New("invalid input")
	ErrDenied    = errors.New("not allowed")
	ErrUnsigned  = errors.New("not signed in")
	ErrConflict  = errors.New("not as things stand") // it may be that somebody else has changed them
	ErrNewerData = errors.New("the data was written by a newer version")
	ErrInUse     = errors.New("in use by another process")
	ErrNoSpace   = errors.New("no space left")
	ErrBusy      = errors.New("nothing more can be taken in now")
	ErrDamaged   = errors.New("the data is damaged")
	// ErrUnavailable says that something that is needed cannot be reached now,
	// such as a device that holds a key, or somebody else's CA.
	ErrUnavailable = errors.New("out of reach now")
)
