// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
)

func TestCredential(t *testing.T) {
	h := newHouse(t)
	ca := newAuthority(t, "Example CA")
	c := ca.issue(newKey(t), "mail.example.net", 80, 90)
	h.record("files", seen(c, tallystick.RolePresents, "/etc/mail.pem"), seen(keyOf(c), tallystick.RoleHolds, "/etc/mail.key"),
		seen(ca.itself(), tallystick.RolePresents, "/etc/ca.pem"))
	h.record("tls", served(c, "127.0.0.1:443"))
	h.record("tls") // and it is gone from there
	page := h.page(operator, "/credentials/"+string(c.ID))
	h.contains(page,
		"<h1>mail.example.net</h1>", "10 days left", "CN=mail.example.net", "Example CA",
		"file:///etc/mail.key", "private half, no passphrase", "readable by everybody", // the half that is held
		"No place was seen to let it in.",
		"tls://127.0.0.1:443", "served by nginx", `<tr class="past">`, // where it was
		"Expires soon", "To do:", // what is wrong
		"The same key in others", "-----BEGIN CERTIFICATE-----",
		strings.ReplaceAll(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))[30:90], "+", "&#43;"), // as templates escape it
	)
	// A bare key is named as its certificates' key is, and is a page of its own.
	h.contains(h.page(viewer, "/credentials/"+string(keyOf(c).ID)), "<h1>key "+keyOf(c).ID.Short(), "mail.example.net", "-----BEGIN PUBLIC KEY-----")
	h.contains(h.page(viewer, "/credentials/"+c.ID.Short()), "<h1>mail.example.net</h1>")
	if w := h.ask(viewer, "/credentials/0123456789abcdef", nil); w.Code != http.StatusNotFound {
		t.Errorf("an unknown one: status %d", w.Code)
	}
}

func TestCredentialShowsFormsToOperatorsOnly(t *testing.T) {
	h := newHouse(t)
	c := newAuthority(t, "Example CA").issue(newKey(t), "mail.example.net", 80, 90)
	h.record("files", seen(c, tallystick.RolePresents, "/etc/mail.pem"))
	address := "/credentials/" + string(c.ID)
	h.lacks(h.page(viewer, address), `method="post" action="/credentials`, "/accept")
	h.contains(h.page(operator, address), `method="post" action="/credentials`, "/accept")
	if w := h.ask(viewer, address, url.Values{"owner": {"vera"}}); w.Code != http.StatusForbidden {
		t.Errorf("a viewer annotates: status %d", w.Code)
	}
	h.post(operator, address, url.Values{"owner": {"ann"}, "environment": {"prod"}})
	h.contains(h.post(operator, address, url.Values{"owner": {"bob"}}), "Saved.", `value="bob"`, "What was said before", "owner ann, prod")
	if w := h.ask(operator, address, url.Values{"tags": {"x"}, "environment": {string(make([]byte, 200))}}); w.Code != http.StatusBadRequest {
		t.Errorf("an environment that is too long: status %d", w.Code)
	}
}

// Whoever saves the form without touching a field must not change what is in it.
func TestCredentialFormKeepsText(t *testing.T) {
	h := newHouse(t)
	c := newAuthority(t, "Example CA").issue(newKey(t), "mail.example.net", 80, 90)
	h.record("files", seen(c, tallystick.RolePresents, "/etc/mail.pem"))
	address := "/credentials/" + string(c.ID)
	const notes, owner = "crew \U0001F469\u200D\U0001F4BB <b>&amp;\nsoft\u00ADhyphen", "team \U0001F469\u200D\U0001F4BB"
	h.post(operator, address, url.Values{"owner": {owner}, "notes": {notes}})
	page := h.page(operator, address)
	h.contains(page, `value="`+owner+`"`)
	form := url.Values{
		"owner": {firstMatch(h, page, `name="owner" value="([^"]*)"`)},
		"notes": {firstMatch(h, page, `<textarea name="notes"[^>]*>([^<]*)</textarea>`)},
	}
	h.post(operator, address, form)
	_, row, err := h.db.Credential(t.Context(), c.ID)
	if err != nil {
		t.Fatal(err)
	}
	if row.Annotation.Notes != notes || row.Annotation.Owner != owner {
		t.Errorf("saved again, it is %q, %q", row.Annotation.Notes, row.Annotation.Owner)
	}
	h.contains(h.page(viewer, address), "[U+200D]", "soft[U+00AD]hyphen") // where it is not in a form
}

func TestCredentialThatIsTrusted(t *testing.T) {
	h := newHouse(t)
	c := newAuthority(t, "Example Root").itself()
	s := seen(c, tallystick.RoleAccepts, "")
	s.Place = tallystick.TrustStorePlace("/etc/ssl/certs")
	h.record("truststore", s)
	h.contains(h.page(viewer, "/credentials/"+string(c.ID)), "Believed by 1 trust store.", "Nobody was seen to hold the private half.")
}

// What a recall is of need not have been found.
func TestUnknownCredential(t *testing.T) {
	h := newHouse(t)
	id := strings.Repeat("5b", 32)
	w := h.ask(operator, "/credentials/"+id, nil)
	if w.Code != http.StatusNotFound {
		t.Errorf("status %d", w.Code)
	}
	h.contains(w.Body.String(), "The inventory does not know this credential", "/recalls/new?kind=credential", "Start a look")
	h.lacks(h.ask(viewer, "/credentials/"+id, nil).Body.String(), "/recalls/new", "Start a look")
	h.contains(h.ask(operator, "/credentials/0123456789abcdef", nil).Body.String(), "There is no such thing.")
}

// A mistake in what is said about a credential costs nobody their notes.
func TestCredentialKeepsWhatWasTyped(t *testing.T) {
	h := newHouse(t)
	c := newAuthority(t, "Example CA").itself()
	h.record("files", seen(c, tallystick.RolePresents, "/etc/ca.pem"))
	w := h.ask(operator, "/credentials/"+string(c.ID), url.Values{"owner": {"mail team"}, "tags": {strings.Repeat("x", 101)}, "notes": {"Ask Vera first."}})
	if w.Code != http.StatusBadRequest {
		t.Errorf("status %d", w.Code)
	}
	h.contains(w.Body.String(), `role="alert"`, "a tag is a word of at most 100 characters", `value="mail team"`, ">Ask Vera first.</textarea>")
	h.lacks(h.page(viewer, "/credentials/"+string(c.ID)), "mail team")
}
