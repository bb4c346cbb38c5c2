// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"fmt"
	"net/url"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/store"
)

// ParseCredentialFilter reads a filter for credentials from the parameters of
// an address: q, kind, algorithm, owner, environment, tag, severity, rule,
// issuer, key, scheme, role, place, ends_after and ends_before (see ParseTime),
// and leaf and gone ("true"). A value that makes no sense is ErrInvalid.
func ParseCredentialFilter(q url.Values) (store.CredentialFilter, error) {
	f := store.CredentialFilter{
		Text: q.Get("q"), Kind: q.Get("kind"), Algorithm: q.Get("algorithm"), Issuer: q.Get("issuer"), KeyID: q.Get("key"),
		Owner: q.Get("owner"), Environment: q.Get("environment"), Tag: q.Get("tag"), Rule: q.Get("rule"),
		Place: tallystick.Place(q.Get("place")), Scheme: q.Get("scheme"), Role: q.Get("role"), Leaf: q.Get("leaf") == "true", Gone: q.Get("gone") == "true",
	}
	var err error
	if f.Severity, err = finding.ParseSeverity(q.Get("severity")); err != nil {
		return f, err
	}
	if f.EndsAfter, err = ParseTime(q.Get("ends_after")); err != nil {
		return f, err
	}
	f.EndsBefore, err = ParseTime(q.Get("ends_before"))
	return f, err
}

// ParsePlaceFilter reads a filter for places from the parameters of an address:
// prefix, scheme and empty ("true").
func ParsePlaceFilter(q url.Values) store.PlaceFilter {
	return store.PlaceFilter{Prefix: q.Get("prefix"), Scheme: q.Get("scheme"), Empty: q.Get("empty") == "true"}
}

// ParseTime reads a day in UTC or an RFC 3339 time; "" is none. Anything else
// is ErrInvalid.
func ParseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: %.40q is not a day as in 2026-03-15", tallystick.ErrInvalid, text)
}
