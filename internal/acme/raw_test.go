// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
)

// A raw client signs what it is told to, right or wrong.
type raw struct {
	t     testing.TB
	base  string // of the CA: https://host/acme/lab/
	http  *http.Client
	dns   *nameServer
	key   crypto.Signer
	kid   string
	nonce string // of the newest answer
}

// A reply is an answer with its body read.
type reply struct {
	*http.Response
	body []byte
}

// raw returns a client that has no account yet.
func (s *site) raw(t testing.TB) *raw {
	return &raw{t: t, base: s.http.URL + "/acme/lab/", http: s.http.Client(), dns: s.dns, key: newKey(t)}
}

// newRaw returns a client with an account.
func newRaw(t testing.TB, s *site) *raw {
	t.Helper()
	c := s.raw(t)
	a := c.post("new-account", `{"termsOfServiceAgreed":true}`)
	if a.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	c.kid = a.Header.Get("Location")
	return c
}

// url makes an address of a resource, or leaves one as it is.
func (c *raw) url(resource string) string {
	if strings.HasPrefix(resource, "https://") {
		return resource
	}
	return c.base + resource
}

// fresh returns a nonce that was not used.
func (c *raw) fresh() string {
	c.t.Helper()
	if c.nonce == "" {
		r, err := c.http.Head(c.url("new-nonce"))
		if err != nil {
			c.t.Fatal(err)
		}
		_ = r.Body.Close()
		c.nonce = r.Header.Get("Replay-Nonce")
	}
	nonce := c.nonce
	c.nonce = ""
	return nonce
}

// sign makes a JWS with headers of the caller's choice over the usual ones; nil
// leaves one out.
func (c *raw) sign(url, payload string, headers map[string]any) []byte {
	c.t.Helper()
	head := map[string]any{"url": url, "alg": "ES256"}
	if c.kid != "" {
		head["kid"] = c.kid
	} else {
		head["jwk"] = jose.JSONWebKey{Key: c.key.Public()}
	}
	if _, ok := headers["nonce"]; !ok {
		head["nonce"] = c.fresh()
	}
	for name, value := range headers {
		if head[name] = value; value == nil {
			delete(head, name)
		}
	}
	return jws(c.t, c.key, head, payload)
}

// jws signs by hand: the library would not sign what is wrong.
func jws(t testing.TB, key crypto.Signer, head map[string]any, payload string) []byte {
	t.Helper()
	text, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	protected, body := base64.RawURLEncoding.EncodeToString(text), base64.RawURLEncoding.EncodeToString([]byte(payload))
	sum := crypto.SHA256.New()
	sum.Write([]byte(protected + "." + body))
	r, s, err := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), sum.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	out, err := json.Marshal(map[string]string{"protected": protected, "payload": body, "signature": base64.RawURLEncoding.EncodeToString(signature)})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// send posts a body as it is.
