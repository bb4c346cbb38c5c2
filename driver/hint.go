// SPDX-License-Identifier: Apache-2.0

package driver

// Hint attaches to an error what a person can do about it, in place of what would be said of its
// kind: "ask an administrator for a role" is no help where another system says no. Of nil it is nil.
func Hint(err error, hint string) error {
	if err == nil {
		return nil
	}
	return &hinted{err, hint}
}

type hinted struct {
	error
	hint string
}

// Unwrap returns the error itself.
func (h *hinted) Unwrap() error { return h.error }

// Hint is read by whoever shows the error.
func (h *hinted) Hint() string { return h.hint }
