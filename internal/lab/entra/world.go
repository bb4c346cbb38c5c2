// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/binary"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A World is a cloud with its tenants. All methods are safe for concurrent use.
type World struct {
	config Config
	faults atomic.Pointer[Faults]
	clock  func() time.Time

	signing *tokenKey
	limits  *limits

	mu           sync.RWMutex
	tenants      map[string]*Tenant      // by id and by domain, guarded by mu
	order        []*Tenant               // guarded by mu
	homes        map[string]*Object      // applications by appId, wherever they live, guarded by mu
	certificates map[[32]byte]*certifier // by SHA-256, guarded by mu
	seen         map[string]time.Time    // jti that were used, guarded by mu
	agents       map[agent]*agent        // guarded by mu

	drawing sync.Mutex
	random  *mathrand.Rand // guarded by drawing

	hooks    sync.RWMutex
	onSignIn []func(*Tenant, SignIn) // guarded by hooks
	onCall   []func(Call)            // guarded by hooks
	onAudit  []func(*Tenant, Audit)  // guarded by hooks

	mounts map[string]mount // further services; set before Start
	routes []parsedRoute    // of Graph; set before Start
}

// New makes a world without tenants.
func New(c Config) (*World, error) {
	if c.TokenKey == nil {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, fmt.Errorf("couldn't make the key for tokens: %w", err)
		}
		c.TokenKey = key
	}
	if c.Seed == 0 {
		c.Seed = 1
	}
	if c.Clock == nil {
		c.Clock = time.Now
	}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], c.Seed)
	w := &World{
		config: c, clock: c.Clock, tenants: map[string]*Tenant{}, homes: map[string]*Object{},
		certificates: map[[32]byte]*certifier{}, seen: map[string]time.Time{}, agents: map[agent]*agent{},
		random: mathrand.New(mathrand.NewChaCha8(seed)), mounts: map[string]mount{},
	}
	c.Addresses = maps.Clone(c.Addresses)
	w.faults.Store(&c.Faults)
	w.limits = newLimits()
	for _, r := range routes() {
		w.addRoute(r)
	}
	var err error
	w.signing, err = newTokenKey(c.TokenKey)
	return w, err
}

// Now returns the time of the world.
func (w *World) Now() time.Time { return w.clock().UTC() }

// Faults returns those that are in force.
func (w *World) Faults() Faults { return *w.faults.Load() }

// SetFaults changes the faults for all requests from now on.
func (w *World) SetFaults(change func(*Faults)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := *w.faults.Load()
	change(&f)
	w.faults.Store(&f)
}

// OnSignIn has fn called with every sign-in, when it happens, whether or not it
// can be read already. Hooks are called one after the other, in the request, and
// must not call the emulator over HTTP.
func (w *World) OnSignIn(fn func(*Tenant, SignIn)) {
	w.hooks.Lock()
	defer w.hooks.Unlock()
	w.onSignIn = append(w.onSignIn, fn)
}

// OnCall has fn called with every call of an API that carried a valid token.
func (w *World) OnCall(fn func(Call)) {
	w.hooks.Lock()
	defer w.hooks.Unlock()
	w.onCall = append(w.onCall, fn)
}

// OnAudit has fn called with every record of a directory audit, when it is made.
func (w *World) OnAudit(fn func(*Tenant, Audit)) {
	w.hooks.Lock()
	defer w.hooks.Unlock()
	w.onAudit = append(w.onAudit, fn)
}

// Tenant returns the tenant of an id or a domain, or nil.
func (w *World) Tenant(name string) *Tenant {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.tenants[strings.ToLower(name)]
}

// Tenants returns all tenants in the order in which they were added.
func (w *World) Tenants() []*Tenant {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.order[:len(w.order):len(w.order)]
}

// draw lets fn use the randomness of the world.
func (w *World) draw(fn func(*mathrand.Rand)) {
	w.drawing.Lock()
	defer w.drawing.Unlock()
	fn(w.random)
}

// within draws a time up to a bound.
func (w *World) within(bound time.Duration) (d time.Duration) {
	if bound > 0 {
		w.draw(func(r *mathrand.Rand) { d = time.Duration(r.Int64N(int64(bound) + 1)) })
	}
	return d
}

// late draws a latency.
func (w *World) late(l Latency) (d time.Duration) {
	if l != nil {
		w.draw(func(r *mathrand.Rand) { d = l(r) })
	}
	return d
}
