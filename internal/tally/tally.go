// SPDX-License-Identifier: Apache-2.0

// Package tally matches the two halves of the stick: the uses of credentials
// that their holders recorded, and those that relying parties recorded. What a
// relying party accepted and no holder made is foreign.
//
// The rules are in docs/reconcile.md. The result is a function of the set of
// records: their order, the files that they are spread over, and how often one
// is repeated change nothing but the number of duplicates. To that end every
// choice between two matches is made by what the records say, and two records of
// one id are one. What has no id may be in one file several times, and then is
// as many uses.
//
// A record is kept in some forty bytes: identifiers as hashes, names as numbers.
// Who wants to know more of a use reads it again at the place that it came from.
package tally

import (
	"hash/maphash"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
)

// DefaultTolerance is how far the clocks of the two sides, and a request and its
// record, may be apart.
const DefaultTolerance = 2 * time.Minute

// Options are the choices of a tally.
type Options struct {
	// Tolerance bounds the time between the two records of one use, where no
	// token id ties them. Less than zero is zero.
	Tolerance time.Duration
	// CloseAtEnd takes every holder's book for complete.
	CloseAtEnd bool
	// Matched is called for each record all of whose uses are matched, with its
	// where. Certain says that a token id ties it to its other half, so that no
	// further record but one of the same token changes that. Nil is nobody.
	Matched func(where uint64, certain bool)
	// Paired is called for the two halves of a single use, with their wheres: not for
	// calls that their token speaks for, nor for counted records. Nil is nobody.
	Paired func(relying, holder uint64)
}

// A Known is what is known of a credential's book at one source beside the
// records that the tally is given.
type Known struct {
	Credential string // one of its names
	Source     string
	First      time.Time // the first record of it there
	// The book has records of these sorts about it.
	UTIs, Calls, Signatures, Requests bool
}

// A Tally takes the records of both sides through its writers, and settles them.
type Tally struct {
	options Options

	mu      sync.Mutex // guards all that follows
	names   names
	parties parties
	kinds   kinds
	books   books
	assumed []Known
	holder  side
	relying side
	seed    maphash.Seed
	secret  uint64
}

// New returns an empty tally.
func New(options Options) *Tally {
	options.Tolerance = max(options.Tolerance, 0)
	seed := maphash.MakeSeed()
	return &Tally{options: options, names: newNames(), parties: newParties(), kinds: newKinds(), books: newBooks(),
		seed: seed, secret: maphash.String(seed, "parts")}
}

// A Summary counts uses: a counted record is as many as it counts.
type Summary struct {
	Relying     int64 `json:"relying"` // uses that relying parties recorded, without duplicates and attempts
	Holder      int64 `json:"holder"`  // uses that holders recorded, without duplicates
	Matched     int64 `json:"matched"` // of Relying
	Foreign     int64 `json:"foreign"`
	Unconfirmed int64 `json:"unconfirmed"` // of Holder
	Pending     int64 `json:"pending"`
	Duplicates  int64 `json:"duplicates"` // records of either side that were there already
	Malformed   int64 `json:"malformed"`
	Attempts    int64 `json:"attempts"` // tries that did not show that the key was held
}

// An Item is the verdict on a record that is not matched, or on what is left of
// a counted one.
type Item struct {
	Where   uint64 // as it was given to Writer.At
	Verdict tallystick.Verdict
	Reason  Reason
	Count   int64 // uses
	// Credential is the same number for all uses of one credential.
	Credential uint32
	at         int64
	record     row
}

// A Result is what a tally comes to.
type Result struct {
	Summary Summary
	Items   []Item // by time
	// Doubtful is how many of the pending uses stay so, because a book lost uses
	// of their time.
	Doubtful int64
	Books    []Book // of the holders, by name
	// Names has every name of the credentials that have foreign uses, in the
	// normal form, by Item.Credential.
	Names map[uint32][]string
}

// A Book is what one holder's source has recorded.
type Book struct {
	Source  string
	Records int64
	// First and Last are when its first and last uses were; Closed is up to
	// when it is complete, zero when nothing says so.
	First, Last, Closed time.Time
	// Missing is how many sequence numbers between its first and its last are
	// not there.
	Missing int64
	// Lost is how many uses the book says that it could not write down.
	Lost int64
}

// A Reason says why a use has its verdict.
type Reason uint8

// The reasons.
const (
	reasonNone Reason = iota
	reasonUnknownToken
	reasonUnknownTokenCopied
	reasonTokenTwice
	reasonStolenToken
	reasonLeftOver
	reasonLeftOverCopied
	reasonNoBook
	reasonBeforeBook
	reasonOpen
	reasonLost
	reasonUnseen
	reasonNotHeld
)

// ReasonAttempt is the reason of an attempt, in words.
const ReasonAttempt = "refused, and nothing shows that the key was held"

// IsOpen says whether the use waits for a book to be closed.
func (r Reason) IsOpen() bool { return r == reasonOpen }

// String returns half a sentence for people.
func (r Reason) String() string {
	return [...]string{
		reasonNone:               "",
		reasonUnknownToken:       "the holder never received this token: its id (uti) is in no holder's record, so the key was used elsewhere",
		reasonUnknownTokenCopied: "the holder never received this token; its correlation id is that of a holder's use and was copied, or the request was replayed",
		reasonTokenTwice:         "a second use with one token id (uti): the holder made one, so the request was replayed",
		reasonStolenToken:        "a call with a token of the holder that the holder did not make: the token was used elsewhere",
		reasonLeftOver:           "more uses here than the holder made at that time",
		reasonLeftOverCopied:     "more uses with this correlation id than the holder made: it was copied, or the request was replayed",
		reasonNoBook:             "no holder has any record of this credential",
		reasonBeforeBook:         "no holder's record; it is earlier than the first record of the holder's book, which may have been cut there",
		reasonOpen:               "the holder's book is not closed past this time and the tolerance",
		reasonLost:               "the holder's book says that it lost uses of this time, and this may be one of them",
		reasonUnseen:             "no relying party has a record of it",
		reasonNotHeld:            ReasonAttempt,
	}[r]
}
