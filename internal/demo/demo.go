// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
)

// How many customers the vendor can have: the thief needs some to enter, and the machine
// bears so many.
const (
	FewestCustomers = 200
	MostCustomers   = 200_000
)

// Config says how the case is played.
type Config struct {
	Seed      uint64
	Customers int           // of the vendor; one in ten is connected
	Pace      time.Duration // a product comes to each of its connections this often
	Deadline  time.Duration // of the recall, from its start
	// Dir is an empty directory, for everything that is written.
	Dir string
	// Program is how Tallystick is called.
	Program string
	// Story tells what happens, for people; it is used by one goroutine.
	Story Story
	// Pause is asked after each act; nil goes on at once.
	Pause func(ctx context.Context, act string) error
}

// A Story is told while the case is played.
type Story interface {
	Act(title string)                   // a new part begins
	Say(format string, args ...any)     // a sentence
	Did(command string)                 // what somebody would type
	Progress(what string, done, of int) // how far it has come
}

// Run plays the case. The error is of what kept it from being played to the end; whether
// Tallystick did well is Result.Well. The program has been ended when Run returns.
func Run(ctx context.Context, c Config) (Result, error) {
	if c.Customers < FewestCustomers || c.Customers > MostCustomers {
		return Result{}, fmt.Errorf("%w: the case has %d to %d customers", tallystick.ErrInvalid, FewestCustomers, MostCustomers)
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &play{Config: c, random: rand.New(rand.NewPCG(c.Seed, 36)), result: Result{Seed: c.Seed, Customers: c.Customers, EnteredTruth: []string{}, EnteredFound: []string{}, FalseNames: []string{}, Entrusted: EntrustedResult{Servers: []string{}}}}
	err := p.run(ctx)
	cancel()
	p.products.Wait()
	if p.servers != nil {
		p.servers.stop()
	}
	if p.program != nil {
		err = errors.Join(err, p.program.stop())
	}
	p.result.spent(p.program)
	return p.result, err
}

// A play is one run of the case.
type play struct {
	Config
	random  *rand.Rand // owned by Run's goroutine
	cloud   *cloud
	vendor  *vendor
	thief   *thief
	program *program
	servers *servers
	second  *secondWave // nil where none of the servers is installed
	result  Result

	products sync.WaitGroup
}

func (p *play) run(ctx context.Context) error {
	for _, act := range []struct {
		title string
		play  func(context.Context) error
		later bool // of the second wave
	}{
		{"A vendor with one certificate", p.open, false},
		{"Somebody else has the key", p.steal, false},
		{"Tallystick compares both halves", p.notice, false},
		{"The certificate is recalled", p.recall, false},
		{"The thief comes again", p.tryAgain, false},
		{"Two weeks later: what customers had entrusted", p.askLineage, true},
		{"Their passwords are replaced", p.replace, true},
		{"The thief tries what it has copied", p.tryCopies, true},
		{"The evidence", p.prove, false},
	} {
		if act.later && p.second == nil {
			continue
		}
		p.Story.Act(act.title)
		if err := act.play(ctx); err != nil {
			return fmt.Errorf("couldn't play %q: %w", act.title, err)
		}
		if p.Pause != nil {
			if err := p.Pause(ctx, act.title); err != nil {
				return err
			}
		}
	}
	return nil
}

// open builds the tenants, starts the program and the products.
func (p *play) open(ctx context.Context) error {
	var err error
	if p.vendor, err = newVendor(filepath.Join(p.Dir, "vendor")); err != nil {
		return err
	}
	if p.program, err = newProgram(p.Program, filepath.Join(p.Dir, "tallystick"), p.Story); err != nil {
		return err
	}
	if err := p.certify(ctx); err != nil {
		return err
	}
	if p.cloud, err = p.newCloud(ctx); err != nil {
		return err
	}
	p.result.Connections, p.result.Sharing = len(p.cloud.customers), len(p.cloud.sharing())
	p.result.Unknowable = p.result.Connections - p.result.Sharing
	p.Story.Say("%s customers; %s of them are connected, each with its own tenant of the EMULATOR of Microsoft's cloud, all by one certificate.",
		number(p.Customers), number(p.result.Connections))
	p.Story.Say("%s of those share their sign-in logs with the vendor.", number(p.result.Sharing))
	if err := p.openSecond(ctx); err != nil {
		return err
	}
	if err := p.furnish(ctx); err != nil {
		return err
	}
	if err := p.vendor.open(p.cloud); err != nil {
		return err
	}
	if err := p.program.start(ctx); err != nil {
		return err
	}
	for _, product := range p.vendor.products {
		p.products.Go(func() { product.run(ctx, p.Pace) })
	}
	p.Story.Say("Three products sign in and read mail, each connection every %s. The page of Tallystick: %s", p.Pace, p.program.link)
	if mail := p.servers.mail; mail != nil {
		p.Story.Say("Mail flows: a real Postfix takes %d messages a second, and a real Dovecot hands them out.", time.Second/sendGap)
		mail.flow(ctx)
	}
	return p.firstRound(ctx)
}

// firstRound waits until every product has been everywhere once, so that what follows
// happens to an estate in use.
func (p *play) firstRound(ctx context.Context) error {
	return until(ctx, shortly, 10*p.Pace+time.Minute, "the products have signed in everywhere", func(context.Context) (bool, error) {
		in := 0
		for _, product := range p.vendor.products {
			in += product.visited()
		}
		p.Story.Progress("connections in use", in, p.result.Connections)
		return in == p.result.Connections, nil
	})
}

// Gaps between two questions: shortly where it is measured how long something takes, and
// calmly where the answer costs more than the wait.
const (
	shortly = 100 * time.Millisecond
	calmly  = time.Second
)

// rest waits for a time, or for ctx to end, which is an error.
func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// until asks again and again, with a gap between, until something is so.
func until(ctx context.Context, gap, patience time.Duration, what string, is func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		done, err := is(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: waited %s until %s", tallystick.ErrUnavailable, patience, what)
		case <-time.After(gap):
		}
	}
}
