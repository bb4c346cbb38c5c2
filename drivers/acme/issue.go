// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/mholt/acmez/v3/acme"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// A state is what is kept of an order.
type state struct {
	Account string `json:"account"` // URL
	Order   string `json:"order"`   // URL
}

// patience is how long one call waits for the CA, and when to call again after.
const patience = 2 * time.Minute

// Issue has a certificate made.
func (i *Issuer) Issue(ctx context.Context, request driver.IssueRequest) (driver.Issued, error) {
	csr, err := issuing.Request(request.CSR)
	if err != nil {
		return driver.Issued{}, err
	}
	var kept state
	if request.State != "" {
		if err := json.Unmarshal([]byte(request.State), &kept); err != nil {
			return driver.Issued{}, invalid("what was kept of order %s is not of this driver", request.Order)
		}
	}
	if request.Account == nil {
		return driver.Issued{}, invalid("an ACME CA takes an account key, and there is none")
	}
	account, err := newSigner(request.Account)
	if err != nil {
		return driver.Issued{}, err
	}
	s, err := i.begin(account, request.Now)
	if err != nil {
		return driver.Issued{}, err
	}
	defer s.http.Close()
	issued, err := s.obtain(ctx, csr, request, kept)
	if errors.Is(err, errLater) {
		return driver.Issued{Retry: s.later()}, nil
	}
	if errors.Is(err, tallystick.ErrUnavailable) {
		return driver.Issued{Retry: s.http.RetryAfter(s.now())}, err
	}
	return issued, err
}

// What became of an order that makes no certificate.
var (
	errEnded = errors.New("the CA ended the order")
	errLost  = errors.New("the CA does not know the order")
)

// obtain goes on with the order that was kept, or makes one. The CA ends an order
// when it is not answered, so one that was ended since a call was cut off says
// nothing about the request, and one that the CA has lost says nothing either:
// neither can make a certificate any more, and another order takes its place.
func (s *session) obtain(ctx context.Context, csr *x509.CertificateRequest, request driver.IssueRequest, kept state) (driver.Issued, error) {
	if kept.Order != "" {
		order, err := s.resume(ctx, kept)
		var issued driver.Issued
		if err == nil {
			issued, err = s.finish(ctx, order, csr)
		}
		if !errors.Is(err, errEnded) && !errors.Is(err, errLost) {
			return issued, err
		}
		s.account = acme.Account{PrivateKey: s.account.PrivateKey}
	}
	order, err := s.order(ctx, csr, request)
	if err != nil {
		return driver.Issued{}, err
	}
	return s.finish(ctx, order, csr)
}

// resume fetches the order that was kept.
func (s *session) resume(ctx context.Context, kept state) (acme.Order, error) {
	s.account.Location = kept.Account
	order, err := s.client.GetOrder(ctx, s.account, acme.Order{Location: kept.Order})
	if problem, ok := problemOf(err); ok && (problem.Status == http.StatusNotFound || problem.Type == acme.ProblemTypeAccountDoesNotExist) {
		return acme.Order{}, errLost
	}
	if err != nil {
		return acme.Order{}, s.failed(ctx, "fetch the order", err)
	}
	return order, nil
}

// later is when to call again for what the CA has not decided.
func (s *session) later() time.Time {
	soonest := s.now().Add(time.Minute)
	if at := s.http.RetryAfter(s.now()); at.After(soonest) {
		return at
	}
	return soonest
}

// order makes an order and keeps it.
func (s *session) order(ctx context.Context, csr *x509.CertificateRequest, request driver.IssueRequest) (acme.Order, error) {
	if err := s.signIn(ctx); err != nil {
		return acme.Order{}, err
	}
	wanted, err := s.wanted(ctx, csr, request)
	if err != nil {
		return acme.Order{}, err
	}
	order, err := s.client.NewOrder(ctx, s.account, wanted)
	if problem, ok := problemOf(err); ok && wanted.Replaces != "" && kindOf(problem) != tallystick.ErrUnavailable {
		// It is a courtesy (RFC 9773 section 5): an order must not fail because somebody
		// else made the predecessor, or replaced it before.
		wanted.Replaces = ""
		order, err = s.client.NewOrder(ctx, s.account, wanted)
	}
	if err != nil {
		return acme.Order{}, s.failed(ctx, "make an order", err)
	}
	if order.Location == "" {
		return acme.Order{}, errors.New("the CA made an order and does not say where it is")
	}
	text, err := json.Marshal(state{Account: s.account.Location, Order: order.Location})
	if err == nil {
		err = request.Keep(string(text))
	}
	return order, err
}

