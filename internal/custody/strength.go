// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"fmt"
	"time"

	"github.com/tallystick/tallystick/internal/store"
)

// A Strength says what stands between a wrapping key and somebody who wants it.
type Strength struct {
	Algorithm string   `json:"algorithm" doc:"with which it wraps"`
	Origin    string   `json:"origin" doc:"where it comes from"`
	Weak      []string `json:"weak,omitempty" doc:"what is weak about it, and what to do"`
}

// Bounds of what is called weak. The costs are those of RFC 9106 section 4, the second
// recommended option; the age is the longest that NIST SP 800-57 part 1 revision 5 section
// 5.3.6 gives a symmetric key-wrapping key for its originator.
const (
	leastMemory = 64 << 10 // KiB
	leastTime   = 3
	longestUse  = 2 * 365 * 24 * time.Hour
)

// StrengthOf judges a wrapping key that is on record.
func StrengthOf(k store.WrappingKey, now time.Time) Strength {
	s := Strength{Algorithm: "AES-256-GCM"}
	switch k.Kind {
	case KindFile:
		s.Origin = "32 random bytes in a file"
	case KindPassphrase:
		s.Origin = "a passphrase"
		c, salt, err := parseCosts(k.Parameters)
		if err != nil {
			s.Weak = append(s.Weak, "the costs of deriving it cannot be read: it may be cheap to guess")
			break
		}
		s.Origin = fmt.Sprintf("a passphrase, by Argon2id with %d passes over %d MiB and a salt of %d bytes", c.Time, c.Memory>>10, len(salt))
		if c.Memory < leastMemory || c.Time < leastTime {
			s.Weak = append(s.Weak, fmt.Sprintf("deriving it costs less than RFC 9106 recommends (%d passes over %d MiB): rewrap to a new passphrase", leastTime, leastMemory>>10))
		}
	case KindTPM:
		s.Origin = "32 random bytes, sealed by the TPM of one machine"
	case KindPKCS11:
		s.Origin = "made in a PKCS #11 token, and never outside of it"
	case KindTransit:
		s.Algorithm, s.Origin = "as the transit engine says, with associated data", "a transit engine, and never outside of it"
	}
	if k.Retired.IsZero() && now.Sub(k.Since) > longestUse {
		s.Weak = append(s.Weak, "it has been in use for more than two years: rewrap to a new key")
	}
	return s
}
