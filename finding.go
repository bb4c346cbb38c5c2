// SPDX-License-Identifier: Apache-2.0

package tallystick

import (
	"fmt"
	"time"
)

// A Severity orders findings; higher is worse.
type Severity int

const (
	SeverityInfo Severity = iota + 1
	SeverityLow
	SeverityMedium
	SeverityHigh
	SeverityCritical
)

// severityNames is indexed by Severity.
var severityNames = [...]string{"none", "info", "low", "medium", "high", "critical"}

// String returns the lower-case word for s.
func (s Severity) String() string {
	if s < 0 || int(s) >= len(severityNames) {
		return "none"
	}
	return severityNames[s]
}

// MarshalText writes the word for s.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a word as String writes it.
func (s *Severity) UnmarshalText(text []byte) error {
	if string(text) == severityNames[0] {
		*s = 0
		return nil
	}
	v, err := ParseSeverity(string(text))
	*s = v
	return err
}

// ParseSeverity reads "info", "low", "medium", "high" or "critical".
func ParseSeverity(word string) (Severity, error) {
	for i, name := range severityNames[1:] {
		if name == word {
			return Severity(i + 1), nil
		}
	}
	return 0, fmt.Errorf("unknown severity %q: it is one of info, low, medium, high, critical", word)
}

// A Finding says that a rule matched: what, where, and on what evidence. It
// opens when the rule first matches, stays while it matches, closes by itself
// when the cause is gone, and may be accepted meanwhile with a name, a reason
// and an end date.
type Finding struct {
	ID         int64       `json:"id"`
	Rule       string      `json:"rule"`
	Severity   Severity    `json:"severity"`
	Credential Fingerprint `json:"credential"`
	Place      Place       `json:"place,omitempty"` // empty when it holds wherever the credential is
	Evidence   string      `json:"evidence"`
	Opened     time.Time   `json:"opened"`
	Closed     time.Time   `json:"closed,omitzero"` // zero while it is open
	Assignee   string      `json:"assignee,omitempty"`
	Acceptance *Acceptance `json:"acceptance,omitempty"`
}

// An Acceptance lets a finding stand until a day.
type Acceptance struct {
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Until  time.Time `json:"until"`
	// Within bounds an acceptance of a finding that holds wherever its
	// credential is: it ends when the credential turns up outside this place.
	// "" is everywhere.
	Within Place `json:"within,omitempty"`
}

// Accepted says whether the finding is accepted at the given time.
func (f *Finding) Accepted(now time.Time) bool {
	return f.Acceptance != nil && now.Before(f.Acceptance.Until)
}
