// SPDX-License-Identifier: Apache-2.0

// Package doors works at the doors of a configuration: it opens their drivers, on this
// machine and on hosts that are reached over SSH, and does there what a step of a recall
// asks for. The server has a Set of its own doors, and each agent one of its own.
//
// Everything here can be repeated. A Task says what is to be true afterwards and names
// the keys that belong to it; keys are made, kept and found again under these names, and
// never leave this process but to where the door reads them. What is returned holds
// public halves, answers and counts.
package doors

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/turns"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/problem"
)

// A Door is one installed system, as its configuration names it.
type Door struct {
	Name           string   `json:"name"`
	Driver         string   `json:"driver"`
	Host           string   `json:"host,omitempty"`  // "" is the machine of whoever works there
	Agent          string   `json:"agent,omitempty"` // who works there; "" is the server
	Owner          string   `json:"owner,omitempty"`
	Customer       string   `json:"customer,omitempty"`
	Holder         string   `json:"holder,omitempty"` // the workload that signs in with what the door holds
	RelyingParties []string `json:"relying_parties,omitempty"`
	Systems        []string `json:"systems,omitempty"` // as entrusted secrets call what it is of
	Holders        []string `json:"holders,omitempty"` // who is meant to be let in; empty: whoever is
	Issue          Issue    `json:"issue,omitzero"`
	Verbs          []string `json:"verbs"` // what its driver can do: look, install, trust, block, probe, rotate, supply
	// Listed says that it refuses one credential by the list of its CA and in no other way.
	Listed bool `json:"listed,omitempty"`
	// Connect is where the agent may try credentials beside the addresses of its own doors; see ReachOf.
	Connect []string `json:"connect,omitempty"`
}

// Issue says how the next certificate of a door is had. What is empty is as in the one
// that the door has.
type Issue struct {
	Issuer    string        `json:"issuer,omitempty"`
	Profile   string        `json:"profile,omitempty"`
	Algorithm string        `json:"algorithm,omitempty"`
	Names     []string      `json:"names,omitempty"`
	Lifetime  time.Duration `json:"lifetime,omitempty"`
}

// A Task is one act at one door. It holds no secret.
type Task struct {
	Act  tallystick.Act `json:"act"`
	Door string         `json:"door"`
	// Name names the task: "recall/7/12". It is the same whenever it is tried again.
	Name string `json:"name"`

	Old  driver.Public `json:"old,omitzero"`
	New  driver.Public `json:"new,omitzero"`
	Like driver.Public `json:"like,omitzero"` // of trust: whose account and rights New gets
	// KeyName, OldKeyName and SessionName are what the new key, the key of Old and its
	// sessions are kept under: "recall/7/new/3". They begin with the prefix that Forget is
	// given when the recall is over.
	KeyName     string `json:"key_name,omitempty"`
	OldKeyName  string `json:"old_key_name,omitempty"`
	SessionName string `json:"session_name,omitempty"`
	// Algorithm and Names are of the key and the request of key; what is empty is as in Old.
	Algorithm string   `json:"algorithm,omitempty"`
	Names     []string `json:"names,omitempty"`
	SSH       bool     `json:"ssh,omitempty"` // key: an SSH key, and no request

	// Listeners are where a credential is tried: those of the relying door; of a place its own.
	Listeners []driver.Listener `json:"listeners,omitempty"`
	// Told are addresses among them that an agent has named and no door of the server shows.
	Told []string `json:"told,omitempty"`
	// RelyingParty is what uses call it, for the record of our own tries.
	RelyingParty string `json:"relying_party,omitempty"`
	// RelyingParties are all names that uses may have for it.
	RelyingParties []string `json:"relying_parties,omitempty"`
	// CRLs are complete lists of the CAs above Old (of block) or New (of trust), DER, and
	// Authorities the certificates of those above New.
	CRLs        [][]byte `json:"crls,omitempty"`
	Authorities [][]byte `json:"authorities,omitempty"`
	Lift        bool     `json:"lift,omitempty"`     // of block: undo it
	Withdraw    bool     `json:"withdraw,omitempty"` // of trust: undo it

	// Secret is the entrusted secret that the task is about, in place of a credential with a
	// public half; nil of any other. KeyName and OldKeyName name the values then.
	Secret *Entrusted `json:"secret,omitempty"`
	Undo   bool       `json:"undo,omitempty"`   // of install of a secret: undo it
	Again  bool       `json:"again,omitempty"`  // of a secret: it may have been done before
	Active bool       `json:"active,omitempty"` // of block of a secret: holders are given the new one
}

