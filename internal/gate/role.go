// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"fmt"

	"github.com/tallystick/tallystick"
)

// A Role says how much somebody may do; each includes the one before it. The
// zero value may do nothing.
type Role int

const (
	Nobody   Role = iota
	Client        // a machine: asks for certificates as the policy allows, and reads nothing
	Viewer        // looks
	Operator      // and runs discovery, annotates, accepts and assigns findings
	Admin         // and manages access, and reads the audit log
)

// roleNames is indexed by Role.
var roleNames = [...]string{"nobody", "client", "viewer", "operator", "admin"}

// String returns the lower-case word for r.
func (r Role) String() string {
	if r < 0 || int(r) >= len(roleNames) {
		return "nobody"
	}
	return roleNames[r]
}

// MarshalText writes the word for r.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads what ParseRole reads.
func (r *Role) UnmarshalText(text []byte) error {
	v, err := ParseRole(string(text))
	*r = v
	return err
}

// ParseRole reads "client", "viewer", "operator" or "admin"; anything else is ErrInvalid.
func ParseRole(word string) (Role, error) {
	for i, name := range roleNames[1:] {
		if name == word {
			return Role(i + 1), nil
		}
	}
	return Nobody, fmt.Errorf("%w: unknown role %q: it is one of client, viewer, operator, admin", tallystick.ErrInvalid, word)
}
