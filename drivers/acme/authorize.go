// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/issuing"
)

// maxAuthorizations bounds what one order may ask for; CAs take 100 names in one.
const maxAuthorizations = 200

// A solver proves control of names to the CA.
type solver interface {
	// present makes the answers to challenges visible to the CA. Remove takes them
	// away again; it is not nil when there is no error.
	present(ctx context.Context, challenges []acme.Challenge) (remove func(), err error)
	kind() string
}

// authorize proves every name of an order that the CA has no proof of yet.
func (s *session) authorize(ctx context.Context, order acme.Order, csr *x509.CertificateRequest, until time.Time) error {
	open, challenges, err := s.open(ctx, order, csr)
	if err != nil || len(open) == 0 {
		return err
	}
	remove, err := s.solver.present(ctx, challenges)
	if err != nil {
		return err
	}
	defer remove()
	for _, challenge := range challenges {
		if challenge.Status != acme.StatusPending {
			continue // a call before this one asked the CA to look
		}
		if _, err := s.client.InitiateChallenge(ctx, s.account, challenge); err != nil {
			return s.failed(ctx, "have "+challenge.Identifier.Value+" checked", err)
		}
	}
	for _, authorization := range open {
		if err := s.proven(ctx, authorization, until); err != nil {
			return err
		}
	}
	return nil
}

// open returns the authorizations of an order that are wanting, with the challenge
// of each that this issuer can answer.
func (s *session) open(ctx context.Context, order acme.Order, csr *x509.CertificateRequest) ([]acme.Authorization, []acme.Challenge, error) {
	if len(order.Authorizations) > maxAuthorizations {
		return nil, nil, fmt.Errorf("the CA wants %d proofs for one order; %d is the bound", len(order.Authorizations), maxAuthorizations)
	}
	names := issuing.Names(csr)
	var open []acme.Authorization
	var challenges []acme.Challenge
	for _, url := range order.Authorizations {
		a, err := s.client.GetAuthorization(ctx, s.account, url)
		if err != nil {
			return nil, nil, s.failed(ctx, "fetch what is to be proven", err)
		}
		if !slices.Contains(names, a.IdentifierValue()) {
			// A record or a page made at the CA's wish would prove a name to somebody else.
			return nil, nil, fmt.Errorf("%w: the CA wants a proof for %q, which was not asked for", tallystick.ErrDenied, s.http.Clean(a.IdentifierValue()))
		}
		if a.Status == acme.StatusValid {
			continue
		}
		if a.Status != acme.StatusPending {
			return nil, nil, s.unproven(a)
		}
		at := slices.IndexFunc(a.Challenges, func(c acme.Challenge) bool { return c.Type == s.solver.kind() })
		if at < 0 {
			return nil, nil, fmt.Errorf("%w: the CA does not offer %s for %s", tallystick.ErrDenied, s.solver.kind(), a.IdentifierValue())
		}
		if !isToken(a.Challenges[at].Token) {
			return nil, nil, fmt.Errorf("the token of a challenge is not one (RFC 8555 section 8.1)")
		}
		open, challenges = append(open, a), append(challenges, a.Challenges[at])
	}
	return open, challenges, nil
}

// isToken says whether a token consists of base64url characters alone, as RFC 8555
// section 8.1 has it; it becomes part of a path, and of what a hook is given.
func isToken(token string) bool {
	return len(token) > 0 && len(token) <= 512 && !slices.ContainsFunc([]byte(token), func(b byte) bool {
		return !('a' <= b && b <= 'z' || 'A' <= b && b <= 'Z' || '0' <= b && b <= '9' || b == '-' || b == '_')
	})
}

// proven waits until the CA has looked.
func (s *session) proven(ctx context.Context, a acme.Authorization, until time.Time) error {
	for a.Status == acme.StatusPending {
		if err := s.wait(ctx, until); err != nil {
			return err
		}
		var err error
		if a, err = s.client.GetAuthorization(ctx, s.account, a.Location); err != nil {
			return s.failed(ctx, "ask whether "+a.IdentifierValue()+" is proven", err)
		}
	}
	if a.Status != acme.StatusValid {
		return s.unproven(a)
	}
	return nil
}

// unproven says why the CA does not believe that a name is ours.
func (s *session) unproven(a acme.Authorization) error {
	for _, challenge := range a.Challenges {
		if challenge.Error != nil {
			return fmt.Errorf("%w: %w: it couldn't check %s by %s: %s", tallystick.ErrDenied, errEnded,
				s.http.Clean(a.IdentifierValue()), s.http.Clean(challenge.Type), s.http.Clean(text(*challenge.Error)))
		}
	}
	return fmt.Errorf("%w: %w: the proof of %s is %s", tallystick.ErrDenied, errEnded, s.http.Clean(a.IdentifierValue()), s.http.Clean(a.Status))
}
