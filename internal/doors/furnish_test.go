// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/lab"
)

// A client is a program that signs in with a credential which it holds in memory: the
// door of a holder.
type client struct {
	mu   sync.Mutex
	has  driver.Material // guarded by mu
	fail error           // guarded by mu; of the next Install, after Keep
	busy int             // guarded by mu; Installs that go on
	most int             // guarded by mu; the most that went on at once
	hold time.Duration   // how long an Install takes
}

func (c *client) Look(context.Context, driver.LookRequest) (driver.View, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return driver.View{Shown: []driver.Shown{{Public: c.has.Public, At: "memory", Key: true}}}, nil
}

func (c *client) Install(ctx context.Context, r driver.InstallRequest) (driver.Installed, error) {
	c.mu.Lock()
	c.busy++
	c.most = max(c.most, c.busy)
	has, fail := c.has, c.fail
	c.fail = nil
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		c.busy--
		c.mu.Unlock()
	}()
	time.Sleep(c.hold)
	if has.Is(r.New.Public) {
		return driver.Installed{}, nil
	}
	if err := r.Keep(has); err != nil {
		return driver.Installed{}, err
	}
	if fail != nil {
		return driver.Installed{}, fail
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.has = r.New
	return driver.Installed{Changed: driver.Changed{Changed: true, How: []string{"memory"}}}, nil
}

// A gatekeeper is an HTTPS server that lets clients in one by one: the door of a relying
// party.
type gatekeeper struct {
	address string
	forgets bool // it does not look again where a session is resumed or a connection is open
	closed  bool // it denies us every change

	mu   sync.Mutex
	lets []driver.Public // guarded by mu
}

func (g *gatekeeper) may(state tls.ConnectionState) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(state.PeerCertificates) > 0 && slices.ContainsFunc(g.lets, func(p driver.Public) bool {
		return p.Is(driver.Public{Chain: [][]byte{state.PeerCertificates[0].Raw}})
	})
}

// serve starts the server.
func (g *gatekeeper) serve(t *testing.T, m driver.Material) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.address = listener.Addr().String()
	server := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !g.may(*r.TLS) && !g.forgets {
				http.Error(w, "who are you?", http.StatusForbidden)
			}
		}),
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{{Certificate: m.Chain, PrivateKey: m.Key}}, ClientAuth: tls.RequireAnyClientCert,
			VerifyConnection: func(state tls.ConnectionState) error {
				if g.may(state) || g.forgets && state.DidResume {
					return nil
				}
				return tallystick.ErrDenied
			},
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(listener, "", "") // it ends with the test
	}()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
}

func (g *gatekeeper) Look(context.Context, driver.LookRequest) (driver.View, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	view := driver.View{Listeners: []driver.Listener{{Address: g.address, Protocol: "https"}}}
	for _, p := range g.lets {
		view.Accepts = append(view.Accepts, driver.Accepted{Name: p.Names()[0]})
	}
	return view, nil
}

func (g *gatekeeper) Trust(_ context.Context, r driver.TrustRequest) (driver.Changed, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	there := slices.ContainsFunc(g.lets, r.New.Is)
	if g.closed {
		return driver.Changed{}, tallystick.ErrDenied
	}
	if r.Withdraw {
		g.lets = slices.DeleteFunc(g.lets, r.New.Is)
		return driver.Changed{Changed: there}, nil
	}
	if !slices.ContainsFunc(g.lets, r.Like.Is) {
		return driver.Changed{}, tallystick.ErrNotFound
	}
	if !there {
		g.lets = append(g.lets, r.New)
	}
	return driver.Changed{Changed: !there}, nil
}

func (g *gatekeeper) Block(_ context.Context, r driver.BlockRequest) (driver.Blocked, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	there := slices.ContainsFunc(g.lets, r.Old.Is)
	if g.closed {
		return driver.Blocked{}, tallystick.ErrDenied
	}
	if r.Lift {
		g.lets = append(g.lets, r.Old)
		return driver.Blocked{Changed: driver.Changed{Changed: !there}}, nil
	}
	g.lets = slices.DeleteFunc(g.lets, r.Old.Is)
	return driver.Blocked{Changed: driver.Changed{Changed: there, How: []string{"list"}}}, nil
}

// An estate is one holder that signs in at one relying party, with the doors of both.
type estate struct {
	*doors.Set
	pki    *lab.PKI
	old    driver.Material
	client *client
	gate   *gatekeeper
	keys   doors.Keys
	config doors.Config

	mu   sync.Mutex
	uses []tallystick.Use // guarded by mu
}

func newEstate(t *testing.T, forgets bool) *estate {
	t.Helper()
	e := &estate{pki: lab.NewPKI(t), gate: &gatekeeper{forgets: forgets}}
	e.old = e.pki.Client(t, "journal")
	e.client = &client{has: e.old}
	e.gate.lets = []driver.Public{e.old.Public}
	e.gate.serve(t, e.pki.Localhost(t))
	keys, err := doors.OpenFileKeys(filepath.Join(t.TempDir(), "keys"))
	if err != nil {
		t.Fatal(err)
	}
	e.keys = keys
	type none struct{}
	e.config = doors.Config{
		Doors: []config.Door{
			{Name: "journal", Driver: "client", Holder: "journal", Issue: config.DoorIssue{Issuer: "ca/lab", Key: "ed25519"}},
			{Name: "archive", Driver: "gatekeeper", RelyingParties: []string{"https:archive:443"}},
		},
		Drivers: []driver.Driver{
			driver.New("client", "A client.", func(none) (*client, error) { return e.client, nil }),
			driver.New("gatekeeper", "A server.", func(none) (*gatekeeper, error) { return e.gate, nil }),
		},
		Keys: keys, Now: time.Now,
		Used: func(_ driver.Public, use tallystick.Use) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.uses = append(e.uses, use)
		},
	}
	e.start(t)
	return e
}

// start opens the doors, again as after a restart.
func (e *estate) start(t *testing.T) {
	t.Helper()
	if e.Set != nil {
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
	set, err := doors.Open(e.config)
	if err != nil {
		t.Fatal(err)
	}
	e.Set = set
	t.Cleanup(func() {
		if err := set.Close(); err != nil {
			t.Error(err)
		}
	})
}

// task begins a task of the recall.
func (e *estate) task(act tallystick.Act, door string) doors.Task {
	return doors.Task{
		Act: act, Door: door, Name: "recall/7/1", Old: e.old.Public, Like: e.old.Public, KeyName: "recall/7/new", OldKeyName: "recall/7/old", SessionName: "recall/7/sessions",
		Listeners: []driver.Listener{{Address: e.gate.address, Protocol: "https"}}, RelyingParty: "https:archive:443",
	}
}

// do does a task that must not fail.
func (e *estate) do(t *testing.T, task doors.Task) doors.Result {
	t.Helper()
	result, err := e.Do(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	return result
}
