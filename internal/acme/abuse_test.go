// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/ca/catest"
	"github.com/tallystick/tallystick/internal/policy"
)

// obtain gets a certificate for a name, and says how renewals name it.
func (c *raw) obtain(name string, key crypto.Signer) (leaf *x509.Certificate, id string) {
	c.t.Helper()
	o, _ := c.ready(name)
	c.must(200, o.Finalize, csr(c.t, key, &x509.CertificateRequest{DNSNames: []string{name}})).into(c.t, &o)
	leaf = parse(c.t, c.must(200, o.Certificate, "").body)[0]
	return leaf, certID(leaf.AuthorityKeyId, leaf.SerialNumber.Bytes())
}

func renewalText(id string, names ...string) string {
	return strings.TrimSuffix(orderText(names...), "}") + `,"replaces":"` + id + `"}`
}

// One order that only renews a certificate is not counted. All others are.
func TestRenewalsAreNotCountedOnce(t *testing.T) {
	s := newSite(t, func(c *acme.Config) { c.Limits.OrdersPerHour = 3 })
	c := newRaw(t, s)
	_, id := c.obtain("a.lab.test", newKey(t)) // counted
	renewal := renewalText(id, "a.lab.test")
	var first orderView
	c.must(201, "new-order", renewal).into(t, &first)
	c.must(201, "new-order", renewal)                                     // counted: the one before is open
	c.must(201, "new-order", renewalText(id, "a.lab.test", "b.lab.test")) // counted: a name more
	for name, payload := range map[string]string{"again": renewal, "a name more": renewalText(id, "a.lab.test", "c.lab.test"), "no renewal": orderText("a.lab.test")} {
		t.Run(name, func(t *testing.T) { c.post("new-order", payload).wants(t, http.StatusTooManyRequests, "rateLimited") })
	}
	c.prove(first)
	c.must(200, first.Finalize, request(t, "a.lab.test"))
	c.post("new-order", renewal).wants(t, http.StatusConflict, "alreadyReplaced")
}

// A certificate with many names is no way to many names more.
func TestRenewalWithANameMoreIsCounted(t *testing.T) {
	s := newSite(t, func(c *acme.Config) { c.Limits.OrdersPerHour = 1 })
	c := newRaw(t, s)
	_, id := c.obtain("a.lab.test", newKey(t))
	c.post("new-order", renewalText(id, "a.lab.test", "b.lab.test")).wants(t, http.StatusTooManyRequests, "rateLimited")
	c.must(201, "new-order", renewalText(id, "a.lab.test"))
}

// A renewal that came to nothing may be tried again without being counted.
func TestRenewalAfterOneThatFailed(t *testing.T) {
	s := newSite(t, func(c *acme.Config) { c.Limits.OrdersPerHour = 1 })
	c := newRaw(t, s)
	_, id := c.obtain("a.lab.test", newKey(t))
	var o orderView
	c.must(201, "new-order", renewalText(id, "a.lab.test")).into(t, &o)
	allow := s.Decide
	s.Decide = denyAll
	c.post(o.Finalize, request(t, "a.lab.test")).wants(t, 403, "unauthorized")
	s.Decide = allow
	c.must(201, "new-order", renewalText(id, "a.lab.test"))
}

// Renewals are open orders like others.
func TestRenewalsCountAsOpen(t *testing.T) {
	s := newSite(t, func(c *acme.Config) { c.Limits.OpenOrders = 2 })
	c := newRaw(t, s)
	var ids []string
	for i := range 3 {
		_, id := c.obtain(fmt.Sprintf("n%d.lab.test", i), newKey(t))
		ids = append(ids, id)
	}
	for i := range 2 {
		c.must(201, "new-order", renewalText(ids[i], fmt.Sprintf("n%d.lab.test", i)))
	}
	c.post("new-order", renewalText(ids[2], "n2.lab.test")).wants(t, http.StatusTooManyRequests, "rateLimited")
}

// Of orders for one certificate that come at the same time, one is not counted.
func TestRenewalsAtTheSameTime(t *testing.T) {
	s := newSite(t, func(c *acme.Config) { c.Limits.OrdersPerHour = 2 })
	c := newRaw(t, s)
	_, id := c.obtain("a.lab.test", newKey(t)) // counted
	var taken atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		one := *c
		one.nonce = ""
		url := one.url("new-order")
		body := one.sign(url, renewalText(id, "a.lab.test"), nil)
		all.Go(func() {
			if a, err := one.exchange(url, body); err == nil && a.StatusCode == http.StatusCreated {
				taken.Add(1)
			}
		})
	}
	all.Wait()
	if n := taken.Load(); n != 2 { // one as a renewal, and one counted
		t.Errorf("%d orders were taken; want 2", n)
	}
}

