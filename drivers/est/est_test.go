// SPDX-License-Identifier: Apache-2.0

package est

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/est"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lab"
)

// An authority is as much of a CA as an EST server sees of one. The server is the
// real one of package est.
type authority struct {
	t   *testing.T
	pki *lab.PKI

	mu      sync.Mutex
	issued  map[ca.Serial]ca.Certificate // guarded by mu
	who     []string                     // guarded by mu
	waiting bool                         // guarded by mu
}

// KeyRefused refuses none.
func (a *authority) KeyRefused(context.Context, tallystick.KeyID) error { return nil }

func (a *authority) Issue(_ context.Context, who gate.Actor, request ca.Request) (ca.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	csr, err := x509.ParseCertificateRequest(request.CSR)
	switch {
	case err != nil:
		return ca.Certificate{}, err
	case a.waiting:
		return ca.Certificate{}, &ca.Waiting{}
	case slices.Contains(csr.DNSNames, "www.example.com"):
		return ca.Certificate{}, fmt.Errorf("%w: not a name of ours", tallystick.ErrDenied)
	}
	made := a.pki.Sign(a.t, &x509.Certificate{Subject: csr.Subject, DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses}, csr.PublicKey)
	serial, sum := ca.Serial(fmt.Sprintf("%032x", made.SerialNumber)), sha256.Sum256(made.Raw)
	c := ca.Certificate{Serial: serial, Authority: "lab", DER: made.Raw, SHA256: hex.EncodeToString(sum[:]), Names: ca.Names{CommonName: csr.Subject.CommonName, DNS: csr.DNSNames}}
	a.issued[serial], a.who = c, append(a.who, who.Via)
	return c, nil
}

func (a *authority) Find(_ context.Context, serial ca.Serial) (ca.Certificate, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c, ok := a.issued[serial]; ok {
		return c, nil
	}
	return ca.Certificate{}, tallystick.ErrNotFound
}

func (a *authority) Signing(ctx context.Context, name, _ string) (ca.Authority, error) {
	list, _ := a.Authorities(ctx)
	if name != "lab" {
		return ca.Authority{}, tallystick.ErrNotFound
	}
	return list[0], nil
}

func (a *authority) Authorities(context.Context) ([]ca.Authority, error) {
	return []ca.Authority{{Name: "lab", State: ca.Active, Certificate: a.pki.Sub.Raw, Chain: [][]byte{a.pki.Root.Raw}}}, nil
}

func (a *authority) Alternates(context.Context, string) ([][][]byte, error) { return nil, nil }

func (a *authority) made() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.who)
}

// asked returns how the last one who asked was known.
func (a *authority) asked() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.who[len(a.who)-1]
}

const token = "tally_a-secret-of-the-tests"

func (a *authority) Token(_ context.Context, secret, _ string) (gate.Actor, error) {
	if secret != token {
		return gate.Actor{}, tallystick.ErrUnsigned
	}
	return gate.Actor{Name: "bootstrap", Role: gate.Client, Via: "token"}, nil
}

// start starts an EST server and returns options that lead to it.
func start(t *testing.T) (*authority, map[string]string) {
	t.Helper()
	a := &authority{t: t, pki: lab.NewPKI(t), issued: map[ca.Serial]ca.Certificate{}}
	server := httptest.NewUnstartedServer(est.New(est.Config{CA: a, Access: a, Default: "lab", Now: time.Now, Retry: 7 * time.Minute}))
	chain, key := a.pki.Server(t)
	pair, err := tls.LoadX509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert, Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	return a, map[string]string{"url": server.URL, "user": "device", "password": token, "roots": a.pki.RootFile}
}

func TestDriver(t *testing.T) {
	t.Parallel()
	a, options := start(t)
	gone := maps.Clone(options)
	gone["url"] = "https://" + lab.Loopback(lab.FreePort(t))
	drivertest.Run(t, drivertest.Suite{
		Driver: Driver(), Options: options, Secrets: []string{token, base64.StdEncoding.EncodeToString([]byte("device:" + token))},
		Issuing: &drivertest.Issuing{Names: []string{"www.lab.test", "127.0.0.1"}, Refused: []string{"www.example.com"}, Made: a.made, Gone: gone},
	})
}

