// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// change returns a change of the tests, so long before now.
func change(kind tallystick.ChangeKind, ago time.Duration, target string) tallystick.Change {
	return tallystick.Change{
		ID: fmt.Sprint(kind, ago), Source: "entra-audit", Time: testNow.Add(-ago), Kind: kind, Target: "entra-app:t/" + target, TargetName: target, Existing: -1,
		Actor: "account:entra-user/anna@corp.example", ActorKind: "user", Address: "203.0.113.20", Operation: "Update application",
	}
}

// changed adds a month of changes to a house: one that was used minutes later,
// others that nobody expected, and a routine that is expected.
func (h *house) changed(known tallystick.Credential) {
	h.Helper()
	defer h.at(testNow)
	h.at(testNow.AddDate(0, 0, -25))
	_, err := h.directory.Expect(h.Context(), operator, store.AccessExpectation{
		Target: "entra-app:t/rotated", Kind: tallystick.ChangeCredentialAdded, Until: testNow.AddDate(0, 1, 0), Reason: "rotation by the vault, ticket 4711",
	})
	if err != nil {
		h.Fatal(err)
	}
	h.at(testNow)
	thumbprint := sha1.Sum(known.Raw)
	stolen := change(tallystick.ChangeCredentialAdded, 31*time.Hour, "mail-sync")
	stolen.Actor, stolen.ActorKind, stolen.Address, stolen.Existing = "account:entra-app/3f0a7c52", "application", thiefAddress, 0
	stolen.Credential = []string{"x5t:" + hex.EncodeToString(thumbprint[:]), "entra-key:7f1d5c1e-6a1f-4d0e-9b5e-2f6f3b0a9c11"}
	stolen.Accounts = []string{"account:entra-app/mail-sync"}
	stolen.Before, stolen.After = "[]", "[KeyIdentifier=7f1d5c1e-6a1f-4d0e-9b5e-2f6f3b0a9c11,KeyType=AsymmetricX509Cert,KeyUsage=Verify,DisplayName=CN=backup]"
	grant := change(tallystick.ChangeGrantAdded, 31*time.Hour-4*time.Minute, "mail-sync")
	grant.Grants = []string{"full_access_as_app", "Mail.Read"}
	failed := change(tallystick.ChangeTrustAdded, 40*time.Hour, "corp.example")
	failed.Failed = true
	list := []tallystick.Change{stolen, grant, failed, change(tallystick.ChangeGrantRemoved, 200*time.Hour, "old-portal")}
	for i := range 20 {
		rotated := change(tallystick.ChangeCredentialAdded, time.Duration(i*29+5)*time.Hour, "rotated")
		rotated.Actor, rotated.ActorKind = "account:entra-app/vault", "application"
		rotated.Credential, rotated.After = []string{fmt.Sprintf("entra-key:00000000-0000-0000-0000-%012d", i)}, "a certificate until 2027"
		list = append(list, rotated)
	}
	if err := h.directory.Take(h.Context(), list); err != nil {
		h.Fatal(err)
	}
	if err := h.directory.Used(h.Context(), nil, []string{stolen.Credential[1]}, stolen.Time.Add(11*time.Minute), thiefAddress); err != nil {
		h.Fatal(err)
	}
}

func TestDirectorySaysWhatNobodyExpected(t *testing.T) {
	h := newHouse(t)
	used := h.used()
	h.changed(used)
	page := h.page(viewer, "/directory")
	h.contains(page, "In the last month: ", ">3 changes</a> that nobody expected, 1 of them used within half an hour, 20 expected and 1 that failed.",
		"Then used from "+thiefAddress, "11 minutes later", "its first credential", "full_access_as_app", `href="/credentials/`+string(used.ID)+`"`,
		"otto expected it: rotation by the vault, ticket 4711", "tried, and failed", "KeyType=AsymmetricX509Cert")
	h.lacks(page, `action="/directory/expect"`) // a viewer expects nothing
	if loud := strings.Count(page, `<li class="card s-`); loud != 3 {
		t.Errorf("%d changes are loud", loud)
	}
	if quiet := strings.Count(page, `<li class="card quiet"`); quiet != 21 {
		t.Errorf("%d changes are quiet", quiet)
	}
	h.contains(h.page(viewer, firstMatch(h, page, `Then used from [^<]*<a href="([^"]+)"`)), "No record of this time matches")
	h.contains(h.page(viewer, "/findings?rule=change-credential-used"), `href="/directory?target=entra-app%3At%2Fmail-sync"`)
}

func TestDirectoryFilters(t *testing.T) {
	h := newHouse(t)
	h.changed(h.used())
	for query, want := range map[string]string{
		"?unexpected=true": "3 changes</a> that nobody expected and 1 of them used", "?kind=trust-added": "1 that failed.",
		"?target=entra-app:t/rotated": "In the last year: 20 expected.", "?actor=account:entra-app/3f0a7c52": "1 change</a> that nobody",
		"?target=entra-app:&range=hour": "In the last hour: no change was recorded.", "?from=2026-11-21&to=2026-11-22": "In this time: ",
		"?kind=grant-removed&range=week": "No change was recorded in the last week that matches.",
	} {
		if page := h.page(viewer, "/directory"+query); !strings.Contains(page, want) {
			t.Errorf("%s lacks %q:\n%s", query, want, page)
		}
	}
	chips := h.page(viewer, "/directory?kind=grant-added&unexpected=true&actor=x")
	h.contains(chips, `href="/directory?actor=x&amp;unexpected=true"`, `href="/directory?kind=grant-added&amp;unexpected=true"`, "Nobody expected it")
	for _, query := range []string{"?kind=x", "?from=x", "?to=x", "?range=x", "?from=2026-11-22&to=2026-11-21", "?after=x"} {
		if w := h.ask(viewer, "/directory"+query, nil); w.Code != http.StatusBadRequest {
			t.Errorf("%s: status %d", query, w.Code)
		}
	}
}

