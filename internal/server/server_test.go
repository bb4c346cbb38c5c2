// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/csv"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/web"
)

func TestEveryAnswerHasSafeHeaders(t *testing.T) {
	f := onSQLite(t)
	for _, path := range []string{"/", "/credentials", "/no-such-page", "/healthz", "/api/v1/summary", "/api/v1/nothing", "/export?format=csv"} {
		h := f.ask(gate.Viewer, http.MethodGet, path, "").Header()
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Content-Security-Policy": web.ContentSecurityPolicy,
			"Referrer-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
			"Strict-Transport-Security": "", // self-signed
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
}

func TestPagesNeedSomebody(t *testing.T) {
	f := onSQLite(t)
	for _, route := range f.site.Routes() {
		method, path, _ := strings.Cut(route.Pattern, " ")
		path = strings.NewReplacer("{$}", "", "{id}", "1", "{link}", "x", "{file}", "x").Replace(path)
		w := f.ask(gate.Nobody, method, path, "")
		if refused := w.Code == http.StatusUnauthorized || path == "/" && w.Code == http.StatusSeeOther; !refused && !route.Public {
			t.Errorf("%s without signing in: %d", route.Pattern, w.Code)
		}
	}
}

func TestOtherSitesAreRefused(t *testing.T) {
	f := onSQLite(t)
	for name, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"} {
		r := httptest.NewRequest(http.MethodPost, "https://localhost/api/v1/runs", strings.NewReader(`{"job":"estate"}`))
		r.Header.Set("Authorization", "Bearer "+f.tokens[gate.Operator])
		r.Header.Set(name, value)
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, r)
		answerOf[details](f, w, http.StatusForbidden)
	}
}

func TestUnknownHostsAreRefusedOnLoopback(t *testing.T) {
	f := onSQLite(t)
	for host, want := range map[string]int{
		"localhost:8443": 200, "127.0.0.1:8443": 200, "127.9.9.9": 200, "[::1]:8443": 200, "evil.example": 421, "evil.example:8443": 421, "localhost.evil.example": 421,
	} {
		r := httptest.NewRequest(http.MethodGet, "https://"+host+"/healthz", nil)
		local := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8443}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(local)))
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("host %s: %d, want %d", host, w.Code, want)
		}
	}
}

func TestPanicsStayInTheLog(t *testing.T) {
	f := onSQLite(t)
	f.handler = f.layers(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("the secret of the house") }))
	w := f.ask(gate.Viewer, http.MethodGet, "/api/v1/summary", "")
	got := answerOf[details](f, w, http.StatusInternalServerError)
	if got.Kind != "internal" || strings.Contains(got.Detail, "secret of the house") {
		t.Errorf("the client reads %+v", got)
	}
	if !strings.Contains(f.log.String(), "the secret of the house") || !strings.Contains(f.log.String(), "server_test.go") {
		t.Errorf("the log lacks the panic or its stack:\n%s", f.log)
	}
}

func TestLogHoldsNoSecrets(t *testing.T) {
	f := onSQLite(t)
	link, err := f.Access.CreateLink(t.Context(), gate.Local("test"), "maria", gate.Viewer)
	must(t, err)
	f.ask(gate.Nobody, http.MethodGet, "/sign-in/"+link, "")
	w := f.ask(gate.Nobody, http.MethodPost, "/sign-in/"+link, "")
	cookies := w.Result().Cookies()
	if w.Code != http.StatusSeeOther || len(cookies) != 1 || !cookies[0].Secure || !cookies[0].HttpOnly || cookies[0].Name != "__Host-tally" {
		t.Fatalf("signing in: %d, %v", w.Code, cookies)
	}
	f.ask(gate.Admin, http.MethodGet, "/sign-in/"+link+"/x?token="+f.tokens[gate.Admin], "")
	for _, secret := range []string{link, cookies[0].Value, f.tokens[gate.Admin]} {
		if strings.Contains(f.log.String(), secret) {
			t.Errorf("a secret is in the log:\n%s", f.log)
		}
	}
	if !strings.Contains(f.log.String(), `route="POST /sign-in/{link}" status=303`) {
		t.Errorf("the log lacks the request:\n%s", f.log)
	}
}

