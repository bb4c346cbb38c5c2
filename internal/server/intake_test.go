// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/sources"
	"github.com/tallystick/tallystick/internal/store"
)

// An appends is a ledger that takes batches, or fails.
type appends struct {
	*ledger.Ledger
	err error
}

func (a *appends) Append(ctx context.Context, _ string, batch ledger.Batch, _ []tallystick.Change) (ledger.Appended, error) {
	if a.err != nil {
		return ledger.Appended{}, a.err
	}
	return a.Ledger.Append(ctx, batch)
}

// intakeOf gives a server sources over a ledger, and returns the tokens of two.
func intakeOf(f *fixture) (to *appends, uses, logs string) {
	f.Helper()
	l, err := ledger.Open(f.TempDir(), ledger.Options{})
	must(f.TB, err)
	f.Cleanup(func() { must(f.TB, l.Close()) })
	to = &appends{Ledger: l}
	f.Sources = sources.New(sources.Config{DB: f.DB, Gate: f.Gate, Appender: to, Now: time.Now})
	add := func(kind string) string {
		token, _, err := f.Sources.Add(f.Context(), gate.Local("test"), store.Source{Name: kind, Kind: kind, Side: tallystick.SideHolder}, "")
		must(f.TB, err)
		return token
	}
	return to, add(store.SourceHTTP), add(store.SourceOTLP)
}

// send posts a body with a token.
func (f *fixture) send(path, token, kind string, body io.Reader) *httptest.ResponseRecorder {
	f.Helper()
	r := httptest.NewRequestWithContext(f.Context(), http.MethodPost, "https://localhost"+path, body)
	r.Header.Set("Content-Type", kind)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	return w
}

const usesPath = apiRoot + "/sources/http/uses"

func TestUsesAreDelivered(t *testing.T) {
	f := onSQLite(t)
	to, token, logs := intakeOf(f)
	line := `{"v":1,"id":"a","time":"2026-11-20T10:00:00Z","credential":["x5t:aa"]}` + "\n"
	large := line + strings.Repeat("\n", 3<<20) // more than any other request may have
	got := answerOf[sources.Received](f, f.send(usesPath, token, "application/x-ndjson", strings.NewReader(large+"{}\n")), http.StatusOK)
	if got.Accepted != 1 || got.MalformedCount != 1 || got.Malformed[0].Line != 2+3<<20 {
		t.Errorf("%+v", got)
	}
	for name, row := range map[string]struct {
		path, token string
		want        int
	}{
		"no token": {usesPath, "", 401}, "an API token": {usesPath, f.tokens[gate.Admin], 401}, "of another": {usesPath, logs, 403},
		"another path": {apiRoot + "/sources/otlp/uses", token, 403}, "a wrong path": {"/v1/logs", token, 400},
	} {
		w := f.send(row.path, row.token, "application/x-protobuf", strings.NewReader(line))
		if w.Code != row.want || row.want == 401 && w.Header().Get("WWW-Authenticate") == "" {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
	to.err = tallystick.ErrNoSpace
	w := f.send(usesPath, token, "application/x-ndjson", strings.NewReader(line))
	if w.Code != 503 || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `"kind":"busy"`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if text := f.log.String(); strings.Contains(text, token) || !strings.Contains(text, "no space left") {
		t.Errorf("the log has a token, or not why nothing was taken in:\n%s", text)
	}
	// A source's token opens nothing else, and other requests are as small as before.
	if w := f.send(apiRoot+"/runs", token, "application/json", strings.NewReader(`{"job":"estate"}`)); w.Code != 401 {
		t.Errorf("the token of a source starts a look: %d", w.Code)
	}
	if w := f.ask(gate.Admin, "POST", apiRoot+"/runs", `{"job":"`+strings.Repeat("x", maxBody)+`"}`); w.Code != 413 {
		t.Errorf("a large request of somebody else: %d", w.Code)
	}
	f.Sources = nil
	if w := f.send(usesPath, token, "application/x-ndjson", strings.NewReader(line)); w.Code == 200 {
		t.Errorf("without sources: %d %s", w.Code, w.Body)
	}
}

func TestLogsAreDelivered(t *testing.T) {
	f := onSQLite(t)
	to, _, token := intakeOf(f)
	body, err := os.ReadFile(filepath.Join("..", "sources", "testdata", "otlp-go-sdk.pb"))
	must(t, err)
	w := f.send("/v1/logs", token, "application/x-protobuf", bytes.NewReader(body))
	if w.Code != 200 || w.Body.Len() != 0 || w.Header().Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("%d %v %q", w.Code, w.Header(), w.Body)
	}
	if books := to.Books(); len(books) != 1 || books[0].Records != 2 {
		t.Errorf("%+v", books)
	}
	w = f.send("/v1/logs", token, "application/json", strings.NewReader(`{"resourceLogs":[]}`))
	if w.Code != 200 || w.Body.String() != "{}" {
		t.Errorf("%d %q", w.Code, w.Body)
	}
	for kind, want := range map[string]int{"application/json; charset=utf-8": 400, "application/x-protobuf": 400, "text/plain": 415, "": 415} {
		if w := f.send("/v1/logs", token, kind, strings.NewReader("x")); w.Code != want {
			t.Errorf("%s: %d %q", kind, w.Code, w.Body)
		}
	}
}

// A sender that stops in the middle is left waiting for a while and no longer;
// what it has sent counts.
func TestADeliveryHasItsTime(t *testing.T) {
	f := onSQLite(t)
	_, token, _ := intakeOf(f)
	s := httptest.NewTLSServer(f.Handler())
	defer s.Close()
	r, w := io.Pipe()
	defer w.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+usesPath, r)
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	go func() {
		_, _ = io.WriteString(w, `{"v":1,"id":"a","time":"2026-11-20T10:00:00Z","credential":["x5t:aa"]}`+"\n")
		time.Sleep(300 * time.Millisecond)
		_ = w.Close() // a pause is no end
	}()
	answer, err := s.Client().Do(request)
	must(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(t, err)
	if answer.StatusCode != 200 || !strings.Contains(string(text), `"accepted":1`) {
		t.Errorf("%s %s", answer.Status, text)
	}
	past := &patient{Reader: strings.NewReader("x"), control: http.NewResponseController(httptest.NewRecorder()), until: time.Now()}
	if n, err := past.Read(make([]byte, 1)); n != 1 || err != nil { // a recorder knows no deadlines
		t.Error(n, err)
	}
}
