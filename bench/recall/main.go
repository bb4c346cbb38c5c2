// SPDX-License-Identifier: Apache-2.0

// Command recall measures recalls: what a durable step costs, and how long it takes to
// recall a key from ten thousand places and connections while acts fail, some of which
// have happened all the same, and a node is killed in the middle. An observer looks all
// the time whether anybody is without a credential that works.
//
//	go run ./bench/recall [-targets 10000] [-steps 5000] [-store postgres://...] [-nodes 2] [-workers 64]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/recall/recalltest"
	"github.com/tallystick/tallystick/internal/store"
)

type settings struct {
	targets, steps, nodes, workers int
	url, dir                       string
	quiet                          bool // nothing fails and nobody is killed
}

func main() {
	var s settings
	flag.IntVar(&s.targets, "targets", 10_000, "how many places and connections are recalled; 0 is none")
	flag.IntVar(&s.steps, "steps", 5_000, "how many durable steps are done for their cost alone; 0 is none")
	flag.IntVar(&s.nodes, "nodes", 1, "how many nodes work at it at once; one is killed in the middle")
	flag.IntVar(&s.workers, "workers", 64, "how many steps go on at once, at each node")
	flag.StringVar(&s.url, "store", "", "the store (default: SQLite in a temporary directory)")
	flag.StringVar(&s.dir, "dir", "", "where (default: a temporary directory)")
	flag.BoolVar(&s.quiet, "quiet", false, "let nothing fail, and kill nobody")
	flag.Parse()
	if err := run(context.Background(), s); err != nil {
		fmt.Fprintln(os.Stderr, "recall:", err)
		os.Exit(1)
	}
}

var (
	olga = gate.Actor{Name: "olga", Role: gate.Operator, Via: "local"}
	otto = gate.Actor{Name: "otto", Role: gate.Operator, Via: "local"}
)

func run(ctx context.Context, s settings) error {
	dir, err := os.MkdirTemp(s.dir, "recall-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if s.url == "" {
		s.url = filepath.Join(dir, "tally.db")
	}
	if s.steps > 0 {
		if err := durable(ctx, s, dir); err != nil {
			return err
		}
	}
	if s.targets > 0 {
		return recallAll(ctx, s, dir)
	}
	return nil
}

// A node is an engine with its own connection to the store. It can be killed: then
// nothing that it does arrives any more.
type node struct {
	*recall.Engine
	db    *store.DB
	doors *mortal
	stop  context.CancelFunc
	ended chan struct{}
}

// mortal are doors that a node can no longer reach when it is dead.
type mortal struct {
	at   recall.Doors
	mu   sync.Mutex
	dead bool // guarded by mu
}

// open puts a node over the store.
func open(ctx context.Context, s settings, dir, name string, doors recall.Doors, desk *recalltest.Desk) (*node, error) {
	db, err := store.Open(ctx, s.url)
	if err != nil {
		return nil, err
	}
	log, err := audit.Open(ctx, db, filepath.Join(dir, "audit.key"))
	if err != nil {
		return nil, err
	}
	n := &node{db: db, doors: &mortal{at: doors}, ended: make(chan struct{})}
	n.Engine, err = recall.New(recall.Config{
		DB: db, Gate: gate.New(log, time.Now), Log: log, Doors: n.doors, Now: time.Now, Node: name, Workers: s.workers,
		Issuers:  func(string) (driver.Issuer, error) { return desk, nil },
		Defaults: recall.Defaults{Quiet: time.Millisecond, Waves: tallystick.Waves{Canary: 10, Growth: 10, Errors: 10}},
	})
	return n, err
}

// begin lets a node work.
func (n *node) begin(ctx context.Context) {
	ctx, n.stop = context.WithCancel(ctx)
	go func() {
		defer close(n.ended)
		_ = n.Run(ctx, func(err error) { // why it ended is known
			if !n.doors.isDead() {
				fmt.Fprintln(os.Stderr, "recall:", err)
			}
		})
	}()
}

// kill lets nothing arrive any more of what the node does.
func (n *node) kill() error {
	n.doors.die()
	err := n.db.Close()
	n.stop()
	return err
}

func (n *node) end() error {
	n.stop()
	<-n.ended
	return n.db.Close()
}

func (m *mortal) die() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

func (m *mortal) isDead() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.dead
}

var errDead = errors.New("the node is dead")

// A usage is what the process has used.
type usage struct {
	at  time.Time
	cpu time.Duration
}

func used() usage {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r) // it has no other error than a bad argument
	return usage{time.Now(), time.Duration(r.Utime.Nano() + r.Stime.Nano())}
}

func (u usage) String() string {
	now := used()
	return fmt.Sprintf("%6.2f s, %6.2f CPU s", now.at.Sub(u.at).Seconds(), (now.cpu - u.cpu).Seconds())
}

// peak returns the most memory that the process ever had.
func peak() string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(text)) {
		if value, is := strings.CutPrefix(line, "VmHWM:"); is {
			return strings.TrimSpace(value)
		}
	}
	return "unknown on " + runtime.GOOS
}