func (c *raw) send(url string, body []byte) reply {
	c.t.Helper()
	a, err := c.exchange(url, body)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

func (c *raw) exchange(url string, body []byte) (reply, error) {
	r, err := c.http.Post(url, "application/jose+json", bytes.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	c.nonce = r.Header.Get("Replay-Nonce")
	return reply{r, text}, err
}

// post signs and sends.
func (c *raw) post(resource, payload string) reply {
	c.t.Helper()
	url := c.url(resource)
	return c.send(url, c.sign(url, payload, nil))
}

// must posts and wants a status.
func (c *raw) must(status int, resource, payload string) reply {
	c.t.Helper()
	a := c.post(resource, payload)
	if a.StatusCode != status {
		c.t.Fatalf("%s %s: %d %s; want %d", resource, payload, a.StatusCode, a.body, status)
	}
	return a
}

// wants checks that an answer is a problem of a type.
func (a reply) wants(t testing.TB, status int, kind string) {
	t.Helper()
	var p struct{ Type, Detail string }
	_ = json.Unmarshal(a.body, &p)
	if a.StatusCode != status || p.Type != "urn:ietf:params:acme:error:"+kind || a.Header.Get("Content-Type") != "application/problem+json" || p.Detail == "" {
		t.Errorf("%d %s %s; want %d %s", a.StatusCode, a.Header.Get("Content-Type"), a.body, status, kind)
	}
	if a.Request.Method == http.MethodPost && a.Header.Get("Replay-Nonce") == "" {
		t.Error("the answer has no nonce")
	}
}

// into reads the body of an answer.
func (a reply) into(t testing.TB, value any) {
	t.Helper()
	if err := json.Unmarshal(a.body, value); err != nil {
		t.Fatalf("%v: %s", err, a.body)
	}
}

// An order and an authorization as tests read them.
type orderView struct {
	Status, Finalize, Certificate, Replaces, NotAfter string
	Authorizations                                    []string
	Error                                             *struct{ Type, Detail string }
}

type authorizationView struct {
	Status     string
	Wildcard   bool
	Challenges []struct {
		Type, URL, Token, Status string
		Error                    *struct{ Type, Detail string }
	}
}

// order orders names.
func (c *raw) order(names ...string) (view orderView, location string) {
	c.t.Helper()
	a := c.must(http.StatusCreated, "new-order", orderText(names...))
	a.into(c.t, &view)
	return view, a.Header.Get("Location")
}

func orderText(names ...string) string {
	return `{"identifiers":[{"type":"dns","value":"` + strings.Join(names, `"},{"type":"dns","value":"`) + `"}]}`
}

// authorization reads one.
func (c *raw) authorization(url string) (view authorizationView) {
	c.t.Helper()
	c.must(http.StatusOK, url, "").into(c.t, &view)
	return view
}

// prove proves all names of an order by dns-01.
func (c *raw) prove(o orderView) {
	c.t.Helper()
	for _, url := range o.Authorizations {
		var view struct {
			authorizationView
			Identifier struct{ Value string }
		}
		c.must(http.StatusOK, url, "").into(c.t, &view)
		for _, challenge := range view.Challenges {
			if challenge.Type == "dns-01" {
				c.dns.addTXT("_acme-challenge."+view.Identifier.Value, c.dnsProof(challenge.Token))
				c.must(http.StatusOK, challenge.URL, "{}")
			}
		}
	}
}

// keyAuthorization is RFC 8555 section 8.1.
func (c *raw) keyAuthorization(token string) string {
	c.t.Helper()
	sum, err := (&jose.JSONWebKey{Key: c.key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		c.t.Fatal(err)
	}
	return token + "." + base64.RawURLEncoding.EncodeToString(sum)
}

func (c *raw) dnsProof(token string) string {
	return base64.RawURLEncoding.EncodeToString(sha(c.keyAuthorization(token)))
}

// csr makes the payload of finalize.
func csr(t testing.TB, key crypto.Signer, template *x509.CertificateRequest) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return `{"csr":"` + base64.RawURLEncoding.EncodeToString(der) + `"}`
}

// sha returns the SHA-256 of a text.
func sha(text string) []byte {
	h := crypto.SHA256.New()
	h.Write([]byte(text))
	return h.Sum(nil)
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func jwkText(t testing.TB, key crypto.PublicKey) string {
	t.Helper()
	text, err := (&jose.JSONWebKey{Key: key}).MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// hs256 signs with a key as bindings have them.
func hs256(t testing.TB, key string, head map[string]any, payload string) []byte {
	t.Helper()
	secret, err := base64.RawURLEncoding.DecodeString(key)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(head)
	if err != nil {
		t.Fatal(err)
	}
	protected, body := b64(text), b64([]byte(payload))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(protected + "." + body))
	out, err := json.Marshal(map[string]string{"protected": protected, "payload": body, "signature": b64(mac.Sum(nil))})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
