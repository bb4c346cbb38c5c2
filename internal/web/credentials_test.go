// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
)

func TestCredentialsFilter(t *testing.T) {
	h := newHouse(t)
	ca := newAuthority(t, "Example CA")
	c := ca.issue(newKey(t), "mail.example.net", 10, 90)
	h.record("files", seen(c, tallystick.RolePresents, "/etc/mail.pem"), seen(keyOf(c), tallystick.RoleHolds, "/etc/mail.key"),
		seen(ca.issue(newRSA(t), "web.example.net", 10, 90), tallystick.RolePresents, "/etc/web.pem"))
	for _, test := range []struct {
		query string
		count int
		name  string
	}{
		{"", 3, "web.example.net"},
		{"?q=mail", 1, "mail.example.net"},
		{"?kind=key", 1, "key " + keyOf(c).ID.Short()},
		{"?algorithm=rsa-", 1, "web.example.net"},
		{"?role=holds", 1, "key " + keyOf(c).ID.Short()},
		{"?place=file:///etc/web.pem", 1, "web.example.net"},
		{"?owner=-&kind=certificate&q=mail", 1, "mail.example.net"},
		{"?q=nothing", 0, "No credential matches"},
	} {
		page := h.page(viewer, "/credentials"+test.query)
		h.contains(page, test.name)
		if n := strings.Count(page, `<td class="name">`); n != test.count {
			t.Errorf("%s: %d rows, want %d", test.query, n, test.count)
		}
	}
	page := h.page(viewer, "/credentials?q=mail&kind=certificate")
	h.contains(page, `<a class="chip" href="/credentials?kind=certificate"`, `<a class="chip" href="/credentials?q=mail"`,
		`/export?format=csv&amp;kind=certificate&amp;q=mail`)
	h.lacks(page, "With the chosen") // viewers change nothing
}

func TestCredentialsRefuseNonsense(t *testing.T) {
	h := newHouse(t)
	for _, query := range []string{"severity=awful", "ends_after=tomorrow", "sort=colour", "after=nowhere"} {
		w := h.ask(viewer, "/credentials?"+query, nil)
		if w.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", query, w.Code)
		}
		h.contains(w.Body.String(), "The input cannot be used as it is.")
	}
}

func TestCredentialsPaging(t *testing.T) {
	h := newHouse(t)
	var sightings []tallystick.Sighting
	for i := range 120 {
		c := tallystick.Credential{
			ID: tallystick.FingerprintOf(fmt.Append(nil, i)), Kind: tallystick.KindKey, Subject: fmt.Sprintf("key%03d", i),
			Key: tallystick.Key{ID: tallystick.KeyIDOf(fmt.Append(nil, i)), Algorithm: "ed25519"},
		}
		sightings = append(sightings, seen(c, tallystick.RolePresents, fmt.Sprintf("/etc/%d", i)))
	}
	h.record("files", sightings...)
	address, names := "/credentials?sort=subject&q=key", []string{}
	for pages := 0; address != ""; pages++ {
		if pages > 3 {
			t.Fatal("the list does not end")
		}
		page := h.page(viewer, address)
		h.contains(page, "120 match", `aria-sort="ascending"`)
		rows := strings.Split(page, `<td class="name">`)[1:]
		for _, row := range rows {
			names = append(names, firstMatch(h, row, `>(key\d+)<`))
		}
		address = ""
		if strings.Contains(page, `rel="next"`) {
			address = firstMatch(h, page, `href="([^"]+)" rel="next"`)
		}
	}
	for i, name := range names {
		if want := fmt.Sprintf("key%03d", i); name != want {
			t.Fatalf("row %d is %s, want %s", i, name, want)
		}
	}
	if len(names) != 120 {
		t.Errorf("%d rows over all pages", len(names))
	}
}

func TestCredentialsAreAmendedTogether(t *testing.T) {
	h := newHouse(t)
	ca := newAuthority(t, "Example CA")
	one, two := ca.issue(newKey(t), "one.example.net", 1, 90), ca.issue(newKey(t), "two.example.net", 1, 90)
	h.record("files", seen(one, tallystick.RolePresents, "/etc/1.pem"), seen(two, tallystick.RolePresents, "/etc/2.pem"))
	h.post(operator, "/credentials/"+string(one.ID), url.Values{"owner": {"ann"}, "tags": {"old, kept"}, "notes": {"hello\r\nthere"}})
	form := url.Values{"id": {string(one.ID), string(two.ID)}, "set_owner": {"web team"}, "add_tags": {"edge"}, "remove_tags": {"old"}}
	page := h.post(operator, "/credentials?kind=certificate", form)
	h.contains(page, "Saved for the credentials that you chose.", `name="kind"`)
	if n := strings.Count(page, `<td data-label="Owner">web team`); n != 2 {
		t.Errorf("%d have the owner:\n%s", n, page)
	}
	page = h.page(operator, "/credentials/"+string(one.ID))
	h.contains(page, `value="edge kept"`, "hello\nthere</textarea>", `value="web team"`)

	for name, bad := range map[string]url.Values{
		"nothing is chosen": {"set_owner": {"x"}},
		"too many":          {"set_owner": {"x"}, "id": make([]string, 51)},
	} {
		if w := h.ask(operator, "/credentials", bad); w.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", name, w.Code)
		}
	}
	if w := h.ask(viewer, "/credentials", form); w.Code != http.StatusForbidden {
		t.Errorf("a viewer: status %d", w.Code)
	}
}
