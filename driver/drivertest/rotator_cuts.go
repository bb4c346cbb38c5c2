// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// cutsOff has the n-th thing fail that a call of a case does, and calls then as it does. What it
// returns mends all, and says whether the call came so far.
type cutsOff func(c RotatorCase, n int, then func()) (mend func() bool)

func (c RotatorCase) relayCut(n int, then func()) func() bool {
	c.Relay.Cut(n, then)
	return func() bool {
		defer c.Relay.Cut(0, nil)
		return c.Relay.Count() >= n
	}
}

func (c RotatorCase) hostCut(n int, then func()) func() bool {
	host, when := c.Host.(*FaultyHost), After
	if then != nil {
		when = Killed
	}
	host.Fail(n, when, then)
	return func() bool {
		defer host.Fail(0, Never, nil)
		return host.Count() >= n
	}
}

// lost has each thing that set, drop and withdraw do fail when the other side has it, with the
// caller there and with the caller gone, and calls again.
func (c RotatorCase) lost(t *testing.T, cut cutsOff) {
	for _, act := range []struct {
		name string
		try  func(r *rotation, ctx context.Context, t *testing.T) error
		then func(r *rotation, t *testing.T)
	}{
		{"set", (*rotation).trySet, (*rotation).thenSet},
		{"drop", (*rotation).tryDrop, (*rotation).thenDrop},
		{"withdraw", (*rotation).tryWithdraw, (*rotation).thenWithdraw},
	} {
		for _, gone := range []bool{false, true} {
			t.Run(act.name+map[bool]string{true: " gone"}[gone], func(t *testing.T) {
				own := c
				if c.Another != nil {
					t.Parallel()
					own = c.Another(t)
				}
				const most = 200 // no call does so much
				for n := 1; n <= most; n++ {
					r := own.begin(t)
					if act.name != "set" {
						r.setLater(t, false)
					}
					ctx, cancel := context.WithCancel(t.Context())
					then := cancel
					if !gone {
						then = nil
					}
					mend := cut(own, n, then)
					err := act.try(r, ctx, t)
					cancel()
					far := mend()
					r.failedWell(t, act.name, n, err)
					if !far {
						t.Logf("%s does fewer than %d things", act.name, n)
						return
					}
					act.then(r, t)
				}
				t.Fatalf("%s does more than %d things", act.name, most)
			})
		}
	}
}

func (r *rotation) trySet(ctx context.Context, t *testing.T) error {
	_, err := r.set(ctx, t, nil)
	return err
}

func (r *rotation) tryDrop(ctx context.Context, t *testing.T) error {
	_, err := r.drop(ctx, t)
	return err
}

func (r *rotation) tryWithdraw(ctx context.Context, t *testing.T) error {
	_, err := r.set(ctx, t, func(s *driver.SecretRequest) { s.Withdraw = true })
	return err
}

// failedWell looks at the error of a call that was cut off, which may have been mended.
func (r *rotation) failedWell(t *testing.T, act string, n int, err error) {
	t.Helper()
	fine := err == nil || errors.Is(err, tallystick.ErrUnavailable) || errors.Is(err, context.Canceled) || errors.Is(err, errDead) ||
		errors.Is(err, tallystick.ErrInvalid) && act == "withdraw" && r.KeepsHistory && r.standing.Overlap == driver.OverlapNone
	if !fine {
		t.Errorf("thing %d of %s: %v, want ErrUnavailable", n, act, err)
	}
}

func (r *rotation) thenSet(t *testing.T) {
	t.Helper()
	// Whatever happened, somebody gets in.
	if !r.SignIn(t, r.account, r.old) {
		if r.standing.Overlap != driver.OverlapNone {
			t.Error("Old does not get in after a set that failed")
		}
		if r.standing.Form != driver.FormMade {
			r.getsIn(t, "New", r.new)
		}
	}
	r.setLater(t, false)
	r.counted(t, 1)
	r.whileSet(t)
}

