// SPDX-License-Identifier: Apache-2.0

package server

import (
	"net/http"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

func TestAccessChanges(t *testing.T) {
	f := onSQLite(t)
	const expected = `{"target":"entra-app:t/1","kind":"credential-added","until":"2026-11-22T18:00:00Z","reason":"renewal"}`
	if w := f.ask(gate.Viewer, http.MethodPost, "/api/v1/access-changes/expectations", expected); w.Code != http.StatusForbidden {
		t.Errorf("a viewer may say that a change is expected: %d", w.Code)
	}
	e := answerOf[store.AccessExpectation](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/access-changes/expectations", expected), http.StatusOK)
	if e.By != "operator" || !e.Since.Equal(now) {
		t.Errorf("%+v", e)
	}
	if w := f.ask(gate.Operator, http.MethodPost, "/api/v1/access-changes/expectations", `{"target":"x","until":"2020-01-01T00:00:00Z","reason":"r"}`); w.Code < 400 || w.Code >= 500 {
		t.Errorf("an expectation of the past has status %d", w.Code)
	}
	var changes []tallystick.Change
	for _, target := range []string{"entra-app:t/1", "entra-app:t/2", "ad:lab.test/cn=x"} {
		changes = append(changes, tallystick.Change{ID: target, Time: now.Add(time.Minute), Kind: tallystick.ChangeCredentialAdded, Actor: "account:x", Target: target, Existing: -1})
	}
	must(t, f.Directory.Take(t.Context(), changes))
	all := get[list[store.AccessChange]](f, gate.Viewer, "/api/v1/access-changes?limit=2")
	if all.Total != 3 || len(all.Items) != 2 || all.Next == "" {
		t.Errorf("%+v", all)
	}
	rest := get[list[store.AccessChange]](f, gate.Viewer, "/api/v1/access-changes?limit=2&after="+all.Next)
	if len(rest.Items) != 1 || rest.Items[0].Expected != "operator: renewal" || rest.Next != "" {
		t.Errorf("%+v", rest)
	}
	some := get[list[store.AccessChange]](f, gate.Viewer, "/api/v1/access-changes?unexpected=true&target=entra-app:&kind=credential-added&from=2026-11-22")
	if len(some.Items) != 1 || some.Items[0].Target != "entra-app:t/2" {
		t.Errorf("%+v", some)
	}
	for _, actor := range []string{"account:x", "x"} {
		if by := get[list[store.AccessChange]](f, gate.Viewer, "/api/v1/access-changes?actor="+actor); len(by.Items) != 3 || by.Items[0].Actor != "account:x" {
			t.Errorf("by %s: %+v", actor, by)
		}
	}
	if one := all.Items[0]; one.ID == 0 || one.RecordID != "ad:lab.test/cn=x" {
		t.Errorf("number %d, record %q", one.ID, one.RecordID)
	}
	if got := get[expectationsBody](f, gate.Viewer, "/api/v1/access-changes/expectations"); len(got.Items) != 1 {
		t.Errorf("%+v", got)
	}
}
