// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Issuing is what a driver that issues brings to the tests, beside its options,
// which must lead to a real CA.
type Issuing struct {
	Names   []string // that the CA certifies
	Refused []string // that it never does; empty when it decides otherwise
	// Decide makes a CA go on that waits for somebody; nil when it does not. It is
	// called whenever the CA has not decided.
	Decide func(t *testing.T)
	// Made counts the certificates that the CA has made so far.
	Made func() int
	// Tells is whether the protocol lets a client find out that its certificate was
	// made. Then no interruption may lead to a second one.
	Tells bool
	// Gone are options in place of those of the suite with which the CA is out of
	// reach; nil when it has no reach.
	Gone map[string]string
	// Revoked is what the CA then says of a certificate that it has revoked.
	Revoked string
}

func (s Suite) runIssuing(t *testing.T) {
	if s.Issuing == nil {
		t.Fatalf("driver %s issues: bring Suite.Issuing", s.Driver.Name())
	}
	t.Run("issue", s.issues)
	t.Run("keep fails", func(t *testing.T) { s.keepFails(t, false) })
	t.Run("killed after keep", func(t *testing.T) { s.keepFails(t, true) })
	t.Run("impatient", s.impatient)
	t.Run("cancelled", s.cancelled)
	t.Run("bad request", s.badRequest)
	t.Run("refused", s.refused)
	t.Run("gone", s.gone)
	if slices.Contains(s.Driver.Verbs(), "revoke") {
		t.Run("revoke", s.revokes)
	}
}

// An order is one order at a CA, with what was kept of it.
type order struct {
	suite   Suite
	issuer  driver.Issuer
	request driver.IssueRequest
	key     *ecdsa.PrivateKey
	keeps   int
}

// errKeep is what a Keep fails with.
var errKeep = errors.New("the disk is full")

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newOrder makes an order for names with a new key.
func (s Suite) newOrder(t *testing.T, names []string) *order {
	t.Helper()
	o := &order{suite: s, key: newKey(t)}
	opened, err := s.Driver.Open(s.Options)
	if err != nil {
		t.Fatal(err)
	}
	var ok bool
	if o.issuer, ok = opened.(driver.Issuer); !ok {
		t.Fatalf("driver %s does not issue", s.Driver.Name())
	}
	template := x509.CertificateRequest{Subject: pkix.Name{CommonName: names[0]}}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &template, o.key)
	if err != nil {
		t.Fatal(err)
	}
	o.request = driver.IssueRequest{Order: "order-" + rand.Text(), CSR: csr, Account: newKey(t), Now: time.Now}
	o.keepWith(func(int) error { return nil }, true)
	return o
}

// keepWith sets what Keep does: what fail says of the n-th call counts, and
// whether the state is durable even then.
func (o *order) keepWith(fail func(n int) error, durable bool) {
	o.request.Keep = func(state string) error {
		o.keeps++
		err := fail(o.keeps)
		if err == nil || durable {
			o.request.State = state
		}
		return err
	}
}

// call asks once, within ctx, and looks for secrets in what comes of it.
func (o *order) call(t *testing.T, ctx context.Context) (driver.Issued, error) {
	t.Helper()
	issued, err := o.issuer.Issue(ctx, o.request)
	o.suite.hidden(t, fmt.Sprint(err))
	o.suite.hidden(t, o.request.State)
	return issued, err
}

// hidden fails when a secret is in a text.
func (s Suite) hidden(t *testing.T, text string) {
	t.Helper()
	for _, secret := range s.Secrets {
		if strings.Contains(text, secret) {
			t.Errorf("a secret of %d bytes is in an error or a state", len(secret))
		}
	}
}

// finish asks until there is a certificate, and checks it.
func (o *order) finish(t *testing.T) *x509.Certificate {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for range 20 {
		issued, err := o.call(t, ctx)
		if err != nil {
			t.Fatalf("order %s: %v", o.request.Order, err)
		}
		if len(issued.Chain) > 0 {
			return o.check(t, issued.Chain)
		}
		if o.suite.Issuing.Decide != nil {
			o.suite.Issuing.Decide(t)
			continue
		}
		time.Sleep(min(max(0, time.Until(issued.Retry)), 2*time.Second))
	}
	t.Fatalf("order %s: no certificate after 20 calls", o.request.Order)
	return nil
}

// check looks at a chain as whoever relies on it would.
func (o *order) check(t *testing.T, chain [][]byte) *x509.Certificate {
	t.Helper()
	var certificates []*x509.Certificate
	for i, der := range chain {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if err := certificates[i-1].CheckSignatureFrom(c); err != nil {
				t.Errorf("certificate %d of the chain did not sign the one before: %v", i, err)
			}
			if c.CheckSignatureFrom(c) == nil {
				t.Error("the chain holds a root")
			}
		}
		certificates = append(certificates, c)
	}
	if !o.key.PublicKey.Equal(certificates[0].PublicKey) {
		t.Error("the first certificate is not for the key of the request")
	}
	for _, name := range o.suite.Issuing.Names {
		if err := certificates[0].VerifyHostname(name); err != nil {
			t.Error(err)
		}
	}
	return certificates[0]
}

func (s Suite) issues(t *testing.T) {
	o, before := s.newOrder(t, s.Issuing.Names), s.Issuing.Made()
	first := o.finish(t)
	if made := s.Issuing.Made() - before; made != 1 {
		t.Fatalf("one order made %d certificates", made)
	}
	second := o.finish(t)
	if s.Issuing.Tells && !first.Equal(second) {
		t.Error("a second call for an order that is done gives another certificate")
	}
}

