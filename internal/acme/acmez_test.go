// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mholt/acmez/v3"
	client "github.com/mholt/acmez/v3/acme"

	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/ca/catest"
	"github.com/tallystick/tallystick/internal/lab"
)

// A responder proves names to the server: http-01 and dns-01 as acmez asks.
type responder struct {
	site *site
	mu   sync.Mutex
	http map[string]string // by path
}

func newResponder(t testing.TB, s *site) *responder {
	r := &responder{site: s, http: map[string]string{}}
	s.serveHTTP01(t, r)
	return r
}

func (r *responder) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text, ok := r.http[q.URL.Path]; ok {
		fmt.Fprintln(w, text)
		return
	}
	http.NotFound(w, q)
}

func (r *responder) Present(_ context.Context, c client.Challenge) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.http[c.HTTP01ResourcePath()] = c.KeyAuthorization
	r.site.dns.addTXT(c.DNS01TXTRecordName(), c.DNS01KeyAuthorization())
	return nil
}

func (r *responder) CleanUp(_ context.Context, c client.Challenge) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.http, c.HTTP01ResourcePath())
	r.site.dns.setTXT(c.DNS01TXTRecordName())
	return nil
}

// A tlsResponder proves names by tls-alpn-01.
type tlsResponder struct {
	t        testing.TB
	site     *site
	listener net.Listener
}

func (r *tlsResponder) Present(_ context.Context, c client.Challenge) error {
	certificate, err := acmez.TLSALPN01ChallengeCert(c)
	if err != nil {
		return err
	}
	r.listener = tls.NewListener(lab.Listen(r.t, lab.Loopback(r.site.tlsPort)),
		&tls.Config{Certificates: []tls.Certificate{*certificate}, NextProtos: []string{"acme-tls/1"}})
	go func() {
		for {
			conn, err := r.listener.Accept()
			if err != nil {
				return
			}
			_ = conn.(*tls.Conn).Handshake()
			_ = conn.Close()
		}
	}()
	return nil
}

func (r *tlsResponder) CleanUp(context.Context, client.Challenge) error { return r.listener.Close() }

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// newClient returns an acmez client of a site, and an account of it.
func newClient(t testing.TB, s *site, solvers map[string]acmez.Solver) (acmez.Client, client.Account) {
	t.Helper()
	c := acmez.Client{Client: &client.Client{Directory: s.directory, HTTPClient: s.http.Client(), PollInterval: 20 * time.Millisecond}, ChallengeSolvers: solvers}
	account, err := c.NewAccount(t.Context(), client.Account{PrivateKey: newKey(t), TermsOfServiceAgreed: true})
	if err != nil {
		t.Fatal(err)
	}
	return c, account
}