// A Result is what came of a Task. It holds no secret.
type Result struct {
	// View is how the door stands afterwards, as far as Old, New and Like are in it: of
	// install, trust, block, lift, and prove of a place.
	View *driver.View `json:"view,omitempty"`
	CSR  []byte       `json:"csr,omitempty"` // of key: PKCS #10, DER
	SSH  []byte       `json:"ssh,omitempty"` // of key: the public key in its wire form
	// Old is what install replaced, also when an earlier try did it. Its private half, where it
	// could be read, is under OldKeyName.
	Old       *driver.Public    `json:"old,omitempty"`
	Installed *driver.Installed `json:"installed,omitempty"`
	Changed   *driver.Changed   `json:"changed,omitempty"` // of trust
	Blocked   *driver.Blocked   `json:"blocked,omitempty"`
	// Attempts are tries of New (probe) or of Old (hold, prove, key of a secret); where nothing is signed in
	// (prove of a place), looks at what is served.
	Attempts []driver.Attempt `json:"attempts,omitempty"`
	// NewAttempts are the tries of New by prove.
	NewAttempts []driver.Attempt `json:"new_attempts,omitempty"`
	// Version is that which holders are given from now on (install of a secret).
	Version int64 `json:"version,omitempty"`
	// OldEmpty says that the old value was empty, so that it was not tried (prove of a secret).
	OldEmpty bool `json:"old_empty,omitempty"`
	// OldMark is "sha1:76272d" of a password that is refused everywhere (prove of a secret): by
	// the first digits of its SHA-1, as servers write down what was tried, those are found who
	// still try it.
	OldMark string `json:"old_mark,omitempty"`
	// OldNames are what such servers may call the account, as uses have it: "account:mail/alice".
	OldNames []string `json:"old_names,omitempty"`
}

// Keys keeps secrets under names, which are parts between slashes: "recall/7/new/3". Its
// methods are safe to call from several goroutines, and what they wrote is durable when
// they return. What is not kept is ErrNotFound.
type Keys interface {
	// Make returns the key of a name, which it makes the first time. Two who make one at the
	// same time have the same.
	Make(ctx context.Context, name, algorithm string) (crypto.Signer, error)
	// Signer returns a key that was made or kept.
	Signer(ctx context.Context, name string) (crypto.Signer, error)
	// KeepKey keeps a key, in place of what was kept under the name.
	KeepKey(ctx context.Context, name string, key crypto.Signer) error
	// Keep keeps another secret, in place of what was kept under the name.
	Keep(ctx context.Context, name string, secret []byte) error
	// Get returns what Keep was given.
	Get(ctx context.Context, name string) ([]byte, error)
	// Forget destroys whatever is kept under a name, or under one that it begins: "recall/7"
	// is that of recall 7 alone. When there is nothing, that is no error.
	Forget(ctx context.Context, prefix string) error
}

// Config is what Open needs.
type Config struct {
	Doors   []config.Door
	Hosts   []config.Host
	Drivers []driver.Driver
	Keys    Keys
	Now     func() time.Time
	// Used is told of each try of a credential that the other side has answered, and of the
	// old one that the task is about, so that nobody takes our own tries for a thief's. It
	// may be nil.
	Used func(old driver.Public, use tallystick.Use)
	// Vault has the values of entrusted secrets; nil where none are rotated.
	Vault Vault
}

