// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/tallystick/tallystick/internal/acme"
)

func TestNonces(t *testing.T) {
	s := newSite(t)
	c := newRaw(t, s)
	nonce := c.fresh()
	account := c.kid
	a := c.send(account, c.sign(account, "", map[string]any{"nonce": nonce}))
	if a.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	for name, bad := range map[string]any{
		"used": nonce, "not ours": base64.RawURLEncoding.EncodeToString(make([]byte, 44)), "empty": "", "missing": nil,
		"altered": nonce[:len(nonce)-2] + string(nonce[len(nonce)-2]^1) + nonce[len(nonce)-1:],
	} {
		t.Run(name, func(t *testing.T) {
			a := c.send(account, c.sign(account, "", map[string]any{"nonce": bad}))
			a.wants(t, http.StatusBadRequest, "badNonce")
			if again := c.post(account, ""); again.StatusCode != http.StatusOK {
				t.Errorf("the nonce of the refusal does not do: %s", again.body)
			}
		})
	}
	// A server that was started again knows none of the old ones.
	other := newRaw(t, newSite(t))
	a = other.send(other.kid, other.sign(other.kid, "", map[string]any{"nonce": nonce}))
	a.wants(t, http.StatusBadRequest, "badNonce")
}

func TestSignatures(t *testing.T) {
	s := newSite(t)
	c := newRaw(t, s)
	other := newRaw(t, s)
	account := c.kid
	public := jose.JSONWebKey{Key: c.key.Public()}
	for _, test := range []struct {
		name    string
		headers map[string]any
		status  int
		kind    string
	}{
		{"none", map[string]any{"alg": "none"}, 400, "badSignatureAlgorithm"},
		{"HMAC", map[string]any{"alg": "HS256"}, 400, "badSignatureAlgorithm"},
		{"unknown algorithm", map[string]any{"alg": "ES256K"}, 400, "badSignatureAlgorithm"},
		{"another URL", map[string]any{"url": c.url("new-order")}, 403, "unauthorized"},
		{"no URL", map[string]any{"url": nil}, 403, "unauthorized"},
		{"both kid and jwk", map[string]any{"jwk": public}, 400, "malformed"},
		{"neither", map[string]any{"kid": nil}, 400, "malformed"},
		{"jwk in place of kid", map[string]any{"jwk": public, "kid": nil}, 400, "malformed"},
		{"the account of somebody else", map[string]any{"kid": other.kid}, 400, "malformed"},
		{"an account of another server", map[string]any{"kid": "https://ca.example.com/acme/lab/account/" + strings.Repeat("0", 32)}, 400, "malformed"},
		{"no such account", map[string]any{"kid": c.url("account/" + strings.Repeat("0", 32))}, 400, "accountDoesNotExist"},
		{"extensions", map[string]any{"crit": []string{"b64"}, "b64": false}, 400, "malformed"},
		{"another algorithm than the key's", map[string]any{"alg": "RS256"}, 400, "malformed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c.send(account, c.sign(account, "", test.headers)).wants(t, test.status, test.kind)
		})
	}
	t.Run("HMAC with the public key", func(t *testing.T) {
		head, _ := json.Marshal(map[string]any{"alg": "HS256", "nonce": c.fresh(), "url": account, "kid": account})
		key, _ := x509.MarshalPKIXPublicKey(c.key.Public())
		mac := hmac.New(sha256.New, key)
		protected := base64.RawURLEncoding.EncodeToString(head)
		mac.Write([]byte(protected + "."))
		body, _ := json.Marshal(map[string]string{"protected": protected, "payload": "", "signature": base64.RawURLEncoding.EncodeToString(mac.Sum(nil))})
		c.send(account, body).wants(t, 400, "badSignatureAlgorithm")
	})
	t.Run("altered", func(t *testing.T) {
		var parts map[string]string
		_ = json.Unmarshal(c.sign(account, `{"contact":[]}`, nil), &parts)
		parts["payload"] = base64.RawURLEncoding.EncodeToString([]byte(`{"status":"deactivated"}`))
		body, _ := json.Marshal(parts)
		c.send(account, body).wants(t, 400, "malformed")
	})
	for name, key := range map[string]crypto.Signer{"RSA-1024": rsaKey(t, 1024)} {
		t.Run(name, func(t *testing.T) {
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, &jose.SignerOptions{EmbedJWK: true, ExtraHeaders: map[jose.HeaderKey]any{"nonce": c.fresh(), "url": c.url("new-account")}})
			if err != nil {
				t.Fatal(err)
			}
			signed, err := signer.Sign([]byte(`{}`))
			if err != nil {
				t.Fatal(err)
			}
			c.send(c.url("new-account"), []byte(signed.FullSerialize())).wants(t, 400, "badPublicKey")
		})
	}
}

