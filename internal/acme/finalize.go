// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/store"
)

// issueTime bounds how long a certificate may take to be made.
const issueTime = time.Minute

// finalize takes the certificate request of an order and has the certificate made
// (RFC 8555 section 7.4). Who repeats it with the same request, because no answer
// came, gets what came of it.
func (x *exchange) finalize() error {
	var ask struct {
		CSR string `json:"csr"`
	}
	if err := x.read(&ask); err != nil {
		return err
	}
	der, err := base64.RawURLEncoding.DecodeString(ask.CSR)
	if err != nil {
		return problem(http.StatusBadRequest, "badCSR", "the csr is not base64url of DER")
	}
	leave, err := x.finishing.Take(x.ctx, x.rest[0])
	if err != nil {
		return err
	}
	defer leave()
	o, err := x.ownOrder()
	if err == nil && o.Status == statusProcessing {
		o, err = x.finish(x.ctx, o)
	}
	if err != nil {
		return err
	}
	if bytes.Equal(o.CSR, der) && (o.Status == statusValid || o.Status == statusProcessing) {
		return x.showOrder(http.StatusOK, o)
	}
	if err := x.isReady(o); err != nil {
		return err
	}
	if err := x.withinFailures(o); err != nil {
		return err
	}
	if err := x.checkCSR(o, der); err != nil {
		return err
	}
	o.CSR, o.Status = der, statusProcessing
	if err := x.DB.ChangeACMEOrder(x.ctx, statusPending, o); err != nil {
		return err
	}
	// The client may go away now; the certificate is made nevertheless.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.ctx), issueTime)
	defer cancel()
	if o, err = x.issue(ctx, o); err != nil {
		return err
	}
	return x.showOrder(http.StatusOK, o)
}

// isReady refuses orders that are not (section 7.4).
func (x *exchange) isReady(o store.ACMEOrder) error {
	authorizations, err := x.DB.ACMEAuthorizations(x.ctx, o.Authorizations)
	if err != nil {
		return err
	}
	if status, _ := stateOf(o, authorizations, x.Now()); status != statusReady {
		return problem(http.StatusForbidden, "orderNotReady", "the order is %s", status)
	}
	return x.mayOrder(o.Profile, o.Identifiers)
}

// checkCSR refuses requests that are not for exactly the names of the order, or for
// the key of the account (section 11.1). Package ca checks the signature and the key.
func (x *exchange) checkCSR(o store.ACMEOrder, der []byte) error {
	bad := func(why string) error { return problem(http.StatusBadRequest, "badCSR", "%s", why) }
	csr, err := ca.ParseCSR(der)
	if err != nil {
		return err
	}
	if !bytes.Equal(csr.Raw, der) {
		return bad("the csr is not DER, or something stands behind it")
	}
	if len(csr.EmailAddresses) > 0 || len(csr.URIs) > 0 {
		return bad("the csr has mail addresses or URIs; the order has none")
	}
	got := namesOf(csrIdentifiers(csr)).All()
	if !slices.Equal(slices.Compact(got), namesOf(o.Identifiers).All()) {
		return bad("the names of the csr are not those of the order")
	}
	if sameKey(csr.PublicKey, x.account.key) {
		return problem(http.StatusBadRequest, "badPublicKey", "the key of a certificate is not that of the account")
	}
	return nil
}

// csrIdentifiers returns the names of a request, wherever they stand (section 7.4).
func csrIdentifiers(csr *x509.CertificateRequest) []store.ACMEIdentifier {
	var ids []store.ACMEIdentifier
	add := func(id store.ACMEIdentifier) {
		if !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	for _, name := range csr.DNSNames {
		add(store.ACMEIdentifier{Type: typeDNS, Value: strings.ToLower(name)})
	}
	for _, ip := range csr.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			add(store.ACMEIdentifier{Type: typeIP, Value: a.Unmap().String()})
		}
	}
	if name := csr.Subject.CommonName; name != "" {
		if a, err := netip.ParseAddr(name); err == nil {
			add(store.ACMEIdentifier{Type: typeIP, Value: a.String()})
		} else {
			add(store.ACMEIdentifier{Type: typeDNS, Value: strings.ToLower(name)})
		}
	}
	return ids
}

// issue has the certificate of a processing order made, and writes down what came of it.
func (s *Server) issue(ctx context.Context, o store.ACMEOrder) (store.ACMEOrder, error) {
	request, err := s.request(ctx, o)
	if err != nil {
		return o, err
	}
	made, err := s.CA.Issue(ctx, actorOf(o.Account), request)
	waiting, isWaiting := errors.AsType[*ca.Waiting](err)
	switch {
	case err == nil:
		return s.fulfil(ctx, o, made)
	case isWaiting:
		if o.Waiting != waiting.Request {
			o.Waiting = waiting.Request
			return o, s.DB.ChangeACMEOrder(ctx, statusProcessing, o)
		}
		return o, nil
	case errors.Is(err, ca.ErrBadCSR), errors.Is(err, ca.ErrBadKey), errors.Is(err, ca.ErrBadName):
		if s.countRefused(o) {
			return s.refuse(ctx, o, err)
		}
		return s.reopen(ctx, o, err) // another request may be better
	case errors.Is(err, tallystick.ErrDenied), errors.Is(err, tallystick.ErrInvalid):
		s.countRefused(o)
		return s.refuse(ctx, o, err)
	}
	// Whether it was made nobody knows: look.
	if found, ok, lookErr := s.made(ctx, o); lookErr == nil && ok {
		return s.fulfil(ctx, o, found)
	} else if lookErr != nil {
		return o, err // it stays processing until somebody asks for it
	}
	return s.reopen(ctx, o, err)
}