// parse reads the certificates of a chain.
func parse(t testing.TB, chain []byte) []*x509.Certificate {
	t.Helper()
	var list []*x509.Certificate
	for block, rest := pem.Decode(chain); block != nil; block, rest = pem.Decode(rest) {
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	return list
}

// verify checks a chain against the root of the lab.
func (s *site) verify(t testing.TB, chain []*x509.Certificate, name string) {
	t.Helper()
	root, err := s.Authority(t.Context(), "root")
	if err != nil {
		t.Fatal(err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(root.X509())
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: between}); err != nil {
		t.Errorf("the chain does not verify for %s: %v", name, err)
	}
}

func TestAcmezByEveryChallenge(t *testing.T) {
	s := newSite(t)
	r := newResponder(t, s)
	for _, c := range []struct {
		kind   string
		solver acmez.Solver
		names  []string
	}{
		{"http-01", r, []string{"a.lab.test", "b.lab.test"}},
		{"http-01", r, []string{"127.0.0.1"}},
		{"dns-01", r, []string{"*.lab.test", "lab.test"}},
		{"tls-alpn-01", nil, []string{"c.lab.test"}},
		{"tls-alpn-01", nil, []string{"127.0.0.1"}},
	} {
		t.Run(c.kind+" "+c.names[0], func(t *testing.T) {
			if c.solver == nil {
				c.solver = &tlsResponder{t: t, site: s}
			}
			z, account := newClient(t, s, map[string]acmez.Solver{c.kind: c.solver})
			chains, err := z.ObtainCertificateForSANs(t.Context(), account, newKey(t), c.names)
			if err != nil {
				t.Fatal(err)
			}
			chain := parse(t, chains[0].ChainPEM)
			s.verify(t, chain, strings.Replace(c.names[0], "*", "any", 1))
			got := chain[0].DNSNames
			for _, ip := range chain[0].IPAddresses {
				got = append(got, ip.String())
			}
			slices.Sort(c.names)
			if diff := cmp.Diff(c.names, got); diff != "" {
				t.Errorf("names: %s", diff)
			}
			if chains[0].RenewalInfo == nil || chains[0].RenewalInfo.SuggestedWindow.Start.Before(time.Now()) {
				t.Errorf("renewal information %+v; want a window in the future", chains[0].RenewalInfo)
			}
		})
	}
}

// A client that renews says what the new certificate replaces, once.
func TestRenewal(t *testing.T) {
	s := newSite(t, func(c *acme.Config) { c.Limits.OrdersPerHour = 2 })
	z, account := newClient(t, s, map[string]acmez.Solver{"http-01": newResponder(t, s)})
	order := func(replaces *x509.Certificate, names ...string) (*x509.Certificate, error) {
		csr, err := acmez.NewCSR(newKey(t), names)
		if err != nil {
			t.Fatal(err)
		}
		p, err := acmez.OrderParametersFromCSR(account, csr)
		if err != nil {
			t.Fatal(err)
		}
		p.Replaces = replaces
		chains, err := z.ObtainCertificate(t.Context(), p)
		if err != nil {
			return nil, err
		}
		return parse(t, chains[0].ChainPEM)[0], nil
	}
	first, err := order(nil, "a.lab.test")
	if err != nil {
		t.Fatal(err)
	}
	second, err := order(first, "a.lab.test")
	if err != nil {
		t.Fatal(err)
	}
	before, err := s.Find(t.Context(), ca.Serial(fmt.Sprintf("%032x", first.SerialNumber)))
	if err != nil || before.Replaced.IsZero() {
		t.Errorf("the first certificate is not marked as replaced: %+v, %v", before, err)
	}
	// acmez orders again without replaces when it was replaced already; that one counts.
	if _, err := order(first, "a.lab.test"); err != nil {
		t.Errorf("a certificate that was replaced: %v", err)
	}
	if _, err := order(nil, "a.lab.test"); err == nil || !strings.Contains(err.Error(), "rateLimited") {
		t.Errorf("error %v; want that of the limit", err)
	}
	if _, err := order(second, "a.lab.test"); err != nil {
		t.Errorf("a renewal is not subject to the limit: %v", err)
	}
}

// A recalled certificate's window lies in the past, with the link.
func TestRecallMovesTheWindow(t *testing.T) {
	s := newSite(t)
	z, account := newClient(t, s, map[string]acmez.Solver{"http-01": newResponder(t, s)})
	chains, err := z.ObtainCertificateForSANs(t.Context(), account, newKey(t), []string{"a.lab.test"})
	if err != nil {
		t.Fatal(err)
	}
	leaf := parse(t, chains[0].ChainPEM)[0]
	serial := ca.Serial(fmt.Sprintf("%032x", leaf.SerialNumber))
	if n, err := s.Recall(t.Context(), catest.Admin, []ca.Serial{serial}, "https://lab.test/incident"); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	info, err := z.GetRenewalInfo(t.Context(), leaf)
	if err != nil {
		t.Fatal(err)
	}
	if !info.SuggestedWindow.End.Before(time.Now()) || info.ExplanationURL != "https://lab.test/incident" {
		t.Errorf("window %+v, link %q", info.SuggestedWindow, info.ExplanationURL)
	}
	if wait := time.Until(*info.RetryAfter); wait > 11*time.Minute || wait < 9*time.Minute {
		t.Errorf("asked to come back after %s; want 10 minutes", wait)
	}
}

func TestRevocation(t *testing.T) {
	s := newSite(t)
	r := newResponder(t, s)
	z, account := newClient(t, s, map[string]acmez.Solver{"http-01": r})
	obtain := func(name string) (*x509.Certificate, *ecdsa.PrivateKey) {
		key := newKey(t)
		chains, err := z.ObtainCertificateForSANs(t.Context(), account, key, []string{name})
		if err != nil {
			t.Fatal(err)
		}
		return parse(t, chains[0].ChainPEM)[0], key
	}
	other, stranger := newClient(t, s, map[string]acmez.Solver{"http-01": r})
	one, _ := obtain("a.lab.test")
	two, key := obtain("b.lab.test")
	three, _ := obtain("c.lab.test")
	if err := other.RevokeCertificate(t.Context(), stranger, one, nil, 0); err == nil || !strings.Contains(err.Error(), "unauthorized") {
		t.Errorf("a stranger revokes: %v", err)
	}
	if err := z.RevokeCertificate(t.Context(), account, one, nil, 6); err == nil || !strings.Contains(err.Error(), "badRevocationReason") {
		t.Errorf("certificateHold: %v", err)
	}
	if err := z.RevokeCertificate(t.Context(), account, one, nil, 4); err != nil {
		t.Errorf("by its account: %v", err)
	}
	if err := z.RevokeCertificate(t.Context(), account, one, nil, 4); err == nil || !strings.Contains(err.Error(), "alreadyRevoked") {
		t.Errorf("twice: %v", err)
	}
	if err := z.RevokeCertificate(t.Context(), client.Account{}, two, key, 1); err != nil {
		t.Errorf("by its key: %v", err)
	}
	if _, err := z.ObtainCertificateForSANs(t.Context(), account, key, []string{"b.lab.test"}); err == nil || !strings.Contains(err.Error(), "badPublicKey") {
		t.Errorf("a key that was given up gets another certificate: %v", err)
	}
	// Whoever has proven the names may revoke what others got for them.
	if _, err := other.ObtainCertificateForSANs(t.Context(), stranger, newKey(t), []string{"c.lab.test"}); err != nil {
		t.Fatal(err)
	}
	if err := other.RevokeCertificate(t.Context(), stranger, three, nil, 4); err != nil {
		t.Errorf("by who has proven its names: %v", err)
	}
}

func TestAccountKeyChange(t *testing.T) {
	s := newSite(t)
	z, account := newClient(t, s, nil)
	old, other := account.PrivateKey, newKey(t)
	account, err := z.AccountKeyRollover(t.Context(), account, other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := z.UpdateAccount(t.Context(), account); err != nil {
		t.Errorf("with the new key: %v", err)
	}
	account.PrivateKey = old
	if _, err := z.UpdateAccount(t.Context(), account); err == nil {
		t.Error("the old key still signs")
	}
	// A key that has an account is taken.
	_, second := newClient(t, s, nil)
	if _, err := z.AccountKeyRollover(t.Context(), second, crypto.Signer(other)); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("a key of another account: %v", err)
	}
}
