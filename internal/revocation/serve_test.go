// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// serve serves the house, and returns its URL.
func (h *house) serve() string {
	server := httptest.NewServer(h.p.Handler())
	h.Cleanup(server.Close)
	return server.URL
}

// ask makes a request, with headers in pairs.
func ask(t testing.TB, method, url string, body []byte, headers ...string) (*http.Response, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	must(t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	return response, text
}

func TestListsAreServed(t *testing.T) {
	h := newHouse(t)
	h.config.Shards = 2
	h.p = New(h.config)
	base := h.serve()
	h.revoke(0, 8)
	h.flush()
	for i, shard := range []int64{store.CompleteList, 0, 1} {
		path := strings.TrimPrefix(ListURL("http://pki.example/", "lab", shard), "http://pki.example")
		response, body := ask(t, "GET", base+path, nil)
		header := response.Header
		if response.StatusCode != 200 || header.Get("Content-Type") != "application/pkix-crl" || !bytes.Equal(body, h.list(shard).Raw) {
			t.Fatalf("%s: %s, %d bytes", path, response.Status, len(body))
		}
		if header.Get("Cache-Control") != "public, max-age=600, must-revalidate" || header.Get("Last-Modified") != h.list(shard).ThisUpdate.Format(http.TimeFormat) {
			t.Errorf("%s: %v", path, header)
		}
		if again, body := ask(t, "GET", base+path, nil, "If-None-Match", header.Get("ETag")); again.StatusCode != 304 || len(body) != 0 {
			t.Errorf("%s is sent again to who has it: %s", path, again.Status)
		}
		head, empty := ask(t, "HEAD", base+path, nil)
		if head.StatusCode != 200 || head.ContentLength != int64(len(body)) || len(empty) != 0 {
			t.Errorf("HEAD %s: %s, %d", path, head.Status, head.ContentLength)
		}
		// What is new has another name, although no second has passed.
		h.revoke(8+4*i, 12+4*i)
		h.flush()
		for _, condition := range []string{"If-None-Match", "If-Modified-Since"} {
			value := header.Get("ETag")
			if condition == "If-Modified-Since" {
				value = header.Get("Last-Modified")
			}
			if again, body := ask(t, "GET", base+path, nil, condition, value); again.StatusCode != 200 || !bytes.Equal(body, h.list(shard).Raw) {
				t.Errorf("%s: a new list is kept from who asks with %s: %s", path, condition, again.Status)
			}
		}
	}
	for path, want := range map[string]int{"/pki/lab/01.crl": 404, "/pki/lab/2.crl": 404, "/pki/lab/-1.crl": 404, "/pki/other.crl": 404, "/pki/lab": 404, "/pki/": 404,
		"/pki/lab/0.crt": 404, "/pki/lab%2f0.crl": 404, "/pki/lab.crt": 200, "/pki/lab.pem": 200, "/else": 404, "/pki/lab/ocsp": 405} {
		if response, _ := ask(t, "GET", base+path, nil); response.StatusCode != want {
			t.Errorf("%s: %s", path, response.Status)
		}
	}
	if response, _ := ask(t, "POST", base+"/pki/lab.crl", nil); response.StatusCode != 405 {
		t.Errorf("POST: %s", response.Status)
	}
	if _, der := ask(t, "GET", base+"/pki/lab.crt", nil); !bytes.Equal(der, h.ca.Raw) {
		t.Error("the certificate is another one")
	}
	h.at(h.list(store.CompleteList).NextUpdate.Add(-time.Minute))
	if response, _ := ask(t, "GET", base+"/pki/lab.crl", nil); response.Header.Get("Cache-Control") != "public, max-age=60, must-revalidate" {
		t.Errorf("a minute before its end: %v", response.Header)
	}
}

func TestNoListYet(t *testing.T) {
	h := newHouse(t)
	away := tallystick.ErrUnavailable
	h.broken.Store(&away)
	_ = h.p.Flush(t.Context())
	if response, _ := ask(t, "GET", h.serve()+"/pki/lab.crl", nil); response.StatusCode != 503 || response.Header.Get("Retry-After") == "" {
		t.Errorf("%s %v", response.Status, response.Header)
	}
	if health := h.health(); len(health) != 1 || health[0].State != Missing || health[0].Error == "" {
		t.Errorf("%+v", health)
	}
}

// request returns the arguments by which openssl asks for serial numbers.
func (h *house) request(serials ...string) []string {
	args := []string{"ocsp", "-issuer", h.file("ca.pem"), "-CAfile", h.file("ca.pem")}
	for _, serial := range serials {
		args = append(args, "-serial", serial)
	}
	return args
}

// file writes the CA's certificate, once.
func (h *house) file(name string) string {
	path := filepath.Join(h.TempDir(), name)
	return writePEM(h, path, "CERTIFICATE", h.ca.Raw)
}

// openssl asks by POST and checks signature, nonce and times.
func TestOpenSSLAsks(t *testing.T) {
	for _, direct := range []bool{false, true} {
		t.Run(fmt.Sprint("direct ", direct), func(t *testing.T) {
			h := newHouse(t)
			h.at(time.Now()) // openssl has no other clock
			h.config.Direct = direct
			h.p = New(h.config)
			h.revoke(0, 3)
			h.flush()
			base := h.serve()
			args := h.request(fmt.Sprintf("0x%x", serialOf(0)), fmt.Sprintf("0x%x", serialOf(1)), fmt.Sprintf("0x%x", serialOf(5)), fmt.Sprintf("0x%x", serialOf(2_000_000)))
			for _, more := range [][]string{{"-sha1"}, {"-sha256"}} {
				all := append(append([]string{"ocsp"}, more...), args[1:]...)
				said := tool(t, "openssl", append(all, "-url", base+"/pki/lab/ocsp", "-resp_text")...)
				for _, want := range []string{"Response verify OK", "OCSP Nonce", "keyCompromise",
					fmt.Sprintf("0x%x: revoked", serialOf(0)), fmt.Sprintf("0x%x: revoked", serialOf(1)), fmt.Sprintf("0x%x: good", serialOf(5)),
					fmt.Sprintf("0x%x: unknown", serialOf(2_000_000))} {
					if !strings.Contains(said, want) {
						t.Errorf("%v: openssl does not say %q:\n%s", more, want, said)
					}
				}
				if strings.Contains(said, "WARNING") || strings.Contains(said, "OCSP No Check") == direct {
					t.Errorf("%v: %s", more, said)
				}
			}
		})
	}
}

// get asks by GET, as RFC 5019 has it.
func (h *house) get(base string, der []byte, escape bool) (*http.Response, *ocsp.Response, error) {
	h.Helper()
	path := base64.StdEncoding.EncodeToString(der)
	if escape {
		path = url.QueryEscape(path)
	}
	response, body := ask(h.TB, "GET", base+"/pki/lab/ocsp/"+path, nil)
	parsed, err := ocsp.ParseResponse(body, h.ca)
	return response, parsed, err
}

func TestAnswersByGET(t *testing.T) {
	h := newHouse(t)
	h.revoke(0, 3)
	h.flush()
	base := h.serve()
	for n := range 60 { // among so many there are slashes, in pairs too, and plus signs
		for _, escape := range []bool{true, false} {
			response, parsed, err := h.get(base, simpleQuery(h.ca, n), escape)
			if err != nil {
				t.Fatalf("%d: %s %v", n, response.Status, err)
			}
			want := ocsp.Good
			if n < 3 {
				want = ocsp.Revoked
			}
			if parsed.Status != want || n < 3 && (!parsed.RevokedAt.Equal(noon) || parsed.RevocationReason != dead(n).Reason) || !parsed.NextUpdate.Equal(noon.Add(AnswerLifetime)) {
				t.Fatalf("%d: %+v", n, parsed)
			}
			if age := response.Header.Get("Cache-Control"); age != "max-age=14400, public, no-transform, must-revalidate" {
				t.Fatal(age)
			}
		}
	}
	response, _, _ := h.get(base, simpleQuery(h.ca, 5), true)
	path := base + "/pki/lab/ocsp/" + url.QueryEscape(base64.StdEncoding.EncodeToString(simpleQuery(h.ca, 5)))
	if again, _ := ask(t, "GET", path, nil, "If-None-Match", response.Header.Get("ETag")); again.StatusCode != 304 {
		t.Errorf("an answer is sent again to who has it: %s", again.Status)
	}
	_, parsed, err := h.get(base, simpleQuery(h.ca, 1_000_001), true)
	if err != nil || parsed.Status != ocsp.Unknown {
		t.Errorf("a certificate that was never issued: %+v, %v", parsed, err)
	}
}

// What was revoked is revoked at once, and not when the answer that was kept has ended.
func TestAKeptAnswerIsForgotten(t *testing.T) {
	h := newHouse(t)
	h.flush()
	base := h.serve()
	for step, want := range []int{ocsp.Good, ocsp.Good, ocsp.Revoked} {
		if step == 2 {
			h.revoke(5, 6)
			away := tallystick.ErrUnavailable // and the key is not even needed for that
			h.broken.Store(&away)
			_ = h.p.Flush(t.Context())
		}
		_, parsed, err := h.get(base, simpleQuery(h.ca, 5), true)
		if err != nil || parsed.Status != want {
			t.Errorf("step %d: %+v, %v", step, parsed, err)
		}
	}
}

func TestTheRespondersCertificateIsRenewed(t *testing.T) {
	h := newHouse(t)
	h.flush()
	base := h.serve()
	var serials []string
	for range 3 {
		_, parsed, err := h.get(base, simpleQuery(h.ca, 5), true)
		must(t, err)
		c := parsed.Certificate
		if c == nil || c.NotAfter.Sub(c.NotBefore) != delegateLifetime+Backdate || parsed.NextUpdate.After(c.NotAfter) {
			t.Fatalf("%+v", c)
		}
		serials = append(serials, c.SerialNumber.String())
		h.pass(50 * time.Hour)
	}
	if serials[0] != serials[1] || serials[1] == serials[2] {
		t.Errorf("after 0, 50 and 100 h: %v", serials)
	}
	away := tallystick.ErrUnavailable
	h.broken.Store(&away)
	h.pass(100 * time.Hour) // the old one is still good
	if _, _, err := h.get(base, simpleQuery(h.ca, 6), true); err != nil {
		t.Error(err)
	}
	h.pass(100 * time.Hour)
	if _, body := ask(t, "POST", base+"/pki/lab/ocsp", simpleQuery(h.ca, 6)); !bytes.Equal(body, []byte{0x30, 3, 10, 1, ocspTryLater}) {
		t.Errorf("without a key: %x", body)
	}
}

func TestBadRequestsOfOCSP(t *testing.T) {
	h := newHouse(t)
	h.flush()
	base := h.serve()
	good := simpleQuery(h.ca, 5)
	status := func(s byte) []byte { return []byte{0x30, 3, 10, 1, s} }
	for name, c := range map[string]struct {
		body []byte
		want byte
	}{
		"nothing": {nil, ocspMalformed}, "noise": {[]byte("GET / HTTP/1.1"), ocspMalformed}, "half": {good[:len(good)/2], ocspMalformed},
		"more behind it": {append(bytes.Clone(good), 0), ocspMalformed}, "a megabyte": {make([]byte, 1<<20), ocspMalformed},
		"another CA":           {simpleQuery(newCA(t, "Other CA", h.key), 5), ocspUnauthorized},
		"another key":          {simpleQuery(newCA(t, "Lab CA", newKey(t, "ecdsa-p256")), 5), ocspUnauthorized},
		"an empty nonce":       {queryWith(h.ca, 5, []byte{}), ocspMalformed},
		"a nonce of 129":       {queryWith(h.ca, 5, make([]byte, 129)), ocspMalformed},
		"a critical extension": {queryExtended(h.ca, 5, true), ocspMalformed},
	} {
		response, body := ask(t, "POST", base+"/pki/lab/ocsp", c.body)
		if response.StatusCode != 200 || !bytes.Equal(body, status(c.want)) || response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %s %x", name, response.Status, body)
		}
	}
	for _, size := range []int{1, 32, 128} {
		nonce := bytes.Repeat([]byte{7}, size)
		_, body := ask(t, "POST", base+"/pki/lab/ocsp", queryWith(h.ca, 5, nonce))
		parsed, err := ocsp.ParseResponse(body, h.ca)
		if err != nil || parsed.Status != ocsp.Good || !bytes.Contains(body, append([]byte{4}, append(lengthOf(size), nonce...)...)) {
			t.Errorf("a nonce of %d octets: %+v, %v", size, parsed, err)
		}
	}
	if _, body := ask(t, "POST", base+"/pki/lab/ocsp", queryExtended(h.ca, 5, false)); bytes.Equal(body, status(ocspMalformed)) {
		t.Error("an extension that is not critical was not passed over")
	}
	if response, body := ask(t, "GET", base+"/pki/lab/ocsp/%21%21", nil); response.StatusCode != 200 || !bytes.Equal(body, status(ocspMalformed)) {
		t.Errorf("no base64: %s %x", response.Status, body)
	}
}
