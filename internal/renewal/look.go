// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/store"
)

// How many certificates are asked about in one go, and how many at the same time.
const (
	looksInOne  = 500
	looksAtOnce = 4
)

// look asks the issuers what they say of certificates, as far as it is time.
func (c *crew) look(ctx context.Context) {
	defer func() {
		c.mu.Lock()
		c.looking = false
		c.mu.Unlock()
	}()
	due, err := c.DB.RenewalsToLook(ctx, c.Now(), looksInOne)
	if err != nil {
		if ctx.Err() == nil {
			c.failed(err)
		}
		return
	}
	work := make(chan store.Renewal)
	var lookers sync.WaitGroup
	for range min(looksAtOnce, len(due)) {
		lookers.Go(func() {
			for r := range work {
				if err := c.lookAt(ctx, r); err != nil && ctx.Err() == nil {
					c.failed(fmt.Errorf("renewal %s: %w", r.Name, err))
				}
			}
		})
	}
	for _, r := range due {
		if ctx.Err() == nil {
			work <- r
		}
	}
	close(work)
	lookers.Wait()
}

// lookAt asks about one certificate. An issuer that does not answer is asked again
// later; until then the certificate is renewed by its lifetime.
func (e *Engine) lookAt(ctx context.Context, r store.Renewal) (err error) {
	defer func() {
		if failure := recover(); failure != nil {
			err = fmt.Errorf("asking what its issuer says panicked: %v", failure)
		}
	}()
	now, was := e.Now(), r
	r.Look, r.Why = now.Add(usualLook), ""
	issuer, err := e.issuer(r.IssuedBy)
	if errors.Is(err, tallystick.ErrNotFound) {
		return e.DB.SetWindow(ctx, r)
	}
	looker, ok := issuer.Issuer.(driver.StandingLooker)
	if err != nil || !ok {
		return errors.Join(err, e.DB.SetWindow(ctx, r))
	}
	calling, cancel := context.WithTimeout(ctx, leaseTime)
	defer cancel()
	chain := ders(r.Certificate)
	request := driver.StandingRequest{Certificate: chain[0], Now: e.Now}
	if len(chain) > 1 {
		request.Issuer = chain[1]
	}
	standing, err := looker.LookStanding(calling, request)
	if err != nil {
		r.Look = now.Add(backOff(r.Name, 5, firstRest, longestAway))
		return e.DB.SetWindow(ctx, r) // the issuer's trouble, and none of ours
	}
	r.Look, r.Explanation = nextLook(standing.Again, now), standing.Explanation
	due, why := byWindow(r, standing, now)
	if stays(was, why, now) {
		why = ""
	}
	r.Due, r.Why = due, why
	if err := e.DB.SetWindow(ctx, r); err != nil {
		return err
	}
	if why != "" && !due.After(now) {
		e.Wake()
	}
	return nil
}

// stays says whether a renewal is due when it was, whatever the window says: it was
// asked for or moved, it is recalled already, or it rests after a failure and nothing
// worse has happened since.
func stays(r store.Renewal, why string, now time.Time) bool {
	switch {
	case r.Why == store.DueRecall:
		return true
	case why == store.DueRecall:
		return false
	}
	return r.Failures > 0 || !r.Due.After(now) || r.Why == store.DueAsked || r.Why == store.DueMoved
}

// LookAgain has an issuer asked about all of its certificates at once, for whoever
// knows that it has something to say: of a recall it is heard within seconds then.
func (e *Engine) LookAgain(ctx context.Context, issuer string) error {
	err := e.DB.LookAgain(ctx, issuer, e.Now())
	e.Wake()
	return err
}

// ders returns the certificates of a PEM text.
func ders(text []byte) [][]byte {
	var list [][]byte
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return list
		}
		list, text = append(list, block.Bytes), rest
	}
}
