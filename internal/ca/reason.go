// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
)

// A Reason is why a certificate was revoked (RFC 5280 section 5.3.1).
type Reason int

// The reasons that are used here. certificateHold and removeFromCRL are not: what
// is dead stays dead.
const (
	Unspecified          Reason = 0
	KeyCompromise        Reason = 1
	CACompromise         Reason = 2
	AffiliationChanged   Reason = 3
	Superseded           Reason = 4
	CessationOfOperation Reason = 5
	PrivilegeWithdrawn   Reason = 9
	AACompromise         Reason = 10
)

// reasonNames is indexed by Reason; "" is one that is not used.
var reasonNames = [...]string{
	"unspecified", "key-compromise", "ca-compromise", "affiliation-changed", "superseded", "cessation-of-operation", "", "", "",
	"privilege-withdrawn", "aa-compromise",
}

// String returns the word.
func (r Reason) String() string {
	if r < 0 || int(r) >= len(reasonNames) || reasonNames[r] == "" {
		return fmt.Sprintf("reason-%d", int(r))
	}
	return reasonNames[r]
}

// MarshalText writes the word.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what ParseReason reads.
func (r *Reason) UnmarshalText(text []byte) error {
	v, err := ParseReason(string(text))
	*r = v
	return err
}

// Known says whether the reason is one that is used here.
func (r Reason) Known() bool { return r >= 0 && int(r) < len(reasonNames) && reasonNames[r] != "" }

// ParseReason reads a word; anything else is ErrInvalid.
func ParseReason(word string) (Reason, error) {
	if i := slices.Index(reasonNames[:], word); i >= 0 && word != "" {
		return Reason(i), nil
	}
	return 0, fmt.Errorf("%w: there is no reason %q: it is one of %s", tallystick.ErrInvalid, word, strings.Join(ReasonWords(), ", "))
}

// ReasonWords lists the words.
func ReasonWords() []string {
	return slices.DeleteFunc(slices.Clone(reasonNames[:]), func(s string) bool { return s == "" })
}
