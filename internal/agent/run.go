// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
)

// Config is what New needs.
type Config struct {
	// Doors are those of the agent, over the keys of OpenKeys.
	Doors *doors.Set
	// Data is the directory where the agent keeps who it is; see OpenKeys.
	Data string
	Keys *doors.FileKeys
	// Token returns what "tally agent add" has written, and "" where there is nothing.
	Token func() (string, error)
	// Connect is where credentials may be tried beside the agent's own doors; see doors.ReachOf.
	Connect   []string
	LookEvery time.Duration
	Version   string
	Now       func() time.Time
	// Said is told what has happened, for people; Failed what went wrong and is tried again.
	Said   func(string)
	Failed func(error)
}

// OpenKeys opens the directory of the keys that recalls make on this machine.
func OpenKeys(data string) (*doors.FileKeys, error) {
	return doors.OpenFileKeys(filepath.Join(data, "keys"))
}

// Bounds of what an agent does at once and how often.
const (
	workers    = 8
	firstPause = time.Second
	longPause  = time.Minute
	renewEvery = time.Hour
	overEvery  = 10 * time.Minute
)

// A Runner is the agent itself. Make one with New; Run runs it.
type Runner struct {
	Config
	own     *doors.FileKeys
	who     identity
	server  atomic.Pointer[client] // shows the newest certificate
	leaf    *x509.Certificate      // of it; of the goroutine that renews
	allowed allowed
	look    chan struct{} // holds one when somebody wants a look
}

// New puts an agent together. Nobody is asked for anything yet.
func New(c Config) (*Runner, error) {
	own, err := doors.OpenFileKeys(filepath.Join(c.Data, "own"))
	if err != nil {
		return nil, err
	}
	r := &Runner{Config: c, own: own, look: make(chan struct{}, 1)}
	r.allowed.reach, r.allowed.own = doors.ReachOf(c.Connect), map[string][]driver.Listener{}
	return r, nil
}

// Run enrols the agent where that is still to be done, and works until ctx ends. A
// token that is refused is an error; a server that is away is not.
func (r *Runner) Run(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	defer func() { r.server.Load().close() }()
	r.Said(fmt.Sprintf("this is the agent %s of the server at %s, with %d doors", r.who.Name, r.who.Address, len(r.Doors.Doors())))
	var group sync.WaitGroup
	group.Go(func() { r.keepLooking(ctx) })
	group.Go(func() { r.every(ctx, renewEvery, r.renew) })
	group.Go(func() { r.every(ctx, overEvery, r.forget) })
	r.work(ctx)
	group.Wait()
	return ctx.Err()
}

// every does something at once and then again and again; what fails is tried sooner.
func (r *Runner) every(ctx context.Context, each time.Duration, do func(context.Context) error) {
	var pause backOff
	for ctx.Err() == nil {
		wait := each
		if err := do(ctx); err != nil && ctx.Err() == nil {
			r.Failed(err)
			wait = min(each, pause.next())
		} else {
			pause.reset()
		}
		sleep(ctx, wait)
	}
}

// A backOff is how long to wait after failures in a row.
type backOff struct{ last time.Duration }

func (b *backOff) next() time.Duration {
	b.last = min(max(2*b.last, firstPause), longPause)
	return b.last
}

func (b *backOff) reset() { b.last = 0 }

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// start finds out who the agent is, or enrols it. A token that it has not used yet goes
// before what it was.
func (r *Runner) start(ctx context.Context) error {
	id, err := readIdentity(ctx, r.own)
	if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
		return err
	}
	enrolled := err == nil
	text, err := r.Token()
	if err != nil {
		return err
	}
	var t token
	if text != "" {
		if t, err = parseToken(text); err != nil {
			return err
		}
	}
	switch {
	case text != "" && (!enrolled || hashOf(t.Secret) != id.Token):
		if id, err = r.enrol(ctx, t); err != nil {
			return err
		}
	case !enrolled:
		return errNoToken()
	}
	return r.become(ctx, id)
}

