// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/access"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

var update = flag.Bool("update", false, "write docs/openapi.json anew")

// TestOpenAPI holds docs/openapi.json to the calls.
func TestOpenAPI(t *testing.T) {
	const file = "../../docs/openapi.json"
	f := onSQLite(t)
	w := f.ask(gate.Nobody, http.MethodGet, "/api/v1/openapi.json", "")
	var spec map[string]any
	must(t, json.Unmarshal(w.Body.Bytes(), &spec))
	text, err := json.MarshalIndent(spec, "", " ")
	must(t, err)
	text = append(text, '\n')
	if *update {
		must(t, os.WriteFile(file, text, 0o644))
	}
	have, err := os.ReadFile(file)
	must(t, err)
	if d := cmp.Diff(string(have), string(text)); d != "" {
		t.Errorf("docs/openapi.json is old; go test ./internal/server -run TestOpenAPI -update writes it anew:\n%s", d)
	}
	if spec["openapi"] != "3.1.0" {
		t.Errorf("openapi %v, want 3.1.0", spec["openapi"])
	}
}

func TestListsArePaged(t *testing.T) {
	onBoth(t, func(f *fixture) {
		var seen []string
		for after, pages := "", 0; ; pages++ {
			page := get[list[store.CredentialRow]](f, gate.Viewer, "/api/v1/credentials?limit=2&sort=subject&after="+url.QueryEscape(after))
			if page.Total != estateSize || len(page.Items) > 2 || pages > estateSize {
				f.Fatalf("page %d: %d items of %d", pages, len(page.Items), page.Total)
			}
			for _, c := range page.Items {
				seen = append(seen, c.Subject)
			}
			if after = page.Next; after == "" {
				break
			}
		}
		want := []string{`CN==HYPERLINK("http://evil.example")`, "CN=host0.example", "CN=host1.example", "CN=host2.example", "CN=host3.example"}
		if d := cmp.Diff(want, seen); d != "" {
			f.Error(d)
		}
		one := get[list[store.CredentialRow]](f, gate.Viewer, "/api/v1/credentials?q=host3&kind=certificate&scheme=file&ends_after=2027-02-01")
		if len(one.Items) != 1 || one.Items[0].Subject != "CN=host3.example" {
			f.Errorf("the filter lets %+v through", one.Items)
		}
	})
}

