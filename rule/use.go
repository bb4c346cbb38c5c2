// SPDX-License-Identifier: Apache-2.0

package rule

import (
	"net/netip"
	"time"

	"github.com/tallystick/tallystick"
)

// A UseSubject is one use of a credential with what is known of the credential.
// A rule is shown a use twice: when it comes, with Verdict "", and when it has
// turned out to be foreign.
type UseSubject struct {
	Use     *tallystick.Use
	Verdict tallystick.Verdict
	Reason  string // why the verdict, for people
	// Own says of a use that comes that Tallystick itself has made it from its own machine, to see who is
	// let in: it says nothing about where the credential is kept. Profile and Networks are empty then, and
	// wherever else a use was made by Tallystick.
	Own bool
	// Profile is how the credential was used before. It is read only.
	Profile *Profile
	// Credential is what the inventory has under one of the use's names; nil when
	// it was never sighted.
	Credential *tallystick.Credential
	Annotation tallystick.Annotation
	// Gone is since when it is at no place any more; zero while it is at one, and
	// when it never was.
	Gone time.Time
	// Blocked is since when it must not be used any more; zero is never.
	Blocked time.Time
	// Networks are where its holder uses it from; empty when nobody has said so.
	Networks []netip.Prefix
	// Network names the network of an address: its operator, "AS8075" say, when a
	// table was given, else the prefix of it that NetworkOf returns.
	Network func(netip.Addr) string
	// ChangedAt is when a credential was last added to what the use signs in as,
	// other than by an expected change; zero when none was.
	ChangedAt time.Time
}

// A BookSubject is one source, as far as it has got.
type BookSubject struct {
	Source string
	Side   tallystick.Side
	Closed time.Time // nothing earlier will still come
	Heard  time.Time // when it last said anything
	// Silence is after how long it should have been heard again; zero is not known.
	Silence time.Duration
	Missing uint64 // numbers that no record came with
	// FirstMissing is the first of them.
	FirstMissing uint64
	Broken       int64  // records whose hash does not follow from the one before
	FirstBroken  uint64 // the number of the first
	Twice        int64  // numbers that came again with different content
	AfterClose   int64  // records that came although a mark had said that none would
	AfterCloseAt time.Time
	Skew         time.Duration // of its clock against that of its counterparts; 0 when not known
	Now          time.Time
}

// A ChangeSubject is one change with what is known around it.
type ChangeSubject struct {
	Change *tallystick.Change
	// Expected says that somebody said here beforehand that it would come.
	Expected bool
	// First says that the target had no credential before, as far as is known.
	First bool
	// Near are other changes of the same target within the hour before, the
	// newest first.
	Near []tallystick.Change
	// UsedAt is when the target was first used after the change, within 30
	// minutes of it; zero when it was not. The rule is then shown it again.
	UsedAt   time.Time
	UsedFrom string // address
}
