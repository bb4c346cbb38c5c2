// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/store"
)

// hostileIssuing puts text into every field that whoever asks for certificates, or a
// CA of somebody else's, can choose, and into some that they cannot. It returns the
// serials.
func (h *house) hostileIssuing(texts []string) []ca.Serial {
	h.Helper()
	must := func(err error) {
		h.Helper()
		if err != nil {
			h.Fatal(err)
		}
	}
	ctx := h.Context()
	lab := h.init(ca.InitRequest{Name: "lab", CommonName: "lab " + texts[0][:min(40, len(texts[0]))], Note: texts[0], PermittedDNS: nil})
	var serials []ca.Serial
	for i, text := range texts {
		names, err := json.Marshal(ca.Names{CommonName: text, DNS: []string{text, "a"}, Emails: []string{text}, URIs: []string{"javascript:alert(1)", text}, Principals: []string{text}})
		must(err)
		serial := ca.NewSerial(testNow)
		sum := sha256.Sum256([]byte(serial))
		must(h.db.AddIssued(ctx, store.Issued{
			Serial: serial.Bytes(), Authority: lab.ID, Profile: text, Via: text, Requester: text, Subject: "CN=" + text, Names: string(names), SPKI: sum[:], SHA256: sum[:],
			Certificate: []byte("x"), IssuedAt: testNow, NotBefore: testNow.Add(-time.Hour), NotAfter: testNow.Add(time.Hour),
		}, ca.Active))
		serials = append(serials, serial)
		_, err = h.db.AddIssueRequest(ctx, store.IssueRequest{
			Authority: text, Profile: text, Via: text, Requester: text, Request: "{}", Names: []string{text, text}, Why: text, At: testNow,
			State: []string{store.RequestWaiting, store.RequestRefused, store.RequestFailed}[i%3], DecidedBy: text,
		})
		must(err)
		wrong, err := json.Marshal(map[string]string{"detail": text})
		must(err)
		must(h.db.AddACMEOrder(ctx, store.ACMEOrder{
			ID: fmt.Sprint("o", i), Account: text, Authority: text, Status: "invalid", Profile: text, Identifiers: []store.ACMEIdentifier{{Type: "dns", Value: text}},
			Note: text, Replaces: text, Error: string(wrong), Created: testNow, Expires: testNow.Add(time.Hour),
		}, nil))
		r, err := h.db.AddRenewal(ctx, store.Renewal{Name: fmt.Sprint("r", i), Issuer: clipped(text), Profile: clipped(text), Names: []string{text}, Directory: fmt.Sprint("/", i, text), Due: testNow, Why: text, Created: testNow})
		must(err)
		r.Error, r.Failures = text, 3
		must(h.db.ChangeRenewal(ctx, r))
	}
	_, err := h.db.MarkRecalled(ctx, [][]byte{serials[0].Bytes()}, texts[0], testNow)
	must(err)
	_, err = h.db.Revoke(ctx, []store.Revocation{{Authority: lab.ID, Serial: serials[1].Bytes(), At: testNow, NotAfter: testNow.Add(time.Hour), By: texts[1], Note: texts[1]}})
	must(err)
	return serials
}

// clipped is as long as the name of an issuer may be.
func clipped(text string) string { return text[:min(63, len(text))] }

func TestHostileIssuingIsHarmless(t *testing.T) {
	h := newHouse(t)
	serials := h.hostileIssuing(attacks)
	client := h.issue(operator, ca.Request{Profile: "client", Names: &ca.Names{CommonName: attacks[0]}}, "a.example.net") // a real one
	addresses := []string{"/issuers", "/issuers/lab", "/issued", "/requests", "/requests?state=refused", "/orders", "/renewals", "/policies", "/issued/" + string(client.Serial), "/audit"}
	for _, serial := range serials {
		addresses = append(addresses, "/issued/"+string(serial))
	}
	for _, attack := range attacks {
		q := url.QueryEscape(attack)
		addresses = append(addresses, "/issued?name="+q+"&profile="+q+"&via="+q+"&requester="+q, "/renewals?q="+q+"&issuer="+q, "/orders?account="+q,
			"/policies?names="+q+"&as="+q+"&via="+q+"&role=operator", "/policies?names="+q+"&profile=client&role=operator&authority=lab")
	}
	for _, address := range addresses {
		h.harmless(address)
	}
	h.contains(h.page(viewer, "/issued/"+string(client.Serial)), "&lt;script&gt;alert(1)&lt;/script&gt;")
	for _, bad := range []string{"/issuers/" + url.PathEscape(attacks[0]), "/issued/" + url.PathEscape(attacks[1]), "/issued?state=" + url.QueryEscape(attacks[0]), "/issued?key=" + url.QueryEscape(attacks[5]),
		"/requests?state=" + url.QueryEscape(attacks[1]), "/renewals?state=" + url.QueryEscape(attacks[2]), "/orders?renewal=" + url.QueryEscape(attacks[5]), "/policies?names=a&profile=" + url.QueryEscape(attacks[0])} {
		h.lacks(h.ask(admin, bad, nil).Body.String(), dangers...)
	}
	for _, path := range []string{"/issuers/lab/chain.pem", "/issued/" + hex.EncodeToString(serials[0].Bytes()) + "/chain.pem"} {
		if d := h.ask(admin, path, nil).Header().Get("Content-Disposition"); strings.Count(d, `"`) != 2 {
			t.Errorf("%s is sent as %q", path, d)
		}
	}
}

// Whoever asks for a certificate may write much; a page stays a page.
func TestHugeIssuingIsCut(t *testing.T) {
	h := newHouse(t)
	var texts []string
	for i := range 60 {
		texts = append(texts, fmt.Sprint(i, strings.Repeat("x\u202E<b>", 400)))
	}
	serials := h.hostileIssuing(texts)
	for _, address := range []string{"/issuers", "/issuers/lab", "/issued", "/requests", "/orders", "/renewals", "/issued/" + string(serials[0]), "/issued/" + string(serials[1])} {
		if w := h.ask(admin, address, nil); w.Code != http.StatusOK || w.Body.Len() > 500_000 {
			t.Errorf("%s: status %d, %d bytes", address, w.Code, w.Body.Len())
		}
	}
}