// wanted describes the order to make.
func (s *session) wanted(ctx context.Context, csr *x509.CertificateRequest, request driver.IssueRequest) (acme.Order, error) {
	directory, err := s.client.GetDirectory(ctx)
	if err != nil {
		return acme.Order{}, s.failed(ctx, "read the CA's directory", err)
	}
	order := acme.Order{Profile: request.Profile}
	if order.Profile != "" {
		if directory.Meta == nil || directory.Meta.Profiles[order.Profile] == "" {
			return acme.Order{}, invalid("the CA has no profile %q", order.Profile)
		}
	}
	if len(csr.URIs)+len(csr.EmailAddresses) > 0 {
		return acme.Order{}, invalid("an ACME CA certifies host names and addresses; the request has other names")
	}
	for _, name := range issuing.Names(csr) {
		kind := "dns"
		if net.ParseIP(name) != nil {
			kind = "ip" // RFC 8738
		}
		order.Identifiers = append(order.Identifiers, acme.Identifier{Type: kind, Value: name})
	}
	if request.Lifetime > 0 && s.options.NotAfter {
		until := s.now().Add(request.Lifetime).UTC().Truncate(time.Second)
		order.NotAfter = &until
	}
	if len(request.Replaces) > 0 && directory.RenewalInfo != "" {
		if old, err := x509.ParseCertificate(request.Replaces); err == nil && len(old.AuthorityKeyId) > 0 {
			order.Replaces, _ = acme.ARIUniqueIdentifier(old)
		}
	}
	return order, nil
}

// finish takes an order from whatever state it is in to its certificate (RFC 8555
// section 7.1.6).
func (s *session) finish(ctx context.Context, order acme.Order, csr *x509.CertificateRequest) (driver.Issued, error) {
	until := time.Now().Add(patience)
	for {
		var err error
		switch order.Status {
		case acme.StatusPending:
			if err = s.authorize(ctx, order, csr, until); err != nil {
				return driver.Issued{}, err
			}
		case acme.StatusReady:
			order, err = s.client.FinalizeOrder(ctx, s.account, order, csr.Raw)
			problem, refused := problemOf(err)
			if refused && problem.Type != acme.ProblemTypeOrderNotReady {
				return driver.Issued{}, s.failed(ctx, "finalize the order", err)
			}
		case acme.StatusProcessing:
			if err = s.wait(ctx, until); err != nil {
				return driver.Issued{}, err
			}
		case acme.StatusValid:
			return s.download(ctx, order, csr)
		case acme.StatusInvalid:
			return driver.Issued{}, s.ended(ctx, order)
		default:
			return driver.Issued{}, fmt.Errorf("the CA says that the order is %s", s.http.Clean(order.Status))
		}
		// Another look at the order says more than any error of a write.
		before := order.Status
		if order, err = s.client.GetOrder(ctx, s.account, order); err != nil {
			return driver.Issued{}, s.failed(ctx, "fetch the order", err)
		}
		if order.Status == before && before != acme.StatusProcessing {
			if err := s.wait(ctx, until); err != nil {
				return driver.Issued{}, err
			}
		}
	}
}

// ended makes an error of an order that the CA has ended, with the reason where it
// tells one: at the order, or at a challenge.
func (s *session) ended(ctx context.Context, order acme.Order) error {
	if order.Error != nil {
		return fmt.Errorf("%w: %w: %s", tallystick.ErrDenied, errEnded, s.http.Clean(text(*order.Error)))
	}
	for _, url := range order.Authorizations[:min(len(order.Authorizations), maxAuthorizations)] {
		authorization, err := s.client.GetAuthorization(ctx, s.account, url)
		if err != nil {
			return s.failed(ctx, "ask why the order was ended", err)
		}
		if authorization.Status != acme.StatusPending && authorization.Status != acme.StatusValid {
			return s.unproven(authorization)
		}
	}
	return fmt.Errorf("%w: %w and does not say why", tallystick.ErrDenied, errEnded)
}

// download fetches the certificate with its chain, the preferred one of several.
func (s *session) download(ctx context.Context, order acme.Order, csr *x509.CertificateRequest) (driver.Issued, error) {
	chains, err := s.client.GetCertificateChain(ctx, s.account, order.Certificate)
	if err != nil {
		return driver.Issued{}, s.failed(ctx, "download the certificate", err)
	}
	var first [][]byte
	for _, c := range chains {
		answer, err := issuing.PEM(c.ChainPEM)
		if err == nil {
			answer, err = issuing.Order(csr, answer)
		}
		if err != nil {
			return driver.Issued{}, fmt.Errorf("%w: what the CA made is not what was asked for: %w", tallystick.ErrDenied, err)
		}
		if first == nil || s.preferred(answer) {
			first = answer
		}
		if s.preferred(answer) {
			break
		}
	}
	return driver.Issued{Chain: first}, nil
}

// preferred says whether a chain leads through, or to, the CA of the option chain.
func (s *session) preferred(chain [][]byte) bool {
	for _, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err == nil && s.options.Chain != "" && strings.EqualFold(c.Issuer.CommonName, s.options.Chain) {
			return true
		}
	}
	return false
}