// rsaKey makes a key that crypto/rsa would refuse to make.
func rsaKey(t *testing.T, bits int) crypto.Signer {
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestBodies(t *testing.T) {
	s := newSite(t)
	c := newRaw(t, s)
	account := c.kid
	a := c.send(account, []byte(`{"protected":"`+strings.Repeat("A", 70<<10)+`"}`))
	a.wants(t, http.StatusRequestEntityTooLarge, "malformed")
	for name, body := range map[string]string{
		"empty": "", "no JSON": "{", "deep": strings.Repeat(`{"a":`, 10_000), "deep list": strings.Repeat("[", 30_000), "compact": "eyJhbGciOiJFUzI1NiJ9.e30.AAAA",
		"several signatures":    `{"payload":"","signatures":[{"protected":"","signature":"AA"}]}`,
		"an unprotected header": `{"protected":"e30","payload":"","signature":"AA","header":{"alg":"none"}}`,
		"something behind it":   string(c.sign(account, "", nil)) + "{}",
		"large header":          `{"protected":"` + strings.Repeat("A", 10<<10) + `","payload":"","signature":"AA"}`,
	} {
		t.Run(name, func(t *testing.T) { c.send(account, []byte(body)).wants(t, 400, "malformed") })
	}
	t.Run("deep payload", func(t *testing.T) {
		c.post("new-order", strings.Repeat(`{"identifiers":`, 2000)).wants(t, 400, "malformed")
	})
	r, err := s.http.Client().Post(account, "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	reply{r, nil}.Body.Close()
	if r.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("another content type: %d", r.StatusCode)
	}
	r, err = s.http.Client().Get(account)
	if err != nil || r.StatusCode != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "POST" {
		t.Errorf("GET of an account: %v, %v", r, err)
	}
	for _, path := range []string{"", "lab", "lab/", "lab/nothing", "none/directory", "root/../lab/directory/x", "lab/order/1/2/3", "root/account/%2e%2e"} {
		r, err := s.http.Client().Get(s.http.URL + "/acme/" + path)
		if err != nil || r.StatusCode != http.StatusNotFound {
			t.Errorf("/acme/%s: %v, %v", path, r.StatusCode, err)
		}
	}
}

// What belongs to one account is not shown to another one, nor changed by it.
func TestForeignObjects(t *testing.T) {
	s := newSite(t)
	c, thief := newRaw(t, s), newRaw(t, s)
	o, location := c.order("a.lab.test")
	c.prove(o)
	view := c.authorization(o.Authorizations[0])
	done := c.must(200, o.Finalize, csr(t, newKey(t), &x509.CertificateRequest{DNSNames: []string{"a.lab.test"}}))
	done.into(t, &o)
	for name, request := range map[string][2]string{
		"account": {c.kid, ""}, "deactivation": {c.kid, `{"status":"deactivated"}`}, "orders": {c.kid + "/orders", ""}, "order": {location, ""}, "finalize": {o.Finalize, `{"csr":"AA"}`},
		"authorization": {o.Authorizations[0], ""}, "challenge": {view.Challenges[0].URL, "{}"}, "give up": {o.Authorizations[0], `{"status":"deactivated"}`}, "certificate": {o.Certificate, ""},
	} {
		t.Run(name, func(t *testing.T) { thief.post(request[0], request[1]).wants(t, 403, "unauthorized") })
	}
	// Nor does it hold elsewhere: another account has to prove the name itself.
	if theirs, _ := thief.order("a.lab.test"); thief.authorization(theirs.Authorizations[0]).Status != "pending" {
		t.Error("an account profits from what another one has proven")
	}
	// The other CA of the server knows the account, and not the order.
	elsewhere := strings.Replace(location, "/lab/", "/root/", 1)
	c.kid = strings.Replace(c.kid, "/lab/", "/root/", 1)
	c.post(elsewhere, "").wants(t, 404, "malformed")
}

func TestOrdersThatCannotBe(t *testing.T) {
	s := newSite(t, func(c *acme.Config) { c.Limits.Names = 4; c.Profiles = []string{"server", "mutual"} })
	c := newRaw(t, s)
	id := func(kind, value string) string {
		return `{"identifiers":[{"type":"` + kind + `","value":"` + value + `"}]}`
	}
	for _, test := range []struct {
		name, payload string
		status        int
		kind          string
	}{
		{"nothing", `{}`, 400, "malformed"},
		{"too many", orderText("a.test", "b.test", "c.test", "d.test", "e.test"), 400, "malformed"},
		{"mail", id("email", "a@lab.test"), 403, "unsupportedIdentifier"},
		{"address as name", id("dns", "127.0.0.1"), 403, "malformed"},
		{"number", id("dns", "a.127"), 403, "malformed"},
		{"underscore", id("dns", "_a.lab.test"), 403, "malformed"},
		{"final dot", id("dns", "a.lab.test."), 403, "malformed"},
		{"umlaut", id("dns", "bücher.lab.test"), 403, "malformed"},
		{"no A-label", id("dns", "xn--a.lab.test"), 403, "malformed"},
		{"wildcard within", id("dns", "a.*.lab.test"), 403, "malformed"},
		{"wildcard of everything", id("dns", "*.test"), 403, "malformed"},
		{"long label", id("dns", strings.Repeat("a", 64)+".test"), 403, "malformed"},
		{"long name", id("dns", strings.Repeat("a.", 130)+"test"), 403, "malformed"},
		{"IPv6 in full", id("ip", "0:0:0:0:0:0:0:1"), 403, "malformed"},
		{"IPv4 in IPv6", id("ip", "::ffff:127.0.0.1"), 403, "malformed"},
		{"zone", id("ip", "fe80::1%eth0"), 403, "malformed"},
		{"multicast", id("ip", "224.0.0.1"), 403, "rejectedIdentifier"},
		{"profile", `{"identifiers":[{"type":"dns","value":"a.test"}],"profile":"root"}`, 400, "invalidProfile"},
		{"notBefore", `{"identifiers":[{"type":"dns","value":"a.test"}],"notBefore":"2030-01-01T00:00:00Z"}`, 400, "malformed"},
		{"notAfter", `{"identifiers":[{"type":"dns","value":"a.test"}],"notAfter":"2020-01-01T00:00:00Z"}`, 400, "malformed"},
		{"two of them", orderText("_a.test", "_b.test"), 403, "compound"},
	} {
		t.Run(test.name, func(t *testing.T) { c.post("new-order", test.payload).wants(t, test.status, test.kind) })
	}
	// What can be: other scripts, upper case, names twice, one label.
	o, _ := c.order("xn--bcher-kva.lab.test", "A.lab.test", "a.lab.test", "printer")
	if len(o.Authorizations) != 3 {
		t.Errorf("%d authorizations; want 3", len(o.Authorizations))
	}
}

func TestCSRsThatCannotBe(t *testing.T) {
	s := newSite(t)
	c := newRaw(t, s)
	o, location := c.order("a.lab.test", "b.lab.test")
	both := []string{"a.lab.test", "b.lab.test"}
	good := csr(t, newKey(t), &x509.CertificateRequest{DNSNames: both})
	c.post(o.Finalize, good).wants(t, 403, "orderNotReady")
	c.prove(o)
	mail, _ := url.Parse("spiffe://lab.test/x")
	for _, test := range []struct {
		name, payload, kind string
	}{
		{"fewer names", csr(t, newKey(t), &x509.CertificateRequest{DNSNames: both[:1]}), "badCSR"},
		{"more names", csr(t, newKey(t), &x509.CertificateRequest{DNSNames: append(both, "c.lab.test")}), "badCSR"},
		{"another common name", csr(t, newKey(t), &x509.CertificateRequest{Subject: pkix.Name{CommonName: "root"}, DNSNames: both}), "badCSR"},
		{"an address", csr(t, newKey(t), &x509.CertificateRequest{DNSNames: both, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}), "badCSR"},
		{"mail", csr(t, newKey(t), &x509.CertificateRequest{DNSNames: both, EmailAddresses: []string{"a@lab.test"}}), "badCSR"},
		{"URI", csr(t, newKey(t), &x509.CertificateRequest{DNSNames: both, URIs: []*url.URL{mail}}), "badCSR"},
		{"the account's key", csr(t, c.key, &x509.CertificateRequest{DNSNames: both}), "badPublicKey"},
		{"no CSR", `{"csr":"AAAA"}`, "badCSR"},
		{"no base64", `{"csr":"%%"}`, "badCSR"},
		{"a signature by another key", alteredCSR(t, both), "badCSR"},
	} {
		t.Run(test.name, func(t *testing.T) { c.post(o.Finalize, test.payload).wants(t, 400, test.kind) })
	}
	// None of these has spoilt the order. Who repeats what was done gets the same.
	var first, second orderView
	c.must(200, o.Finalize, good).into(t, &first)
	c.must(200, o.Finalize, good).into(t, &second)
	if first.Status != "valid" || first.Certificate != second.Certificate {
		t.Errorf("%+v and %+v", first, second)
	}
	c.post(o.Finalize, csr(t, newKey(t), &x509.CertificateRequest{DNSNames: both})).wants(t, 403, "orderNotReady")
	c.must(200, location, "")
}

// alteredCSR changes the key of a request, so that its signature does not fit.
func alteredCSR(t *testing.T, names []string) string {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	der[len(der)-1] ^= 1
	return `{"csr":"` + base64.RawURLEncoding.EncodeToString(der) + `"}`
}

func TestFloods(t *testing.T) {
	s := newSite(t, func(c *acme.Config) {
		c.Limits.AccountsPerHour, c.Limits.OrdersPerHour, c.Limits.OpenOrders, c.Limits.FailuresPerHour = 3, 5, 4, 2
	})
	c := newRaw(t, s)
	limited := func(a reply) {
		t.Helper()
		a.wants(t, http.StatusTooManyRequests, "rateLimited")
		if a.Header.Get("Retry-After") == "" {
			t.Error("the refusal does not say when to come back")
		}
	}
	second := newRaw(t, s)
	newRaw(t, s)
	another := s.raw(t)
	limited(another.post("new-account", `{}`))
	for i := range 4 {
		c.order(string(rune('a'+i)) + ".lab.test")
	}
	limited(c.post("new-order", orderText("e.lab.test"))) // four are open
	for range 2 {
		o, _ := second.order("bad.lab.test")
		for _, challenge := range second.authorization(o.Authorizations[0]).Challenges {
			if challenge.Type == "dns-01" {
				second.must(200, challenge.URL, "{}")
			}
		}
		if view := second.authorization(o.Authorizations[0]); view.Status != "invalid" {
			t.Errorf("a name without a record is %s", view.Status)
		}
	}
	limited(second.post("new-order", orderText("bad.lab.test")))
	second.must(201, "new-order", orderText("good.lab.test"))
}
