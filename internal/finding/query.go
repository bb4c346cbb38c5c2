// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/query"
	"github.com/tallystick/tallystick/internal/store"
)

// States are what a filter for findings can ask for.
func States() []string { return []string{"open", "accepted", "closed", "all"} }

// Severities are the words for how bad a finding is, the least bad first.
func Severities() []string {
	var words []string
	for s := tallystick.SeverityInfo; s <= tallystick.SeverityCritical; s++ {
		words = append(words, s.String())
	}
	return words
}

// ParseFilter reads a filter for findings from the parameters of an address:
// rule, severity, owner, assignee, credential (a fingerprint or the beginning of
// one), place (and what lies beneath it), and state (one of States). A value
// that makes no sense is ErrInvalid; rules are those that there are.
func ParseFilter(q url.Values, rules []string) (store.FindingFilter, error) {
	state := q.Get("state")
	f := store.FindingFilter{
		Rule: q.Get("rule"), Owner: q.Get("owner"), Assignee: q.Get("assignee"), Credential: tallystick.Fingerprint(q.Get("credential")),
		Place: tallystick.Place(q.Get("place")), Closed: state == "closed", Accepted: state == "accepted", All: state == "all",
	}
	if err := query.OneOf("state", state, States()...); err != nil {
		return f, err
	}
	if !f.Closed { // what is closed may be of a rule that is no more
		if err := CheckRule(f.Rule, rules); err != nil {
			return f, err
		}
	}
	if err := CheckPlace(f.Place); err != nil {
		return f, err
	}
	var err error
	f.Severity, err = ParseSeverity(q.Get("severity"))
	return f, err
}

// ParseSeverity reads a severity, in upper or lower case; "" is none. Anything
// else is ErrInvalid.
func ParseSeverity(word string) (tallystick.Severity, error) {
	word = strings.ToLower(word)
	if err := query.OneOf("severity", word, Severities()...); word == "" || err != nil {
		return 0, err
	}
	return tallystick.ParseSeverity(word)
}

// CheckRule says whether a rule is one of those that there are; "" is none.
func CheckRule(name string, rules []string) error {
	if name == "" || slices.Contains(rules, name) {
		return nil
	}
	return query.Unknown("rule", name, rules, `"tally rules" lists them.`)
}

// CheckPlace says whether text is a place, or a path that stands for one; "" is
// none.
func CheckPlace(place tallystick.Place) error {
	if place == "" || strings.HasPrefix(string(place), "/") {
		return nil
	}
	if !strings.Contains(string(place), "://") {
		return problem.With(fmt.Errorf("%w: %.80q is not a place", tallystick.ErrInvalid, place),
			"It is an absolute path, or has a scheme: file:///etc/nginx, tls://localhost:443.")
	}
	return query.OneOf("scheme", place.Scheme(), Schemes()...)
}

// Schemes are those of places.
func Schemes() []string {
	return []string{"file", "tls", "quic", "truststore", "ssh", "metadata", "entra", "ad", "ldap"}
}
