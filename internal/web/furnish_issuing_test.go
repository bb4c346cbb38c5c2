// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/issuing/issuingtest"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
)

// A closedDesk is a CA of somebody else's that does not open.
type closedDesk struct{}

func (closedDesk) Issue(context.Context, driver.IssueRequest) (driver.Issued, error) {
	return driver.Issued{}, errors.New("the CA answered 429: too many certificates for example.net this week")
}

// upstream are the issuers of other people that a house uses.
func upstream() []renewal.Issuer {
	return []renewal.Issuer{{Name: "public-ca", Driver: "acme", Issuer: closedDesk{}, Budget: store.Budget{PerHour: 300}}}
}

// init makes a CA.
func (h *house) init(r ca.InitRequest) ca.Authority {
	h.Helper()
	a, err := h.issuing.CA.Init(h.Context(), admin, r)
	if err != nil {
		h.Fatal(err)
	}
	return a
}

// issue has a certificate made, with a key of its own.
func (h *house) issue(as gate.Actor, r ca.Request, names ...string) ca.Certificate {
	h.Helper()
	return h.issueFor(as, newKey(h), r, names...)
}

func (h *house) issueFor(as gate.Actor, key crypto.Signer, r ca.Request, names ...string) ca.Certificate {
	h.Helper()
	r.CSR = []byte(issuingtest.CSRFor(h, key, names...))
	if r.Via == "" {
		r.Via = ca.ViaAPI
	}
	made, err := h.issuing.CA.Issue(h.Context(), as, r)
	if err != nil {
		h.Fatal(err)
	}
	return made
}

// published signs lists of what was revoked.
func (h *house) published() {
	h.Helper()
	if err := h.issuing.Lists.Flush(h.Context()); err != nil {
		h.Fatal(err)
	}
}

// issued furnishes a house with CAs and what they sign: a root, one CA below it that
// signs and one that another took over from, a recall that is half answered, requests
// that wait, and renewals. It returns a certificate that was replaced.
func (h *house) issued() ca.Certificate {
	h.Helper()
	defer h.at(testNow)
	const year = 365 * 24 * time.Hour
	h.at(testNow.AddDate(-1, 0, 0))
	h.init(ca.InitRequest{Name: "example-root", Organization: "Example", Note: "The root of everything inside"})
	h.init(ca.InitRequest{Name: "servers", Parent: "example-root", Lifetime: 3 * year, Note: "TLS servers and programs"})
	h.init(ca.InitRequest{Name: "mail", Parent: "example-root", Lifetime: 13 * year / 12, PermittedDNS: []string{"example.net"}})
	h.init(ca.InitRequest{Name: "people", Kind: ca.KindSSH, Lifetime: 2 * year})
	first := h.before()
	h.renewing()
	h.at(testNow.Add(-26 * time.Hour))
	if _, err := h.issuing.CA.Prepare(h.Context(), admin, "mail", ""); err != nil {
		h.Fatal(err)
	}
	h.published()
	h.waiting()
	h.ordered()
	return first
}

// before is what was signed in the last weeks, and a recall.
func (h *house) before() ca.Certificate {
	h.Helper()
	var recalled []ca.Serial
	var first ca.Certificate
	for week := range 6 {
		h.at(testNow.AddDate(0, 0, -7*(6-week)))
		for n := range 4 {
			made := h.issue(gate.Actor{Name: "acme/JtGx2b7Yk0", Role: gate.Operator, Via: "acme"}, ca.Request{Authority: "servers", Via: ca.ViaACME}, fmt.Sprintf("www%d.example.net", week*4+n))
			if recalled = append(recalled, made.Serial); first.Serial == "" {
				first = made
			}
		}
		h.issue(operator, ca.Request{Authority: "servers", Profile: "client", Lifetime: 10 * 24 * time.Hour}, fmt.Sprintf("job%d.example.net", week), "jobs.example.net")
		h.issue(operator, ca.Request{Authority: "mail", Lifetime: 100 * 24 * time.Hour}, fmt.Sprintf("mx%d.example.net", week))
	}
	h.at(testNow.Add(-5 * time.Hour))
	if _, err := h.issuing.CA.Recall(h.Context(), operator, recalled[:10], "https://status.example.net/incidents/7"); err != nil {
		h.Fatal(err)
	}
	for n, serial := range recalled[:6] {
		if _, err := h.issuing.CA.Window(h.Context(), serial); err != nil { // its client asks
			h.Fatal(err)
		}
		name := fmt.Sprintf("www%d.example.net", n)
		h.issue(gate.Actor{Name: "acme/JtGx2b7Yk0", Role: gate.Operator, Via: "acme"}, ca.Request{Authority: "servers", Via: ca.ViaACME, Replaces: serial}, name)
	}
	if err := h.issuing.CA.SaveAsked(h.Context()); err != nil {
		h.Fatal(err)
	}
	revoke := ca.RevokeRequest{Serials: []ca.Serial{recalled[0]}, Reason: ca.KeyCompromise, InvalidSince: testNow.AddDate(0, 0, -2), Note: "its key was in a public repository"}
	if _, err := h.issuing.CA.Revoke(h.Context(), operator, revoke); err != nil {
		h.Fatal(err)
	}
	return first
}