// Bounds of what goes on at once, and for how long.
const (
	perDriver = 16 // acts and looks at doors of one driver
	lookTime  = 2 * time.Minute
	// actTime bounds one act. A reload may take a minute, and is rolled back when the door does not
	// show the new one.
	actTime = 10 * time.Minute
)

// A Set is the doors of one configuration. Make one with Open and end it with Close; its
// methods are safe to call from several goroutines.
type Set struct {
	Config
	doors []*door
	hosts *hosts
	// turns are at entrusted secrets: a block at the deadline may come while an install is under way.
	turns turns.Turns[string]

	mu   sync.Mutex
	open map[string][]*openConnection // guarded by mu; by SessionName
}

// A door is one that was opened.
type door struct {
	Door
	verbs any           // the driver's value
	turn  chan struct{} // holds one value while nobody writes at the door
	room  chan struct{} // of its driver: has room for perDriver values
}

// Open opens the drivers of all doors. Nothing is connected to yet. A driver that is not
// there, that cannot look, or that does not take its options is ErrInvalid.
func Open(c Config) (*Set, error) {
	s := &Set{Config: c, open: map[string][]*openConnection{}}
	var err error
	if s.hosts, err = newHosts(c.Hosts); err != nil {
		return nil, err
	}
	rooms := map[string]chan struct{}{}
	for _, one := range c.Doors {
		if rooms[one.Driver] == nil {
			rooms[one.Driver] = make(chan struct{}, perDriver)
		}
		d := &door{Door: doorOf(one), turn: make(chan struct{}, 1), room: rooms[one.Driver]}
		if err := d.openDriver(c.Drivers, one.Values()); err != nil {
			return nil, fmt.Errorf("couldn't open the door %s: %w", one.Name, err)
		}
		if !s.hosts.has(one.Host) {
			return nil, fmt.Errorf("couldn't open the door %s: %w: there is no host %q", one.Name, tallystick.ErrInvalid, one.Host)
		}
		s.doors = append(s.doors, d)
	}
	slices.SortFunc(s.doors, func(a, b *door) int { return strings.Compare(a.Name, b.Name) })
	return s, nil
}

func doorOf(d config.Door) Door {
	return Door{
		Name: d.Name, Driver: d.Driver, Host: d.Host, Owner: d.Owner, Customer: d.Customer, Holder: d.Holder, RelyingParties: d.RelyingParties, Systems: d.Systems, Holders: d.Holders,
		Issue: Issue{Issuer: d.Issue.Issuer, Profile: d.Issue.Profile, Algorithm: d.Issue.Key, Names: d.Issue.Names, Lifetime: d.Issue.Lifetime},
	}
}

// openDriver finds the driver of a door and opens it.
func (d *door) openDriver(all []driver.Driver, options map[string]string) error {
	at := slices.IndexFunc(all, func(one driver.Driver) bool { return one.Name() == d.Driver })
	if at < 0 {
		return problem.With(fmt.Errorf("%w: there is no driver %q", tallystick.ErrInvalid, d.Driver), "docs/doors.md lists the drivers of doors")
	}
	var err error
	if d.verbs, err = all[at].Open(options); err != nil {
		return problem.With(err, "docs/doors.md says what the driver takes")
	}
	listed, is := d.verbs.(driver.Listed)
	d.Listed = is && listed.BlocksByList()
	if d.Verbs = verbsOf(d.verbs); !has(d.Verbs, "look") && !d.Rotates() && !d.Supplies() {
		return problem.With(fmt.Errorf("%w: the driver %s has no doors", tallystick.ErrInvalid, d.Driver), "docs/doors.md lists the drivers of doors")
	}
	return nil
}

// verbsOf lists what an opened driver can do at a door, as far as its options leave it that.
func verbsOf(v any) []string {
	var verbs []string
	add := func(name string, has bool) {
		if has && driver.Offers(v, name) {
			verbs = append(verbs, name)
		}
	}
	_, looks := v.(driver.Looker)
	_, installs := v.(driver.Installer)
	_, trusts := v.(driver.Truster)
	_, blocks := v.(driver.Blocker)
	_, probes := v.(driver.Prober)
	_, rotates := v.(driver.Rotator)
	_, supplies := v.(driver.Supplier)
	add("look", looks)
	add("install", installs)
	add("trust", trusts)
	add("block", blocks)
	add("probe", probes)
	add("rotate", rotates)
	add("supply", supplies)
	return verbs
}

