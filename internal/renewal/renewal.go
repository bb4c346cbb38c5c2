// SPDX-License-Identifier: Apache-2.0

// Package renewal has certificates made again and again, by the private CA or by
// CAs of other people, and writes them where they are used.
//
// A renewal is what somebody wants: a certificate for some names, from an issuer.
// An order is one attempt to get it, and goes through steps: a key is made and kept
// in custody; a certificate request is made of it and kept; the issuer is asked,
// perhaps many times; the certificate is kept, and then its files are written and a
// command is run. The outcome of each step is durable before the next one begins,
// and each step may be repeated, so that a process that is killed at any instant
// loses nothing and delivers nothing else when it goes on: in particular it never
// loses a key that somebody may have signed a certificate for, and no reader of the
// files finds a key beside another key's certificate.
//
// Who works at an order holds a lease on it, which its process renews. A process
// that stalls and comes back finds the fence closed: it can write nothing any more.
// Several processes may work on one store.
package renewal

import (
	"context"
	"crypto"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// Keys is where the private keys are: *custody.Custody.
type Keys interface {
	NewKey(ctx context.Context, kind custody.KeyType, owner custody.Owner) (id string, signer crypto.Signer, err error)
	Signer(ctx context.Context, id string) (crypto.Signer, error)
	// Get returns the PKCS #8 of a key, which the caller clears after use.
	Get(ctx context.Context, id string) ([]byte, error)
	Destroy(ctx context.Context, id string) error
}

// An Issuer is a CA of somebody else's, with its driver opened. What it can do
// besides is told by the optional interfaces of package driver.
type Issuer struct {
	Name     string
	Driver   string // the name of it
	Issuer   driver.Issuer
	Profiles map[string]string // its names for our profiles
	Budget   store.Budget      // how much it may be asked for
}

// Config is what New needs.
type Config struct {
	DB   *store.DB
	Gate *gate.Gate
	Keys Keys
	Now  func() time.Time
	Node string // a name for this process, for leases
	// CA is the private CA; nil where there is none.
	CA      OwnCA
	Issuers []Issuer
	Workers int // how many orders go on at once; 0 is 16
}

// An Engine renews. Make one with New; its methods are safe to call from several
// goroutines.
type Engine struct {
	Config
	wake chan struct{}

	mu    sync.Mutex
	rests map[string]rest // guarded by mu; of issuers that do not answer
}

// A rest is how long an issuer is left alone that did not answer.
type rest struct {
	times int
	until time.Time
}

// New puts an engine together. Two issuers of one name are ErrInvalid.
func New(c Config) (*Engine, error) {
	if c.Workers <= 0 {
		c.Workers = 16
	}
	for i, issuer := range c.Issuers {
		if slices.ContainsFunc(c.Issuers[:i], func(o Issuer) bool { return o.Name == issuer.Name }) || strings.HasPrefix(issuer.Name, OwnPrefix) {
			return nil, fmt.Errorf("%w: two issuers are named %q", tallystick.ErrInvalid, issuer.Name)
		}
	}
	return &Engine{Config: c, wake: make(chan struct{}, 1), rests: map[string]rest{}}, nil
}

// Wake makes Run look for work now: somebody may have recalled certificates.
func (e *Engine) Wake() {
	select {
	case e.wake <- struct{}{}:
	default: // it will look anyhow
	}
}

// issuer returns the one of a name, which need not exist any more.
func (e *Engine) issuer(name string) (Issuer, error) {
	if authority, ok := strings.CutPrefix(name, OwnPrefix); ok && e.CA != nil && authority != "" {
		return Issuer{Name: name, Driver: "ca", Issuer: newOwn(e.CA, authority)}, nil
	}
	i := slices.IndexFunc(e.Issuers, func(o Issuer) bool { return o.Name == name })
	if i < 0 {
		err := fmt.Errorf("there is no issuer %q: %w", name, tallystick.ErrNotFound)
		return Issuer{}, problem.With(err, `run "tally issuers" to see them; those of other people stand in the configuration`)
	}
	return e.Config.Issuers[i], nil
}

// profileAt returns what an issuer calls one of our profiles. What is usual, a
// server, is what the CAs of other people make when no profile is named; many have none.
func (i Issuer) profileAt(profile string) string {
	if theirs, ok := i.Profiles[profile]; ok {
		return theirs
	}
	if _, ours := i.Issuer.(*own); !ours && profile == DefaultProfile {
		return ""
	}
	return profile
}

// rested says whether an issuer that did not answer may be asked again.
func (e *Engine) rested(issuer string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.Now().Before(e.rests[issuer].until)
}

// resting returns the issuers that are left alone now.
func (e *Engine) resting() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var names []string
	for name, r := range e.rests {
		if e.Now().Before(r.until) {
			names = append(names, name)
		}
	}
	return names
}

// answered notes whether an issuer has answered, so that ten thousand orders do not
// wear themselves out at one that is away.
func (e *Engine) answered(issuer string, yes bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if yes {
		delete(e.rests, issuer)
		return
	}
	r := e.rests[issuer]
	if now := e.Now(); !now.Before(r.until) { // those that were under way count once
		r.times++
		r.until = now.Add(min(10*time.Second<<min(r.times-1, 10), 2*time.Minute))
		e.rests[issuer] = r
	}
}

// Account returns the key by which we are known to an issuer. It is made once.
func (e *Engine) Account(ctx context.Context, issuer string) (crypto.Signer, error) {
	id, err := e.DB.AccountKey(ctx, issuer, "")
	if err != nil {
		return nil, err
	}
	if id == "" {
		made, _, err := e.Keys.NewKey(ctx, custody.P256, custody.Owner{Kind: "account-key", Name: "issuer/" + issuer})
		if err != nil {
			return nil, fmt.Errorf("couldn't make an account key: %w", err)
		}
		if id, err = e.DB.AccountKey(ctx, issuer, made); err != nil {
			return nil, err
		}
		if id != made {
			if err := e.Keys.Destroy(ctx, made); err != nil {
				return nil, err
			}
		}
	}
	return e.Keys.Signer(ctx, id)
}