func TestMetrics(t *testing.T) {
	f := onSQLite(t)
	for _, token := range []string{"scrape-me", f.tokens[gate.Viewer]} {
		r := httptest.NewRequest(http.MethodGet, "https://localhost/metrics", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		f.Handler().ServeHTTP(w, r)
		for _, line := range []string{
			`tally_credentials{kind="certificate"} 5`, `tally_places{scheme="file"} 5`, `tally_findings{severity="high"} 2`,
			`tally_findings{severity="critical"} 0`, `tally_judge_backlog 0`, `tally_run_last{job="estate",state="done"} 1`,
			`tally_source_records{side="relying",source="book of relying"} 12`, `tally_book_behind_seconds{side="holder",source="book of holder"} 0`,
			`tally_books_open 0`, `tally_verdict_records{verdict="foreign"} 2`, `tally_incidents 1`, `tally_ledger_records 22`, `tally_ledger_segments 0`,
		} {
			if !strings.Contains(w.Body.String(), line+"\n") {
				t.Errorf("the metrics lack %s:\n%s", line, w.Body)
			}
		}
	}
	r := httptest.NewRequest(http.MethodGet, "https://localhost/api/v1/summary", nil)
	r.Header.Set("Authorization", "Bearer scrape-me")
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	answerOf[details](f, w, http.StatusUnauthorized) // it is good for metrics only
}

func TestExport(t *testing.T) {
	onBoth(t, func(f *fixture) {
		w := f.ask(gate.Viewer, http.MethodGet, "/export?format=csv&q=host", "")
		rows, err := csv.NewReader(w.Body).ReadAll()
		must(f.TB, err)
		if len(rows) != estateSize+1 && len(rows) != estateSize {
			f.Errorf("%d rows", len(rows))
		}
		w = f.ask(gate.Viewer, http.MethodGet, "/export?format=cyclonedx", "")
		if !json.Valid(w.Body.Bytes()) {
			f.Errorf("not JSON: %s", w.Body)
		}
		if w := f.ask(gate.Nobody, http.MethodGet, "/export?format=csv", ""); w.Code != http.StatusUnauthorized {
			f.Errorf("a stranger exports: %d", w.Code)
		}
		log := get[auditBody](f, gate.Admin, "/api/v1/audit?action=export")
		if len(log.Items) != 3 || log.Items[0].Allowed || log.Items[1].Object != "all credentials" {
			f.Errorf("the record of exports: %+v", log.Items)
		}
	})
}

func TestReadyDependsOnTheStore(t *testing.T) {
	f := onSQLite(t)
	if w := f.ask(gate.Nobody, http.MethodGet, "/readyz", ""); w.Code != http.StatusOK {
		t.Errorf("ready: %d", w.Code)
	}
	db, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "tally.db"))
	must(t, err)
	must(t, db.Close())
	f.DB = db
	if w := f.ask(gate.Nobody, http.MethodGet, "/readyz", ""); w.Code != http.StatusServiceUnavailable {
		t.Errorf("ready without a store: %d", w.Code)
	}
	if w := f.ask(gate.Nobody, http.MethodGet, "/healthz", ""); w.Code != http.StatusOK {
		t.Errorf("healthy: %d", w.Code)
	}
}

func TestCertificateIsKeptAndRenewed(t *testing.T) {
	dir := t.TempDir()
	first, err := MakeCertificate(dir, "127.0.0.1:8443", now)
	must(t, err)
	info, err := os.Stat(filepath.Join(dir, "server.pem"))
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	again, err := MakeCertificate(dir, "127.0.0.1:8443", now.AddDate(0, 10, 0))
	must(t, err)
	if again.Fingerprint() != first.Fingerprint() {
		t.Error("the certificate changed with ten months of twelve gone")
	}
	late, err := MakeCertificate(dir, "127.0.0.1:8443", now.AddDate(0, 11, 15))
	must(t, err)
	if late.Fingerprint() == first.Fingerprint() {
		t.Error("the certificate is the same two weeks before its end")
	}
	other, err := MakeCertificate(dir, "192.0.2.7:8443", now.AddDate(0, 11, 15))
	must(t, err)
	if other.Fingerprint() == late.Fingerprint() || !other.isFor("192.0.2.7") || !other.isFor("localhost") || other.isFor("evil.example") {
		t.Error("the certificate is not for the address to listen on")
	}
	pem := filepath.Join(dir, "server.pem")
	loaded, err := LoadCertificate(pem, pem, now)
	must(t, err)
	if loaded.Fingerprint() != other.Fingerprint() || !loaded.Configured() {
		t.Error("the certificate that was loaded is another one")
	}
}

// start runs a server on loopback and returns its address, and what stops it.
func start(t *testing.T, f *fixture) (address string, stop func() error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- f.Server.Run(ctx, listener) }()
	return listener.Addr().String(), func() error { cancel(); return <-ended }
}

func trusting(f *fixture) *tls.Config {
	roots := x509.NewCertPool()
	roots.AddCert(f.Certificate.current.Load().Leaf)
	return &tls.Config{RootCAs: roots}
}

func TestRunSpeaksOnlySoundTLS(t *testing.T) {
	f := onSQLite(t)
	address, stop := start(t, f)
	config := trusting(f)
	config.Time = func() time.Time { return now }
	conn, err := tls.Dial("tcp", address, config)
	must(t, err)
	if v := conn.ConnectionState().Version; v != tls.VersionTLS13 {
		t.Errorf("version %x", v)
	}
	must(t, conn.Close())
	config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if _, err := tls.Dial("tcp", address, config); err == nil {
		t.Error("TLS 1.1 is spoken")
	}
	must(t, stop())
}

// TestRunStopsInGoodOrder has a request under way when the server is stopped.
func TestRunStopsInGoodOrder(t *testing.T) {
	f := onSQLite(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	f.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-leave
		_, _ = io.WriteString(w, "done")
	})
	address, stop := start(t, f)
	config := trusting(f)
	config.Time = func() time.Time { return now }
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	answer := make(chan string, 1)
	go func() {
		response, err := client.Get("https://" + address)
		if err != nil {
			answer <- err.Error()
			return
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		answer <- string(text)
	}()
	<-entered
	time.AfterFunc(200*time.Millisecond, func() { close(leave) })
	began := time.Now()
	must(t, stop())
	if got := <-answer; got != "done" {
		t.Errorf("the request that was under way got %q", got)
	}
	if took := time.Since(began); took > shutdownTime {
		t.Errorf("it took %v", took)
	}
}

func TestMetricsTokenMayBeMissing(t *testing.T) {
	f := onSQLite(t)
	f.MetricsToken = driver.Secret{}
	if f.isMetricsToken("") {
		t.Error("an empty token lets everybody in")
	}
}
