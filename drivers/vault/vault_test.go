// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"maps"
	"math/big"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/internal/lab"
)

// These tests run against a protocol double; see double_test.go.

func (d *double) options(more ...string) map[string]string {
	options := map[string]string{"url": d.url, "mount": "team/pki", "namespace": "ops", "role": "web", "roots": d.pki.RootFile}
	for n := 0; n < len(more); n += 2 {
		options[more[n]] = more[n+1]
	}
	return options
}

func (d *double) suite(t *testing.T, options map[string]string) drivertest.Suite {
	gone := maps.Clone(options)
	gone["url"] = "https://" + lab.Loopback(lab.FreePort(t))
	return drivertest.Suite{
		Driver: Driver(), Options: options, Secrets: []string{goodToken, secretID},
		Issuing: &drivertest.Issuing{
			Names: []string{"www.lab.test", "127.0.0.1"}, Refused: []string{"www.example.com"},
			Made: d.count, Gone: gone, Revoked: driver.StandingRevoked,
		},
	}
}

func TestDriverWithToken(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	drivertest.Run(t, d.suite(t, d.options("token", goodToken)))
}

func TestDriverWithAppRole(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	before := d.live()
	drivertest.Run(t, d.suite(t, d.options("role-id", roleID, "secret-id", secretID)))
	// A call that is cut off while it signs in leaves a token to end by itself.
	if left := d.live() - before; left > 2 {
		t.Errorf("%d tokens were left behind", left)
	}
}

func issuerOf(t *testing.T, options map[string]string) *Issuer {
	t.Helper()
	opened, err := Driver().Open(options)
	if err != nil {
		t.Fatal(err)
	}
	return opened.(*Issuer)
}

func request(t *testing.T, names ...string) driver.IssueRequest {
	t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, lab.NewKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return driver.IssueRequest{Order: "one", CSR: csr, Now: time.Now, Keep: func(string) error { return nil }}
}

// A file with a token is read for each request, as an agent renews it.
func TestTokenFile(t *testing.T) {
	t.Parallel()
	d, path := newDouble(t), lab.File(t, "token", "hvs.an-old-one\n")
	i := issuerOf(t, d.options("token-file", path))
	if _, err := i.Issue(t.Context(), request(t, "www.lab.test")); !errors.Is(err, tallystick.ErrDenied) || strings.Contains(err.Error(), "an-old-one") {
		t.Errorf("an old token: %v", err)
	}
	if err := os.WriteFile(path, []byte(goodToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Issue(t.Context(), request(t, "www.lab.test")); err != nil {
		t.Error(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Issue(t.Context(), request(t, "www.lab.test")); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("without the file: %v", err)
	}
}

func TestRoleLifetimeAndSeal(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	i, r := issuerOf(t, d.options("token", goodToken, "role", "other")), request(t, "www.lab.test")
	if _, err := i.Issue(t.Context(), r); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "unknown role") {
		t.Errorf("an unknown role: %v", err)
	}
	r.Profile, r.Lifetime = "web", time.Hour
	issued, err := i.Issue(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(issued.Chain[0])
	if left := time.Until(leaf.NotAfter); left > time.Hour || left < 59*time.Minute {
		t.Errorf("asked for an hour, it is good for %v", left)
	}
	r.Profile = "../../sys/seal"
	if _, err := i.Issue(t.Context(), r); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a role that is a path: %v", err)
	}
	d.mu.Lock()
	d.sealed = true
	d.mu.Unlock()
	r.Profile = "web"
	if _, err := i.Issue(t.Context(), r); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("a sealed server: %v", err)
	}
}

// Another mount may have a certificate with the same serial number.
func TestSerialNumberIsNotEnough(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	i := issuerOf(t, d.options("token", goodToken))
	issued, err := i.Issue(t.Context(), request(t, "www.lab.test"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, _ := x509.ParseCertificate(issued.Chain[0])
	other := lab.NewPKI(t).Sign(t, &x509.Certificate{SerialNumber: leaf.SerialNumber}, lab.NewKey(t).Public())
	unknown := lab.NewPKI(t).Sign(t, &x509.Certificate{SerialNumber: big.NewInt(77)}, lab.NewKey(t).Public())
	for _, certificate := range []*x509.Certificate{other, unknown} {
		standing, err := i.LookStanding(t.Context(), driver.StandingRequest{Certificate: certificate.Raw, Now: time.Now})
		if err != nil || standing.Status != driver.StandingUnknown {
			t.Errorf("a stranger is %q, %v", standing.Status, err)
		}
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, bad := range []map[string]string{
		{}, {"url": "https://vault.example"}, {"url": "http://vault.example", "token": "x"},
		{"url": "https://vault.example", "token": "x", "token-file": "/y"}, {"url": "https://vault.example", "role-id": "x"},
		{"url": "https://vault.example", "token": "x", "mount": "../sys"}, {"url": "https://vault.example", "token": "x", "role": "a/b"},
		{"url": "https://vault.example", "token-file": "y"},
	} {
		if _, err := Driver().Open(bad); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v", bad, err)
		}
	}
}