func TestDirectoryExpects(t *testing.T) {
	h := newHouse(t)
	form := url.Values{"target": {"Entra-App:t/7"}, "kind": {"credential-added"}, "until": {"2026-11-23"}, "reason": {"renewal"}, "back": {"/directory?kind=setting"}}
	if w := h.ask(viewer, "/directory/expect", form); w.Code != http.StatusForbidden {
		t.Errorf("a viewer expects: status %d", w.Code)
	}
	page := h.post(operator, "/directory/expect", form)
	h.contains(page, "It is expected", "entra-app:t/7", "renewal", "2026-11-24 00:00 UTC")
	if err := h.directory.Take(t.Context(), []tallystick.Change{{ID: "1", Time: testNow.Add(time.Minute), Kind: tallystick.ChangeCredentialAdded, Target: "entra-app:t/7"}}); err != nil {
		t.Fatal(err)
	}
	h.at(testNow.Add(time.Hour))
	h.contains(h.page(operator, "/directory"), "1 expected.", "Somebody expected every change.")
	h.contains(h.page(operator, "/directory?expect=entra-app:t/9"), `name="target" value="entra-app:t/9"`, "<details open><summary>Say that a change is expected")
	for name, value := range map[string]string{"target": "x", "kind": "x", "until": "2020-01-01", "reason": ""} {
		bad := url.Values{"target": {"a:b"}, "until": {"2026-11-23"}, "reason": {"r"}}
		bad.Set(name, value)
		if w := h.ask(operator, "/directory/expect", bad); w.Code != http.StatusBadRequest {
			t.Errorf("%s %q: status %d", name, value, w.Code)
		}
	}
}

func TestDirectoryIsEmpty(t *testing.T) {
	h := newHouse(t)
	h.contains(h.page(viewer, "/directory"), "tally source add entra-audit", "docs/directory.md", "no change was recorded.")
	h.contains(h.page(viewer, "/"), `href="/directory"`)
}

// Whoever may write into a directory chooses names and values, and how long they are.
func TestHostileChangesAreHarmless(t *testing.T) {
	h := newHouse(t)
	long := strings.Repeat("x\u202E<b>", 400)
	for i, text := range append(append([]string{}, attacks...), long) {
		list := make([]string, 50)
		for n := range list {
			list[n] = fmt.Sprint(text, n)
		}
		c := tallystick.Change{
			ID: text, Source: text, Time: testNow.Add(-time.Duration(i+1) * time.Hour), Kind: tallystick.ChangeKind(text), Actor: text, ActorKind: text, Address: text, Agent: text,
			Target: text, TargetName: text, Credential: list, Grants: list, Accounts: list, Operation: text, Correlation: text, Before: text, After: text, Detail: text,
			Values: &tallystick.ChangedValues{Object: text, DN: text, Attribute: text, Added: [][]byte{[]byte(text)}},
		}
		awaited := c
		awaited.ID, awaited.Kind, awaited.Target = "awaited"+text, tallystick.ChangeCredentialAdded, strings.ToLower("a:"+text)
		awaited.Time = testNow.Add(time.Duration(i) * time.Minute)
		if _, err := h.directory.Expect(t.Context(), operator, store.AccessExpectation{Target: awaited.Target, Actor: text, Until: testNow.Add(time.Hour), Reason: text}); err != nil {
			t.Fatal(err)
		}
		ancient := change(tallystick.ChangeKeyRead, 0, "ancient")
		ancient.ID, ancient.Time = text, time.Date(1+9990*(i%2), 1, 1, 0, 0, 0, 0, time.UTC)
		fresh, err := h.db.RecordAccessChanges(t.Context(), []tallystick.Change{c, awaited, ancient})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.db.UseAccessChange(t.Context(), fresh[0].ID, testNow, text); err != nil {
			t.Fatal(err)
		}
		undo := h.ask(admin, fmt.Sprintf("/directory/changes/%d/undo", fresh[0].ID), nil)
		if undo.Code != http.StatusNotFound || undo.Body.Len() > 50_000 {
			t.Errorf("%.40q: status %d, %d bytes", text, undo.Code, undo.Body.Len())
		}
		h.lacks(undo.Body.String(), dangers...)
	}
	h.at(testNow.Add(time.Hour))
	addresses := []string{"/directory", "/directory?range=day", "/directory?from=0001-01-01&to=9999-12-31"}
	for _, attack := range attacks {
		q := url.QueryEscape(attack)
		addresses = append(addresses, "/directory?target="+q+"&actor="+q, "/directory?expect="+q)
	}
	for _, address := range addresses {
		h.harmless(address)
	}
	h.contains(h.page(admin, "/directory"), "&lt;script&gt;alert(1)&lt;/script&gt;", "safe.example[U+202E]moc.live")
	h.lacks(h.ask(admin, "/directory?kind="+url.QueryEscape(attacks[0]), nil).Body.String(), dangers...)
}
