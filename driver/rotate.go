// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"time"

	"github.com/tallystick/tallystick"
)

// A Rotator changes the secrets by which a system knows accounts: passwords, API keys, keys
// of SSH. What is said of the verbs of doors is true of its methods too: they are safe to
// repeat, an error of one that writes says nothing about whether it happened, and what was
// good before a failed call is good after it.
//
// A wrong secret that is tried counts at most systems, and enough of them lock the account
// out. So nothing here tries a secret that may be wrong more than once between two sign-ins
// that count as right, and where not even one is to be had without a lock that is
// ErrDenied, before anything is tried.
type Rotator interface {
	// LookAccount says how an account stands. It only reads, and signs in as nobody who could be
	// locked out. An account that is not there is ErrNotFound.
	LookAccount(ctx context.Context, request AccountRequest) (Account, error)
	// SetSecret makes New get in, and leaves Old as the account's Overlap says. A policy that
	// refuses New is ErrInvalid and changes nothing.
	SetSecret(ctx context.Context, request SecretRequest) (SecretSet, error)
	// DropSecret makes Old refused and leaves New as it is. Where it finds that New does not get in
	// that is ErrConflict and changes nothing: nobody would get in any more. When it returns nil the
	// system refuses Old as far as it says; TestSecret finds out.
	DropSecret(ctx context.Context, request SecretRequest) (Blocked, error)
	// TestSecret signs in by every protocol of the account with New, and with Old where TryOld
	// asks for that: at each address first with New, then with Old, then with New again, so that
	// a count of wrong ones goes back to none. Where New does not get in, Old is not tried: that
	// would be two wrong ones; and unless nobody counts (MayTry -1) nothing is tried at the
	// addresses behind it either. What is not tried is OutcomeFailed and says why. What came of New
	// is returned once, as the last try of it came out; Used is told of each that was answered.
	// Package trying does all of that.
	TestSecret(ctx context.Context, request SecretRequest) (Tested, error)
}

// A Supplier puts a secret where a program reads it that signs in elsewhere with it: the
// password file of a relay, say.
type Supplier interface {
	// SupplySecret makes the program sign in with New from now on. A program that has no such
	// account is ErrNotFound.
	SupplySecret(ctx context.Context, request SupplyRequest) (Changed, error)
}

// An AccountRequest asks how one account stands.
type AccountRequest struct {
	Host    Host
	Account string // as people have entrusted it: a DN, a user, a role
	Now     func() time.Time
	// Used is told of each sign-in that the driver makes, by the names that the log of the other side
	// has for it (see LookRequest); of one without names, whoever is told knows them or nobody does. It
	// may be nil.
	Used func(tallystick.Use)
}

// The words of Account.Overlap.
const (
	OverlapTwo   = "two"   // Old gets in until DropSecret
	OverlapTimed = "timed" // Old gets in for OverlapTime and then no more; DropSecret need not wait for that
	OverlapNone  = "none"  // Old is refused as soon as New is set
)

// The words of Account.Form.
const (
	FormText = ""     // printable characters
	FormSSH  = "ssh"  // a private key in OpenSSH's PEM, without a passphrase
	FormMade = "made" // the system makes it: SetSecret is given none, and returns it
)

// An Account is how an account stands.
type Account struct {
	Name        string        `json:"name"` // as the system calls it
	Overlap     string        `json:"overlap"`
	OverlapTime time.Duration `json:"overlap_time,omitempty"`
	Form        string        `json:"form,omitempty"`
	// MinLength and MaxLength bound the next secret, in characters; 0 is not known.
	MinLength int `json:"min_length,omitempty"`
	MaxLength int `json:"max_length,omitempty"`
	// MayTry is how many wrong secrets may be tried now before the account is locked out:
	// -1 is any number.
	MayTry int `json:"may_try"`
	// Barred says why nobody gets in with a right secret either, such as "disabled", "locked
	// out until 12:30", "its password has expired"; "" that nothing is known against it.
	Barred string `json:"barred,omitempty"`
	// Changed is when its secret was last set; zero is not known.
	Changed time.Time `json:"changed,omitzero"`
	// Listeners are where TestSecret signs in.
	Listeners []Listener `json:"listeners,omitempty"`
	// Notes say what else is worth knowing, for people.
	Notes []string `json:"notes,omitempty"`
}

// A SecretRequest says what to do with the secrets of one account.
type SecretRequest struct {
	Host    Host
	Account string
	Old     Secret // that is to be replaced; it may be empty, and of any bytes
	New     Secret // that replaces it; it has the form that LookAccount said
	// Order names the rotation, the same whenever it is tried again, for systems that make
	// secrets themselves. It has letters, digits and hyphens, at most 64.
	Order string
	// Again says that SetSecret may have been done with these before: whether New gets in is
	// looked for before anything is set.
	Again bool
	// Withdraw of SetSecret puts Old in place of New again.
	Withdraw bool
	// TryOld of TestSecret has Old tried.
	TryOld bool
	Now    func() time.Time
	Used   func(tallystick.Use) // as of AccountRequest
}

// A SecretSet is what came of SetSecret.
type SecretSet struct {
	Changed
	// Made is the secret that the system made (FormMade); it is secret.
	Made Secret `json:"-"`
}

// Tested is what came of TestSecret.
type Tested struct {
	Old []Attempt `json:"old,omitempty"`
	New []Attempt `json:"new,omitempty"`
}

// A SupplyRequest says who gets which secret.
type SupplyRequest struct {
	Host    Host
	System  string // where the program signs in, as people have entrusted it
	Account string
	Old     Secret // that it has now; for files where nothing else tells entries apart
	New     Secret
	Now     func() time.Time
}
