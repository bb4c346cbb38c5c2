// SPDX-License-Identifier: Apache-2.0

package installing

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"unicode"

	"github.com/tallystick/tallystick/driver"
)

// Run runs a command and returns what it printed to its standard output. A command that
// does not end with exit status 0 is an error with the last lines that it printed.
func Run(ctx context.Context, h driver.Host, args ...string) (string, error) {
	output, err := h.Run(ctx, driver.Command{Args: args})
	if err != nil {
		return "", err
	}
	if output.Exit != 0 {
		return "", fmt.Errorf("%s ended with exit status %d: %s", args[0], output.Exit, Said(output))
	}
	return string(output.Stdout), nil
}

// Said returns the last lines that a command printed, fit for an error: its complaints,
// or what else it said where there are none.
func Said(output driver.Output) string {
	text := bytes.TrimSpace(output.Stderr)
	if len(text) == 0 {
		text = bytes.TrimSpace(output.Stdout)
	}
	if len(text) == 0 {
		return "it said nothing"
	}
	const most = 280
	lines := strings.FieldsFunc(string(text[max(0, len(text)-most):]), func(r rune) bool { return r == '\n' || r == '\r' })
	said := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, strings.Join(lines, "; "))
	return strings.ToValidUTF8(said[max(0, len(said)-most):], "")
}
