// SPDX-License-Identifier: Apache-2.0

// Package recalltest has doors for tests and measurements of recalls: in this process,
// as many as are wanted, and behaving like servers. They let in and refuse by
// certificate, know sessions that go on after a block unless the block ends them, keep
// keys, and can fail before or after anything that they do. An observer sees whether
// anybody is ever without a credential that works.
package recalltest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
)

// A Fault may make an act fail: before anything is done, or after all of it is.
type Fault func(t doors.Task, after bool) error

// An Estate is doors of all kinds. It is a recall.Doors; its methods are safe to call
// from several goroutines and from several engines.
type Estate struct {
	Issuer string // at which its doors have their certificates made
	now    func() time.Time

	mu    sync.RWMutex
	doors map[string]*door           // guarded by mu, as is all below
	keys  map[string]crypto.Signer   // by the name that tasks give them
	holds map[string]map[string]bool // the doors that a session is good for, by its name
	// holders are those that sign in with a credential, by its fingerprint.
	holders map[string][]*door
	wrongs  []string
	fault   Fault
	files   *files // nil: only in memory
}

// A door holds and shows a credential, or lets others in, or both.
type door struct {
	doors.Door
	shown   driver.Public
	has     string          // fingerprint of shown
	place   bool            // it shows it to whoever connects
	accepts map[string]bool // fingerprints
	denies  map[string]bool
}

// New returns an estate without doors.
func New(issuer string, now func() time.Time) *Estate {
	return &Estate{Issuer: issuer, now: now, doors: map[string]*door{}, keys: map[string]crypto.Signer{}, holds: map[string]map[string]bool{}, holders: map[string][]*door{}}
}

// SetFault says what fails from now on; nil is nothing.
func (e *Estate) SetFault(f Fault) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fault = f
}

// AddPlace adds a door that shows a certificate.
func (e *Estate) AddPlace(name string, shown driver.Public) {
	e.add(&door{Door: e.named(name, "look", "install"), shown: shown, place: true})
}

// AddHolder adds a door that signs in with a certificate.
func (e *Estate) AddHolder(name string, shown driver.Public) {
	e.add(&door{Door: e.named(name, "look", "install"), shown: shown})
}

// AddRelying adds a door that lets certificates in, each by its name.
func (e *Estate) AddRelying(name string, accepts ...driver.Public) {
	d := &door{Door: e.named(name, "look", "trust", "block")}
	for _, p := range accepts {
		d.set(&d.accepts, p)
	}
	e.add(d)
}

func (e *Estate) named(name string, verbs ...string) doors.Door {
	return doors.Door{Name: name, Driver: "recalltest-" + verbs[len(verbs)-1], Verbs: verbs, Issue: doors.Issue{Issuer: e.Issuer, Profile: "client"}}
}

func (e *Estate) add(d *door) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.doors[d.Name] = d
	e.noteHolder(d)
}

// noteHolder notes what a door signs in with. The caller holds mu.
func (e *Estate) noteHolder(d *door) {
	if d.has = fingerprint(d.shown); d.has != "" && !d.place {
		e.holders[d.has] = append(e.holders[d.has], d)
	}
}

func (d *door) set(m *map[string]bool, p driver.Public) {
	if *m == nil {
		*m = map[string]bool{}
	}
	(*m)[fingerprint(p)] = true
}

func fingerprint(p driver.Public) string {
	if len(p.Chain) == 0 {
		return ""
	}
	return string(tallystick.FingerprintOf(p.Chain[0]))
}

// lets says whether a door lets a credential in.
func (d *door) lets(p driver.Public) bool { return d.letsIn(fingerprint(p)) }

func (d *door) letsIn(f string) bool { return d.accepts[f] && !d.denies[f] }

func (d *door) listener() driver.Listener {
	return driver.Listener{Address: d.Name + ":443", Protocol: "https"}
}

