// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/order"
	"github.com/tallystick/tallystick/internal/store"
)

// askTime bounds one call of a driver. What was begun is gone on with later.
const askTime = 5 * time.Minute

// A job is one order that is worked at.
type job struct {
	*Engine
	order   store.RenewalOrder // as it is stored
	renewal store.Renewal
}

// A pending is the error of an order that waits for its issuer.
type pending struct{ until time.Time }

func (p *pending) Error() string { return "the issuer has not decided yet" }

// A refusal is the error of an order that comes to nothing: the issuer, or what it
// made, says so.
type refusal struct{ err error }

func (r *refusal) Error() string { return r.err.Error() }
func (r *refusal) Unwrap() error { return r.err }

func (j *job) until() time.Time { return j.Now().Add(leaseTime) }

// claimed makes errLost of what the store says when the fence is closed.
func (j *job) claimed(err error) error {
	if errors.Is(err, tallystick.ErrConflict) {
		return errLost
	}
	return err
}

// run does one step after the other. After each it is durable how far the order is.
func (j *job) run(ctx context.Context) error {
	for {
		var err error
		switch j.order.Step {
		case store.StepKey:
			err = j.makeKey(ctx)
		case store.StepRequest:
			err = j.makeRequest(ctx)
		case store.StepIssue:
			err = j.ask(ctx)
		case store.StepDeliver:
			err = j.deliver(ctx)
		case store.StepHook:
			err = j.tell(ctx)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// keep makes the order as it is durable.
func (j *job) keep(ctx context.Context, o store.RenewalOrder) error {
	if err := j.claimed(j.DB.KeepOrder(ctx, o, j.until())); err != nil {
		return err
	}
	j.order = o
	return nil
}

// makeKey makes the key, unless the renewal keeps the one it has. A recalled key is
// never kept. A process that is killed in here leaves a key that nothing uses, and
// nobody has seen.
func (j *job) makeKey(ctx context.Context) error {
	issuer, err := j.issuer(j.order.Issuer)
	if err != nil {
		return err
	}
	o := j.order
	if j.renewal.KeyID != "" && j.renewal.KeepKey && o.Why != store.DueRecall {
		o.KeyID, o.Step = j.renewal.KeyID, store.StepRequest
		return j.keep(ctx, o)
	}
	owner := custody.Owner{Kind: "certificate-key", Name: "renewal/" + j.renewal.Name}
	id, signer, err := j.Keys.NewKey(ctx, custody.KeyType(j.renewal.Algorithm), owner)
	if err != nil {
		return refusedIfInvalid(fmt.Errorf("couldn't make a key: %w", err))
	}
	o.KeyID = id
	if _, ours := issuer.Issuer.(*own); ours {
		o.State = order.NoneBefore // nobody has a certificate of it yet
	}
	return j.keepRequest(ctx, o, signer) // the key is durable, and this makes two changes one
}

// makeRequest makes the certificate request of a key that was there before.
func (j *job) makeRequest(ctx context.Context) error {
	signer, err := j.Keys.Signer(ctx, j.order.KeyID)
	if err != nil {
		return fmt.Errorf("couldn't use the key: %w", err)
	}
	return j.keepRequest(ctx, j.order, signer)
}

func (j *job) keepRequest(ctx context.Context, o store.RenewalOrder, signer crypto.Signer) error {
	var err error
	if o.CSR, err = requestFor(j.renewal.Names, signer); err != nil {
		return refusedIfInvalid(err)
	}
	o.Step = store.StepIssue
	return j.keep(ctx, o)
}

func refusedIfInvalid(err error) error {
	if errors.Is(err, tallystick.ErrInvalid) {
		return &refusal{err}
	}
	return err
}

// requestFor makes a PKCS #10 for names. The first DNS name is the common name too,
// for CAs that want one, as far as it fits (RFC 5280 appendix A: 64 characters).
func requestFor(names []string, signer crypto.Signer) ([]byte, error) {
	t := &x509.CertificateRequest{}
	for _, name := range names {
		ip, noIP := netip.ParseAddr(name)
		switch {
		case noIP == nil:
			t.IPAddresses = append(t.IPAddresses, ip.AsSlice())
		case strings.Contains(name, "://"):
			u, err := url.Parse(name)
			if err != nil {
				return nil, fmt.Errorf("%w: %q is not a URI", tallystick.ErrInvalid, name)
			}
			t.URIs = append(t.URIs, u)
		case strings.Contains(name, "@"):
			t.EmailAddresses = append(t.EmailAddresses, name)
		default:
			if t.DNSNames = append(t.DNSNames, name); t.Subject.CommonName == "" && len(name) <= 64 {
				t.Subject = pkix.Name{CommonName: name}
			}
		}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, t, signer)
	if err != nil {
		return nil, fmt.Errorf("couldn't make a certificate request: %w", err)
	}
	return der, nil
}

// ask asks the issuer for the certificate, or once more what has become of it.
func (j *job) ask(ctx context.Context) error {
	issuer, err := j.issuer(j.order.Issuer)
	if err != nil {
		return err
	}
	request := driver.IssueRequest{
		Order: orderName(j.renewal.Name, j.order.ID), CSR: j.order.CSR, Profile: issuer.profileAt(j.order.Profile), Lifetime: j.renewal.Lifetime,
		State: j.order.State, Now: j.Now,
		Keep: func(state string) error {
			o := j.order
			o.State = state
			return j.keep(ctx, o)
		},
	}
	if j.renewal.IssuedBy == j.order.Issuer { // another CA knows nothing of it
		request.Replaces = leaf(j.renewal.Certificate)
	}
	if _, ours := issuer.Issuer.(*own); !ours {
		if request.Account, err = j.Account(ctx, issuer.Name); err != nil {
			return err
		}
	}
	calling, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	issued, err := issuer.Issuer.Issue(calling, request)
	if err == nil || !errors.Is(err, tallystick.ErrUnavailable) && calling.Err() == nil {
		j.answered(issuer.Name, true)
	} else if ctx.Err() == nil {
		j.answered(issuer.Name, false)
	}
	switch {
	case err != nil && (errors.Is(err, tallystick.ErrDenied) || errors.Is(err, tallystick.ErrInvalid)) && !errors.Is(err, tallystick.ErrUnavailable):
		return &refusal{err}
	case err != nil:
		return err
	case len(issued.Chain) == 0:
		return &pending{issued.Retry}
	}
	return j.certify(ctx, issued.Chain)
}

// certify looks at what the issuer made, and keeps it before anything is written.
func (j *job) certify(ctx context.Context, chain [][]byte) error {
	certificate, text, err := order.Inspect(chain, j.order.CSR, j.Now())
	if err != nil {
		return &refusal{err}
	}
	r := j.renewal
	r.Certificate, r.KeyID, r.NotBefore, r.NotAfter = text, j.order.KeyID, certificate.NotBefore, certificate.NotAfter
	r.Due, r.Why, r.Look = planned(r), store.DueLife, time.Time{}
	if issuer, err := j.issuer(j.order.Issuer); err == nil {
		if _, looks := issuer.Issuer.(driver.StandingLooker); looks {
			r.Look = firstLook(r.Name, j.Now())
		}
	}
	o := j.order
	o.Chain, o.State, o.Step = text, "", store.StepDeliver
	if r.Directory == "" && r.Hook == "" {
		o.Step, o.Ended = store.StepDone, j.Now()
	}
	if err := j.claimed(j.DB.CertifyOrder(ctx, o, r)); err != nil {
		return err
	}
	j.order, j.renewal = o, r
	return nil
}

// leaf returns the first certificate of a chain, as DER; nil of none.
func leaf(text []byte) []byte {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil
	}
	return block.Bytes
}

// settle records how an order stands that could not go on.
func (j *job) settle(ctx context.Context, err error) error {
	now, o := j.Now(), j.order
	if wait, ok := errors.AsType[*pending](err); ok {
		o.Failures, o.Error = 0, ""
		if o.Next = wait.until; o.Next.Before(now.Add(time.Second)) {
			o.Next = now.Add(pendingRest(o.Began, now))
		}
		o.Next = now.Add(min(o.Next.Sub(now), farthest))
		return j.claimed(j.DB.RestOrder(ctx, o))
	}
	o.Failures++
	o.Error = err.Error()
	if no, ok := errors.AsType[*refusal](err); ok {
		r := j.renewal
		r.Failures, r.Refused = o.Failures, true
		r.Due = now.Add(backOff(r.Name, r.Failures, firstRefused, longestRefused))
		o.Error = no.Error()
		return j.claimed(j.DB.FailOrder(ctx, o, now, r))
	}
	longest := longestRest
	if errors.Is(err, tallystick.ErrUnavailable) {
		longest = longestAway
	}
	o.Next = now.Add(hurried(backOff(j.renewal.Name, o.Failures, firstRest, longest), j.renewal.NotAfter, now))
	return j.claimed(j.DB.RestOrder(ctx, o))
}
