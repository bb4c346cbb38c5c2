// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mholt/acmez/v3/acme"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/issuing"
)

// A session is one call's conversation with the CA.
type session struct {
	*Issuer
	http    *issuing.Client
	client  *acme.Client
	account acme.Account
	now     func() time.Time
}

// begin opens a session. The account is not signed in yet. The caller closes the
// session's http.
func (i *Issuer) begin(account crypto.Signer, now func() time.Time) (*session, error) {
	client, err := i.settings.Client()
	if err != nil {
		return nil, err
	}
	return &session{
		Issuer: i, http: client, now: now, account: acme.Account{PrivateKey: account},
		// The library's own polling is too patient: it waits as long as the CA says. See wait.
		client: &acme.Client{Directory: i.options.Directory, HTTPClient: client.HTTP, UserAgent: "Tallystick", PollTimeout: 1},
	}, nil
}

// signIn finds the account of the key, or makes it.
func (s *session) signIn(ctx context.Context) error {
	account, err := s.client.GetAccount(ctx, s.account)
	if problem, ok := problemOf(err); ok && problem.Type == acme.ProblemTypeAccountDoesNotExist {
		account, err = s.signUp(ctx)
	}
	if err != nil {
		return s.failed(ctx, "sign in to the CA", err)
	}
	if account.Status != acme.StatusValid {
		return fmt.Errorf("%w: the CA says that our account is %s", tallystick.ErrDenied, s.http.Clean(account.Status))
	}
	s.account = account
	return nil
}

func (s *session) signUp(ctx context.Context) (acme.Account, error) {
	s.account.TermsOfServiceAgreed = s.options.AgreeTerms
	for _, address := range s.options.Contact {
		s.account.Contact = append(s.account.Contact, "mailto:"+address)
	}
	if s.options.EABKeyID != "" {
		eab := acme.EAB{KeyID: s.options.EABKeyID, MACKey: eabKey(s.options)}
		if err := s.account.SetExternalAccountBinding(ctx, s.client, eab); err != nil {
			return acme.Account{}, err
		}
	}
	return s.client.NewAccount(ctx, s.account)
}

// problemOf returns what the CA said, when an error is what it said.
func problemOf(err error) (acme.Problem, bool) {
	var problem acme.Problem
	return problem, errors.As(err, &problem)
}

// failed makes an error of what the library returned: one that says what the CA
// said, in our words for its kind, or one of the connection.
func (s *session) failed(ctx context.Context, what string, err error) error {
	problem, ok := problemOf(err)
	if ok && ctx.Err() == nil {
		return fmt.Errorf("couldn't %s: %w: the CA says: %s", what, kindOf(problem), s.http.Clean(text(problem)))
	}
	return fmt.Errorf("couldn't %s: %w", what, s.http.Failed(ctx, err))
}

// kindOf says what a problem (RFC 8555 section 6.7) means to whoever asked.
func kindOf(p acme.Problem) error {
	switch p.Type {
	case acme.ProblemTypeRateLimited, acme.ProblemTypeServerInternal, acme.ProblemTypeBadNonce:
		return tallystick.ErrUnavailable
	case acme.ProblemTypeBadCSR, acme.ProblemTypeBadPublicKey, acme.ProblemTypeMalformed, acme.ProblemTypeUnsupportedIdentifier,
		acme.ProblemTypeBadRevocationReason, acme.ProblemTypeInvalidContact, acme.ProblemTypeUnsupportedContact:
		return tallystick.ErrInvalid
	}
	if p.Status >= 500 {
		return tallystick.ErrUnavailable
	}
	return tallystick.ErrDenied
}

// text says what a problem says, with those within it (section 6.7.1).
func text(p acme.Problem) string {
	says := p.Detail
	if says == "" {
		says = p.Title + " " + p.Type
	}
	for _, sub := range p.Subproblems {
		says += "; " + sub.Identifier.Value + ": " + sub.Detail
	}
	if p.Type == acme.ProblemTypeUserActionRequired {
		says += " (" + p.Instance + ")"
	}
	return says
}

// errLater says that the CA needs longer than one call waits.
var errLater = errors.New("the CA has not decided yet")

// wait sleeps between two looks at something that the CA works on: as long as it
// says, but half a minute at most, because meanwhile it may want to be answered.
func (s *session) wait(ctx context.Context, until time.Time) error {
	pause := 250 * time.Millisecond
	if at := s.http.RetryAfter(time.Now()); !at.IsZero() {
		pause = min(max(pause, time.Until(at)), 30*time.Second)
	}
	if time.Now().Add(pause).After(until) {
		return errLater
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A joseSigner signs as RFC 7518 section 3.4 writes signatures of ECDSA, two
// numbers side by side, and not as ASN.1, which is what every crypto.Signer
// returns. The library converts those of its own keys only.
type joseSigner struct{ crypto.Signer }

func newSigner(key crypto.Signer) (crypto.Signer, error) {
	switch public := key.Public().(type) {
	case *rsa.PublicKey:
		return &joseSigner{key}, nil
	case *ecdsa.PublicKey:
		if public.Params().BitSize >= 256 {
			return &joseSigner{key}, nil
		}
	}
	return nil, invalid("an ACME account takes a key of RSA, or on P-256, P-384 or P-521")
}

func (k *joseSigner) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	signature, err := k.Signer.Sign(random, digest, options)
	public, ok := k.Public().(*ecdsa.PublicKey)
	if err != nil || !ok {
		return signature, err
	}
	size := (public.Params().BitSize + 7) / 8
	raw := make([]byte, 2*size)
	input := cryptobyte.String(signature)
	var pair cryptobyte.String
	var r, s []byte
	if !input.ReadASN1(&pair, asn1.SEQUENCE) || !pair.ReadASN1Integer(&r) || !pair.ReadASN1Integer(&s) || len(r) > size || len(s) > size {
		return nil, errors.New("the account key gave a signature that is none of ECDSA")
	}
	copy(raw[size-len(r):size], r)
	copy(raw[2*size-len(s):], s)
	return raw, nil
}
