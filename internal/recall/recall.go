// SPDX-License-Identifier: Apache-2.0

// Package recall replaces what is burnt everywhere by a date, and proves that the old
// one is dead (docs/design/0007-recall.md).
//
// A recall is a plan of steps in the store, of which many wait for others. Each process
// that runs an Engine takes up what is ready, for a time and under a fence that grows:
// that somebody is about to act is durable before anything is done. Then the act is
// done, which may be the second time; what came of it is judged, put on record in the
// audit log, and written by whoever still holds the fence, together with what becomes
// ready by that. So a process can be killed at any instant and nothing is lost, and
// nothing that must happen once happens twice: certificates are found again by their
// order, and doors look before they write.
package recall

import (
	"context"
	"crypto"
	"fmt"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// Doors are those that this process works at: *doors.Set.
type Doors interface {
	Doors() []doors.Door
	Look(ctx context.Context, door string) (driver.View, error)
	Do(ctx context.Context, task doors.Task) (doors.Result, error)
	// Forget destroys the keys and sessions whose names begin with a prefix.
	Forget(ctx context.Context, prefix string) error
}

// Agents know the doors of agents.
type Agents interface {
	// Look has all agents look at their doors now, and returns when they have or when ctx
	// ends, with the names of those that have not.
	Look(ctx context.Context) (silent []string, err error)
	// Doors returns them with how they last said that they stand, by AGENT/DOOR.
	Doors(ctx context.Context) ([]AgentDoor, error)
}

// An AgentDoor is a door of an agent, as the agent last saw it.
type AgentDoor struct {
	doors.Door // Agent and Name are set; the name is AGENT/DOOR
	View       driver.View
	Looked     time.Time
	Error      string // why nobody could look; "" when somebody could
}

// A Revoker is the private CA, as far as a recall asks it: OwnCA.
type Revoker interface {
	// Revoke has certificates (DER) revoked because their keys are in other hands, and
	// returns when what is published says so. What is revoked already is no error.
	Revoke(ctx context.Context, certificates [][]byte, recall tallystick.Recall) error
	// Lists returns the complete lists of a credential's CAs, from its issuer up; none of those that are not ours.
	Lists(ctx context.Context, of driver.Public) ([][]byte, error)
	// Authorities returns the certificates (DER) of those CAs, in the same order.
	Authorities(ctx context.Context, of driver.Public) ([][]byte, error)
	// Burnt says why a credential must not be used: it is revoked, or its key is blocked; "" that
	// nothing speaks against it.
	Burnt(ctx context.Context, public driver.Public) (string, error)
}

// A Ledger says whether a holder still uses a credential.
type Ledger interface {
	Quiet(ctx context.Context, q DrainQuestion) (DrainAnswer, error)
}

// A DrainQuestion asks for the uses of a credential at one relying party.
type DrainQuestion struct {
	Credential []string // its names, as driver.Public has them
	// RelyingParties are all names that uses may have for it. When none of them was ever
	// seen, uses anywhere count: nobody knows what the holder calls it.
	RelyingParties []string
	Since          time.Time // uses before it do not count
	Until          time.Time // nor those from then on; zero is without an end
}

// A DrainAnswer is what the books say.
type DrainAnswer struct {
	// Books is how many have anything to do with the question; 0: nobody records uses there.
	Books int `json:"books"`
	// Closed is up to when nothing more is to come in any of them; zero: one was never closed.
	Closed time.Time `json:"closed,omitzero"`
	Open   []string  `json:"open,omitempty"` // those that are closed the least far, by name
	Uses   int64     `json:"uses"`           // by the holder
	Last   time.Time `json:"last,omitzero"`  // of them
	// Refused are how many of Uses the other side refused.
	Refused int64 `json:"refused,omitempty"`
	// Others are uses by anybody else. They are shown, and hold nothing up.
	Others     int64     `json:"others,omitempty"`
	OthersLast time.Time `json:"others_last,omitzero"`
}

// Config is what New needs. What is nil is not there, as far as it says so.
type Config struct {
	DB   *store.DB
	Gate *gate.Gate
	Log  gate.Recorder // of what came of steps: *audit.Log
	// Doors are those of this process; nil when it has none.
	Doors  Doors
	Agents Agents // nil when there are none
	// Issuers returns the issuer of a name, and Account the key by which we are known there.
	Issuers func(name string) (driver.Issuer, error)
	Account func(ctx context.Context, issuer string) (crypto.Signer, error)
	CA      Revoker // nil without a CA of our own
	Uses    Ledger  // nil: nobody records uses
	Marks   Marks   // nil: nobody records which passwords are tried
	// Vault knows entrusted secrets, and Accounts how the doors stand that rotate them
	// (*doors.Set); nil: nothing was entrusted.
	Vault    Vault
	Accounts Accounts
	// Connect is where this process may try credentials at addresses that agents have named.
	Connect doors.Reach
	// BooksElsewhere says that another process on the store has the books: whether a holder
	// is quiet is told there.
	BooksElsewhere bool
	Now            func() time.Time
	Node           string // a name for this process, for leases
	Workers        int    // how many steps go on at once; 0 is 32
	// Defaults are what a Request leaves open.
	Defaults Defaults
}

// Defaults are what a Request leaves open.
type Defaults struct {
	Approvals  int           // how many must approve a recall; negative is none, 0 is 1
	Deadline   time.Duration // from when it is opened; 0 is six days
	AtDeadline string        // "" is AtDeadlineBlock
	Quiet      time.Duration // 0 is an hour
	Waves      tallystick.Waves
}

// defaultWorkers is how many steps go on at once. Most of them wait for a server.
const defaultWorkers = 32

// An Engine works at recalls. Make one with New; its methods are safe to call from
// several goroutines, and several may work on one store.
type Engine struct {
	Config
	wake chan struct{}

	mu    sync.Mutex
	known map[int64]tallystick.Recall // guarded by mu; what never changes of recalls, for each step asks for it
	kept  time.Time                   // guarded by mu; when secrets could last not be destroyed
}

// New puts an engine together.
func New(c Config) (*Engine, error) {
	if c.DB == nil || c.Gate == nil || c.Log == nil || c.Now == nil || c.Node == "" {
		return nil, fmt.Errorf("couldn't put the engine of recalls together: %w: it needs a store, a gate, a log, a clock and a name", tallystick.ErrInvalid)
	}
	if c.Workers <= 0 {
		c.Workers = defaultWorkers
	}
	if c.Doors == nil {
		c.Doors = noDoors{}
	}
	c.Defaults = c.Defaults.complete()
	return &Engine{Config: c, wake: make(chan struct{}, 1), known: map[int64]tallystick.Recall{}}, nil
}

func (d Defaults) complete() Defaults {
	if d.Approvals == 0 {
		d.Approvals = 1
	}
	d.Approvals = max(d.Approvals, 0)
	if d.Deadline <= 0 {
		d.Deadline = 6 * 24 * time.Hour
	}
	if d.AtDeadline == "" {
		d.AtDeadline = tallystick.AtDeadlineBlock
	}
	if d.Quiet <= 0 {
		d.Quiet = time.Hour
	}
	if d.Waves == (tallystick.Waves{}) {
		d.Waves = tallystick.Waves{Canary: 1, Growth: 10, Errors: 10}
	}
	return d
}

// Wake makes Run look for work now.
func (e *Engine) Wake() {
	select {
	case e.wake <- struct{}{}:
	default: // it will look anyhow
	}
}

// recall returns what never changes of a recall.
func (e *Engine) recall(ctx context.Context, id int64) (tallystick.Recall, error) {
	e.mu.Lock()
	r, ok := e.known[id]
	e.mu.Unlock()
	if ok {
		return r, nil
	}
	row, err := e.DB.Recall(ctx, id)
	if err != nil {
		return r, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	r = row.Recall
	e.known[id] = tallystick.Recall{
		ID: r.ID, Name: r.Name, What: r.What, Why: r.Why, Since: r.Since, AtDeadline: r.AtDeadline, Quiet: r.Quiet, Waves: r.Waves, Rehearse: r.Rehearse,
		OpenedBy: r.OpenedBy, Opened: r.Opened,
	}
	return e.known[id], nil
}

// actor is as whom a recall asks a CA: its policy can say what recalls may have.
func actor(recall string) gate.Actor {
	return gate.Actor{Name: "recall/" + recall, Role: gate.Operator, Via: via}
}

// via is how recalls come in, for the record.
const via = "recall"

// The gate's log is the audit log; this says so where it is put together.
var _ gate.Recorder = (*audit.Log)(nil)

// noDoors is a process without doors of its own.
type noDoors struct{}

func (noDoors) Doors() []doors.Door { return nil }

func (noDoors) Look(_ context.Context, door string) (driver.View, error) {
	return driver.View{}, fmt.Errorf("%w: there is no door %q", tallystick.ErrNotFound, door)
}

func (noDoors) Do(_ context.Context, t doors.Task) (doors.Result, error) {
	return doors.Result{}, fmt.Errorf("%w: there is no door %q", tallystick.ErrNotFound, t.Door)
}

func (noDoors) Forget(context.Context, string) error { return nil }