func has(verbs []string, verb string) bool { return slices.Contains(verbs, verb) }

// Doors returns all, by name.
func (s *Set) Doors() []Door {
	list := make([]Door, len(s.doors))
	for i, d := range s.doors {
		list[i] = d.Door
	}
	return list
}

// find returns a door by its name.
func (s *Set) find(name string) (*door, error) {
	i := slices.IndexFunc(s.doors, func(d *door) bool { return d.Name == name })
	if i < 0 {
		return nil, problem.With(fmt.Errorf("%w: there is no door %q", tallystick.ErrNotFound, name), `"tally doors list" shows those of the configuration`)
	}
	return s.doors[i], nil
}

// Look returns how a door stands.
func (s *Set) Look(ctx context.Context, name string) (driver.View, error) {
	d, err := s.find(name)
	if err != nil {
		return driver.View{}, err
	}
	leave, err := d.enter(ctx, false)
	if err != nil {
		return driver.View{}, fmt.Errorf("couldn't look at the door %s: %w", name, err)
	}
	defer leave()
	return s.look(ctx, d)
}

// look is Look for who has entered.
func (s *Set) look(ctx context.Context, d *door) (driver.View, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	looker, looks := d.verbs.(driver.Looker)
	if !looks || !has(d.Verbs, "look") {
		return driver.View{}, problem.With(fmt.Errorf("%w: the door %s shows no credential, so that there is nothing to look at", tallystick.ErrInvalid, d.Name),
			`"tally doors account" shows how an account stands`)
	}
	host, err := s.hosts.get(ctx, d.Host)
	if err == nil {
		var view driver.View
		if view, err = looker.Look(ctx, driver.LookRequest{Host: host, Now: s.Now, Used: s.usedBy(d, driver.Public{})}); err == nil {
			return view, nil
		}
	}
	return driver.View{}, fmt.Errorf("couldn't look at the door %s: %w", d.Name, err)
}

// enter waits until there is room at the driver, and for whoever writes until nobody
// else writes at the door. The caller calls leave.
func (d *door) enter(ctx context.Context, writes bool) (leave func(), err error) {
	if writes {
		select {
		case d.turn <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	select {
	case d.room <- struct{}{}:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		if writes {
			<-d.turn
		}
		return nil, err
	}
	return func() {
		<-d.room
		if writes {
			<-d.turn
		}
	}, nil
}

// Close closes what is open: connections of hold, and to hosts.
func (s *Set) Close() error {
	s.mu.Lock()
	open := s.open
	s.open = map[string][]*openConnection{}
	s.mu.Unlock()
	for _, list := range open {
		closeAll(list)
	}
	return s.hosts.close()
}

// Forget destroys the keys and sessions whose names begin with a prefix, and closes
// the connections of such sessions: the recall is over.
func (s *Set) Forget(ctx context.Context, prefix string) error {
	s.mu.Lock()
	var ended []*openConnection
	for name, list := range s.open {
		if Within(prefix, name) {
			ended = append(ended, list...)
			delete(s.open, name)
		}
	}
	s.mu.Unlock()
	closeAll(ended)
	if err := s.Keys.Forget(ctx, prefix); err != nil {
		return fmt.Errorf("couldn't destroy the keys of %s: %w", prefix, err)
	}
	return nil
}

// Within says whether a name is prefix, or begins with it and a slash.
func Within(prefix, name string) bool {
	prefix = strings.TrimSuffix(prefix, "/")
	return prefix != "" && (name == prefix || strings.HasPrefix(name, prefix+"/"))
}

// encode writes a Task or a Result; these types can always be written.
func encode(v any) ([]byte, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, errors.Join(tallystick.ErrInvalid, err)
	}
	return text, nil
}
