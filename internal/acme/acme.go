// SPDX-License-Identifier: Apache-2.0

// Package acme is the ACME server (RFC 8555) of the private CA, with names that are
// addresses (RFC 8738), proof by TLS (RFC 8737) and renewal windows (RFC 9773).
//
// It finds out who asks and what was proven, and hands that to package ca, which
// decides. It keeps little in memory: what is lost with a process (nonces, counters of
// limits, a validation that just began) costs a client one more request.
//
// An order is never lost and never has two certificates. Its CSR is kept before a
// certificate is made; whoever meets an order that is being processed by nobody,
// after a crash say, looks for a certificate that was made for that key, account and
// names, and gives it to the order, or else has it made.
package acme

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/tallystick/tallystick/driver/turns"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// An Authority issues: *ca.CA.
type Authority interface {
	// Signing returns the authority that signs for a name, ErrNotFound without one.
	Signing(ctx context.Context, name, kind string) (ca.Authority, error)
	Authorities(ctx context.Context) ([]ca.Authority, error)
	Issue(ctx context.Context, who gate.Actor, r ca.Request) (ca.Certificate, error)
	Find(ctx context.Context, serial ca.Serial) (ca.Certificate, error)
	FindByKey(ctx context.Context, spki [sha256.Size]byte) ([]ca.Certificate, error)
	Revoke(ctx context.Context, who gate.Actor, r ca.RevokeRequest) (int, error)
	Window(ctx context.Context, serial ca.Serial) (ca.Window, error)
	// Alternates returns other chains for what an authority signs.
	Alternates(ctx context.Context, name string) ([][][]byte, error)
}

// Secrets opens what is in custody: *custody.Custody.
type Secrets interface {
	Get(ctx context.Context, id string) ([]byte, error)
}

// Config is what New needs.
type Config struct {
	config.ACME
	DB      *store.DB
	CA      Authority
	Secrets Secrets // of external account bindings; nil: there are none
	Now     func() time.Time
	Log     *slog.Logger
	// Listeners are where this program listens itself: nothing there is ever connected to.
	// Server.Avoid adds those of ports that are opened later.
	Listeners []netip.AddrPort
	// Describe says what a profile is for, in a few words; it may be nil.
	Describe func(profile string) string
}

// A Server answers ACME clients under /acme/. Make one with New.
type Server struct {
	Config
	nonces   *nonces
	limits   limits
	accounts accounts
	prober   *prober
	recent   recent
	renewals renewals
	patience time.Duration // for which an answer waits for a challenge to be tried

	jobs   sync.WaitGroup // attempts at challenges that go on
	slots  chan struct{}  // of attempts at the same time
	mu     sync.Mutex
	trying map[string]*trial // guarded by mu; by authorization

	finishing turns.Turns[string] // at orders, and at renewals: "renewal " and its key
}

// What is not configured.
const (
	defaultProfile  = "server"
	defaultTimeout  = 10 * time.Second
	defaultReuse    = 24 * time.Hour
	defaultPoll     = 10 * time.Minute
	defaultBytes    = 64 << 10
	defaultNames    = 100
	defaultOpen     = 100
	defaultOrders   = 300
	defaultAccounts = 50
	defaultFailures = 10
)

// What is not configurable.
const (
	orderLife    = 72 * time.Hour // to fulfil an order, for people who write DNS records by hand
	maxAttempts  = 100            // at challenges at the same time
	maxRefused   = 5              // certificate requests of an order in an hour, before it is invalid
	patience     = time.Second
	keepEnded    = 7 * 24 * time.Hour   // orders that came to nothing
	keepFinished = 400 * 24 * time.Hour // orders that came to something
	sweepEvery   = time.Hour
)

// New puts a server together. It reads nothing yet.
func New(c Config) *Server {
	orElse(&c.Timeout, defaultTimeout)
	orElse(&c.Reuse, defaultReuse)
	orElse(&c.Poll, defaultPoll)
	orElse(&c.Limits.Bytes, defaultBytes)
	orElse(&c.Limits.Names, defaultNames)
	orElse(&c.Limits.OpenOrders, defaultOpen)
	orElse(&c.Limits.OrdersPerHour, defaultOrders)
	orElse(&c.Limits.AccountsPerHour, defaultAccounts)
	orElse(&c.Limits.FailuresPerHour, defaultFailures)
	orElse(&c.HTTPPort, 80)
	orElse(&c.TLSPort, 443)
	if len(c.Profiles) == 0 {
		c.Profiles = []string{defaultProfile}
	}
	if len(c.Challenges) == 0 {
		c.Challenges = []string{http01, dns01, tlsALPN01}
	}
	return &Server{
		Config: c, nonces: newNonces(c.Now), accounts: newAccounts(), prober: newProber(c), recent: newRecent(), renewals: newRenewals(), patience: patience,
		limits: limits{
			accounts: newLimit(c.Limits.AccountsPerHour), orders: newLimit(c.Limits.OrdersPerHour), failures: newLimit(c.Limits.FailuresPerHour),
			refused: newLimit(maxRefused),
		},
		slots: make(chan struct{}, maxAttempts), trying: map[string]*trial{},
	}
}

// Avoid adds addresses where this program listens itself. Call it before the server serves.
func (s *Server) Avoid(listeners ...netip.AddrPort) {
	s.prober.listeners = append(s.prober.listeners, listeners...)
}

func orElse[T comparable](value *T, otherwise T) {
	var zero T
	if *value == zero {
		*value = otherwise
	}
}

// Run takes up what a server before this one left, removes what is old, and waits
// for the attempts at challenges that go on when ctx ends. It returns nil.
func (s *Server) Run(ctx context.Context) error {
	defer s.jobs.Wait()
	s.resume(ctx)
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		s.sweep(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// resume goes on where the server before this one stood.
func (s *Server) resume(ctx context.Context) {
	orders, err := s.DB.ProcessingACMEOrders(ctx, s.Now().Add(-2*orderLife))
	for _, o := range orders {
		if _, settleErr := s.settle(ctx, o); settleErr != nil {
			s.Log.Error("an ACME order is not settled yet", "order", o.ID, "error", settleErr)
		}
	}
	if err != nil {
		s.Log.Error("ACME orders are not settled yet", "error", err)
	}
	authorizations, err := s.DB.ProcessingACMEAuthorizations(ctx)
	if err != nil {
		s.Log.Error("challenges are not taken up yet", "error", err)
	}
	for _, a := range authorizations {
		if err := s.retry(ctx, a); err != nil {
			s.Log.Error("a challenge is not taken up", "authorization", a.ID, "error", err)
		}
	}
}

// sweep removes what is old.
func (s *Server) sweep(ctx context.Context) {
	now := s.Now()
	if _, err := s.DB.ForgetACME(ctx, now.Add(-keepEnded), now.Add(-keepFinished)); err != nil && ctx.Err() == nil {
		s.Log.Error("old ACME orders are still there", "error", err)
	}
}

// actorOf returns whom an account is to the gate.
func actorOf(account string) gate.Actor {
	return gate.Actor{Name: "acme/" + account, Role: gate.Client, Via: ca.ViaACME}
}