// renewing adds renewals over some weeks, and lets the engine work.
func (h *house) renewing() {
	h.Helper()
	for week := range 5 {
		h.at(testNow.AddDate(0, 0, -6*(5-week)))
		for n := range 4 + week*2 {
			name := fmt.Sprintf("app%d-%d", week, n)
			h.renew(renewal.Wanted{Name: name, Issuer: "ca/servers", Names: []string{name + ".example.net"}, Directory: ""})
		}
		if week == 4 {
			h.renew(renewal.Wanted{Name: "shop-front", Issuer: "public-ca", Names: []string{"shop.example.net", "www.shop.example.net"}})
		}
		h.renewed()
	}
	if err := h.issuing.Renewals.Pause(h.Context(), operator, "app0-3"); err != nil {
		h.Fatal(err)
	}
}

func (h *house) renew(w renewal.Wanted) {
	h.Helper()
	if _, err := h.issuing.Renewals.Add(h.Context(), operator, w); err != nil {
		h.Fatal(err)
	}
}

// renewed lets the engine work until every order is over or waits.
func (h *house) renewed() {
	h.Helper()
	ctx, stop := context.WithTimeout(h.Context(), 30*time.Second)
	defer stop()
	var ended sync.WaitGroup
	ended.Go(func() { _ = h.issuing.Renewals.Run(ctx, func(err error) { h.Error(err) }) })
	for ctx.Err() == nil {
		open := 0
		list, err := h.issuing.Renewals.List(ctx, operator, store.RenewalFilter{}, "", 1000)
		if err != nil {
			h.Fatal(err)
		}
		for _, one := range list {
			if one.State == "new" {
				open++
			}
		}
		if open == 0 {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	ended.Wait()
}

// waiting asks for what needs somebody's word, and for what is refused.
func (h *house) waiting() {
	h.Helper()
	h.at(testNow.Add(-40 * time.Minute))
	for _, name := range []string{"mx1.example.net", "mx2.example.net"} {
		csr := []byte(issuingtest.CSR(h, name))
		_, err := h.issuing.CA.Issue(h.Context(), operator, ca.Request{Authority: "servers", Profile: "smtp", CSR: csr, Via: ca.ViaAPI})
		if _, ok := errors.AsType[*ca.Waiting](err); !ok {
			h.Fatalf("a mail server's certificate: %v", err)
		}
	}
	h.at(testNow.Add(-3 * time.Hour))
	stranger := gate.Actor{Name: "est/printer-4", Role: gate.Client, Via: "est"}
	_, err := h.issuing.CA.Issue(h.Context(), stranger, ca.Request{Authority: "servers", CSR: []byte(issuingtest.CSR(h, "intranet.example.net")), Via: ca.ViaEST})
	if !errors.Is(err, tallystick.ErrDenied) {
		h.Fatalf("a stranger's request: %v", err)
	}
}

// ordered adds what ACME clients ordered.
func (h *house) ordered() {
	h.Helper()
	for n, status := range []string{"valid", "invalid", "pending"} {
		order := store.ACMEOrder{
			ID: fmt.Sprintf("o%d", n), Account: "JtGx2b7Yk0", Authority: "servers", Status: status, Profile: "server", Identifiers: []store.ACMEIdentifier{{Type: "dns", Value: fmt.Sprintf("blog%d.example.net", n)}},
			Created: testNow.Add(-time.Duration(n+1) * time.Hour), Expires: testNow.Add(48 * time.Hour),
		}
		if status == "invalid" {
			order.Error = `{"type":"urn:ietf:params:acme:error:connection","detail":"blog1.example.net:80 did not answer within 10 s","status":400}`
		}
		if err := h.db.AddACMEOrder(h.Context(), order, nil); err != nil {
			h.Fatal(err)
		}
	}
}

// refuses fails the test when a form may be posted by somebody.
func (h *house) refuses(as gate.Actor, address string, form map[string][]string) {
	h.Helper()
	if w := h.ask(as, address, form); w.Code != http.StatusForbidden {
		h.Errorf("%s as %s: status %d, want 403\n%s", address, as.Name, w.Code, w.Body)
	}
}

// parsed reads what a page sent as PEM.
func (h *house) parsed(der []byte) *x509.Certificate {
	h.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		h.Fatal(err)
	}
	return c
}
