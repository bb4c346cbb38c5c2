// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/store"
)

// replaces reads which certificate an order is to take the place of (RFC 9773
// section 5), and returns it. A hint that is wrong is left out and noted: it must not
// cost anybody a certificate. The one exception is the standard's: a certificate that
// was replaced already.
func (x *exchange) replaces(o *store.ACMEOrder, id string) (before ca.Certificate, err error) {
	if id == "" {
		return ca.Certificate{}, nil
	}
	before, why, err := x.predecessor(x.ctx, *o, id)
	switch {
	case err != nil:
		return ca.Certificate{}, err
	case why != "":
		o.Note = "the hint that it replaces a certificate was left out: " + why
		x.Log.Info("an ACME order names a certificate to replace that it cannot", "order", o.ID, "account", o.Account, "why", why)
		return ca.Certificate{}, nil
	case !before.Replaced.IsZero():
		return ca.Certificate{}, problem(http.StatusConflict, "alreadyReplaced", "the certificate was replaced already; order without replaces")
	}
	o.Replaces = id
	return before, nil
}

// predecessor returns the certificate that a certID names, or why it cannot be replaced
// by an order.
func (x *exchange) predecessor(ctx context.Context, o store.ACMEOrder, id string) (before ca.Certificate, why string, err error) {
	serial, err := x.serialOf(ctx, id)
	if err == nil {
		before, err = x.CA.Find(ctx, serial)
	}
	if errors.Is(err, tallystick.ErrNotFound) || errors.Is(err, tallystick.ErrInvalid) {
		return before, "no CA here has signed it", nil
	}
	if err != nil {
		return before, "", err
	}
	names := namesOf(o.Identifiers).All()
	switch {
	case before.Requester != actorOf(o.Account).Name:
		return before, "it is of another account", nil
	case !slices.ContainsFunc(before.Names.All(), func(name string) bool { return slices.Contains(names, name) }):
		return before, "it has none of these names", nil
	}
	return before, "", nil
}

// isRenewal says whether an order does no more than renew before: it has no name that
// before has not, and no other order that is open or valid replaces that certificate
// (RFC 9773 section 5).
func (x *exchange) isRenewal(o store.ACMEOrder, before ca.Certificate) (bool, error) {
	if o.Replaces == "" {
		return false, nil
	}
	key := renewalKey(o)
	other, known := x.renewals.order(key)
	if known {
		first, err := x.DB.ACMEOrder(x.ctx, other)
		if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
			return false, err
		}
		ended := err != nil || first.Status == statusInvalid || first.Status == statusPending && !x.Now().Before(first.Expires)
		if !ended {
			return false, nil
		}
	}
	x.renewals.put(key, o.ID)
	all := before.Names.All()
	more := slices.ContainsFunc(namesOf(o.Identifiers).All(), func(name string) bool { return !slices.Contains(all, name) })
	return !more, nil
}

// renewalKey names what an order replaces; the certificate is of the same account.
func renewalKey(o store.ACMEOrder) string { return o.Account + " " + o.Replaces }

// renewals holds which order of an account replaces a certificate. What is lost with the
// process, or because there were too many, lets an account order once more uncounted.
type renewals struct {
	mu     sync.Mutex
	orders map[string]string // guarded by mu; ids of orders by renewalKey
}

func newRenewals() renewals { return renewals{orders: map[string]string{}} }

func (r *renewals) order(key string) (id string, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, ok = r.orders[key]
	return id, ok
}

func (r *renewals) put(key, id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.orders) >= maxCounted {
		clear(r.orders)
	}
	r.orders[key] = id
}
