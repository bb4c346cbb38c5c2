// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"fmt"
	"net/url"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// ParseFilter reads a filter for findings from the parameters of an address:
// rule, severity, owner, assignee, credential, and state ("open", "accepted",
// "closed", "all"). A value that makes no sense is ErrInvalid.
func ParseFilter(q url.Values) (store.FindingFilter, error) {
	state := q.Get("state")
	f := store.FindingFilter{
		Rule: q.Get("rule"), Owner: q.Get("owner"), Assignee: q.Get("assignee"), Credential: tallystick.Fingerprint(q.Get("credential")),
		Closed: state == "closed", Accepted: state == "accepted", All: state == "all",
	}
	if !slices.Contains([]string{"", "open", "accepted", "closed", "all"}, state) {
		return f, fmt.Errorf("%w: unknown state %.40q: it is one of open, accepted, closed, all", tallystick.ErrInvalid, state)
	}
	var err error
	f.Severity, err = ParseSeverity(q.Get("severity"))
	return f, err
}

// ParseSeverity reads a severity; "" is none. Anything else is ErrInvalid.
func ParseSeverity(word string) (tallystick.Severity, error) {
	if word == "" {
		return 0, nil
	}
	severity, err := tallystick.ParseSeverity(word)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", tallystick.ErrInvalid, err)
	}
	return severity, nil
}
