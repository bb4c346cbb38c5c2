// SPDX-License-Identifier: Apache-2.0

package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/entra"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/sources"
	"github.com/tallystick/tallystick/internal/store"
)

func TestSourcesAreManaged(t *testing.T) {
	f := onSQLite(t)
	const edge = `{"name":"edge","kind":"file","side":"relying","format":"nginx","path":"/var/log/tally.log","settle":30}`
	for _, call := range [][2]string{{"POST", "/api/v1/sources"}, {"POST", "/api/v1/sources/edge/pause"}, {"POST", "/api/v1/sources/edge/resume"}, {"DELETE", "/api/v1/sources/edge"}} {
		body := ""
		if call[1] == "/api/v1/sources" {
			body = edge
		}
		answerOf[details](f, f.ask(gate.Operator, call[0], call[1], body), http.StatusForbidden)
	}
	added := answerOf[newSourceBody](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/sources", edge), http.StatusOK)
	if added.Token != "" || added.Source.Settle != 30 || added.Source.KeepRaw != sources.DefaultKeepRaw.Seconds() || added.Source.CreatedBy != "admin" {
		t.Errorf("%+v", added)
	}
	answerOf[details](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/sources", edge), http.StatusConflict)
	answerOf[details](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/sources", strings.Replace(edge, "file", "door", 1)), http.StatusBadRequest)
	answerOf[details](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/sources", `{"name":"x","kind":"file","side":"relying"}`), http.StatusBadRequest)
	sender := f.ask(gate.Admin, http.MethodPost, "/api/v1/sources", `{"name":"broker","kind":"http","side":"holder","keep_raw":0}`)
	made := answerOf[newSourceBody](f, sender, http.StatusOK)
	if !strings.HasPrefix(made.Token, "tallysrc_") || made.Source.KeepRaw != 0 {
		t.Errorf("%+v", made)
	}
	answerOf[nothing](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/sources/edge/pause", ""), http.StatusOK)
	list := get[sourcesBody](f, gate.Viewer, "/api/v1/sources")
	if len(list.Items) != 2 || list.Items[0].Name != "broker" || !list.Items[1].Paused {
		t.Errorf("%+v", list)
	}
	if w := f.ask(gate.Viewer, http.MethodGet, "/api/v1/sources", ""); strings.Contains(w.Body.String(), made.Token) || strings.Contains(w.Body.String(), "hash") {
		t.Errorf("the list tells of a token: %s", w.Body)
	}
	answerOf[nothing](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/sources/edge/resume", ""), http.StatusOK)
	answerOf[nothing](f, f.ask(gate.Admin, http.MethodDelete, "/api/v1/sources/edge", ""), http.StatusOK)
	answerOf[details](f, f.ask(gate.Admin, http.MethodDelete, "/api/v1/sources/edge", ""), http.StatusNotFound)
	if list := get[sourcesBody](f, gate.Viewer, "/api/v1/sources"); len(list.Items) != 1 || list.Items[0].Paused {
		t.Errorf("%+v", list)
	}
}

// The role of an administrator opens Tallystick, and not the files and the network of its machine.
func TestACallNamesNoFileThatNobodyAtTheMachineNamed(t *testing.T) {
	f := onSQLite(t)
	f.Sources.Drivers = []driver.Driver{entra.Driver()}
	const tenant = `{"name":"m365-%d","kind":"driver","side":"relying","driver":"entra","options":{"tenant":"8f1c2f0e-5b0a-4f0e-9d0a-%012d",` +
		`"application":"0f0e0d0c-0000-4000-8000-000000000001","credential":"/etc/tally/watch.pem"}}`
	refused := answerOf[details](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/sources", fmt.Sprintf(tenant, 1, 1)), http.StatusForbidden)
	if !strings.Contains(refused.Detail, "application, credential") || !strings.Contains(refused.Hint, "tally source add") {
		t.Errorf("%+v", refused)
	}
	_, _, err := f.Sources.Add(t.Context(), gate.Local("root"), store.Source{
		Name: "m365-0", Kind: store.SourceDriver, Side: tallystick.SideRelying, Driver: "entra", Options: map[string]string{
			"tenant": "8f1c2f0e-5b0a-4f0e-9d0a-000000000000", "application": "0f0e0d0c-0000-4000-8000-000000000001", "credential": "/etc/tally/watch.pem",
		},
	}, "")
	must(t, err)
	answerOf[newSourceBody](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/sources", fmt.Sprintf(tenant, 1, 1)), http.StatusOK)
}

// What a sender has to know stands beside what programs call.
func TestIntakeIsDescribed(t *testing.T) {
	f := onSQLite(t)
	type operation struct {
		Security  []map[string][]string
		Responses map[string]any
	}
	spec := get[struct {
		Paths map[string]map[string]operation
	}](f, gate.Viewer, "/api/v1/openapi.json")
	for _, path := range []string{"/api/v1/sources/{name}/uses", "/v1/logs"} {
		post, ok := spec.Paths[path]["post"]
		if _, own := post.Security[0]["source"]; !ok || !own || post.Responses["429"] == nil || post.Responses["200"] == nil {
			t.Errorf("%s: %+v", path, post)
		}
	}
}