// keepFails has each Keep of an order fail once, in turn, either before or after
// the state is durable; the latter is also what a kill leaves behind.
func (s Suite) keepFails(t *testing.T, durable bool) {
	for n := 1; ; n++ {
		o, before := s.newOrder(t, s.Issuing.Names), s.Issuing.Made()
		o.keepWith(func(call int) error {
			if call == n {
				return errKeep
			}
			return nil
		}, durable)
		issued, err := o.call(t, t.Context())
		if o.keeps < n {
			if err != nil {
				t.Errorf("no Keep failed, and yet: %v", err)
			}
			o.keepWith(func(int) error { return nil }, true)
			o.finish(t)
			return // there is no n-th Keep
		}
		if !errors.Is(err, errKeep) || len(issued.Chain) > 0 {
			t.Errorf("the %d. Keep failed, and Issue gives %v", n, err)
		}
		o.finish(t)
		s.once(t, before)
		if n == 10 {
			t.Fatal("an order keeps ten states")
		}
	}
}

func (s Suite) once(t *testing.T, before int) {
	t.Helper()
	if made := s.Issuing.Made() - before; s.Issuing.Tells && made != 1 {
		t.Errorf("one order made %d certificates", made)
	}
}

// impatient gives an order a little more time at every call, so that it is cut
// off everywhere.
func (s Suite) impatient(t *testing.T) {
	o, before := s.newOrder(t, s.Issuing.Names), s.Issuing.Made()
	for patience := time.Millisecond; patience < 20*time.Second; patience += patience / 2 {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		issued, err := o.call(t, ctx)
		cancel()
		if errors.Is(err, tallystick.ErrDenied) || errors.Is(err, tallystick.ErrInvalid) {
			t.Fatalf("cut off after %v, the CA is said to have refused: %v", patience, err)
		}
		if len(issued.Chain) > 0 {
			break
		}
		if err == nil && s.Issuing.Decide != nil {
			s.Issuing.Decide(t)
		}
	}
	o.finish(t)
	s.once(t, before)
}

func (s Suite) cancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o, before := s.newOrder(t, s.Issuing.Names), s.Issuing.Made()
	if _, err := o.call(t, ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled call gives %v, want context.Canceled", err)
	}
	if s.Issuing.Made() != before {
		t.Error("a cancelled call made a certificate")
	}
}

func (s Suite) badRequest(t *testing.T) {
	o := s.newOrder(t, s.Issuing.Names)
	good := o.request.CSR
	forged := slices.Clone(good)
	forged[len(forged)-1] ^= 1 // of the signature
	for _, csr := range [][]byte{nil, []byte("request"), good[:len(good)/2], forged} {
		o.request.CSR = csr
		if _, err := o.call(t, t.Context()); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("a request of %d bytes that is none gives %v, want ErrInvalid", len(csr), err)
		}
	}
	if o.keeps > 0 {
		t.Error("something was kept of a request that is none")
	}
}

func (s Suite) refused(t *testing.T) {
	if len(s.Issuing.Refused) == 0 {
		return
	}
	o, before := s.newOrder(t, s.Issuing.Refused), s.Issuing.Made()
	_, err := o.call(t, t.Context())
	if !errors.Is(err, tallystick.ErrDenied) && !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("names that the CA refuses give %v, want ErrDenied or ErrInvalid", err)
	}
	if s.Issuing.Made() != before {
		t.Error("they were certified")
	}
}

func (s Suite) gone(t *testing.T) {
	if s.Issuing.Gone == nil {
		return
	}
	s.Options = s.Issuing.Gone
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := s.newOrder(t, s.Issuing.Names).call(t, ctx)
	if !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("a CA that is out of reach gives %v, want ErrUnavailable", err)
	}
}

func (s Suite) revokes(t *testing.T) {
	o := s.newOrder(t, s.Issuing.Names)
	var chain [][]byte
	for range 20 {
		issued, err := o.call(t, t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if chain = issued.Chain; len(chain) > 0 {
			break
		}
		time.Sleep(min(max(0, time.Until(issued.Retry)), 2*time.Second))
	}
	if len(chain) == 0 {
		t.Fatal("no certificate after 20 calls")
	}
	if status := s.standing(t, o, chain).Status; status != driver.StandingGood && status != driver.StandingUnknown {
		t.Errorf("a new certificate is %q", status)
	}
	revoke := driver.RevokeRequest{Certificate: chain[0], Reason: 4, Account: o.request.Account, Key: crypto.Signer(o.key), Now: time.Now}
	for _, when := range []string{"at first", "again"} {
		if err := o.issuer.(driver.Revoker).Revoke(t.Context(), revoke); err != nil {
			t.Fatalf("revoking %s: %v", when, err)
		}
	}
	if status := s.standing(t, o, chain).Status; status != s.Issuing.Revoked {
		t.Errorf("a revoked certificate is %q, want %q", status, s.Issuing.Revoked)
	}
}

func (s Suite) standing(t *testing.T, o *order, chain [][]byte) driver.Standing {
	t.Helper()
	looker, ok := o.issuer.(driver.StandingLooker)
	if !ok {
		t.Fatal("a driver that revokes looks too: every write has a look")
	}
	request := driver.StandingRequest{Certificate: chain[0], Now: time.Now}
	if len(chain) > 1 {
		request.Issuer = chain[1]
	}
	standing, err := looker.LookStanding(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return standing
}