func (r *rotation) thenDrop(t *testing.T) {
	t.Helper()
	r.getsIn(t, "New", r.new)
	r.later(t, func() error { return r.tryDrop(t.Context(), t) })
	if r.standing.Overlap != driver.OverlapTimed {
		r.only(t, "New", r.new, r.old)
	}
}

func (r *rotation) thenWithdraw(t *testing.T) {
	t.Helper()
	if r.KeepsHistory && r.standing.Overlap == driver.OverlapNone {
		r.getsIn(t, "New", r.new)
		return
	}
	if !r.SignIn(t, r.account, r.new) {
		r.getsIn(t, "Old", r.old)
	}
	r.setLater(t, true)
	r.counted(t, 1)
	r.getsIn(t, "Old", r.old)
	if r.standing.Overlap != driver.OverlapTimed {
		r.only(t, "Old", r.old, r.new)
	}
}

// A Relay stands between a driver and a server on loopback. It can lose the answer to what
// a client sends, and be down.
type Relay struct {
	Address string // host:port to connect to
	server  string

	mu    sync.Mutex
	down  bool                  // guarded by mu, like those below
	at    int                   // the piece whose answer is lost, from 1
	count int                   // pieces that clients have sent since
	then  func()                // is called as it is lost
	open  map[net.Conn]struct{} // to clients
}

// NewRelay starts one before a server, which is host:port of loopback, until the test ends.
func NewRelay(t testing.TB, server string) *Relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &Relay{Address: listener.Addr().String(), server: server, open: map[net.Conn]struct{}{}}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { r.carry(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		r.Down()
		group.Wait()
	})
	return r
}

// Down ends what is open, and takes nothing any more.
func (r *Relay) Down() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = true
	for conn := range r.open {
		conn.Close()
	}
}

// Up takes connections again.
func (r *Relay) Up() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = false
}

// Cut loses the answer to the n-th piece that clients send from now on, with the connection, and
// calls then, unless it is nil. 0 loses none.
func (r *Relay) Cut(n int, then func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at, r.count, r.then = n, 0, then
}

// Count returns how many pieces clients have sent since Cut.
func (r *Relay) Count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

// enter says whether a connection is taken.
func (r *Relay) enter(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.down {
		r.open[conn] = struct{}{}
	}
	return !r.down
}

// piece counts one, and says whether its answer is lost.
func (r *Relay) piece() (lost bool, then func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count++
	return r.count == r.at, r.then
}

// carry carries one connection to its end.
func (r *Relay) carry(client net.Conn) {
	defer client.Close()
	if !r.enter(client) {
		return
	}
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.open, client)
	}()
	server, err := net.Dial("tcp", r.server)
	if err != nil {
		return
	}
	var deaf atomic.Bool
	answered := make(chan struct{})
	var group sync.WaitGroup
	defer group.Wait()
	defer server.Close()
	group.Go(func() {
		defer client.Close()
		defer close(answered)
		back := make([]byte, 64<<10)
		for {
			n, err := server.Read(back)
			if err != nil || deaf.Load() {
				return
			}
			if _, err := client.Write(back[:n]); err != nil {
				return
			}
		}
	})
	r.forward(client, server, &deaf, answered)
}

// forward carries what the client sends, up to the piece whose answer is lost.
func (r *Relay) forward(client io.Reader, server io.Writer, deaf *atomic.Bool, answered <-chan struct{}) {
	piece := make([]byte, 64<<10)
	for {
		n, err := client.Read(piece)
		if err != nil {
			return
		}
		lost, then := r.piece()
		if lost {
			deaf.Store(true)
		}
		if _, err := server.Write(piece[:n]); err != nil {
			return
		}
		if !lost {
			continue
		}
		// Not every piece has an answer. The server need not be done: what it has not done
		// was lost as well.
		select {
		case <-answered:
		case <-time.After(300 * time.Millisecond):
		}
		if then != nil {
			then()
		}
		return
	}
}
