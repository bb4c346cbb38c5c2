// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

// entrusted adds what some customers have entrusted, with a value that no page may show.
func (h *house) entrusted() []store.EntrustedSecret {
	h.Helper()
	defer h.at(testNow)
	var list []store.EntrustedSecret
	for i, one := range []vault.Entrust{
		{Name: vault.Name{Customer: "acme", System: "ldap.acme.example", Account: "cn=mail-sync,ou=services", Kind: vault.Password}, MaxAge: 90 * 24 * time.Hour, Opens: "reads the address book", Holder: "token:7"},
		{Name: vault.Name{Customer: "acme", System: "smtp.acme.example", Account: "relay@acme.example", Kind: vault.Password}, MaxAge: 30 * 24 * time.Hour, Origin: "env:/etc/mail-sync.env:3"},
		{Name: vault.Name{Customer: "initech", System: "ews.initech.example", Account: "continuity", Kind: vault.ClientSecret}, Holder: "token:9"},
		{Name: vault.Name{Customer: "globex", System: "pop3.globex.example", Account: "journal", Kind: vault.Certificate}, MaxAge: 365 * 24 * time.Hour},
	} {
		h.at(testNow.AddDate(0, 0, -50+10*i))
		one.Value = driver.NewSecret("never-shown-4711")
		s, err := h.vault.Entrust(h.Context(), operator, one)
		if err != nil {
			h.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

func TestEntrusted(t *testing.T) {
	h := newHouse(t)
	h.contains(h.page(viewer, "/entrusted"), "Nothing is entrusted yet.")
	list := h.entrusted()
	page := h.page(operator, "/entrusted")
	h.contains(page, "4 secrets of 3 customers, ", `href="/entrusted?due=true&amp;sort=due">1</a> to be replaced now`, "ldap.acme.example", `href="/entrusted/`+list[0].ID+`"`,
		`<option value="hub">`, "What was under a wrapping key?", "AES-256-GCM", `<a href="/entrusted" aria-current="page">Entrusted</a>`)
	h.lacks(page, "never-shown")
	due := h.page(operator, "/entrusted?due=true")
	h.contains(due, "relay@acme.example")
	h.lacks(due, "continuity")
	h.lacks(h.page(operator, "/entrusted?customer=acme"), "initech")
	h.contains(h.page(operator, "/entrusted?q=nothing-like-this"), "Nothing matches.")
	if w := h.ask(operator, "/entrusted?kind=hope", nil); w.Code != http.StatusBadRequest {
		t.Error(w.Code)
	}
	// Who only looks sees what is kept, and not what could be read.
	page = h.page(viewer, "/entrusted")
	h.contains(page, "cn=mail-sync")
	h.lacks(page, "/entrusted/readable", `href="/entrusted/`+list[0].ID)
	for _, address := range []string{"/entrusted/readable?host=hub", "/entrusted/" + list[0].ID} {
		if w := h.ask(viewer, address, nil); w.Code != http.StatusForbidden {
			t.Errorf("%s: a viewer gets %d", address, w.Code)
		}
	}
	if w := h.ask(gate.Actor{}, "/entrusted", nil); w.Code != http.StatusUnauthorized {
		t.Errorf("a stranger gets %d", w.Code)
	}
}

func TestWhatCouldBeReadIsReplacedInTwoClicks(t *testing.T) {
	h := newHouse(t)
	list := h.entrusted()
	question := "/entrusted/readable?host=hub&from=2026-10-01&to=2026-10-20"
	page := h.page(operator, question)
	h.contains(page, "2 versions of secrets could be read.", "cn=mail-sync", "relay@acme.example", "in use")
	h.lacks(page, "continuity", "never-shown")
	if w := h.ask(operator, "/entrusted/readable?host=nowhere", nil); w.Code != http.StatusNotFound {
		t.Error(w.Code)
	}
	if w := h.ask(operator, "/entrusted/readable?host=hub&from=soon", nil); w.Code != http.StatusBadRequest {
		t.Error(w.Code)
	}
	form := url.Values{"host": {"hub"}, "key": {""}, "from": {"2026-10-01"}, "to": {"2026-10-20"}, "reason": {"hub was entered"}}
	if w := h.ask(viewer, "/entrusted/rotate", form); w.Code != http.StatusForbidden {
		t.Error("a viewer:", w.Code)
	}
	h.contains(h.post(operator, "/entrusted/rotate", form), "It is on the list of what is to be replaced", "cn=mail-sync", "otto: hub was entered")
	h.contains(h.page(operator, question), "to be replaced")
	one := h.page(operator, "/entrusted/"+list[0].ID)
	h.contains(one, "It is to be replaced now</strong>: otto: hub was entered", "token:7, who alone is given the value", `data-label="On">hub<`, "Nobody yet.")
	h.lacks(one, "never-shown")
	other := "/entrusted/" + list[2].ID
	h.contains(h.post(operator, "/entrusted/rotate", url.Values{"id": {list[2].ID}, "reason": {"a colleague left"}, "back": {other}}), "a colleague left")
	key := firstMatch(h, h.page(operator, "/entrusted"), `<option value="(file:[0-9a-f]+)"`)
	h.contains(h.page(operator, "/entrusted/readable?key="+key), "4 versions of secrets could be read.")
}

func TestHostileNamesOfEntrustedSecretsAreHarmless(t *testing.T) {
	h := newHouse(t)
	addresses := []string{"/entrusted", "/entrusted/readable?host=hub"}
	for _, attack := range attacks {
		attack = strings.TrimSpace(attack)
		s, err := h.vault.Entrust(t.Context(), operator, vault.Entrust{
			Name: vault.Name{Customer: attack, System: attack, Account: attack, Kind: vault.Other}, Opens: attack, Holder: "person:" + attack, Origin: attack, Value: driver.NewSecret("x"),
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.vault.Mark(t.Context(), operator, attack, s.ID); err != nil {
			t.Fatal(err)
		}
		addresses = append(addresses, "/entrusted/"+s.ID, "/entrusted?customer="+url.QueryEscape(attack), "/entrusted?q="+url.QueryEscape(attack))
	}
	for _, address := range addresses {
		h.harmless(address)
	}
}

func TestBrowserShowsEntrusted(t *testing.T) {
	h := newHouse(t)
	list := h.entrusted()
	b := h.newBrowser()
	b.signIn()
	b.shows([]string{"/entrusted", "/entrusted?due=true&sort=due", "/entrusted/readable?host=hub", "/entrusted/" + list[1].ID})
}

// A wrapping key that has grown old is a finding, which leads to what is kept.
func TestOldWrappingKeyIsAFinding(t *testing.T) {
	h := newHouse(t)
	h.entrusted()
	h.at(testNow.AddDate(3, 0, 0))
	if err := h.engine.JudgeWrappings(t.Context()); err != nil {
		t.Fatal(err)
	}
	page := h.page(viewer, "/findings?rule=wrapping-key-weak")
	h.contains(page, "A wrapping key is weak", `<a href="/entrusted">wrapping key file:`, "in use for more than two years", "tally custody rewrap")
}