// Doors returns all, by name.
func (e *Estate) Doors() []doors.Door {
	e.mu.RLock()
	defer e.mu.RUnlock()
	list := make([]doors.Door, 0, len(e.doors))
	for _, d := range e.doors {
		list = append(list, d.Door)
	}
	slices.SortFunc(list, func(a, b doors.Door) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Look returns how a door stands.
func (e *Estate) Look(_ context.Context, name string) (driver.View, error) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	d := e.doors[name]
	if d == nil {
		return driver.View{}, fmt.Errorf("%w: there is no door %q", tallystick.ErrNotFound, name)
	}
	return d.view(), nil
}

func (d *door) view() driver.View {
	var v driver.View
	if d.place || len(d.accepts) > 0 {
		v.Listeners = []driver.Listener{d.listener()}
	}
	if len(d.shown.Chain) > 0 {
		v.Shown = []driver.Shown{{Public: d.shown, At: "/etc/" + d.Name, Live: d.place, Key: true}}
	}
	if !d.place && len(d.accepts) > 0 { // it answers whoever connects, with what no test recalls
		v.Shown = append(v.Shown, driver.Shown{At: d.listener().Address, Live: true})
	}
	for f := range d.accepts {
		v.Accepts = append(v.Accepts, driver.Accepted{Name: "cert-sha256:" + f, As: "svc"})
	}
	slices.SortFunc(v.Accepts, func(a, b driver.Accepted) int { return strings.Compare(a.Name, b.Name) })
	for f := range d.denies {
		v.Denies = append(v.Denies, "cert-sha256:"+f)
	}
	slices.Sort(v.Denies)
	return v
}

// Do does a task, and may fail as SetFault says.
func (e *Estate) Do(_ context.Context, t doors.Task) (doors.Result, error) {
	e.mu.RLock()
	fault := e.fault
	e.mu.RUnlock()
	if fault != nil {
		if err := fault(t, false); err != nil {
			return doors.Result{}, err
		}
	}
	r, err := e.do(t)
	if err == nil && fault != nil {
		if err := fault(t, true); err != nil {
			return doors.Result{}, err
		}
	}
	return r, err
}

func (e *Estate) do(t doors.Task) (doors.Result, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	d := e.doors[t.Door]
	if d == nil {
		return doors.Result{}, fmt.Errorf("%w: there is no door %q", tallystick.ErrNotFound, t.Door)
	}
	var r doors.Result
	var err error
	switch t.Act {
	case tallystick.ActKey:
		r, err = e.makeKey(t)
	case tallystick.ActInstall:
		r, err = e.install(d, t)
	case tallystick.ActTrust:
		r, err = e.trust(d, t)
	case tallystick.ActBlock, tallystick.ActLift:
		r = e.block(d, t)
	case tallystick.ActProbe:
		r.Attempts, err = e.try(t.New, t.KeyName, t)
	case tallystick.ActHold:
		r, err = e.hold(t)
	case tallystick.ActProve:
		r, err = e.prove(d, t)
	default:
		err = fmt.Errorf("%w: %q is not done at a door", tallystick.ErrInvalid, t.Act)
	}
	if err == nil && e.files != nil {
		err = e.files.save(e, d)
	}
	return r, err
}

// makeKey makes a key once, and a request for the names of the old certificate.
func (e *Estate) makeKey(t doors.Task) (doors.Result, error) {
	key := e.keys[t.KeyName]
	if key == nil {
		made, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return doors.Result{}, err
		}
		key, e.keys[t.KeyName] = made, made
		if err := e.files.saveKey(t.KeyName, made); err != nil {
			return doors.Result{}, err
		}
	}
	old, err := x509.ParseCertificate(t.Old.Chain[0])
	if err != nil {
		return doors.Result{}, fmt.Errorf("%w: %w", tallystick.ErrInvalid, err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: old.Subject.CommonName}, DNSNames: old.DNSNames}, key)
	return doors.Result{CSR: csr}, err
}

// has says whether a key is that of a certificate.
func (e *Estate) has(name string, p driver.Public) error {
	key := e.keys[name]
	if key == nil {
		return fmt.Errorf("%w: there is no key %s", tallystick.ErrNotFound, name)
	}
	c, err := x509.ParseCertificate(p.Chain[0])
	if err != nil {
		return err
	}
	if public, ok := c.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(key.Public()) {
		return fmt.Errorf("%w: the key %s is another's", tallystick.ErrInvalid, name)
	}
	return nil
}

// anyKey stands for the burnt key, which the doors of this package need not have.
type anyKey struct{ crypto.Signer }

func (e *Estate) install(d *door, t doors.Task) (doors.Result, error) {
	if len(t.New.Chain) == 0 {
		return doors.Result{}, fmt.Errorf("%w: there is nothing to install", tallystick.ErrInvalid)
	}
	if _, old := e.keys[t.KeyName].(anyKey); !old {
		if err := e.has(t.KeyName, t.New); err != nil {
			return doors.Result{}, err
		}
	}
	changed := !d.shown.Is(t.New)
	if changed {
		if t.OldKeyName != "" {
			e.keys[t.OldKeyName] = anyKey{}
			if err := e.files.saveKey(t.OldKeyName, nil); err != nil {
				return doors.Result{}, err
			}
		}
		f := d.has
		e.holders[f] = slices.DeleteFunc(e.holders[f], func(o *door) bool { return o == d })
		d.shown = t.New
		e.noteHolder(d)
	}
	shown := []driver.Shown{{Public: d.shown, At: d.Name, Live: d.place}}
	return doors.Result{Old: &t.Old, Installed: &driver.Installed{Changed: driver.Changed{Changed: changed, How: []string{"reload"}}, Shown: shown}}, nil
}