// A key that is refused again and again ends the order, then the name waits: each time
// is a record of the audit log.
func TestRefusedRequestsAreLimited(t *testing.T) {
	s := newSite(t)
	c := newRaw(t, s)
	key := newKey(t)
	leaf, _ := c.obtain("a.lab.test", key)
	made, err := s.Find(t.Context(), ca.Serial(fmt.Sprintf("%032x", leaf.SerialNumber)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Block(t.Context(), catest.Admin, []tallystick.KeyID{made.Key}, "lost"); err != nil {
		t.Fatal(err)
	}
	before := len(s.Audit.Records())
	body := csr(t, key, &x509.CertificateRequest{DNSNames: []string{"a.lab.test"}})
	for range 2 {
		o, location := c.order("a.lab.test")
		for range 5 {
			c.post(o.Finalize, body).wants(t, 400, "badPublicKey")
		}
		for range 20 {
			c.post(o.Finalize, body).wants(t, 403, "orderNotReady")
		}
		c.must(200, location, "").into(t, &o)
		if o.Status != "invalid" || o.Error == nil || !strings.HasSuffix(o.Error.Type, ":badPublicKey") {
			t.Errorf("the order is %s: %+v", o.Status, o.Error)
		}
	}
	if n := len(s.Audit.Records()) - before; n != 10 {
		t.Errorf("%d records; want 10", n)
	}
	c.post("new-order", orderText("a.lab.test")).wants(t, http.StatusTooManyRequests, "rateLimited")
	c.obtain("b.lab.test", newKey(t)) // another name is none the worse
}

// An order that was ready before its name had failed too often waits as well.
func TestRefusedRequestsHoldUpOtherOrders(t *testing.T) {
	s := newSite(t, func(c *acme.Config) { c.Limits.FailuresPerHour = 1 })
	c := newRaw(t, s)
	first, _ := c.ready("a.lab.test")
	second, _ := c.order("a.lab.test")
	allow := s.Decide
	s.Decide = denyAll
	c.post(first.Finalize, request(t, "a.lab.test")).wants(t, 403, "unauthorized")
	s.Decide = allow
	c.post(second.Finalize, request(t, "a.lab.test")).wants(t, http.StatusTooManyRequests, "rateLimited")
}

// Nobody has a key blocked for ever who cannot show it.
func TestKeyCompromiseIsShown(t *testing.T) {
	s := newSite(t)
	owner, other := newRaw(t, s), newRaw(t, s)
	key := newKey(t)
	leaf, _ := owner.obtain("a.lab.test", key)
	other.ready("a.lab.test")
	payload := `{"certificate":"` + b64(leaf.Raw) + `","reason":1}`
	other.post("revoke", payload).wants(t, 400, "badRevocationReason")
	owner.post("revoke", payload).wants(t, 400, "badRevocationReason")
	blocked := func() int {
		t.Helper()
		keys, err := s.BlockedKeys(t.Context(), catest.Admin, 10)
		if err != nil {
			t.Fatal(err)
		}
		return len(keys)
	}
	if n := blocked(); n != 0 || s.revoked(t, leaf) {
		t.Errorf("%d keys are blocked", n)
	}
	holder := s.raw(t)
	holder.key = key
	holder.must(200, "revoke", payload)
	if n := blocked(); n != 1 || !s.revoked(t, leaf) {
		t.Errorf("%d keys are blocked after the key was shown", n)
	}
}

// What was proven is the names: a common name beside them is somebody's.
func TestRevocationOfACommonName(t *testing.T) {
	s := newSite(t)
	c := newRaw(t, s)
	c.ready("a.lab.test")
	for name, status := range map[string]int{"payroll": 403, "a.lab.test": 200, "127.0.0.1": 403} {
		t.Run(name, func(t *testing.T) {
			made, err := s.Issue(t.Context(), catest.Admin, ca.Request{
				Authority: "lab", Profile: "mutual", PublicKey: newKey(t).Public(), Names: &ca.Names{CommonName: name, DNS: []string{"a.lab.test"}}, Via: ca.ViaAPI,
			})
			if err != nil {
				t.Fatal(err)
			}
			if a := c.post("revoke", `{"certificate":"`+b64(made.DER)+`"}`); a.StatusCode != status {
				t.Errorf("%d %s; want %d", a.StatusCode, a.body, status)
			}
		})
	}
}

func denyAll(policy.Request) ca.Decision { return ca.Decision{Why: "not today"} }
