// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"errors"

	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/starttls"
	"github.com/tallystick/tallystick/drivers/tls/hello"
)

// word says in one word why an endpoint has no certificate to show: a word of
// package starttls, of network.Word, or "not-tls", "malformed", "too-large",
// "closed", "unsupported", "no-certificate", or "alert-" and the name of the
// alert by which the server refused.
func word(err error) string {
	var dialogue *starttls.Error
	var alert hello.Alert
	switch {
	case err == nil:
		return "no-certificate"
	case errors.As(err, &dialogue):
		return dialogue.Word
	case errors.As(err, &alert):
		return "alert-" + alert.Name()
	case errors.Is(err, hello.ErrNotTLS):
		return "not-tls"
	case errors.Is(err, hello.ErrTooLarge):
		return "too-large"
	case errors.Is(err, hello.ErrMalformed):
		return "malformed"
	case errors.Is(err, hello.ErrClosed):
		return "closed"
	case errors.Is(err, hello.ErrUnsupported), errors.Is(err, errCannot):
		return "unsupported"
	case errors.Is(err, errImpatient):
		return "timeout"
	}
	return network.Word(err)
}