func opened(t *testing.T, options map[string]string) *Issuer {
	t.Helper()
	return drivertest.Open[*Issuer](t, Driver(), options)
}

func request(t *testing.T, names ...string) (driver.IssueRequest, *ecdsa.PrivateKey) {
	t.Helper()
	key := lab.NewKey(t)
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
	if err != nil {
		t.Fatal(err)
	}
	return driver.IssueRequest{Order: "one", CSR: csr, Now: time.Now}, key
}

// A certificate is renewed by its own word, while that counts.
func TestRenewal(t *testing.T) {
	t.Parallel()
	a, options := start(t)
	i := opened(t, options)
	first, key := request(t, "www.lab.test")
	issued, err := i.Issue(t.Context(), first)
	if err != nil || a.asked() != "token" || len(issued.Chain) != 2 {
		t.Fatalf("at first: %d certificates by %v, %v", len(issued.Chain), a.who, err)
	}
	next, _ := request(t, "www.lab.test")
	next.Replaces, next.ReplacesKey = issued.Chain[0], key
	if _, err := i.Issue(t.Context(), next); err != nil || a.asked() == "token" {
		t.Errorf("renewed by %q, %v", a.asked(), err)
	}
	more, _ := request(t, "www.lab.test", "api.lab.test")
	more.Replaces, more.ReplacesKey = issued.Chain[0], key
	if _, err := i.Issue(t.Context(), more); err != nil || a.asked() != "token" {
		t.Errorf("with another name: by %q, %v", a.asked(), err)
	}
	a.mu.Lock()
	clear(a.issued) // the server knows none of them now
	a.mu.Unlock()
	if _, err := i.Issue(t.Context(), next); err != nil || a.asked() != "token" {
		t.Errorf("when the old one has no say: by %q, %v", a.asked(), err)
	}
	delete(options, "user")
	delete(options, "password")
	if _, err := opened(t, options).Issue(t.Context(), next); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("without anything to show: %v", err)
	}
}

func TestWaiting(t *testing.T) {
	t.Parallel()
	a, options := start(t)
	a.waiting = true
	r, _ := request(t, "www.lab.test")
	issued, err := opened(t, options).Issue(t.Context(), r)
	if left := time.Until(issued.Retry); err != nil || len(issued.Chain) > 0 || left < 6*time.Minute || left > 8*time.Minute {
		t.Errorf("%+v, %v", issued, err)
	}
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	_, options := start(t)
	options["password"] = "tally_not-the-secret"
	r, _ := request(t, "www.lab.test")
	_, err := opened(t, options).Issue(t.Context(), r)
	if !errors.Is(err, tallystick.ErrDenied) || strings.Contains(err.Error(), "not-the-secret") {
		t.Errorf("it says %v", err)
	}
}

// Answers that no EST server gives.
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	for what, body := range map[string]string{"nothing": "", "no base64": "<html>", "no PKCS #7": "AAAA", "an empty message": "MIAGCSqGSIb3DQEHAqCAMIACAQExADCABgkqhkiG9w0BBwEAAKCAADEAAAAAAAAA"} {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }))
		r, _ := request(t, "www.lab.test")
		i := opened(t, map[string]string{"url": server.URL, "roots": lab.File(t, "roots.pem", lab.CertificatePEM(server.Certificate().Raw))})
		if issued, err := i.Issue(t.Context(), r); err == nil || len(issued.Chain) > 0 {
			t.Errorf("%s gives %v, %v", what, issued, err)
		}
		server.Close()
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, bad := range []map[string]string{
		{}, {"url": "http://est.example"}, {"url": "https://est.example", "certificate": "c.pem"},
		{"url": "https://est.example", "user": "u"}, {"url": "https://est.example", "user": "a:b", "password": "x"},
	} {
		if _, err := Driver().Open(bad); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v", bad, err)
		}
	}
}
