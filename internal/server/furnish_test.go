// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/access"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/issuing/issuingtest"
	"github.com/tallystick/tallystick/internal/sources"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/vault/vaulttest"
	"github.com/tallystick/tallystick/rule"
)

// now is the time of the tests.
var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// estateSize is how many certificates the driver of the tests finds.
const estateSize = 5

// estateOptions has nothing to set.
type estateOptions struct{}

// An estate is a driver that finds the same certificates each time, one of
// them with a name that a stranger chose.
type estate struct{}

func (estate) Find(_ context.Context, request driver.FindRequest, sink driver.Sink) error {
	for n := range estateSize {
		raw := fmt.Appendf(nil, "certificate %d", n)
		c := tallystick.Credential{
			ID: tallystick.FingerprintOf(raw), Kind: tallystick.KindCertificate, Raw: raw,
			Key:     tallystick.Key{ID: tallystick.KeyIDOf(raw[:11]), Algorithm: "rsa-2048", Bits: 2048, SPKI: raw[:11]},
			Subject: fmt.Sprintf("CN=host%d.example", n), Issuer: "CN=Test-CA", Names: []string{fmt.Sprintf("host%d.example", n)},
			NotBefore: now.AddDate(0, -1, 0), NotAfter: now.AddDate(0, n, 0), Signature: "rsa-sha256",
		}
		if n == estateSize-1 {
			c.Subject = "CN==HYPERLINK(\"http://evil.example\")"
		}
		place := tallystick.FilePlace(fmt.Sprintf("/etc/tls/%d.pem", n))
		if err := sink.Saw(tallystick.Sighting{Credential: c, Place: place, Role: tallystick.RolePresents, Seen: request.Now()}); err != nil {
			return err
		}
	}
	return sink.Missed(tallystick.Miss{Place: tallystick.FilePlace("/etc/tls/closed.pem"), Error: "denied", Seen: request.Now()})
}

// endsSoon is the one rule of the tests.
func endsSoon() rule.Rule {
	return rule.Rule{
		Name: "ends-soon", Title: "Ends soon", About: "It ends.", Severity: tallystick.SeverityHigh, Citation: "RFC 5280 section 4.1.2.5",
		URL: "https://www.rfc-editor.org/rfc/rfc5280", Effective: now, Do: "Renew it.",
		Check: func(s rule.Subject) []rule.Hit {
			if s.Credential.NotAfter.Before(now.AddDate(0, 1, 15)) {
				return []rule.Hit{{Evidence: "ends on " + s.Credential.NotAfter.Format(time.DateOnly)}}
			}
			return nil
		},
	}
}

// A fixture is a server over real features, with tokens for each role.
type fixture struct {
	testing.TB
	*Server
	log    *lockedBuffer
	tokens map[gate.Role]string
}

// A lockedBuffer is a log that several goroutines write to.
type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// newFixture returns a server that has looked once and judged what it saw.
func newFixture(t testing.TB, db *store.DB) *fixture {
	t.Helper()
	clock := func() time.Time { return now }
	log, err := audit.Open(t.Context(), db, filepath.Join(t.TempDir(), "audit.key"))
	must(t, err)
	g := gate.New(log, clock)
	findings := finding.New(finding.Engine{
		DB: db, Gate: g, Rules: []rule.Rule{endsSoon()}, Now: clock, Recheck: func(rule.Subject) time.Time { return time.Time{} },
	})
	looks, err := discovery.New(discovery.Config{
		DB: db, Gate: g, Now: clock, Node: "test", Jobs: []discovery.Job{{Name: "estate", Driver: "estate"}},
		Drivers: []driver.Driver{driver.New("estate", "an estate", func(estateOptions) (estate, error) { return estate{}, nil })},
		Changed: findings.Wake,
	})
	must(t, err)
	certificate, err := MakeCertificate(t.TempDir(), "127.0.0.1:0", now)
	must(t, err)
	f := &fixture{TB: t, log: &lockedBuffer{}, tokens: map[gate.Role]string{}}
	f.Server, err = New(Config{
		Usage:     f.furnishUses(t, g, db),
		Sources:   sources.New(sources.Config{DB: db, Gate: g, Now: clock}),
		Vault:     vaulttest.New(t, db, g, clock),
		Directory: directory.New(directory.Directory{DB: db, Gate: g, Now: clock}),
		Issuing:   issuingtest.New(t, db, g, clock),
		Recalls:   furnishRecalls(t, db, log),
		Inventory: inventory.New(db, g, clock), Findings: findings, Discovery: looks, Access: access.New(db, g, clock),
		Audit: log, Gate: g, DB: db, Now: clock, Certificate: certificate, MetricsToken: driver.NewSecret("scrape-me"),
		Log: slog.New(slog.NewTextHandler(f.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	must(t, err)
	for _, role := range []gate.Role{gate.Viewer, gate.Operator, gate.Admin} {
		secret, _, err := f.Access.CreateToken(t.Context(), gate.Local("maker of the "+role.String()), role.String(), role, time.Hour)
		must(t, err)
		f.tokens[role] = secret
	}
	f.look()
	return f
}

// look lets the driver look, and judges.
func (f *fixture) look() {
	f.Helper()
	run, err := f.Discovery.Start(f.Context(), gate.Local("test"), "estate")
	must(f.TB, err)
	ctx, stop := context.WithTimeout(f.Context(), 30*time.Second)
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = f.Discovery.Run(ctx, func(err error) { f.Error(err) })
	}()
	for ctx.Err() == nil {
		if r, err := f.DB.Run(ctx, run.ID); err == nil && !r.Finished.IsZero() {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	stop()
	<-ended
	must(f.TB, f.Findings.JudgeDue(f.Context()))
}

// ask makes a request in a role and returns the answer.
func (f *fixture) ask(role gate.Role, method, path, body string) *httptest.ResponseRecorder {
	f.Helper()
	r := httptest.NewRequestWithContext(f.Context(), method, "https://localhost"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if role != gate.Nobody {
		r.Header.Set("Authorization", "Bearer "+f.tokens[role])
	}
	w := httptest.NewRecorder()
	f.Handler().ServeHTTP(w, r)
	return w
}

// get asks for JSON that must be there.
func get[T any](f *fixture, role gate.Role, path string) T {
	f.Helper()
	return answerOf[T](f, f.ask(role, http.MethodGet, path, ""), http.StatusOK)
}

// answerOf reads a JSON answer that must have a status.
func answerOf[T any](f *fixture, w *httptest.ResponseRecorder, status int) T {
	f.Helper()
	var body T
	if w.Code != status {
		f.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
	}
	if err := json.NewDecoder(w.Body).Decode(&body); err != nil && err != io.EOF {
		f.Fatal(err)
	}
	return body
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// onBoth runs a test on both engines.
func onBoth(t *testing.T, test func(f *fixture)) {
	storetest.Each(t, func(t *testing.T, db *store.DB) { test(newFixture(t, db)) })
}

// onSQLite runs a test whose outcome does not depend on the engine.
func onSQLite(t testing.TB) *fixture {
	return newFixture(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")))
}