func TestCredentialIsShownAndAnnotated(t *testing.T) {
	onBoth(t, func(f *fixture) {
		row := get[list[store.CredentialRow]](f, gate.Viewer, "/api/v1/credentials?q=host1").Items[0]
		path := "/api/v1/credentials/" + string(row.ID)
		body := `{"owner":"mail","tags":["edge"]}`
		if w := f.ask(gate.Viewer, http.MethodPatch, path+"/annotation", body); w.Code != http.StatusForbidden {
			f.Errorf("a viewer annotates: %d", w.Code)
		}
		answerOf[tallystick.Annotation](f, f.ask(gate.Operator, http.MethodPatch, path+"/annotation", body), http.StatusOK)
		said := answerOf[tallystick.Annotation](f, f.ask(gate.Operator, http.MethodPatch, path+"/annotation", `{"environment":"production"}`), http.StatusOK)
		want := tallystick.Annotation{Owner: "mail", Environment: "production", Tags: []string{"edge"}}
		if d := cmp.Diff(want, said); d != "" {
			f.Error(d)
		}
		many := `{"credentials":["` + string(row.ID) + `"],"annotation":{"owner":"web"}}`
		answerOf[nothing](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/annotations", many), http.StatusOK)
		detail := get[credentialBody](f, gate.Viewer, "/api/v1/credentials/"+row.ID.Short())
		if detail.Annotation.Owner != "web" || detail.Credential.ID != row.ID || len(detail.Sightings) != 1 || len(detail.SameKey) != estateSize-1 || len(detail.Annotations) != 3 {
			f.Errorf("the detail is not whole: %+v", detail)
		}
	})
}

func TestPlaces(t *testing.T) {
	onBoth(t, func(f *fixture) {
		page := get[list[store.PlaceRow]](f, gate.Viewer, "/api/v1/places?prefix="+url.QueryEscape("file:///etc/tls/")+"&limit=2")
		if page.Total != estateSize || len(page.Items) != 2 || page.Next == "" {
			f.Errorf("places: %+v", page)
		}
		at := get[placeBody](f, gate.Viewer, "/api/v1/place?uri="+url.QueryEscape(string(page.Items[0].Place)))
		if len(at.Sightings) != 1 || at.Sightings[0].Place != page.Items[0].Place {
			f.Errorf("place: %+v", at)
		}
		answerOf[details](f, f.ask(gate.Viewer, http.MethodGet, "/api/v1/place?uri=file:///nowhere", ""), http.StatusNotFound)
	})
}

func TestFindingsAreSeenTo(t *testing.T) {
	onBoth(t, func(f *fixture) {
		groups := get[groupsBody](f, gate.Viewer, "/api/v1/findings/groups")
		if len(groups.Items) != 1 || groups.Items[0].Rule != "ends-soon" || groups.Items[0].Count != 2 || groups.Items[0].Do != "Renew it." {
			f.Fatalf("groups: %+v", groups)
		}
		open := get[list[store.FindingRow]](f, gate.Viewer, "/api/v1/findings?severity=high")
		if open.Total != 2 {
			f.Fatalf("findings: %+v", open)
		}
		path := "/api/v1/findings/" + strconv.FormatInt(open.Items[0].ID, 10)
		accept := `{"reason":"replaced soon","until":"2027-01-01T00:00:00Z"}`
		answerOf[details](f, f.ask(gate.Viewer, http.MethodPost, path+"/accept", accept), http.StatusForbidden)
		answerOf[details](f, f.ask(gate.Operator, http.MethodPost, path+"/accept", strings.Replace(accept, "2027", "2025", 1)), http.StatusBadRequest)
		answerOf[nothing](f, f.ask(gate.Operator, http.MethodPost, path+"/accept", accept), http.StatusOK)
		answerOf[nothing](f, f.ask(gate.Operator, http.MethodPost, path+"/assign", `{"assignee":"maria"}`), http.StatusOK)
		accepted := get[list[store.FindingRow]](f, gate.Viewer, "/api/v1/findings?state=accepted&assignee=maria")
		if accepted.Total != 1 || accepted.Items[0].Acceptance.By != "operator" {
			f.Errorf("accepted: %+v", accepted)
		}
		answerOf[nothing](f, f.ask(gate.Operator, http.MethodPost, path+"/reopen", ""), http.StatusOK)
		if n := get[list[store.FindingRow]](f, gate.Viewer, "/api/v1/findings").Total; n != 2 {
			f.Errorf("%d are open after one was opened again, want 2", n)
		}
	})
}

// Many findings are changed at once, when they are as many as the client expects.
func TestManyFindingsAreSeenTo(t *testing.T) {
	onBoth(t, func(f *fixture) {
		const all = `"rule":"ends-soon","place":"/etc"`
		accept := `{` + all + `,"count":2,"reason":"replaced soon","until":"2027-01-01T00:00:00Z"}`
		answerOf[details](f, f.ask(gate.Viewer, http.MethodPost, "/api/v1/findings/accept", accept), http.StatusForbidden)
		answerOf[details](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/findings/accept", strings.Replace(accept, `"count":2`, `"count":3`, 1)), http.StatusConflict)
		done := answerOf[changedBody](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/findings/accept", accept), http.StatusOK)
		if done.Count != 2 || done.Elsewhere != 0 {
			f.Errorf("accepted: %+v", done)
		}
		if n := get[list[store.FindingRow]](f, gate.Viewer, "/api/v1/findings?place=/etc&state=accepted").Total; n != 2 {
			f.Errorf("%d are accepted", n)
		}
		done = answerOf[changedBody](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/findings/reopen", `{`+all+`}`), http.StatusOK)
		if done.Count != 2 {
			f.Errorf("reopened: %+v", done)
		}
		answerOf[changedBody](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/findings/assign", `{`+all+`,"assignee":"maria"}`), http.StatusOK)
		mine := get[list[store.FindingRow]](f, gate.Viewer, "/api/v1/findings?assignee=maria")
		if mine.Total != 2 || mine.Items[0].Where == "" || mine.Items[0].Places != 1 {
			f.Errorf("assigned: %+v", mine)
		}
		short := get[list[store.FindingRow]](f, gate.Viewer, "/api/v1/findings?credential="+string(mine.Items[0].Credential[:6]))
		if short.Total != 1 {
			f.Errorf("%d findings of the beginning of a fingerprint", short.Total)
		}
	})
}

// Who misspells a parameter is told which ones there are.
func TestUnknownParametersAreNamed(t *testing.T) {
	f := onSQLite(t)
	for address, want := range map[string]string{
		"/api/v1/credentials?algorthm=rsa": `Did you mean "algorithm"? The parameters of this call are q, kind, algorithm,`,
		"/api/v1/summary?fast=true":        "This call takes no parameters.",
		"/api/v1/export?format=csv&knd=x":  `Did you mean "kind"?`,
	} {
		got := answerOf[details](f, f.ask(gate.Viewer, http.MethodGet, address, ""), http.StatusBadRequest)
		if !strings.HasPrefix(got.Hint, want) || !strings.Contains(got.Detail, "there is no parameter") {
			t.Errorf("%s: %+v", address, got)
		}
	}
}

// What docs/problems.md says of bodies that are not JSON.
func TestOtherMediaTypesAreRefused(t *testing.T) {
	f := onSQLite(t)
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://localhost/api/v1/runs", strings.NewReader("job=estate"))
	r.Header.Set("Content-Type", "text/plain")
	r.Header.Set("Authorization", "Bearer "+f.tokens[gate.Operator])
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	if got := answerOf[details](f, w, http.StatusUnsupportedMediaType); got.Kind != "invalid" {
		t.Errorf("%+v", got)
	}
}

func TestRuns(t *testing.T) {
	onBoth(t, func(f *fixture) {
		runs := get[runsBody](f, gate.Viewer, "/api/v1/runs?limit=1")
		if len(runs.Items) != 1 || runs.Items[0].State != store.RunDone || runs.Items[0].Appeared != estateSize {
			f.Fatalf("runs: %+v", runs)
		}
		report := get[runBody](f, gate.Viewer, "/api/v1/runs/"+strconv.FormatInt(runs.Items[0].ID, 10))
		if len(report.Appeared) != estateSize || len(report.Misses) != 1 || report.Misses[0].Error != "denied" || report.Missed["denied"] != 1 || !report.Changes.First {
			f.Errorf("report: %+v", report)
		}
		address := "/api/v1/runs/" + strconv.FormatInt(runs.Items[0].ID, 10)
		first := get[store.Page[store.RunChange]](f, gate.Viewer, address+"/changes?limit=1&sort=credential&desc=true")
		second := get[store.Page[store.RunChange]](f, gate.Viewer, address+"/changes?limit=1&sort=credential&desc=true&after="+first.Next)
		if len(first.Items) != 1 || len(second.Items) != 1 || first.Items[0].Subject < second.Items[0].Subject || first.Items[0].Kind != store.ChangeNew {
			f.Errorf("changes: %+v, then %+v", first, second)
		}
		if misses := get[missesBody](f, gate.Viewer, address+"/misses?error=denied"); len(misses.Items) != 1 || misses.Next != "" {
			f.Errorf("misses: %+v", misses)
		}
		answerOf[details](f, f.ask(gate.Viewer, http.MethodPost, "/api/v1/runs", `{"job":"estate"}`), http.StatusForbidden)
		answerOf[details](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/runs", `{"job":"nothing"}`), http.StatusNotFound)
		started := answerOf[store.Run](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/runs", `{"job":"estate"}`), http.StatusOK)
		turn := func(as gate.Role, what string) *httptest.ResponseRecorder {
			return f.ask(as, http.MethodPost, "/api/v1/runs/"+strconv.FormatInt(started.ID, 10)+"/"+what, "")
		}
		answerOf[details](f, turn(gate.Viewer, "pause"), http.StatusForbidden)
		answerOf[nothing](f, turn(gate.Operator, "pause"), http.StatusOK)
		if paused := answerOf[store.Run](f, f.ask(gate.Operator, http.MethodPost, "/api/v1/runs", `{"job":"estate"}`), http.StatusOK); paused.ID != started.ID || paused.State != store.RunPaused {
			f.Errorf("beside a paused run: %+v", paused)
		}
		answerOf[nothing](f, turn(gate.Operator, "resume"), http.StatusOK)
		cancel := "/api/v1/runs/" + strconv.FormatInt(started.ID, 10) + "/cancel"
		answerOf[nothing](f, f.ask(gate.Operator, http.MethodPost, cancel, ""), http.StatusOK)
		answerOf[details](f, f.ask(gate.Operator, http.MethodPost, cancel, ""), http.StatusConflict)
		if jobs := get[jobsBody](f, gate.Viewer, "/api/v1/jobs"); len(jobs.Items) != 1 || jobs.Items[0].Name != "estate" {
			f.Errorf("jobs: %+v", jobs)
		}
		next := get[runsBody](f, gate.Viewer, "/api/v1/runs?limit=1")
		rest := get[runsBody](f, gate.Viewer, "/api/v1/runs?limit=1&after="+next.Next)
		if len(rest.Items) != 1 || rest.Items[0].ID != runs.Items[0].ID {
			f.Errorf("the second page: %+v", rest)
		}
	})
}

func TestAccessAndAudit(t *testing.T) {
	onBoth(t, func(f *fixture) {
		answerOf[details](f, f.ask(gate.Operator, http.MethodGet, "/api/v1/tokens", ""), http.StatusForbidden)
		answerOf[details](f, f.ask(gate.Operator, http.MethodGet, "/api/v1/audit", ""), http.StatusForbidden)
		made := answerOf[newTokenBody](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/tokens", `{"name":"ci","role":"viewer","days":1}`), http.StatusOK)
		f.tokens[gate.Viewer] = made.Secret
		get[store.Summary](f, gate.Viewer, "/api/v1/summary")
		answerOf[nothing](f, f.ask(gate.Admin, http.MethodDelete, "/api/v1/tokens/"+strconv.FormatInt(made.Token.ID, 10), ""), http.StatusOK)
		answerOf[details](f, f.ask(gate.Viewer, http.MethodGet, "/api/v1/summary", ""), http.StatusUnauthorized)
		link := answerOf[linkBody](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/people", `{"name":"maria","role":"operator"}`), http.StatusOK)
		if !strings.HasPrefix(link.Path, "/sign-in/") {
			f.Errorf("link %q", link.Path)
		}
		again := answerOf[linkBody](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/people", `{"name":"maria","role":"viewer"}`), http.StatusOK)
		if link.Was != gate.Nobody || again.Was != gate.Operator {
			f.Errorf("maria was %s, and then %s", link.Was, again.Was)
		}
		answerOf[nothing](f, f.ask(gate.Admin, http.MethodPost, "/api/v1/people/maria/disable", ""), http.StatusOK)
		people := get[peopleBody](f, gate.Admin, "/api/v1/people")
		if len(people.Items) != 1 || people.Items[0].Disabled.IsZero() {
			f.Errorf("people: %+v", people)
		}
		if tokens := get[tokensBody](f, gate.Admin, "/api/v1/tokens"); len(tokens.Items) != 4 || !hasRevoked(tokens.Items) {
			f.Errorf("tokens: %+v", tokens)
		}
		log := get[auditBody](f, gate.Admin, "/api/v1/audit?denied=true&actor=operator")
		if len(log.Items) != 2 || log.Items[0].Action != string(gate.ReadAudit) || log.Items[0].Allowed {
			f.Errorf("denied: %+v", log)
		}
		report := get[map[string]any](f, gate.Admin, "/api/v1/audit/verify")
		if report["problem"] != nil || report["checkpoint"] == "" {
			f.Errorf("verify: %v", report)
		}
		all, err := json.Marshal(get[auditBody](f, gate.Admin, "/api/v1/audit?limit=1000"))
		must(f.TB, err)
		for _, secret := range []string{made.Secret, link.Path} {
			if strings.Contains(string(all), secret) {
				f.Error("a secret is in the audit log")
			}
		}
	})
}

func hasRevoked(tokens []access.Token) bool {
	for _, t := range tokens {
		if !t.Revoked.IsZero() {
			return true
		}
	}
	return false
}

func TestErrorsAreProblems(t *testing.T) {
	f := onSQLite(t)
	rows := []struct {
		role         gate.Role
		method, path string
		body         string
		status       int
		kind         string
	}{
		{gate.Nobody, "GET", "/api/v1/credentials", "", 401, "not-signed-in"},
		{gate.Viewer, "GET", "/api/v1/credentials/00000000000000000000", "", 404, "not-found"},
		{gate.Viewer, "GET", "/api/v1/credentials/short", "", 400, "invalid"},
		{gate.Viewer, "GET", "/api/v1/credentials?severity=bad", "", 400, "invalid"},
		{gate.Viewer, "GET", "/api/v1/credentials?limit=0", "", 400, "invalid"},
		{gate.Viewer, "GET", "/api/v1/credentials?after=nonsense", "", 400, "invalid"},
		{gate.Viewer, "GET", "/api/v1/credentials?ends_after=soon", "", 400, "invalid"},
		{gate.Operator, "POST", "/api/v1/runs", `{"job":`, 400, "invalid"},
		{gate.Operator, "POST", "/api/v1/runs", `{"job":"x","more":1}`, 400, "invalid"},
		{gate.Viewer, "GET", "/api/v1/credentials?algorthm=rsa", "", 400, "invalid"},
		{gate.Viewer, "GET", "/api/v1/summary?fast=true", "", 400, "invalid"},
		{gate.Viewer, "GET", "/api/v1/credentials?kind=certifcate", "", 400, "invalid"},
		{gate.Viewer, "GET", "/api/v1/export?format=csv&algorthm=rsa", "", 400, "invalid"},
		{gate.Operator, "POST", "/api/v1/findings/accept", `{"reason":"x","until":"2026-12-31T00:00:00Z"}`, 400, "invalid"},
		{gate.Operator, "POST", "/api/v1/annotations", `{"credentials":["` + strings.Repeat("x", maxBody) + `"]}`, 413, "invalid"},
		{gate.Viewer, "GET", "/api/v1/no-such-call", "", 404, "not-found"},
		{gate.Viewer, "GET", "/api/v1/export?format=xls", "", 400, "invalid"},
		{gate.Nobody, "GET", "/metrics", "", 401, "not-signed-in"},
	}
	for _, row := range rows {
		w := f.ask(row.role, row.method, row.path, row.body)
		got := answerOf[details](f, w, row.status)
		if got.Kind != row.kind || got.Title == "" || got.Status != row.status || !strings.HasSuffix(got.Type, "#"+row.kind) {
			t.Errorf("%s %.60s: %+v", row.method, row.path, got)
		}
		if contentType := w.Header().Get("Content-Type"); contentType != problemType {
			t.Errorf("%s %.60s: content type %q", row.method, row.path, contentType)
		}
		if row.status == 401 && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s %.60s does not name the way in", row.method, row.path)
		}
	}
}