// become shows the server another certificate from now on. What is asked over connections
// of before ends there.
func (r *Runner) become(ctx context.Context, id identity) error {
	certificate, err := id.certificate(ctx, r.own)
	if err != nil {
		return err
	}
	r.who, r.leaf = id, certificate.Leaf
	if before := r.server.Swap(newClient(id.Address, id.Pin, *certificate, r.Now)); before != nil {
		before.close()
	}
	return nil
}

// ask asks the server.
func (r *Runner) ask(ctx context.Context, word string, message, answer any) error {
	return r.server.Load().ask(ctx, word, message, answer)
}

// enrol has the first certificate made. The key is on the disk before anybody hears of
// it, and is the same after a crash: a token is good for one key.
func (r *Runner) enrol(ctx context.Context, t token) (identity, error) {
	keyName := keyOfToken(hashOf(t.Secret))
	key, err := r.own.Make(ctx, keyName, "ecdsa-p256")
	if err != nil {
		return identity{}, err
	}
	csr, err := request(key)
	if err != nil {
		return identity{}, err
	}
	server := newClient(t.Address, t.Pin, tls.Certificate{}, r.Now)
	defer server.close()
	var answer certificateAnswer
	var pause backOff
	for {
		err := server.ask(ctx, "enrol", enrolRequest{Secret: t.Secret, CSR: csr}, &answer)
		if err == nil {
			break
		}
		if !errors.Is(err, tallystick.ErrUnavailable) || ctx.Err() != nil {
			return identity{}, fmt.Errorf("couldn't enrol: %w", err)
		}
		r.Failed(err)
		sleep(ctx, pause.next())
	}
	id := identity{Name: answer.Name, Address: t.Address, Pin: t.Pin, Certificate: answer.Certificate, Token: hashOf(t.Secret)}
	err = id.keep(ctx, r.own)
	if err == nil {
		err = r.own.KeepKey(ctx, ownKey, key)
	}
	if err == nil {
		err = r.own.Forget(ctx, keyName)
	}
	if err != nil {
		return identity{}, err
	}
	r.Said("enrolled as " + id.Name + "; the token is used up, its file can be removed")
	return id, nil
}

// renew has the next certificate made when half the time of this one has passed.
func (r *Runner) renew(ctx context.Context) error {
	if r.Now().Before(r.leaf.NotAfter.Add(-CertificateLife / 2)) {
		return nil
	}
	key, err := r.own.Make(ctx, ownNext, "ecdsa-p256")
	if err != nil {
		return err
	}
	csr, err := request(key)
	if err != nil {
		return err
	}
	var answer certificateAnswer
	if err := r.ask(ctx, "renew", renewRequest{CSR: csr}, &answer); err != nil {
		return fmt.Errorf("couldn't renew the certificate of the agent: %w", err)
	}
	next := r.who
	next.Certificate = answer.Certificate
	if err := next.keep(ctx, r.own); err != nil {
		return err
	}
	if err := r.become(ctx, next); err != nil {
		return err
	}
	if err := r.own.KeepKey(ctx, ownKey, key); err != nil {
		return err
	}
	if err := r.own.Forget(ctx, ownNext); err != nil {
		return err
	}
	// The one before is good until this one is used, so that is now.
	return r.ask(ctx, "over", overRequest{}, &overAnswer{})
}

// forget destroys the keys of recalls that are over.
func (r *Runner) forget(ctx context.Context) error {
	names, err := r.Keys.Names()
	if err != nil {
		return err
	}
	recalls := map[string]bool{}
	for _, name := range names {
		if parts := strings.SplitN(name, "/", 3); len(parts) == 3 && len(recalls) < maxNames {
			recalls[parts[0]+"/"+parts[1]] = true
		}
	}
	if len(recalls) == 0 {
		return nil
	}
	var answer overAnswer
	if err := r.ask(ctx, "over", overRequest{Names: keysOf(recalls)}, &answer); err != nil {
		return err
	}
	for _, name := range answer.Names {
		if !recalls[name] {
			continue
		}
		if err := r.Doors.Forget(ctx, name); err != nil {
			return err
		}
		r.Said("the keys of " + name + " are destroyed: it is over")
	}
	return nil
}