func (e *Estate) trust(d *door, t doors.Task) (doors.Result, error) {
	if !d.accepts[fingerprint(t.Like)] {
		return doors.Result{}, fmt.Errorf("%w: it does not let in what the new one is to be like", tallystick.ErrNotFound)
	}
	before := d.accepts[fingerprint(t.New)]
	if t.Withdraw {
		delete(d.accepts, fingerprint(t.New))
	} else {
		d.set(&d.accepts, t.New)
	}
	return doors.Result{Changed: &driver.Changed{Changed: before == t.Withdraw}}, nil
}

// block also ends the sessions: a door of which they go on would not be proven.
func (e *Estate) block(d *door, t doors.Task) doors.Result {
	f := fingerprint(t.Old)
	lift := t.Act == tallystick.ActLift || t.Lift
	before := d.denies[f]
	if lift {
		delete(d.denies, f)
		return doors.Result{Blocked: &driver.Blocked{Changed: driver.Changed{Changed: before}}}
	}
	d.set(&d.denies, t.Old)
	e.watch(d, t.Old)
	closed := 0
	for _, good := range e.holds {
		if good[d.Name] {
			closed++
			delete(good, d.Name)
		}
	}
	return doors.Result{Blocked: &driver.Blocked{Changed: driver.Changed{Changed: !before, How: []string{"deny-list", "ticket-keys"}}, Closed: closed}}
}

// try signs in at the listeners.
func (e *Estate) try(p driver.Public, key string, t doors.Task) ([]driver.Attempt, error) {
	if e.keys[key] == nil {
		return nil, fmt.Errorf("%w: there is no key %s", tallystick.ErrNotFound, key)
	}
	var list []driver.Attempt
	for _, l := range t.Listeners {
		relying := e.doors[strings.TrimSuffix(l.Address, ":443")]
		a := driver.Attempt{Listener: l, Address: l.Address, Way: driver.WayFresh13, Outcome: driver.OutcomeFailed, At: e.now()}
		if relying != nil {
			if a.Outcome = driver.OutcomeRefused; relying.lets(p) {
				a.Outcome = driver.OutcomeAccepted
			}
		}
		list = append(list, a)
	}
	return list, nil
}

func (e *Estate) hold(t doors.Task) (doors.Result, error) {
	attempts, err := e.try(t.Old, t.OldKeyName, t)
	if err != nil {
		return doors.Result{}, err
	}
	good := map[string]bool{}
	for _, a := range attempts {
		if a.Outcome == driver.OutcomeAccepted {
			good[strings.TrimSuffix(a.Address, ":443")] = true
		}
	}
	e.holds[t.SessionName] = good
	return doors.Result{Attempts: attempts}, nil
}

func (e *Estate) prove(d *door, t doors.Task) (doors.Result, error) {
	if t.OldKeyName == "" {
		v := d.view()
		return doors.Result{View: &v, Attempts: []driver.Attempt{{Listener: d.listener(), Address: d.listener().Address, Way: driver.WayFresh, Outcome: driver.OutcomeAccepted, Served: fingerprint(d.shown), At: e.now()}}}, nil
	}
	attempts, err := e.try(t.Old, t.OldKeyName, t)
	if err != nil {
		return doors.Result{}, err
	}
	for _, l := range t.Listeners {
		a := driver.Attempt{Listener: l, Address: l.Address, Way: driver.WayResumed13, Outcome: driver.OutcomeNotResumed, At: e.now()}
		if e.holds[t.SessionName][strings.TrimSuffix(l.Address, ":443")] {
			a.Outcome = driver.OutcomeAccepted
		}
		attempts = append(attempts, a)
	}
	r := doors.Result{Attempts: attempts}
	if len(t.New.Chain) > 0 {
		r.NewAttempts, err = e.try(t.New, t.KeyName, t)
	}
	return r, err
}

// Forget destroys keys and sessions.
func (e *Estate) Forget(_ context.Context, prefix string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	var errs []error
	for name := range e.keys {
		if doors.Within(prefix, name) {
			delete(e.keys, name)
			errs = append(errs, e.files.dropKey(name))
		}
	}
	for name := range e.holds {
		if doors.Within(prefix, name) {
			delete(e.holds, name)
		}
	}
	return errors.Join(errs...)
}

// Keys returns how many keys are kept.
func (e *Estate) Keys() int {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return len(e.keys)
}
