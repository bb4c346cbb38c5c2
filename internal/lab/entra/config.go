// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"crypto/rsa"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"time"
)

// A Config says how a world is made. The zero value is a good one: the real
// clock, no faults, logs that are readable at once.
type Config struct {
	// Seed decides every identifier and every draw that is made in one order; 0 is 1.
	Seed uint64
	// Clock is asked for every instant; nil is time.Now. A virtual clock must not go back.
	Clock func() time.Time
	// Faults are those of the beginning; World.SetFaults changes them later.
	Faults Faults
	// Addresses maps the address that a client connects from to the one that the
	// logs show. What is not in it is mapped by PublicAddress.
	Addresses map[netip.Addr]netip.Addr
	// SignInLatency draws how long after a sign-in its record can be read; nil is at once.
	SignInLatency Latency
	// AuditLatency is the same for the directory audit.
	AuditLatency Latency
	// Federation reads the documents of the issuers whose tokens federated identity
	// credentials take, from loopback alone; nil takes none.
	Federation *http.Client
	// TokenKey signs all tokens; nil makes a new one of 2048 bits, as Microsoft's are, which
	// takes a moment. Nearly all that a token costs is its signature: where many thousands
	// are issued, a smaller key saves most of that.
	TokenKey *rsa.PrivateKey
}

// A Latency draws how late something is.
type Latency func(*rand.Rand) time.Duration

// Always is a latency that does not vary.
func Always(d time.Duration) Latency { return func(*rand.Rand) time.Duration { return d } }

// Faults are the ways in which the cloud makes life hard. All are off in the zero
// value, but for what the cloud does every day: it throttles (NoThrottling takes
// that away), says when to come back (NoRetryAfter), takes an assertion as often as it
// is shown (RefuseReplay), issues tokens that can be read (OpaqueTokens), and lets delta
// tokens expire after seven days.
type Faults struct {
	NoThrottling bool // no limit is ever reached
	NoRetryAfter bool // 429 without Retry-After everywhere, and not only at identity protection
	RefuseReplay bool // an assertion with a jti that was seen before is refused
	OpaqueTokens bool // access tokens that nobody but the emulator can read

	// ReadLag, LoginLag and DeltaLag are the longest times, drawn anew for each
	// write, until Graph reads, the token endpoint and delta queries know of it. A
	// new key fails at the token endpoint for a while, and a removed one works.
	ReadLag, LoginLag, DeltaLag time.Duration
	// Flapping makes reads within ReadLag show the old object or the new by chance,
	// as replicas do that have not agreed yet.
	Flapping bool

	DeltaReplays    int           // so many earlier changes are told again with each delta answer
	DeltaDuplicates bool          // an object that changed stands in a delta answer twice
	SkipTokenLife   time.Duration // how long a nextLink can be used; 0 is for ever
	SignInsTwice    bool          // each sign-in is listed twice
	// NoTokenIdentifier leaves uniqueTokenIdentifier out of the sign-ins.
	NoTokenIdentifier bool
	// ForeignKeyHidden leaves key id and thumbprint out of the sign-ins of
	// applications of other tenants: the documents do not say whether they are there.
	ForeignKeyHidden bool

	// Inject is asked about every request, at every service, before anything else;
	// what it returns, if anything, is the answer. It must be safe for concurrent use.
	Inject func(Attempt) *Injected
}

// An Attempt is a request that Inject decides about.
type Attempt struct {
	Service string // ServiceLogin, ServiceGraph and so on
	Tenant  string // id, as far as it is known
	AppID   string // of the token, or client_id, as far as it is known
	Method  string
	Path    string // with the version, without the query
}

// An Injected is an answer in place of the real one.
type Injected struct {
	Status     int           // 429, 500, 502, 503, 504 ...
	Code       string        // of the error body; "" is one that fits the status
	RetryAfter time.Duration // 0 is no Retry-After
	Body       string        // "" is an error body of the service
	// Afterwards lets the request happen first and loses its answer, as a
	// connection does that breaks.
	Afterwards bool
}
