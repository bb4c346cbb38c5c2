// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/sources"
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

// told gives changes to a directory.
type told struct{ *directory.Directory }

func (a told) Append(ctx context.Context, _ string, _ ledger.Batch, changes []tallystick.Change) (ledger.Appended, error) {
	return ledger.Appended{}, a.Take(ctx, changes)
}

// What a sender says that stood in a directory is written nowhere by who takes it back, also when the
// name of the source is a driver's later: the sender may have made it up.
func TestWhatASenderTellsIsNotTakenBack(t *testing.T) {
	f := onSQLite(t)
	f.Sources = sources.New(sources.Config{DB: f.DB, Gate: f.Gate, Appender: told{f.Directory}, Now: time.Now, Drivers: []driver.Driver{ldap.Driver()}})
	const options = `"options":{"url":"ldapi:///run/slapd.socket","external":"true"}`
	_, _, err := f.Sources.Add(t.Context(), gate.Local("root"), store.Source{
		Name: "people", Kind: store.SourceDriver, Driver: "ldap", Side: tallystick.SideRelying, Options: map[string]string{"url": "ldapi:///run/slapd.socket", "external": "true"},
	}, "")
	must(t, err)
	added := answerOf[struct{ Token string }](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/sources", `{"name":"x","kind":"http","side":"relying","format":"directory"}`), http.StatusOK)
	line := fmt.Sprintf(`{"type":"directory-change","id":"1","time":%q,"directory":"ldap:10.0.0.5:636","object":"41d0a9ea","dn":"cn=admins","name":"admins","attribute":"member","removed":["dWlkPW1hbGxvcnk="],"existing":1}`,
		now.Format(time.RFC3339))
	if w := f.send(apiRoot+"/sources/x/uses", added.Token, "application/x-ndjson", strings.NewReader(line+"\n")); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	all := get[list[store.AccessChange]](f, gate.Viewer, "/api/v1/access-changes").Items
	if len(all) != 1 || all[0].TargetName != "mallory" || all[0].Values != nil {
		t.Fatalf("%+v", all)
	}
	f.ask(gate.Admin, http.MethodDelete, "/api/v1/sources/x", "")
	if w := f.ask(gate.Admin, http.MethodPost, "/api/v1/sources", `{"name":"x","kind":"driver","side":"relying","driver":"ldap",`+options+`}`); w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	w := f.ask(gate.Admin, http.MethodPost, fmt.Sprintf("/api/v1/access-changes/%d/undo", all[0].ID), `{"try":true}`)
	if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "does not say what stood there before") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A change is taken back by whoever may, where a driver has seen it; internal/directory has that with a real directory.
func TestUndoOfAccessChanges(t *testing.T) {
	f := onSQLite(t)
	values := &tallystick.ChangedValues{Object: "1", DN: "cn=x", Attribute: "description", Added: [][]byte{[]byte("x")}}
	must(t, f.Directory.Take(t.Context(), []tallystick.Change{
		{ID: "1", Source: "log", Time: now, Kind: tallystick.ChangeSetting, Target: "ad:lab.test/cn=x", Existing: -1},
		{ID: "2", Source: "gone", Time: now.Add(time.Minute), Kind: tallystick.ChangeSetting, Target: "ad:lab.test/cn=x", Existing: -1, Values: values},
	}))
	_, err := f.DB.AddSource(t.Context(), store.Source{Name: "file", Kind: store.SourceFile, Side: tallystick.SideRelying, Path: "/x"})
	must(t, err)
	must(t, f.Directory.Take(t.Context(), []tallystick.Change{
		{ID: "3", Source: "file", Time: now.Add(2 * time.Minute), Kind: tallystick.ChangeSetting, Target: "ad:lab.test/cn=x", Existing: -1, Values: values},
	}))
	all := get[list[store.AccessChange]](f, gate.Viewer, "/api/v1/access-changes").Items // the newest first
	undo := func(role gate.Role, id int64, body string, want int, text string) {
		t.Helper()
		w := f.ask(role, http.MethodPost, fmt.Sprintf("/api/v1/access-changes/%d/undo", id), body)
		if w.Code != want || !strings.Contains(w.Body.String(), text) {
			t.Errorf("%s: status %d, want %d: %s", body, w.Code, want, w.Body)
		}
	}
	for _, body := range []string{`{"try":true}`, `{}`} {
		undo(gate.Operator, all[0].ID, body, http.StatusForbidden, "undo-change needs the role admin")
		undo(gate.Admin, all[0].ID, body, http.StatusBadRequest, "is read by no driver")
		undo(gate.Admin, all[1].ID, body, http.StatusNotFound, "add it again under that name")
		undo(gate.Admin, all[2].ID, body, http.StatusBadRequest, "does not say what stood there before")
		undo(gate.Admin, 4711, body, http.StatusNotFound, "there is no change 4711")
		undo(gate.Operator, 4711, body, http.StatusForbidden, "undo-change needs the role admin")
	}
}
