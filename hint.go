// SPDX-License-Identifier: Apache-2.0

package tallystick

import "errors"

// WithHint attaches to an error what a person can do about it, in place of what would be said of its
// kind: "ask an administrator for a role" is no help where another system says no. Of nil it is nil.
func WithHint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, hint}
}

// HintOf returns what was attached to an error last; "" is nothing.
func HintOf(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	return ""
}

type hinted struct {
	error
	hint string
}

// Unwrap returns the error itself.
func (h *hinted) Unwrap() error { return h.error }
