// SPDX-License-Identifier: Apache-2.0

// Package rule is the contract of a rule: what is wrong with a credential or
// with the way it is kept, shown or accepted.
//
// A rule is a value: its name, what it cites and since when it holds are data,
// so that reports can print them. It has one function. Check judges a single
// credential with everything known about it; it is called again when something
// about the credential changes and when time alone could change the answer, at
// the instants that rules.Recheck names. Survey judges many credentials against
// each other. Use judges one use of a credential, Book the book of one source,
// Change one change of who gets in, and Wrapping one wrapping key. All are pure: the same input gives the same
// hits, whatever a survey has kept, and time comes in as Now. Package ruletest
// holds rules to that.
//
// What Check, Survey, Book and Wrapping find is closed when it no longer holds. What Use and
// Change find has happened, and stays until somebody has seen to it.
//
// A rule imports the root package, package parse and this one.
package rule

import (
	"context"
	"time"

	"github.com/tallystick/tallystick"
)

// A Rule says what is wrong, why, and what to do. Every field up to Do is
// filled; exactly one of its functions is.
type Rule struct {
	Name      string // kebab-case; a promise to users, never renamed
	Title     string // "The certificate has expired"
	About     string // one or two sentences: what is judged, and why it matters
	Severity  tallystick.Severity
	Citation  string    // document and section: "RFC 5280 section 4.1.2.5"
	URL       string    // where the citation can be read
	Effective time.Time // since when the citation holds
	Do        string    // what to do, in the imperative

	Check  func(Subject) []Hit
	Survey func(context.Context, Estate, func(Hit) error) error
	Use    func(UseSubject) []Hit
	// Foreign says that Use finds uses that turned out to be foreign: what it found
	// is closed when all of them are taken back.
	Foreign  bool
	Book     func(BookSubject) []Hit
	Change   func(ChangeSubject) []Hit
	Wrapping func(WrappingSubject) []Hit
}

// A Subject is one credential with all that is known about it now.
type Subject struct {
	Credential *tallystick.Credential
	// Sightings are the current ones; the inventory shows at most a few
	// hundred of them, a `tally scan` all that it saw. Their
	// Credential and Chain are empty, except that Chain is filled for the
	// sightings of a `tally scan` and whenever Credential is an endpoint's leaf.
	Sightings  []tallystick.Sighting
	Annotation tallystick.Annotation
	// Issuers is the way from the credential's issuer up to a root, as far as
	// it is known; empty for a self-signed one and when no issuer was seen.
	Issuers []*tallystick.Credential
	// Public says that the chain ends at a root that the operating system or
	// browser vendors trust, so that the rules of the public web hold.
	Public bool
	Now    time.Time
}

// A WrappingSubject is one wrapping key of custody, as it is on record.
type WrappingSubject struct {
	ID     string
	Origin string // for people: "a passphrase, by Argon2id with 1 passes over 8 MiB and a salt of 16 bytes"
	// Weak is what is weak about it, each with what to do; it names no time that goes by.
	Weak []string
	// Leaves says that it is in the memory or in a file of whoever uses it, and can be copied.
	Leaves bool
	// Kept is how many secrets are under it now.
	Kept int64
	// Safer is a key that never leaves what holds it and came into use after this one; "" is none.
	Safer string
}

// A Hit is one match of a rule.
type Hit struct {
	// Credential is whom the hit is about; a Check leaves it empty.
	Credential tallystick.Fingerprint
	// Place is set when the hit is about one place rather than the
	// credential wherever it is.
	Place tallystick.Place
	// Evidence says what was seen, for a person: "expired on 2026-11-10". The
	// same cause gives the same text on every day, so that findings do not
	// churn: it names dates, never how far away they are, and counts only
	// what is part of the cause.
	Evidence string
	// Severity overrides the rule's own when it is not zero.
	Severity tallystick.Severity
}

// An Estate is everything that is known. Keys and Certificates call fn once for
// each value until fn returns an error, which they return; the values belong to
// the caller only until fn returns.
//
// Kept and Keep are a survey's memory, which saves it work and changes nothing
// that it finds: any value may be lost at any time, and may be older than
// another one, since each is kept by itself. Fn may call them.
type Estate interface {
	// Keys calls fn for every distinct public key whose algorithm begins with
	// family ("rsa-", "" for all). Credentials holds those that carry the key.
	Keys(ctx context.Context, family string, fn func(KeyUse) error) error
	// Certificates calls fn for every X.509 certificate whose signature
	// algorithm begins with prefix, ordered by issuer name.
	Certificates(ctx context.Context, prefix string, fn func(*tallystick.Credential) error) error
	// Kept returns what was last kept under a name, nil when there is nothing.
	Kept(ctx context.Context, name string) ([]byte, error)
	// Keep keeps a value, which may be tens of megabytes, in place of an older
	// one; an empty value is not kept. Names begin with that of the rule.
	Keep(ctx context.Context, name string, value []byte) error
}

// Shows is what an Estate may have besides: which TLS endpoint shows what.
type Shows interface {
	// EachShown calls fn for every TLS endpoint and each certificate that it
	// shows as its own and that carries names; those of certificates with the
	// same names follow each other. The Raw of certificates may be empty.
	EachShown(ctx context.Context, fn func(Shown) error) error
}

// A Shown is an endpoint with a certificate that it shows as its own.
type Shown struct {
	Place       tallystick.Place
	Address     string // that answered, where the place is a name
	Certificate *tallystick.Credential
}

// A KeyUse is a public key with the credentials that carry it.
type KeyUse struct {
	Key         tallystick.Key
	Credentials []KeyBearer
}

// A KeyBearer is a credential that carries a key, with who owns it.
type KeyBearer struct {
	ID    tallystick.Fingerprint
	Kind  tallystick.Kind
	Owner string
	// Accounts are the accounts whose authorized_keys accept it.
	Accounts []string
	// Holds are the places where its private half was seen.
	Holds []tallystick.Place
}
