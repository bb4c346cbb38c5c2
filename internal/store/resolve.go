// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick"
)

// minPrefix keeps a prefix from being a way to list credentials.
const minPrefix = 6

// Resolve returns the credential that people mean by a name: its fingerprint or
// the id of its key, with or without colons between the digits, or the beginning
// of either when it has 6 digits or more and is that of one credential alone.
func (db *DB) Resolve(ctx context.Context, name string) (tallystick.Fingerprint, error) {
	digits := strings.ToLower(strings.NewReplacer(":", "", " ", "").Replace(name))
	switch {
	case len(digits) < minPrefix:
		return "", fmt.Errorf("%w: %q is too short: give at least %d digits of the fingerprint", tallystick.ErrInvalid, name, minPrefix)
	case strings.Trim(digits, "0123456789abcdef") != "" || len(digits) > 64:
		return "", fmt.Errorf("%w: %.80q is not a fingerprint, which has hexadecimal digits", tallystick.ErrInvalid, name)
	case len(digits) == 64:
		// The fingerprint of a bare key is the key id of every certificate
		// that carries it, so the credential of that very name goes first.
		if _, _, err := db.Credential(ctx, tallystick.Fingerprint(digits)); !errors.Is(err, tallystick.ErrNotFound) {
			return tallystick.Fingerprint(digits), err
		}
	}
	matches, err := db.FindFingerprints(ctx, digits, 4)
	switch {
	case err != nil:
		return "", err
	case len(matches) == 0:
		return "", fmt.Errorf("no credential begins with %q: %w", digits, tallystick.ErrNotFound)
	case len(matches) > 1 && len(digits) < 64:
		return "", ambiguous(digits, matches)
	}
	return matches[0], nil
}

// ambiguous says which credentials a prefix may mean.
func ambiguous(prefix string, matches []tallystick.Fingerprint) error {
	var known []string
	for _, f := range matches[:min(3, len(matches))] {
		known = append(known, f.Short())
	}
	more := ""
	if len(matches) > 3 {
		more = " and more"
	}
	return fmt.Errorf("%w: several credentials, or their keys, begin with %q: %s%s; give more digits of one",
		tallystick.ErrInvalid, prefix, strings.Join(known, ", "), more)
}