// countRefused counts that the certificate request of an order was refused, which the
// audit log has a record of: as a failure of its account with each of its names, and
// for the order. It says whether the order has had all that it may have.
func (s *Server) countRefused(o store.ACMEOrder) bool {
	now := s.Now()
	for _, id := range o.Identifiers {
		s.limits.failures.count(failureKey(o.Account, id.Value), now)
	}
	s.limits.refused.count(o.ID, now)
	return s.limits.refused.wait(o.ID, now) > 0
}

// request makes of an order what package ca takes.
func (s *Server) request(ctx context.Context, o store.ACMEOrder) (ca.Request, error) {
	owner, err := s.accountByID(ctx, o.Account)
	if err != nil {
		return ca.Request{}, err
	}
	r := ca.Request{
		Authority: o.Authority, Profile: o.Profile, CSR: o.CSR, Names: namesOf(o.Identifiers), Via: ca.ViaACME, Proven: true, Binding: owner.Binding,
		Options: map[string]string{"order": o.ID},
	}
	if !o.NotAfter.IsZero() {
		if r.Lifetime = o.NotAfter.Sub(s.Now()); r.Lifetime <= 0 {
			return r, malformed("the time that the certificate was to end has passed")
		}
	}
	if o.Replaces != "" {
		if r.Replaces, err = s.serialOf(ctx, o.Replaces); err != nil {
			r.Replaces = "" // it was there when the order was taken; a hint and no more
		}
	}
	return r, nil
}

// fulfil gives an order its certificate.
func (s *Server) fulfil(ctx context.Context, o store.ACMEOrder, made ca.Certificate) (store.ACMEOrder, error) {
	o.Status, o.Serial, o.Waiting = statusValid, string(made.Serial), 0
	s.recent.put(made)
	return o, s.DB.ChangeACMEOrder(ctx, statusProcessing, o)
}

// reopen makes an order ready again, and returns why it was not fulfilled.
func (s *Server) reopen(ctx context.Context, o store.ACMEOrder, why error) (store.ACMEOrder, error) {
	o.Status, o.CSR, o.Waiting = statusPending, nil, 0
	return o, errors.Join(why, s.DB.ChangeACMEOrder(ctx, statusProcessing, o))
}

// refuse ends an order for good.
func (s *Server) refuse(ctx context.Context, o store.ACMEOrder, why error) (store.ACMEOrder, error) {
	text, err := json.Marshal(problemOf(why))
	if err != nil {
		return o, err
	}
	o.Status, o.Waiting, o.Error = statusInvalid, 0, string(text)
	return o, errors.Join(why, s.DB.ChangeACMEOrder(ctx, statusProcessing, o))
}

// settle finishes an order that is processing. Whoever is at it is waited for.
func (s *Server) settle(ctx context.Context, o store.ACMEOrder) (store.ACMEOrder, error) {
	leave, err := s.finishing.Take(ctx, o.ID)
	if err != nil {
		return o, err
	}
	defer leave()
	o, err = s.DB.ACMEOrder(ctx, o.ID)
	if err != nil || o.Status != statusProcessing {
		return o, err
	}
	return s.finish(ctx, o)
}

// finish gives a processing order that nobody is at the certificate that was made for
// it; if there is none, it has it made, unless somebody must approve that first.
func (s *Server) finish(ctx context.Context, o store.ACMEOrder) (store.ACMEOrder, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), issueTime)
	defer cancel()
	found, ok, err := s.made(ctx, o)
	switch {
	case err != nil:
		return o, err
	case ok:
		return s.fulfil(ctx, o, found)
	case o.Waiting != 0:
		return s.awaited(ctx, o)
	}
	return s.issue(ctx, o)
}

// awaited ends an order that waits for somebody's word, when that was no or did not
// come in time.
func (s *Server) awaited(ctx context.Context, o store.ACMEOrder) (store.ACMEOrder, error) {
	request, err := s.DB.IssueRequest(ctx, o.Waiting)
	var why error
	switch {
	case err != nil:
		return o, err
	case request.State == store.RequestRefused || request.State == store.RequestFailed:
		why = unauthorized("refused because %s", request.Why)
	case !s.Now().Before(o.Expires):
		why = unauthorized("nobody has approved the order in time")
	default:
		return o, nil
	}
	o, err = s.refuse(ctx, o, why)
	if _, said := errors.AsType[*Problem](err); said {
		return o, nil // the order says it
	}
	return o, err
}

// made looks for a certificate that was made for an order and that no order has yet.
func (s *Server) made(ctx context.Context, o store.ACMEOrder) (ca.Certificate, bool, error) {
	csr, err := ca.ParseCSR(o.CSR)
	if err != nil {
		return ca.Certificate{}, false, nil // it was parsed before it was kept
	}
	// As package ca names keys: by the one encoding that they have, not by that of the request.
	spki, err := x509.MarshalPKIXPublicKey(csr.PublicKey)
	if err != nil {
		return ca.Certificate{}, false, nil // nothing is made for such a key
	}
	list, err := s.CA.FindByKey(ctx, sha256.Sum256(spki))
	if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
		return ca.Certificate{}, false, err
	}
	names := namesOf(o.Identifiers).All()
	for _, c := range list {
		// An hour, in case that the clock was set back: that no other order has it decides.
		if c.Via != ca.ViaACME || c.Requester != actorOf(o.Account).Name || c.Profile != o.Profile ||
			c.Issued.Before(o.Created.Add(-time.Hour)) || !slices.Equal(c.Names.All(), names) {
			continue
		}
		taken, err := s.DB.ACMEOrderOfSerial(ctx, o.Account, string(c.Serial))
		if err != nil {
			return ca.Certificate{}, false, err
		}
		if taken == "" {
			return c, true, nil
		}
	}
	return ca.Certificate{}, false, nil
}
