// SPDX-License-Identifier: Apache-2.0

package driver

import (
	"context"
	"crypto"
	"time"
)

// An Issuer has a CA of somebody else's make a certificate.
//
// Issue goes as far as it can within ctx and may be called again for the same
// order any number of times, also after a kill at any instant: what was begun is
// gone on with, and a certificate that was made is fetched, not made twice, as
// far as the CA's protocol can tell. So everything that another call must know,
// such as the address of an order, is given to request.Keep before the CA is
// asked for anything that depends on it. An error of kind ErrUnavailable means
// "later"; ErrInvalid and ErrDenied mean that the CA said no to this request and
// will say it again; all others say nothing about whether a certificate was made.
type Issuer interface {
	Issue(ctx context.Context, request IssueRequest) (Issued, error)
}

// An IssueRequest asks for one certificate.
type IssueRequest struct {
	Order    string        // names the order; the same at every call for it
	CSR      []byte        // PKCS #10, DER; its names are those that are asked for
	Profile  string        // of the CA; "" is its default
	Lifetime time.Duration // wanted; 0 leaves it to the CA
	Replaces []byte        // DER of the certificate that this one takes over from; nil without one
	// ReplacesKey is the key of Replaces, where it is at hand; some CAs take its word.
	ReplacesKey crypto.Signer
	// Account is a key that belongs to this issuer and is the same at every call,
	// for protocols whose clients have one (RFC 8555 section 7.3).
	Account crypto.Signer
	// State is what the latest Keep of this order was given; "" at first.
	State string
	// Keep makes state durable. An error of it ends Issue.
	Keep func(state string) error
	Now  func() time.Time // never nil
}

// Issued is what came of a call. When Chain is empty the CA has not decided yet.
type Issued struct {
	Chain [][]byte // DER, the certificate first, without the root
	// Retry is when to call again while there is no chain, also beside an error of kind
	// ErrUnavailable; zero leaves it to the caller.
	Retry time.Time
}

// A StandingLooker asks a CA what it says of a certificate that it made. It
// changes nothing.
type StandingLooker interface {
	LookStanding(ctx context.Context, request StandingRequest) (Standing, error)
}

// A StandingRequest names the certificate.
type StandingRequest struct {
	Certificate []byte // DER
	Issuer      []byte // DER of the certificate that signed it; nil when it is not known
	Now         func() time.Time
}

// The words of a Standing.
const (
	StandingGood    = "good"
	StandingRevoked = "revoked"
	StandingUnknown = "unknown" // the CA does not say
)

// A Standing is what a CA says of a certificate.
type Standing struct {
	Status  string
	Revoked time.Time // since when; zero for not, or not known
	Reason  int       // RFC 5280 section 5.3.1
	// Window is when the CA wants it renewed (RFC 9773 section 4.2); zero when it
	// does not say. Ask again at Again.
	WindowStart, WindowEnd time.Time
	Explanation            string // a URL for people
	Again                  time.Time
}

// A Revoker has a CA revoke a certificate that it made. Revoking what is revoked
// already is no error. An error says nothing about whether it happened: look.
type Revoker interface {
	Revoke(ctx context.Context, request RevokeRequest) error
}

// A RevokeRequest names the certificate and says why.
type RevokeRequest struct {
	Certificate []byte // DER
	Reason      int    // RFC 5280 section 5.3.1
	Account     crypto.Signer
	Key         crypto.Signer // of the certificate, where it is at hand; some CAs take its word
	Now         func() time.Time
}
