// SPDX-License-Identifier: Apache-2.0

package est_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/smallstep/pkcs7"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/est"
)

// A device is an EST client with a key.
type device struct {
	t      *testing.T
	url    string
	key    *ecdsa.PrivateKey
	shows  *tls.Certificate
	secret string // password of HTTP Basic; "" sends none
}

func newDevice(t *testing.T, url string) *device {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &device{t: t, url: url, key: key}
}

// has gives the device a certificate that the authority signs now.
func (d *device) has(a *authority) *device {
	d.t.Helper()
	c, err := a.sign(d.key.Public(), pkix.Name{CommonName: "device-1"}, []string{"device-1.example.com"}, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	d.shows = &tls.Certificate{Certificate: [][]byte{c.DER}, PrivateKey: d.key}
	return d
}

// request returns a request as EST carries it.
func (d *device) request(cn string, dns ...string) string {
	d.t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: cn}, DNSNames: dns}, d.key)
	if err != nil {
		d.t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

// post sends a body and returns the status and the answer.
func (d *device) post(path, body string) (int, string, http.Header) {
	d.t.Helper()
	r, err := http.NewRequestWithContext(d.t.Context(), http.MethodPost, d.url+path, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/pkcs10")
	return d.send(r)
}

func (d *device) send(r *http.Request) (int, string, http.Header) {
	d.t.Helper()
	if d.secret != "" {
		r.SetBasicAuth("anybody", d.secret)
	}
	config := &tls.Config{InsecureSkipVerify: true} // the server's certificate is the business of foreign_test.go
	if d.shows != nil {
		config.Certificates = []tls.Certificate{*d.shows}
	}
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	answer, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		d.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer.StatusCode, string(text), answer.Header
}

// Who is let in, and who is not.
func TestWhoMayEnrol(t *testing.T) {
	a := newAuthority(t)
	url, _ := serve(t, a)
	stranger := newDevice(t, url)
	status, text, header := stranger.post("lab/simpleenroll", stranger.request("x"))
	if status != http.StatusUnauthorized || !strings.HasPrefix(header.Get("WWW-Authenticate"), "Basic ") {
		t.Error("nobody:", status, text)
	}
	stranger.secret = "tally_wrong"
	if status, text, _ := stranger.post("lab/simpleenroll", stranger.request("x")); status != http.StatusUnauthorized {
		t.Error("a wrong token:", status, text)
	}
	stranger.secret = ""
	elsewhere := newAuthority(t)
	if status, text, _ := stranger.has(elsewhere).post("lab/simplereenroll", stranger.request("device-1")); status != http.StatusUnauthorized {
		t.Error("a certificate of somebody else's CA:", status, text)
	}
	known := newDevice(t, url).has(a)
	if status, text, _ := known.post("lab/simpleenroll", known.request("device-1", "device-1.example.com")); status != http.StatusOK {
		t.Error("a certificate of ours:", status, text)
	}
	if status, text, _ := known.post("lab-2/simplereenroll", known.request("device-1")); status != http.StatusOK {
		t.Error("at the CA that took over:", status, text)
	}
	if status, text, _ := known.post("other/simplereenroll", known.request("device-1")); status != http.StatusForbidden {
		t.Error("at another CA:", status, text)
	}
	if status, text, _ := known.post("after/simplereenroll", known.request("device-1")); status != http.StatusForbidden {
		t.Error("across a CA that was lost:", status, text)
	}
	a.expired = true
	old := newDevice(t, url).has(a)
	if status, text, _ := old.post("lab/simplereenroll", old.request("device-1")); status != http.StatusUnauthorized {
		t.Error("a certificate that has ended:", status, text)
	}
	a.expired, a.purposes = false, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	server := newDevice(t, url).has(a)
	if status, text, _ := server.post("lab/simpleenroll", server.request("device-1")); status != http.StatusForbidden {
		t.Error("a server's certificate asks for another:", status, text)
	}
	if status, text, _ := server.post("lab/simplereenroll", server.request("device-1")); status != http.StatusOK {
		t.Error("a server's certificate is renewed:", status, text)
	}
}

// A certificate with the serial number of one of ours is not ours.
func TestSerialNumberIsNotEnough(t *testing.T) {
	a := newAuthority(t)
	url, _ := serve(t, a)
	d := newDevice(t, url).has(a)
	forger := newAuthority(t)
	theirs := newDevice(t, url).has(forger)
	leaf, err := x509.ParseCertificate(theirs.shows.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	ours, err := x509.ParseCertificate(d.shows.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	leaf.SerialNumber = ours.SerialNumber
	forged, err := x509.CreateCertificate(rand.Reader, leaf, forger.root, theirs.key.Public(), forger.key)
	if err != nil {
		t.Fatal(err)
	}
	theirs.shows.Certificate[0] = forged
	if status, text, _ := theirs.post("lab/simplereenroll", theirs.request("device-1")); status != http.StatusUnauthorized {
		t.Error(status, text)
	}
}

// What a certificate proves is its own names, and no others.
func TestProvenNames(t *testing.T) {
	a := newAuthority(t)
	url, _ := serve(t, a)
	d := newDevice(t, url).has(a)
	for _, c := range []struct {
		cn     string
		dns    []string
		proven bool
	}{
		{"device-1", []string{"device-1.example.com"}, true},
		{"device-1.example.com", nil, true},
		{"", []string{"DEVICE-1.example.com"}, true},
		{"device-1", []string{"device-1.example.com", "bank.example.com"}, false},
		{"bank.example.com", []string{"device-1.example.com"}, false},
	} {
		if status, text, _ := d.post("lab/simpleenroll", d.request(c.cn, c.dns...)); status != http.StatusOK {
			t.Fatal(status, text)
		}
		if last := a.requests[len(a.requests)-1]; last.Proven != c.proven || (last.Names != nil) != c.proven {
			t.Errorf("%q %v: proven %v, names %v", c.cn, c.dns, last.Proven, last.Names)
		}
	}
}

func TestRenewalKeepsNames(t *testing.T) {
	a := newAuthority(t)
	url, _ := serve(t, a)
	d := newDevice(t, url).has(a)
	for request, want := range map[string]int{
		d.request("device-1", "device-1.example.com"):                     http.StatusOK,
		d.request("device-1"):                                             http.StatusOK,
		d.request("device-2"):                                             http.StatusBadRequest,
		d.request("device-1", "device-2.example.com"):                     http.StatusBadRequest,
		d.request("device-1", "device-1.example.com", "bank.example.com"): http.StatusBadRequest,
	} {
		if status, text, _ := d.post("lab/simplereenroll", request); status != want {
			t.Errorf("%d %s, want %d", status, text, want)
		}
	}
}

// What the CA says reaches the client in its words.
func TestAnswers(t *testing.T) {
	a := newAuthority(t)
	url, _ := serve(t, a)
	d := newDevice(t, url)
	d.secret = secret
	for _, c := range []struct {
		err    error
		status int
		retry  string
		text   string
	}{
		{&ca.Waiting{Request: 7}, http.StatusAccepted, "300", "request 7 waits for approval"},
		{fmt.Errorf("%w: refused because example.org is not ours", tallystick.ErrDenied), http.StatusForbidden, "", "example.org is not ours"},
		{ca.ErrBadKey, http.StatusBadRequest, "", "the key cannot be certified"},
		{fmt.Errorf("token 5 gone: %w", tallystick.ErrUnavailable), http.StatusServiceUnavailable, "60", "cannot be reached"},
		{errors.New("slot 3 pin 1234"), http.StatusInternalServerError, "", "inside Tallystick"},
	} {
		a.err = c.err
		status, text, header := d.post("lab/simpleenroll", d.request("x"))
		if status != c.status || header.Get("Retry-After") != c.retry || !strings.Contains(text, c.text) || strings.Contains(text, "pin") {
			t.Errorf("%v: %d %q %s", c.err, status, header.Get("Retry-After"), text)
		}
	}
}

func TestBadRequests(t *testing.T) {
	a := newAuthority(t)
	url, _ := serve(t, a)
	d := newDevice(t, url)
	d.secret = secret
	good := d.request("x")
	broken := []byte(good)
	broken[len(broken)-8] ^= 1 // in the signature
	for name, c := range map[string]struct {
		path, body string
		status     int
	}{
		"pem":        {"lab/simpleenroll", "-----BEGIN CERTIFICATE REQUEST-----\n" + good, http.StatusBadRequest},
		"empty":      {"lab/simpleenroll", "", http.StatusBadRequest},
		"signature":  {"lab/simpleenroll", string(broken), http.StatusBadRequest},
		"large":      {"lab/simpleenroll", strings.Repeat("A", est.MaxBody+4), http.StatusRequestEntityTooLarge},
		"keys":       {"lab/serverkeygen", good, http.StatusNotImplemented},
		"cmc":        {"lab/fullcmc", good, http.StatusNotImplemented},
		"operation":  {"lab/simplecmc", good, http.StatusNotFound},
		"deeper":     {"lab/x/simpleenroll", good, http.StatusNotFound},
		"no such CA": {"nowhere/simpleenroll", good, http.StatusNotFound},
		"get":        {"lab/cacerts", good, http.StatusMethodNotAllowed},
	} {
		if status, text, _ := d.post(c.path, c.body); status != c.status {
			t.Errorf("%s: %d %s, want %d", name, status, text, c.status)
		}
	}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"lab/simpleenroll", strings.NewReader(good))
	if err != nil {
		t.Fatal(err)
	}
	if status, text, _ := d.send(r); status != http.StatusBadRequest {
		t.Error("without a type:", status, text)
	}
}

// A password never goes over clear text.
func TestClearText(t *testing.T) {
	server := httptest.NewServer(est.New(est.Config{CA: newAuthority(t), Access: tokens(secret), Now: time.Now}))
	defer server.Close()
	d := newDevice(t, server.URL+est.Root)
	d.secret = secret
	if status, text, _ := d.post("lab/simpleenroll", d.request("x")); status != http.StatusBadRequest || !strings.Contains(text, "TLS") {
		t.Error(status, text)
	}
}

func TestAttributes(t *testing.T) {
	a := newAuthority(t)
	for key, want := range map[string]string{
		"ecdsa-p256": "3017301506072a8648ce3d020131" + "0a06082a8648ce3d030107",
		"ed25519":    "300506032b6570",
		"rsa-3072":   "3013301106092a864886f70d010101310402020c00",
	} {
		url, _ := serve(t, a, key)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"csrattrs", nil)
		if err != nil {
			t.Fatal(err)
		}
		status, text, header := newDevice(t, url).send(r)
		der, err := base64.StdEncoding.DecodeString(text)
		if err != nil || status != http.StatusOK || header.Get("Content-Type") != "application/csrattrs" {
			t.Error(status, text, err)
		}
		if diff := cmp.Diff(want, hex.EncodeToString(der)); diff != "" {
			t.Errorf("%s: %s", key, diff)
		}
	}
	url, _ := serve(t, a)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"lab/csrattrs", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, text, _ := newDevice(t, url).send(r); status != http.StatusNoContent || text != "" {
		t.Error(status, text)
	}
}

// The answer holds the certificate and nothing else (RFC 7030 section 4.2.3).
func TestAnswerHoldsOneCertificate(t *testing.T) {
	a := newAuthority(t)
	url, _ := serve(t, a)
	d := newDevice(t, url)
	d.secret = secret
	_, text, header := d.post("simpleenroll", d.request("x", "x.example.com"))
	if got := header.Get("Content-Type"); got != "application/pkcs7-mime; smime-type=certs-only" {
		t.Error(got)
	}
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	message, err := pkcs7.Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	if len(message.Certificates) != 1 || !message.Certificates[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool }).Equal(d.key.Public()) {
		t.Errorf("%d certificates", len(message.Certificates))
	}
}
