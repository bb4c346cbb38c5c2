// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/internal/lab"
)

func suite(t *testing.T, ca *lab.StepCA, options map[string]string, secrets ...string) drivertest.Suite {
	options["url"], options["provisioner"] = ca.URL, ca.Provisioner
	gone := maps.Clone(options)
	gone["url"] = "https://" + lab.Loopback(lab.FreePort(t))
	return drivertest.Suite{
		Driver: Driver(), Options: options, Secrets: append(secrets, private(t, ca)),
		Issuing: &drivertest.Issuing{
			Names: []string{"www.lab.test", "api.lab.test", "127.0.0.1"}, Refused: []string{"www.example.com"},
			Made: ca.Issued, Gone: gone, Revoked: driver.StandingRevoked,
		},
	}
}

// private is the part of the provisioner's key that nobody may see.
func private(t *testing.T, ca *lab.StepCA) string {
	t.Helper()
	var key struct{ D string }
	if err := json.Unmarshal([]byte(ca.Key), &key); err != nil || key.D == "" {
		t.Fatal("there is no key")
	}
	return key.D
}

func TestDriverWithKeyAndRoots(t *testing.T) {
	t.Parallel()
	ca := lab.StartStepCA(t, lab.StepCASettings{})
	drivertest.Run(t, suite(t, ca, map[string]string{"key": ca.Key, "roots": ca.RootFile}))
}

func TestDriverWithPasswordAndFingerprint(t *testing.T) {
	t.Parallel()
	const password = "correct horse battery staple"
	ca := lab.StartStepCA(t, lab.StepCASettings{Password: password})
	drivertest.Run(t, suite(t, ca, map[string]string{"password": password, "fingerprint": ca.Fingerprint}, password))
}

func issuerOf(t *testing.T, ca *lab.StepCA, more ...string) *Issuer {
	t.Helper()
	options := map[string]string{"url": ca.URL, "provisioner": ca.Provisioner}
	for n := 0; n < len(more); n += 2 {
		options[more[n]] = more[n+1]
	}
	return drivertest.Open[*Issuer](t, Driver(), options)
}

func request(t *testing.T, order string, names ...string) driver.IssueRequest {
	t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, lab.NewKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return driver.IssueRequest{Order: order, CSR: csr, Now: time.Now, Keep: func(string) error { return nil }}
}

// Two processes that both believe that an order is theirs do not both get a
// certificate.
func TestOneTokenForOneAttempt(t *testing.T) {
	t.Parallel()
	ca := lab.StartStepCA(t, lab.StepCASettings{})
	i, r := issuerOf(t, ca, "key", ca.Key, "roots", ca.RootFile), request(t, "one", "www.lab.test")
	if _, err := i.Issue(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Issue(t.Context(), r); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("the same attempt again: %v", err)
	}
	if ca.Issued() != 1 {
		t.Errorf("%d certificates", ca.Issued())
	}
}

func TestLifetime(t *testing.T) {
	t.Parallel()
	ca := lab.StartStepCA(t, lab.StepCASettings{})
	r := request(t, "one", "www.lab.test")
	r.Lifetime = 10 * time.Minute
	issued, err := issuerOf(t, ca, "key", ca.Key, "roots", ca.RootFile).Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(issued.Chain[0])
	if left := time.Until(leaf.NotAfter); left > 11*time.Minute || left < 8*time.Minute {
		t.Errorf("asked for 10 minutes, it is good for %v", left)
	}
}

func TestWrongSecretsAreRefused(t *testing.T) {
	t.Parallel()
	ca, other := lab.StartStepCA(t, lab.StepCASettings{Password: "right"}), lab.StartStepCA(t, lab.StepCASettings{})
	for what, i := range map[string]*Issuer{
		"another CA's root": issuerOf(t, ca, "password", "right", "fingerprint", other.Fingerprint),
		"another CA's key":  issuerOf(t, ca, "key", other.Key, "roots", ca.RootFile),
		"a wrong password":  issuerOf(t, ca, "password", "wrong-secret", "roots", ca.RootFile),
	} {
		_, err := i.Issue(t.Context(), request(t, "one", "www.lab.test"))
		if !errors.Is(err, tallystick.ErrDenied) && !errors.Is(err, tallystick.ErrInvalid) || strings.Contains(fmt.Sprint(err), "wrong-secret") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if ca.Issued() != 0 {
		t.Error("a certificate was made")
	}
}

// Whoever stands at the CA's address with a certificate of the right name, and
// shows another root, gets nothing.
func TestFingerprintIsWhatCounts(t *testing.T) {
	t.Parallel()
	ca, pki := lab.StartStepCA(t, lab.StepCASettings{}), lab.NewPKI(t)
	asked := make(chan string, 10)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		json.NewEncoder(w).Encode(map[string]string{"ca": lab.CertificatePEM(pki.Root.Raw)})
	}))
	chain, key := pki.Server(t)
	pair, err := tls.LoadX509KeyPair(chain, key)
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	server.StartTLS()
	t.Cleanup(server.Close)
	i := issuerOf(t, ca, "url", server.URL, "key", ca.Key, "fingerprint", ca.Fingerprint)
	if _, err := i.Issue(t.Context(), request(t, "one", "www.lab.test")); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("it says %v", err)
	}
	if path := <-asked; len(asked) > 0 || !strings.HasPrefix(path, "/1.0/root/") {
		t.Errorf("a stranger was asked for %s and %d more", path, len(asked))
	}
}

// A CA that echoes what it was sent does not put a token into our errors.
func TestTokenStaysOutOfErrors(t *testing.T) {
	t.Parallel()
	var token string
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var question struct{ OTT string }
		json.NewDecoder(r.Body).Decode(&question)
		token = question.OTT
		w.WriteHeader(http.StatusForbidden)
		json.NewEncoder(w).Encode(map[string]string{"message": "no to " + token})
	}))
	t.Cleanup(server.Close)
	ca := lab.StartStepCA(t, lab.StepCASettings{})
	i := issuerOf(t, ca, "url", server.URL, "key", ca.Key, "roots", lab.File(t, "roots.pem", lab.CertificatePEM(server.Certificate().Raw)))
	_, err := i.Issue(t.Context(), request(t, "one", "www.lab.test"))
	if !errors.Is(err, tallystick.ErrDenied) || token == "" || strings.Contains(err.Error(), token[:40]) {
		t.Errorf("it says %v", err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, bad := range []map[string]string{
		{}, {"url": "https://ca.example", "provisioner": "p"}, {"url": "https://ca.example", "provisioner": "p", "key": "s e c r e t"},
		{"url": "https://ca.example", "provisioner": "p", "password": "x", "fingerprint": "abc"},
		{"url": "https://ca.example", "provisioner": "p", "password": "x", "key": "y"},
	} {
		_, err := Driver().Open(bad)
		if !errors.Is(err, tallystick.ErrInvalid) || strings.Contains(fmt.Sprint(err), "s e c r e t") {
			t.Errorf("%v gives %v", bad, err)
		}
	}
}
