// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// serveChallenge shows a challenge, or tries it at once (RFC 8555 section 7.5.1). The
// answer waits a moment for the outcome: most are known in less time than it takes
// the client to ask again.
func (x *exchange) serveChallenge() error {
	a, err := x.ownAuthorization()
	if err != nil {
		return err
	}
	list := challengesOf(a)
	i := slices.IndexFunc(list, func(c challenge) bool { return len(x.rest) == 2 && c.Type == x.rest[1] })
	if i < 0 {
		return notFound("challenge")
	}
	if !x.isGet() {
		if err := x.read(&struct{}{}); err != nil {
			return err
		}
		if authorizationState(a, x.Now()) == statusPending {
			if a, err = x.begin(a, i); err != nil {
				return err
			}
			list = challengesOf(a)
		}
	}
	if a.Status == statusPending || a.Status == statusProcessing {
		x.header("Retry-After", "1")
	}
	x.header("Link", "<"+x.url("authorization", a.ID)+`>;rel="up"`)
	return x.answer(http.StatusOK, x.challengeBody(a, list[i]))
}

// begin tries a challenge, unless one of the authorization is being tried, and
// returns the authorization as it is when that is over, or after a moment.
func (x *exchange) begin(a store.ACMEAuthorization, i int) (store.ACMEAuthorization, error) {
	now := x.Now()
	if wait := x.limits.failures.wait(failureKey(a.Account, a.Value), now); wait > 0 {
		return a, tooMany(wait, "too many failed attempts to prove this name")
	}
	going, err := x.try(x.ctx, a, i, x.account.thumbprint)
	if err != nil {
		return a, err
	}
	timer := time.NewTimer(x.patience)
	defer timer.Stop()
	select {
	case <-going.done:
		if going.written {
			return going.outcome, nil
		}
	case <-timer.C:
		x.markProcessing(a, i)
	}
	return x.DB.ACMEAuthorization(x.ctx, a.ID)
}

// A trial is an attempt that goes on.
type trial struct {
	done    chan struct{}           // closed when it is over
	outcome store.ACMEAuthorization // what is kept since; set before done is closed
	written bool                    // whether that was kept
}

// markProcessing writes down that a challenge is being tried, so that a server after
// this one tries it again. It is not worth a write before: who got no answer asks again.
func (x *exchange) markProcessing(a store.ACMEAuthorization, i int) {
	list := challengesOf(a)
	list[i].Status = statusProcessing
	a.Status, a.Challenges = statusProcessing, challengesText(list)
	if err := x.DB.ChangeACMEAuthorization(x.ctx, statusPending, a); err != nil && !errors.Is(err, tallystick.ErrConflict) {
		x.Log.Warn("an attempt at a challenge would be lost with this process", "authorization", a.ID, "error", err)
	}
}

// retry takes up a challenge that a server before this one was trying.
func (s *Server) retry(ctx context.Context, a store.ACMEAuthorization) error {
	i := slices.IndexFunc(challengesOf(a), func(c challenge) bool { return c.Status == statusProcessing })
	if i < 0 {
		return nil
	}
	owner, err := s.accountByID(ctx, a.Account)
	if err != nil {
		return err
	}
	_, err = s.try(ctx, a, i, owner.thumbprint)
	return err
}

// try starts an attempt, unless one is going on.
func (s *Server) try(ctx context.Context, a store.ACMEAuthorization, i int, thumbprint string) (*trial, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if going, ok := s.trying[a.ID]; ok {
		return going, nil
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return nil, tooMany(5*time.Second, "too many challenges are being tried now")
	}
	going := &trial{done: make(chan struct{})}
	s.trying[a.ID] = going
	s.jobs.Go(func() {
		defer func() {
			s.mu.Lock()
			delete(s.trying, a.ID)
			s.mu.Unlock()
			<-s.slots
			close(going.done)
		}()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Timeout)
		defer cancel()
		going.outcome, going.written = s.attempt(ctx, a, i, thumbprint)
	})
	return going, nil
}

// attempt tries a challenge and writes the outcome down: once for the challenge,
// its authorization and all orders that wait for it. It says whether that was kept.
func (s *Server) attempt(ctx context.Context, a store.ACMEAuthorization, i int, thumbprint string) (store.ACMEAuthorization, bool) {
	list := challengesOf(a)
	c := &list[i]
	failure := s.prober.prove(ctx, a, c.Type, c.Token, c.Token+"."+thumbprint)
	now := s.Now()
	c.Status, a.Status, a.Expires = statusValid, statusValid, now.Add(s.Reuse).Truncate(time.Second)
	c.Validated, c.Error = now.UTC().Truncate(time.Second), nil
	if failure != nil {
		c.Status, a.Status, a.Expires = statusInvalid, statusInvalid, now.Add(keepEnded).Truncate(time.Second)
		c.Validated, c.Error = time.Time{}, failure
		s.limits.failures.count(failureKey(a.Account, a.Value), now)
	}
	a.Challenges = challengesText(list)
	ctx = context.WithoutCancel(ctx)
	err := s.DB.ChangeACMEAuthorization(ctx, statusPending, a)
	if errors.Is(err, tallystick.ErrConflict) {
		err = s.DB.ChangeACMEAuthorization(ctx, statusProcessing, a)
	}
	if err != nil && !errors.Is(err, tallystick.ErrConflict) { // else it was given up meanwhile
		s.Log.Error("the outcome of a challenge is lost", "authorization", a.ID, "error", err)
	}
	return a, err == nil
}
