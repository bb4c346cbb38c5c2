// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// Rules over the wrapping keys under which secrets are kept: whoever has one has all of them.

func wrappingRules() []rule.Rule { return []rule.Rule{wrappingLeaves(), wrappingWeak()} }

func wrappingWeak() rule.Rule {
	return rule.Rule{
		Name:  "wrapping-key-weak",
		Title: "A wrapping key is weak",
		About: "Secrets are under a wrapping key that is cheap to guess, because deriving it from its passphrase costs less than RFC 9106 recommends, or " +
			"that has been in use for more than two years. Whoever has a copy of the database and finds the key has every secret under it, of customers and of CAs.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "RFC 9106 section 4; NIST SP 800-57 Part 1 Revision 5 section 5.3.6",
		URL:       "https://www.rfc-editor.org/rfc/rfc9106#section-4",
		Effective: day(2021, time.September, 1),
		Do: "`tally vault lineage` says how strong each key is. Put everything under a new one (`tally custody rewrap`), and keep no copy of the old one. What " +
			"was weak for long may have been read: replace it.",
		Wrapping: func(s rule.WrappingSubject) []rule.Hit {
			if s.Kept == 0 || len(s.Weak) == 0 {
				return nil
			}
			return one(0, "%s: %s", s.Origin, strings.Join(s.Weak, "; "))
		},
	}
}

func wrappingLeaves() rule.Rule {
	return rule.Rule{
		Name:  "wrapping-key-left-in-software",
		Title: "Secrets are still under a key that can be copied",
		About: "A wrapping key that never leaves what holds it (a TPM, a token, a transit engine) has come into use, and secrets are still under an " +
			"older one that is in a file or made of a passphrase. They are as safe as that one.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "NIST SP 800-57 Part 1 Revision 5 section 6.2.2.3",
		URL:       "https://doi.org/10.6028/NIST.SP.800-57pt1r5",
		Effective: day(2020, time.May, 4),
		Do:        "Put them under the new key (`tally custody rewrap`), and then destroy the old one with every copy of it.",
		Wrapping: func(s rule.WrappingSubject) []rule.Hit {
			if s.Kept == 0 || !s.Leaves || s.Safer == "" {
				return nil
			}
			return one(0, "secrets are under it, which is %s, and %s is in use", s.Origin, s.Safer)
		},
	}
}
