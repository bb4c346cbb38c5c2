// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/store"
)

// An orderBody is an order as clients see it (RFC 8555 section 7.1.3, RFC 9773
// section 5, draft-ietf-acme-profiles section 4).
type orderBody struct {
	Status         string                 `json:"status"`
	Expires        time.Time              `json:"expires"`
	Profile        string                 `json:"profile"`
	Identifiers    []store.ACMEIdentifier `json:"identifiers"`
	NotAfter       time.Time              `json:"notAfter,omitzero"`
	Replaces       string                 `json:"replaces,omitempty"`
	Error          *Problem               `json:"error,omitempty"`
	Authorizations []string               `json:"authorizations"`
	Finalize       string                 `json:"finalize"`
	Certificate    string                 `json:"certificate,omitempty"`
}

// An orderRequest is the payload of newOrder.
type orderRequest struct {
	Identifiers []store.ACMEIdentifier `json:"identifiers"`
	NotBefore   string                 `json:"notBefore"`
	NotAfter    string                 `json:"notAfter"`
	Profile     string                 `json:"profile"`
	Replaces    string                 `json:"replaces"`
}

// newOrder takes an order (section 7.4).
func (x *exchange) newOrder() error {
	var ask orderRequest
	if err := x.read(&ask); err != nil {
		return err
	}
	o, err := x.readOrder(ask)
	if err != nil {
		return err
	}
	if _, err := x.signing(); err != nil {
		return err
	}
	before, err := x.replaces(&o, ask.Replaces)
	if err != nil {
		return err
	}
	if o.Replaces != "" {
		// One at a time, so that of two orders for one certificate the second sees the first.
		leave, err := x.finishing.Take(x.ctx, "renewal "+renewalKey(o))
		if err != nil {
			return err
		}
		defer leave()
	}
	if err := x.withinLimits(o, before); err != nil {
		return err
	}
	authorizations, fresh, err := x.authorize(o)
	if err != nil {
		return err
	}
	for _, a := range authorizations {
		o.Authorizations = append(o.Authorizations, a.ID)
	}
	if err := x.DB.AddACMEOrder(x.ctx, o, fresh); err != nil {
		return err
	}
	x.header("Location", x.url("order", o.ID))
	return x.answer(http.StatusCreated, x.bodyOf(o, authorizations))
}

// readOrder makes an order of what was asked for.
func (x *exchange) readOrder(ask orderRequest) (store.ACMEOrder, error) {
	now := x.Now()
	o := store.ACMEOrder{
		ID: newID(now), Account: x.account.ID, Authority: x.ca, Status: statusPending, Profile: ask.Profile, Created: now, Expires: now.Add(orderLife).Truncate(time.Second),
	}
	var err error
	if o.Identifiers, err = x.readIdentifiers(ask.Identifiers); err != nil {
		return o, err
	}
	if o.Profile == "" {
		o.Profile = x.Profiles[0]
	}
	if !slices.Contains(x.Profiles, o.Profile) {
		return o, problem(http.StatusBadRequest, "invalidProfile", "there is no profile %.50q here: it is one of %s", o.Profile, strings.Join(x.Profiles, ", "))
	}
	if ask.NotBefore != "" {
		// What cannot be fulfilled must be refused (section 7.4).
		return o, malformed("certificates begin when they are made; leave notBefore out")
	}
	if ask.NotAfter != "" {
		if o.NotAfter, err = time.Parse(time.RFC3339, ask.NotAfter); err != nil || !o.NotAfter.After(now.Add(time.Minute)) {
			return o, malformed("notAfter is a time of RFC 3339, at least a minute from now")
		}
		o.NotAfter = o.NotAfter.UTC()
	}
	return o, x.mayOrder(o.Profile, o.Identifiers)
}

// withinLimits counts an order of an account, or refuses it. One that does no more than
// renew before is not counted, so that a recall is not held up.
func (x *exchange) withinLimits(o store.ACMEOrder, before ca.Certificate) error {
	if err := x.withinFailures(o); err != nil {
		return err
	}
	open, err := x.DB.OpenACMEOrders(x.ctx, o.Account, o.Created)
	if err != nil {
		return err
	}
	if open >= x.Limits.OpenOrders {
		return tooMany(time.Hour, "the account has %d orders that are not finished; finish some first", open)
	}
	exempt, err := x.isRenewal(o, before)
	if err != nil || exempt {
		return err
	}
	if wait := x.limits.orders.take(o.Account, o.Created); wait > 0 {
		return tooMany(wait, "too many orders of this account")
	}
	return nil
}

// withinFailures refuses an order for a name with which its account has failed too often.
func (s *Server) withinFailures(o store.ACMEOrder) error {
	now := s.Now()
	for _, id := range o.Identifiers {
		if wait := s.limits.failures.wait(failureKey(o.Account, id.Value), now); wait > 0 {
			return tooMany(wait, "too many failed attempts to prove this name, or to get a certificate for it").about(id)
		}
	}
	return nil
}

func failureKey(account, name string) string { return account + " " + strings.TrimPrefix(name, "*.") }

