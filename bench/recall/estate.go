// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/recall/recalltest"
)

// each is how many doors a holder signs in at.
const each = 10

// An estate is places and connections that all have certificates of one key.
type estate struct {
	*recalltest.Estate
	desk    *recalltest.Desk
	between []recalltest.Connection
	key     string
}

// furnish makes an estate of so many targets: a fifth are places, the others
// connections of holders that sign in at ten doors each.
func furnish(targets int) (*estate, error) {
	desk, err := recalltest.NewDesk()
	if err != nil {
		return nil, err
	}
	e := &estate{Estate: recalltest.New("desk", time.Now), desk: desk}
	key, err := recalltest.NewKey()
	if err != nil {
		return nil, err
	}
	for i := range targets / 5 {
		p, err := desk.Certify(fmt.Sprint("web", i), key.Public())
		if err != nil {
			return nil, err
		}
		e.AddPlace(fmt.Sprint("web", i), p)
	}
	for i := range (targets - targets/5) / each {
		holder := fmt.Sprint("app", i)
		p, err := desk.Certify(holder, key.Public())
		if err != nil {
			return nil, err
		}
		e.AddHolder(holder, p)
		for j := range each {
			relying := fmt.Sprintf("server%d-%d", i, j)
			e.AddRelying(relying, p)
			e.between = append(e.between, recalltest.Connection{Holder: holder, Relying: relying})
		}
		for _, name := range p.Names() {
			if id, is := strings.CutPrefix(name, "spki-sha256:"); is {
				e.key = id
			}
		}
	}
	return e, nil
}

// fail lets one act in a hundred fail, and one in a thousand that has happened.
func (e *estate) fail() {
	e.SetFault(func(_ doors.Task, after bool) error {
		if n := rand.IntN(1000); !after && n < 10 || after && n < 1 {
			return fmt.Errorf("%w: the connection was reset", tallystick.ErrUnavailable)
		}
		return nil
	})
}

// An observer looks all the time whether anybody is without a credential that works.
type observer struct {
	looks  atomic.Int64
	outage atomic.Int64
	stop   chan struct{}
	ended  sync.WaitGroup
}

func (e *estate) observe() *observer {
	o := &observer{stop: make(chan struct{})}
	o.ended.Go(func() {
		for {
			o.looks.Add(1)
			o.outage.Add(int64(len(e.Without(e.between))))
			select {
			case <-o.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	})
	return o
}

func (m *mortal) Do(ctx context.Context, t doors.Task) (doors.Result, error) {
	if m.isDead() {
		return doors.Result{}, errDead
	}
	r, err := m.at.Do(ctx, t)
	if m.isDead() { // it happened, and nobody hears of it
		return doors.Result{}, errDead
	}
	return r, err
}

func (m *mortal) Doors() []doors.Door { return m.at.Doors() }

func (m *mortal) Look(ctx context.Context, door string) (driver.View, error) {
	return m.at.Look(ctx, door)
}

func (m *mortal) Forget(ctx context.Context, prefix string) error {
	if m.isDead() {
		return errDead
	}
	return m.at.Forget(ctx, prefix)
}

// recallAll recalls the key of an estate.
func recallAll(ctx context.Context, s settings, dir string) error {
	e, err := furnish(s.targets)
	if err != nil {
		return err
	}
	nodes := make([]*node, max(s.nodes, 1))
	for i := range nodes {
		if nodes[i], err = open(ctx, s, dir, fmt.Sprint("node ", i+1), e, e.desk); err != nil {
			return err
		}
	}
	last := nodes[len(nodes)-1]
	began := used()
	r, err := last.Open(ctx, olga, recall.Request{Name: "everything", What: tallystick.Burnt{Kind: tallystick.BurntKey, Value: e.key}, Why: "a benchmark"})
	if err != nil {
		return err
	}
	fmt.Printf("plan kept: %s\n", began)
	if err := last.Approve(ctx, otto, r.ID, r.Deadline); err != nil {
		return err
	}
	if err := last.Start(ctx, olga, r.ID); err != nil {
		return err
	}
	if !s.quiet {
		e.fail()
	}
	o := e.observe()
	began = used()
	for _, n := range nodes {
		n.begin(ctx)
	}
	if !s.quiet {
		if last, err = killOne(ctx, s, dir, e, nodes, r.ID); err != nil {
			return err
		}
	}
	status, err := await(ctx, last, r.ID, nil)
	if err != nil {
		return err
	}
	var steps int64
	for _, c := range status.Steps {
		steps += c.Count
	}
	fmt.Printf("%d targets, %d steps, %d nodes of %d workers (%s): %s; most memory %s\n", status.Total, steps, len(nodes), s.workers, last.db.Engine(), began, peak())
	close(o.stop)
	o.ended.Wait()
	twice, made := e.desk.Twice()
	fmt.Printf("certificates made: %d, twice: %d; the observer looked %d times at %d connections and found %d without\n", made, len(twice), o.looks.Load(), len(e.between), o.outage.Load())
	if len(twice) > 0 || o.outage.Load() > 0 || len(e.Wrongs()) > 0 {
		return errOutage
	}
	return last.end()
}

// killOne kills the first node when a third of the targets are proven, and returns one
// that is alive: another one is begun when there was one alone.
func killOne(ctx context.Context, s settings, dir string, e *estate, nodes []*node, id int64) (*node, error) {
	other := nodes[len(nodes)-1]
	if len(nodes) == 1 {
		var err error
		if other, err = open(ctx, s, dir, "node that came after", e, e.desk); err != nil {
			return nil, err
		}
	}
	_, err := await(ctx, other, id, func() error {
		if err := nodes[0].kill(); err != nil {
			return err
		}
		fmt.Println("a node was killed")
		return nil
	})
	if err == nil && len(nodes) == 1 {
		other.begin(ctx)
	}
	return other, err
}
