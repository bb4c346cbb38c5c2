// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/ca/catest"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/store"
)

// get fetches without signing.
func (s *site) get(t testing.TB, url string, header ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(header) == 2 {
		r.Header.Set(header[0], header[1])
	}
	a, err := s.http.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	var text bytes.Buffer
	if _, err := text.ReadFrom(a.Body); err != nil {
		t.Fatal(err)
	}
	return reply{a, text.Bytes()}
}

func TestDirectory(t *testing.T) {
	s := newSite(t, func(c *acme.Config) {
		c.URL, c.Terms, c.Website, c.ExternalAccount, c.Profiles = "https://acme.example.com", "https://example.com/terms", "https://example.com", true, []string{"server", "smtp"}
		c.Describe = func(profile string) string { return "About " + profile }
	})
	var got map[string]any
	s.get(t, s.directory).into(t, &got)
	const at = "https://acme.example.com/acme/lab/"
	want := map[string]any{
		"newNonce": at + "new-nonce", "newAccount": at + "new-account", "newOrder": at + "new-order", "revokeCert": at + "revoke", "keyChange": at + "key-change",
		"renewalInfo": at + "renewal-info", "meta": map[string]any{
			"termsOfService": "https://example.com/terms", "website": "https://example.com", "externalAccountRequired": true,
			"profiles": map[string]any{"server": "About server", "smtp": "About smtp"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	nonce := s.get(t, s.http.URL+"/acme/lab/new-nonce")
	if nonce.StatusCode != http.StatusNoContent || nonce.Header.Get("Replay-Nonce") == "" || nonce.Header.Get("Cache-Control") != "no-store" || nonce.Header.Get("Link") != "<"+at+`directory>;rel="index"` {
		t.Errorf("newNonce: %d %v", nonce.StatusCode, nonce.Header)
	}
}

func TestAccounts(t *testing.T) {
	s := newSite(t, func(c *acme.Config) { c.Terms = "https://example.com/terms" })
	c := s.raw(t)
	c.post("new-account", `{"onlyReturnExisting":true}`).wants(t, 400, "accountDoesNotExist")
	c.post("new-account", `{}`).wants(t, 403, "userActionRequired")
	for contact, kind := range map[string]string{
		"tel:+4912345": "unsupportedContact", "mailto:": "invalidContact", "mailto:a@b.example,c@d.example": "invalidContact", "mailto:a@b.example?subject=x": "invalidContact",
		"mailto:" + strings.Repeat("a", 400) + "@b.example": "invalidContact",
	} {
		c.post("new-account", `{"termsOfServiceAgreed":true,"contact":["`+contact+`"]}`).wants(t, 400, kind)
	}
	a := c.must(201, "new-account", `{"termsOfServiceAgreed":true,"contact":["mailto:ops@lab.test"]}`)
	kid := a.Header.Get("Location")
	var view struct {
		Status, Orders string
		Contact        []string
	}
	a.into(t, &view)
	if view.Status != "valid" || view.Orders != kid+"/orders" || view.Contact[0] != "mailto:ops@lab.test" {
		t.Errorf("%+v", view)
	}
	if again := c.must(200, "new-account", `{"onlyReturnExisting":true}`); again.Header.Get("Location") != kid {
		t.Error("the same key has another account")
	}
	c.kid = kid
	c.must(200, "directory", "")
	c.must(200, "new-nonce", "")
	c.must(200, kid, `{"contact":["mailto:new@lab.test"]}`).into(t, &view)
	if view.Contact[0] != "mailto:new@lab.test" {
		t.Errorf("%+v", view)
	}
	c.post(kid, `{"status":"revoked"}`).wants(t, 400, "malformed")
	c.must(200, kid, `{"status":"deactivated"}`)
	c.post(kid, "").wants(t, 403, "unauthorized")
	c.kid = ""
	c.post("new-account", `{"termsOfServiceAgreed":true}`).wants(t, 403, "unauthorized")
}

// The orders of an account are listed in pages.
func TestOrderList(t *testing.T) {
	s := newSite(t, func(c *acme.Config) { c.Limits.OpenOrders = 1000 })
	c := newRaw(t, s)
	want := map[string]bool{}
	for i := range 105 {
		_, location := c.order(fmt.Sprintf("n%d.lab.test", i))
		want[location] = true
	}
	next, pages := c.kid+"/orders", 0
	for ; next != ""; pages++ {
		a := c.must(200, next, "")
		var list struct{ Orders []string }
		a.into(t, &list)
		for _, url := range list.Orders {
			if !want[url] {
				t.Errorf("%s is listed twice, or is none", url)
			}
			delete(want, url)
		}
		next = ""
		for _, link := range a.Header["Link"] {
			if url, ok := strings.CutSuffix(link, `>;rel="next"`); ok {
				next = url[1:]
			}
		}
	}
	if len(want) > 0 || pages != 2 {
		t.Errorf("%d orders are missing from %d pages", len(want), pages)
	}
}

// A name that was proven need not be proven again; what is given up must be.
func TestAuthorizationsAreReused(t *testing.T) {
	s := newSite(t)
	c := newRaw(t, s)
	first, _ := c.order("a.lab.test")
	again, _ := c.order("a.lab.test")
	if first.Authorizations[0] != again.Authorizations[0] {
		t.Error("the same name has two pending authorizations")
	}
	c.prove(first)
	o, location := c.order("a.lab.test")
	if o.Status != "ready" {
		t.Errorf("an order for a proven name is %s", o.Status)
	}
	wild, _ := c.order("*.a.lab.test")
	view := c.authorization(wild.Authorizations[0])
	if wild.Status != "pending" || !view.Wildcard || len(view.Challenges) != 1 || view.Challenges[0].Type != "dns-01" {
		t.Errorf("a wildcard: %+v %+v", wild, view)
	}
	c.must(200, o.Authorizations[0], `{"status":"deactivated"}`)
	c.post(o.Authorizations[0], `{"status":"deactivated"}`).wants(t, 400, "malformed")
	c.must(200, location, "").into(t, &o)
	if fresh, _ := c.order("a.lab.test"); fresh.Status != "pending" || o.Status != "invalid" {
		t.Errorf("after it was given up: %s, and the order with it is %s", fresh.Status, o.Status)
	}
}

// ready orders and proves a name.
func (c *raw) ready(name string) (o orderView, location string) {
	c.t.Helper()
	o, location = c.order(name)
	c.prove(o)
	return o, location
}

func request(t testing.TB, name string) string {
	return csr(t, newKey(t), &x509.CertificateRequest{DNSNames: []string{name}})
}

// What the policy says is what clients hear.
func TestPolicy(t *testing.T) {
	s := newSite(t)
	c := newRaw(t, s)
	var seen policy.Request
	s.Decide = func(r policy.Request) ca.Decision {
		seen = r
		return ca.Decision{Why: "names must end in .shop.example.com"}
	}
	o, location := c.ready("a.lab.test")
	a := c.post(o.Finalize, request(t, "a.lab.test"))
	a.wants(t, 403, "unauthorized")
	if !bytes.Contains(a.body, []byte("names must end in .shop.example.com")) {
		t.Errorf("%s", a.body)
	}
	c.must(200, location, "").into(t, &o)
	if o.Status != "invalid" || o.Error == nil || !strings.Contains(o.Error.Detail, "shop.example.com") {
		t.Errorf("%+v", o)
	}
	if !seen.Proven || seen.Via != "acme" || seen.Role != "client" || seen.Who != "acme/"+c.kid[strings.LastIndex(c.kid, "/")+1:] || seen.Profile != "server" {
		t.Errorf("the policy saw %+v", seen)
	}
}

// An order that needs somebody's word waits for it.
func TestApproval(t *testing.T) {
	s := newSite(t)
	c := newRaw(t, s)
	s.Decide = func(policy.Request) ca.Decision {
		return ca.Decision{Allowed: true, Approval: true, Why: "new names are looked at"}
	}
	first, firstAt := c.ready("a.lab.test")
	second, secondAt := c.ready("b.lab.test")
	for _, o := range []struct{ finalize, name string }{{first.Finalize, "a.lab.test"}, {second.Finalize, "b.lab.test"}} {
		a := c.must(200, o.finalize, request(t, o.name))
		if !bytes.Contains(a.body, []byte(`"processing"`)) || a.Header.Get("Retry-After") != "60" {
			t.Errorf("%s %v", a.body, a.Header)
		}
	}
	waiting, err := s.Requests(t.Context(), catest.Admin, store.RequestWaiting, 0, 10)
	if err != nil || len(waiting) != 2 {
		t.Fatal(waiting, err)
	}
	for _, r := range waiting {
		if r.Names[0] == "a.lab.test" {
			_, err = s.Approve(t.Context(), catest.Admin, r.ID)
		} else {
			err = s.RefuseRequest(t.Context(), catest.Admin, r.ID, "not on my watch")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	c.must(200, firstAt, "").into(t, &first)
	c.must(200, secondAt, "").into(t, &second)
	if first.Status != "valid" || second.Status != "invalid" || !strings.Contains(second.Error.Detail, "not on my watch") {
		t.Errorf("%+v and %+v", first, second)
	}
}

// A device that holds the key may be gone for a minute: nothing is lost.
func TestKeyOutOfReach(t *testing.T) {
	gone := &atomic.Bool{}
	s := newSite(t, func(c *acme.Config) { c.CA = fragile{c.CA.(*ca.CA), gone} })
	c := newRaw(t, s)
	o, location := c.ready("a.lab.test")
	csr := request(t, "a.lab.test")
	gone.Store(true)
	a := c.post(o.Finalize, csr)
	a.wants(t, http.StatusServiceUnavailable, "serverInternal")
	if a.Header.Get("Retry-After") != "60" {
		t.Error("it does not say when to come back")
	}
	c.must(200, location, "").into(t, &o)
	if o.Status != "ready" {
		t.Errorf("the order is %s", o.Status)
	}
	gone.Store(false)
	c.must(200, o.Finalize, csr).into(t, &o)
	if o.Status != "valid" {
		t.Errorf("the order is %s", o.Status)
	}
}

type fragile struct {
	*ca.CA
	gone *atomic.Bool
}

func (f fragile) Issue(ctx context.Context, who gate.Actor, r ca.Request) (ca.Certificate, error) {
	if f.gone.Load() {
		return ca.Certificate{}, fmt.Errorf("the token: %w", tallystick.ErrUnavailable)
	}
	return f.CA.Issue(ctx, who, r)
}

// A certificate that was made, and of which nobody heard, is the order's.
func TestMadeButNotHeard(t *testing.T) {
	s := newSite(t, func(c *acme.Config) { c.CA = deaf{c.CA.(*ca.CA)} })
	c := newRaw(t, s)
	o, _ := c.ready("a.lab.test")
	c.must(200, o.Finalize, request(t, "a.lab.test")).into(t, &o)
	if o.Status != "valid" || o.Certificate == "" {
		t.Errorf("%+v", o)
	}
}

type deaf struct{ *ca.CA }

func (d deaf) Issue(ctx context.Context, who gate.Actor, r ca.Request) (ca.Certificate, error) {
	_, err := d.CA.Issue(ctx, who, r)
	return ca.Certificate{}, errors.Join(err, errors.New("the store did not answer"))
}

func TestNotAfter(t *testing.T) {
	s := newSite(t)
	c := newRaw(t, s)
	end := time.Now().Add(36 * time.Hour).UTC().Truncate(time.Second)
	var o orderView
	c.must(201, "new-order", `{"identifiers":[{"type":"dns","value":"a.lab.test"}],"notAfter":"`+end.Format(time.RFC3339)+`"}`).into(t, &o)
	c.prove(o)
	c.must(200, o.Finalize, request(t, "a.lab.test")).into(t, &o)
	leaf := parse(t, c.must(200, o.Certificate, "").body)[0]
	if early := end.Sub(leaf.NotAfter); early < 0 || early > 2*time.Minute {
		t.Errorf("the certificate ends %s before it was asked to", early)
	}
}

// A hint that is wrong costs nobody a certificate.
func TestReplacesIsAHint(t *testing.T) {
	s := newSite(t)
	c, other := newRaw(t, s), newRaw(t, s)
	theirs, _ := other.ready("b.lab.test")
	other.must(200, theirs.Finalize, request(t, "b.lab.test")).into(t, &theirs)
	leaf := parse(t, other.must(200, theirs.Certificate, "").body)[0]
	foreign := certID(leaf.AuthorityKeyId, leaf.SerialNumber.Bytes())
	for name, id := range map[string]string{
		"of another account": foreign, "unknown": certID(leaf.AuthorityKeyId, []byte{1, 2, 3}), "of another CA": certID([]byte{1, 2, 3}, leaf.SerialNumber.Bytes()), "nonsense": "...",
	} {
		var o orderView
		a := c.must(201, "new-order", `{"identifiers":[{"type":"dns","value":"a.lab.test"}],"replaces":"`+id+`"}`)
		if a.into(t, &o); o.Replaces != "" {
			t.Errorf("%s: %+v", name, o)
		}
		kept, err := s.DB.ACMEOrder(t.Context(), a.Header.Get("Location")[strings.LastIndex(a.Header.Get("Location"), "/")+1:])
		if err != nil || !strings.Contains(kept.Note, "was left out") {
			t.Errorf("%s: note %q, %v", name, kept.Note, err)
		}
	}
}

func TestRenewalInformation(t *testing.T) {
	s := newSite(t)
	c := newRaw(t, s)
	o, _ := c.ready("a.lab.test")
	c.must(200, o.Finalize, request(t, "a.lab.test")).into(t, &o)
	leaf := parse(t, c.must(200, o.Certificate, "").body)[0]
	at := s.http.URL + "/acme/lab/renewal-info/"
	url := at + certID(leaf.AuthorityKeyId, leaf.SerialNumber.Bytes())
	a := s.get(t, url)
	var view struct {
		SuggestedWindow struct{ Start, End time.Time }
		ExplanationURL  string
	}
	a.into(t, &view)
	w := view.SuggestedWindow
	if !w.Start.After(time.Now()) || !w.End.After(w.Start) || !w.End.Before(leaf.NotAfter) || a.Header.Get("Retry-After") != "600" {
		t.Errorf("%+v %v", view, a.Header)
	}
	if again := s.get(t, url, "If-None-Match", a.Header.Get("ETag")); again.StatusCode != http.StatusNotModified || len(again.body) > 0 || again.Header.Get("Retry-After") != "600" {
		t.Errorf("with the tag: %d %s", again.StatusCode, again.body)
	}
	serial := ca.Serial(fmt.Sprintf("%032x", leaf.SerialNumber))
	if _, err := s.Revoke(t.Context(), catest.Admin, ca.RevokeRequest{Serials: []ca.Serial{serial}}); err != nil {
		t.Fatal(err)
	}
	after := s.get(t, url, "If-None-Match", a.Header.Get("ETag"))
	after.into(t, &view)
	if after.StatusCode != 200 || !view.SuggestedWindow.End.Before(time.Now()) {
		t.Errorf("revoked: %d %+v", after.StatusCode, view)
	}
	for _, id := range []string{"", "x", "AAAA", "AAAA.AAAA", "!!.!!", certID(leaf.AuthorityKeyId, []byte{1}), certID(leaf.AuthorityKeyId, append([]byte{0}, leaf.SerialNumber.Bytes()...)),
		certID(leaf.AuthorityKeyId, bytes.Repeat([]byte{1}, 30)), certID([]byte{9}, leaf.SerialNumber.Bytes()), url[len(at):] + "=", strings.Repeat("A", 300) + ".AA"} {
		if a := s.get(t, at+id); a.StatusCode != 404 && a.StatusCode != 400 {
			t.Errorf("%q: %d %s", id, a.StatusCode, a.body)
		}
	}
}

// Another chain of a CA that is cross-signed is offered beside the first.
func TestAlternateChains(t *testing.T) {
	s := newSite(t)
	other := s.Init(t, ca.InitRequest{Name: "other", CommonName: "Other Root"})
	lab, err := s.Authority(t.Context(), "lab")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.DB.AddCrossCertificate(t.Context(), store.CrossCertificate{SHA256: "x", Authority: lab.ID, Issuer: other.ID, Certificate: other.Certificate, NotAfter: time.Now().Add(time.Hour), Created: time.Now()}); err != nil {
		t.Fatal(err)
	}
	c := newRaw(t, s)
	o, _ := c.ready("a.lab.test")
	c.must(200, o.Finalize, request(t, "a.lab.test")).into(t, &o)
	first := c.must(200, o.Certificate, "")
	if first.Header.Get("Content-Type") != "application/pem-certificate-chain" || len(parse(t, first.body)) != 2 {
		t.Errorf("%s: %s", first.Header.Get("Content-Type"), first.body)
	}
	link := ""
	for _, l := range first.Header["Link"] {
		if url, ok := strings.CutSuffix(l, `>;rel="alternate"`); ok {
			link = url[1:]
		}
	}
	second := c.must(200, link, "")
	if chain := parse(t, second.body); len(chain) != 2 || !bytes.Equal(chain[1].Raw, other.Certificate) {
		t.Errorf("the other chain: %s", second.body)
	}
	c.post(link+"7", "").wants(t, 404, "malformed")
}

// A CA that was taken over by another one serves its clients on.
func TestRollover(t *testing.T) {
	s := newSite(t)
	c := newRaw(t, s)
	o, _ := c.ready("a.lab.test")
	if _, err := s.Prepare(t.Context(), catest.Admin, "lab", ""); err != nil {
		t.Fatal(err)
	}
	next, err := s.Activate(t.Context(), catest.Admin, "lab")
	if err != nil {
		t.Fatal(err)
	}
	c.must(200, o.Finalize, request(t, "a.lab.test")).into(t, &o)
	leaf := parse(t, c.must(200, o.Certificate, "").body)[0]
	if !bytes.Equal(leaf.AuthorityKeyId, next.X509().SubjectKeyId) {
		t.Error("the certificate is not by the CA that took over")
	}
}

// Bindings say which CA, profiles and names their accounts may have.
func TestBindings(t *testing.T) {
	s := newSite(t, func(c *acme.Config) { c.ExternalAccount = true; c.Profiles = []string{"server", "mutual"} })
	c := s.raw(t)
	c.post("new-account", `{}`).wants(t, 403, "externalAccountRequired")
	id, key := s.bind(t, store.ACMEBinding{Profiles: []string{"server"}, Names: []string{"*.lab.test"}})
	c.bound(id, key, c.base+"new-order").wants(t, 400, "malformed")
	c.bound(id, key[1:]+"A", "").wants(t, 403, "unauthorized")
	c.bound(strings.Repeat("0", 32), key, "").wants(t, 403, "unauthorized")
	rootID, rootKey := s.bind(t, store.ACMEBinding{Authority: "root"})
	c.bound(rootID, rootKey, "").wants(t, 403, "unauthorized")
	a := c.bound(id, key, "")
	if a.StatusCode != 201 {
		t.Fatalf("%s", a.body)
	}
	s.raw(t).bound(id, key, "").wants(t, 403, "unauthorized")
	c.kid = a.Header.Get("Location")
	c.must(201, "new-order", orderText("a.lab.test", "*.b.lab.test"))
	c.post("new-order", orderText("lab.test")).wants(t, 403, "rejectedIdentifier")
	c.post("new-order", orderText("evil.test", "alab.test")).wants(t, 403, "compound")
	c.post("new-order", `{"identifiers":[{"type":"dns","value":"a.lab.test"}],"profile":"mutual"}`).wants(t, 403, "unauthorized")
}

// bound makes an account with a binding; url "" is the right one.
func (c *raw) bound(id, key, url string) reply {
	c.t.Helper()
	if url == "" {
		url = c.base + "new-account"
	}
	inner := hs256(c.t, key, map[string]any{"kid": id, "url": url, "alg": "HS256"}, jwkText(c.t, c.key.Public()))
	payload, err := json.Marshal(map[string]json.RawMessage{"externalAccountBinding": inner})
	if err != nil {
		c.t.Fatal(err)
	}
	return c.post("new-account", string(payload))
}

// certID is RFC 9773 section 4.1.
func certID(keyID, serial []byte) string { return b64(keyID) + "." + b64(serial) }