// authorize returns the authorizations of an order and those of them that are new.
func (x *exchange) authorize(o store.ACMEOrder) (all, fresh []store.ACMEAuthorization, err error) {
	for _, id := range o.Identifiers {
		value, wildcard := strings.CutPrefix(id.Value, "*.")
		known, err := x.DB.UsableACMEAuthorization(x.ctx, o.Account, id.Type, value, wildcard, o.Created.Add(time.Minute))
		if err == nil {
			all = append(all, known)
			continue
		}
		if !errors.Is(err, tallystick.ErrNotFound) {
			return nil, nil, err
		}
		a := store.ACMEAuthorization{
			ID: newID(o.Created), Account: o.Account, Kind: id.Type, Value: value, Wildcard: wildcard, Status: statusPending, Created: o.Created, Expires: o.Expires,
		}
		list := x.offer(a)
		if len(list) == 0 {
			return nil, nil, problem(http.StatusForbidden, "rejectedIdentifier", "no challenge that is offered here proves such a name").about(id)
		}
		a.Challenges = challengesText(list)
		all, fresh = append(all, a), append(fresh, a)
	}
	return all, fresh, nil
}

// ownOrder returns the order that the address names, if it is of who asks.
func (x *exchange) ownOrder() (store.ACMEOrder, error) {
	if len(x.rest) == 0 || !isID(x.rest[0]) {
		return store.ACMEOrder{}, notFound("order")
	}
	o, err := x.DB.ACMEOrder(x.ctx, x.rest[0])
	if errors.Is(err, tallystick.ErrNotFound) || err == nil && o.Authority != x.ca {
		return o, notFound("order")
	}
	if err == nil && o.Account != x.account.ID {
		return o, unauthorized("the order is of another account")
	}
	return o, err
}

// serveOrder shows an order, or finishes it.
func (x *exchange) serveOrder() error {
	if len(x.rest) == 2 {
		if x.rest[1] != "finalize" {
			return notFound("resource")
		}
		return x.finalize()
	}
	o, err := x.ownOrder()
	if err != nil {
		return err
	}
	if err := x.onlyGet(); err != nil {
		return err
	}
	if o.Status == statusProcessing {
		_, settleErr := x.settle(x.ctx, o)
		if o, err = x.DB.ACMEOrder(x.ctx, o.ID); err != nil {
			return err
		}
		if o.Status == statusProcessing && settleErr != nil {
			return settleErr // else the order says it
		}
	}
	return x.showOrder(http.StatusOK, o)
}

// showOrder sends an order as it is now.
func (x *exchange) showOrder(status int, o store.ACMEOrder) error {
	var authorizations []store.ACMEAuthorization
	if o.Status == statusPending { // else they do not matter any more
		var err error
		if authorizations, err = x.DB.ACMEAuthorizations(x.ctx, o.Authorizations); err != nil {
			return err
		}
	}
	body := x.bodyOf(o, authorizations)
	switch {
	case body.Status == statusProcessing && o.Waiting != 0:
		x.header("Retry-After", "60") // somebody must approve it
	case body.Status == statusProcessing, body.Status == statusPending:
		x.header("Retry-After", "1")
	}
	x.header("Location", x.url("order", o.ID))
	return x.answer(status, body)
}

// bodyOf makes what clients see of an order.
func (x *exchange) bodyOf(o store.ACMEOrder, authorizations []store.ACMEAuthorization) orderBody {
	status, why := stateOf(o, authorizations, x.Now())
	body := orderBody{
		Status: status, Error: why, Expires: o.Expires, Profile: o.Profile, Identifiers: o.Identifiers, NotAfter: o.NotAfter, Replaces: o.Replaces, Finalize: x.url("order", o.ID, "finalize"),
	}
	for _, id := range o.Authorizations {
		body.Authorizations = append(body.Authorizations, x.url("authorization", id))
	}
	if status == statusValid {
		body.Certificate = x.url("certificate", o.Serial)
	}
	return body
}

// stateOf returns the status of an order now, and why it is invalid. While it is
// pending, its authorizations and the clock decide (section 7.1.6), so that nothing has
// to be written when they change.
func stateOf(o store.ACMEOrder, authorizations []store.ACMEAuthorization, now time.Time) (string, *Problem) {
	if o.Status != statusPending {
		return o.Status, problemText(o.Error)
	}
	if !now.Before(o.Expires) {
		return statusInvalid, unauthorized("the order was not finished in time")
	}
	if len(authorizations) < len(o.Authorizations) {
		return statusInvalid, unauthorized("an authorization has expired")
	}
	status := statusReady
	for _, a := range authorizations {
		switch s := authorizationState(a, now); s {
		case statusValid:
		case statusPending:
			status = statusPending
		default:
			return statusInvalid, whyNot(a, s)
		}
	}
	return status, nil
}

// whyNot says why an authorization stands in the way of its order.
func whyNot(a store.ACMEAuthorization, state string) *Problem {
	id := store.ACMEIdentifier{Type: a.Kind, Value: a.Value}
	for _, c := range challengesOf(a) {
		if c.Error != nil {
			return c.Error.about(id)
		}
	}
	return unauthorized("the authorization is %s", state).about(id)
}

func problemText(text string) *Problem {
	if text == "" {
		return nil
	}
	p := &Problem{}
	if err := json.Unmarshal([]byte(text), p); err != nil {
		return nil // it was written here
	}
	return p
}
