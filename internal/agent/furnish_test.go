// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/agent"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

var root = gate.Actor{Name: "root", Role: gate.Admin, Via: "local"}

// An engine hands out steps, each to whoever asks first, with leases and fences.
type engine struct {
	lease time.Duration

	mu    sync.Mutex
	steps []*step // guarded by mu
	over  []string
}

type step struct {
	task     doors.Task
	fence    int64
	until    time.Time
	extended int
	done     bool
	result   doors.Result
	failure  string
	kind     string
}

func (e *engine) add(task doors.Task) *step {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.steps = append(e.steps, &step{task: task})
	return e.steps[len(e.steps)-1]
}

func (e *engine) Claim(_ context.Context, _ string, limit int) (list []agent.Leased, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, s := range e.steps {
		if s.done || time.Now().Before(s.until) || len(list) == limit {
			continue
		}
		s.fence++
		s.until = time.Now().Add(e.lease)
		list = append(list, agent.Leased{Step: int64(i), Fence: s.fence, Lease: e.lease, Task: s.task})
	}
	return list, nil
}

func (e *engine) held(number, fence int64) (*step, error) {
	if number < 0 || number >= int64(len(e.steps)) || e.steps[number].fence != fence {
		return nil, fmt.Errorf("%w: the step is somebody else's", tallystick.ErrConflict)
	}
	return e.steps[number], nil
}

func (e *engine) Extend(_ context.Context, _ string, number, fence int64) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.held(number, fence)
	if err != nil {
		return err
	}
	s.extended++
	s.until = time.Now().Add(e.lease)
	return nil
}

func (e *engine) Finish(_ context.Context, _ string, number, fence int64, result doors.Result, failure, kind string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	s, err := e.held(number, fence)
	if err != nil {
		return err
	}
	s.done, s.result, s.failure, s.kind = true, result, failure, kind
	return nil
}

func (e *engine) Over(_ context.Context, names []string) ([]string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(e.over, name) }), nil
}

// await waits until a step is done, and returns it as it is then.
func (e *engine) await(t *testing.T, s *step) step {
	t.Helper()
	eventually(t, "the step is done", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return s.done
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	return *s
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come to be that ", what)
		}
	}
}

// A house is a server for agents, with what went over its line.
type house struct {
	*agent.Server
	engine *engine
	log    *audit.Log

	address string
	mu      sync.Mutex
	now     time.Time    // guarded by mu
	said    bytes.Buffer // guarded by mu; the bodies of all requests
	refuse  bool         // guarded by mu; every request fails
}

func (h *house) clock() time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now
}

func (h *house) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.now = h.now.Add(d)
}

func (h *house) away(is bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refuse = is
}

func newHouse(t *testing.T) *house {
	t.Helper()
	dir := t.TempDir()
	db := storetest.Open(t, filepath.Join(dir, "tally.db"))
	log, err := audit.Open(t.Context(), db, filepath.Join(dir, "audit.key"))
	if err != nil {
		t.Fatal(err)
	}
	h := &house{engine: &engine{lease: 300 * time.Millisecond}, log: log, now: time.Now()}
	keys, err := doors.OpenFileKeys(filepath.Join(dir, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	h.Server = h.server(db, keys)
	h.serve(t)
	return h
}

func (h *house) server(db *store.DB, keys doors.Keys) *agent.Server {
	return &agent.Server{
		Agents: &agent.Agents{DB: db, Gate: gate.New(h.log, h.clock), Authority: &agent.Authority{Keys: keys, Now: h.clock}, Now: h.clock}, Steps: h.engine, Poll: 10 * time.Millisecond,
		Failed: func(r *http.Request, err error) { fmt.Println("the server failed:", r.URL.Path, err) },
	}
}

// ServeHTTP keeps what was sent, and answers.
func (h *house) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	h.mu.Lock()
	h.said.Write(body)
	refuse := h.refuse
	h.mu.Unlock()
	if err != nil || refuse {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	h.Server.ServeHTTP(w, r)
}

// serve opens the port as "tally up" does.
func (h *house) serve(t *testing.T) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.address = listener.Addr().String()
	server := &http.Server{Handler: h, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequestClientCert, GetCertificate: h.Authority.Certificate},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	ended := make(chan error, 1)
	go func() { ended <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		if err := server.Close(); err != nil { // agents hold requests open for long
			t.Error(err)
		}
		<-ended
	})
}

// token makes one.
func (h *house) token(t *testing.T, name string) string {
	t.Helper()
	text, _, err := h.Add(t.Context(), root, name, h.address)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// A store in memory is the door of the tests: it holds a credential.
type memory struct {
	mu      sync.Mutex
	has     driver.Material // guarded by mu
	blocked []string        // guarded by mu
	slow    time.Duration   // how long Block takes
	begun   int             // guarded by mu; Blocks
}

func (m *memory) Look(context.Context, driver.LookRequest) (driver.View, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return driver.View{Shown: []driver.Shown{{Public: m.has.Public, At: "memory", Key: true}}, Denies: slices.Clone(m.blocked)}, nil
}

func (m *memory) Install(_ context.Context, r driver.InstallRequest) (driver.Installed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.has.Is(r.New.Public) {
		return driver.Installed{}, nil
	}
	if err := r.Keep(m.has); err != nil {
		return driver.Installed{}, err
	}
	m.has = r.New
	return driver.Installed{Changed: driver.Changed{Changed: true}}, nil
}

func (m *memory) Block(ctx context.Context, r driver.BlockRequest) (driver.Blocked, error) {
	m.mu.Lock()
	m.begun++
	m.mu.Unlock()
	select {
	case <-time.After(m.slow):
	case <-ctx.Done():
		return driver.Blocked{}, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.blocked = r.Old.Names()
	return driver.Blocked{Changed: driver.Changed{Changed: true}}, nil
}

// A machine has one agent with one door.
type machine struct {
	agent.Config
	door *memory
	pki  *lab.PKI
	old  driver.Material

	mu     sync.Mutex
	said   []string // guarded by mu
	failed []error  // guarded by mu
}

func newMachine(t *testing.T, h *house, token string) *machine {
	t.Helper()
	m := &machine{pki: lab.NewPKI(t)}
	m.old = m.pki.Client(t, "journal")
	m.door = &memory{has: m.old}
	data := t.TempDir()
	keys, err := agent.OpenKeys(data)
	if err != nil {
		t.Fatal(err)
	}
	type none struct{}
	set, err := doors.Open(doors.Config{
		Doors:   []config.Door{{Name: "journal", Driver: "memory", Holder: "journal"}},
		Drivers: []driver.Driver{driver.New("memory", "Memory.", func(none) (*memory, error) { return m.door, nil })},
		Keys:    keys, Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Config = agent.Config{
		Doors: set, Data: data, Keys: keys, LookEvery: time.Hour, Version: "test", Now: h.clock,
		Token: func() (string, error) { return token, nil },
		Said: func(text string) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.said = append(m.said, text)
		},
		Failed: func(err error) {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.failed = append(m.failed, err)
		},
	}
	return m
}

// start runs the agent until stop is called, or the test ends.
func (m *machine) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("the agent ended: %v", err)
		}
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-done
	})
	t.Cleanup(stop)
	return stop
}

func (m *machine) run(ctx context.Context) error {
	r, err := agent.New(m.Config)
	if err != nil {
		return err
	}
	return r.Run(ctx)
}

// failures are what went wrong until now.
func (m *machine) failures() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return errors.Join(m.failed...)
}
