// SPDX-License-Identifier: Apache-2.0

// Package scan looks for credentials once, without an inventory, and judges
// what it found: "tally scan" and "tally inspect". Nothing is kept.
//
// What drivers see is held in memory until the looks have ended, because some
// rules compare everything with everything.
package scan

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/rule"
)

// Options are how a scan looks and what it judges by.
type Options struct {
	Drivers  []driver.Driver // "files", "tls" and "truststore" are among them
	Rules    []rule.Rule
	Now      func() time.Time
	Settings map[string]map[string]string // options of drivers, by their names
	Progress Progress
}

// A Progress is told how far a scan has come. Its methods are called from
// several goroutines.
type Progress interface {
	Phase(driver string)   // a driver begins
	Set(done, total int64) // in a unit of the driver's; total is 0 while unknown
	Saw()                  // one more credential
	Missed(word string)    // one more place that could not be seen
}

// A Scan is one look and what it has brought; each distinct credential is held
// once. It is the driver.Sink of the drivers that it lets look, and takes what
// its owner has read elsewhere in the same way. Make one with New.
type Scan struct {
	Options
	cas     *knownCAs
	finders map[string]driver.Finder // opened so far
	journal *journal                 // nil unless Resume was called; its writing is guarded by mu
	resumed bool                     // there was a journal, so that things may have been seen twice

	mu          sync.Mutex
	credentials map[tallystick.Fingerprint]*tallystick.Credential // guarded by mu
	chains      map[string][]*tallystick.Credential               // guarded by mu; by their fingerprints
	sightings   []sighting                                        // guarded by mu
	misses      []tallystick.Miss                                 // guarded by mu
}

var _ driver.Sink = (*Scan)(nil)

// A sighting is a tallystick.Sighting whose credentials are held elsewhere, a
// quarter of its size.
type sighting struct {
	credential *tallystick.Credential
	chain      []*tallystick.Credential
	place      tallystick.Place
	role       tallystick.Role
	seen       time.Time
	facts      tallystick.Facts
}

// whole returns a sighting as drivers report it.
func (s *sighting) whole() tallystick.Sighting {
	w := tallystick.Sighting{Credential: *s.credential, Place: s.place, Role: s.role, Seen: s.seen, Facts: s.facts}
	for _, c := range s.chain {
		w.Chain = append(w.Chain, *c)
	}
	return w
}

// New returns a scan that has seen nothing.
func New(o Options) *Scan {
	return &Scan{
		Options: o, cas: newKnownCAs(), finders: map[string]driver.Finder{},
		credentials: map[tallystick.Fingerprint]*tallystick.Credential{}, chains: map[string][]*tallystick.Credential{},
	}
}

// Saw takes a sighting; the further certificates of its chain become sightings
// of their own at the same place.
func (s *Scan) Saw(saw tallystick.Sighting) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(saw)
	s.Options.Progress.Saw()
	return s.journal.saw(saw)
}

// keep holds a sighting. It needs mu.
func (s *Scan) keep(saw tallystick.Sighting) {
	for _, one := range append([]tallystick.Sighting{saw}, saw.Further()...) {
		s.sightings = append(s.sightings, sighting{
			credential: s.hold(one.Credential), chain: s.holdChain(one.Chain),
			place: one.Place, role: one.Role, seen: one.Seen, facts: one.Facts,
		})
	}
}

// hold returns the one that is held of equal credentials, so that a certificate
// at a thousand endpoints is in memory once. It needs mu.
func (s *Scan) hold(c tallystick.Credential) *tallystick.Credential {
	if known, ok := s.credentials[c.ID]; ok {
		return known
	}
	s.credentials[c.ID] = &c
	return &c
}

// holdChain does the same for a chain. It needs mu.
func (s *Scan) holdChain(chain []tallystick.Credential) []*tallystick.Credential {
	if len(chain) == 0 {
		return nil
	}
	var name strings.Builder
	for _, c := range chain {
		name.WriteString(string(c.ID))
	}
	held, ok := s.chains[name.String()]
	if !ok {
		for _, c := range chain {
			held = append(held, s.hold(c))
		}
		s.chains[name.String()] = held
	}
	return held
}

// Missed takes a miss.
func (s *Scan) Missed(m tallystick.Miss) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.misses = append(s.misses, m)
	s.Options.Progress.Missed(m.Error)
	return s.journal.missed(m)
}

// Progress passes on how far the look of a driver has come.
func (s *Scan) Progress(done, total int64) { s.Options.Progress.Set(done, total) }

// A keepingSink is a Scan that keeps how far one driver has come.
type keepingSink struct {
	*Scan
	driver string
}

var _ driver.Checkpointer = keepingSink{}

func (k keepingSink) Checkpoint(position string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.journal.reached(entry{Driver: k.driver, At: position})
}

// Trust reads what this machine trusts, to judge chains by. Call it before Look.
func (s *Scan) Trust(ctx context.Context) error {
	finder, err := s.open("truststore")
	if err != nil {
		return err
	}
	vendors := finder.Find(ctx, driver.FindRequest{Now: s.Now}, anchorSink{s.cas.trust})
	request := driver.FindRequest{Targets: []string{finding.AdministratorCAs.Path()}, Now: s.Now}
	return errors.Join(vendors, finder.Find(ctx, request, anchorSink{s.cas.distrust}))
}

// An anchorSink passes on certificates and nothing else.
type anchorSink struct{ saw func(tallystick.Sighting) }

func (s anchorSink) Saw(sighting tallystick.Sighting) error {
	s.saw(sighting)
	return nil
}

func (s anchorSink) Missed(tallystick.Miss) error { return nil } // reported where stores are the target
func (s anchorSink) Progress(int64, int64)        {}

// Look looks at targets, one driver after the other, until ctx ends. What could
// not be seen is a miss; the error says which drivers could not look at all.
func (s *Scan) Look(ctx context.Context, t Targets) error {
	var failed error
	if t.Machine {
		for _, name := range []string{"truststore", "ssh", "tls", "files"} {
			failed = errors.Join(failed, s.find(ctx, name, nil))
		}
		return failed
	}
	if stores := slices.Concat(t.Stores, s.cas.storesAt(t.Paths)); len(stores) > 0 {
		failed = s.find(ctx, "truststore", stores)
	}
	if len(t.Paths) > 0 {
		failed = errors.Join(failed, s.find(ctx, "files", t.Paths))
	}
	for _, name := range slices.Sorted(maps.Keys(t.Endpoints)) {
		failed = errors.Join(failed, s.find(ctx, name, t.Endpoints[name]))
	}
	return failed
}

// find lets a driver look at targets; without any it looks where it does by itself.
func (s *Scan) find(ctx context.Context, name string, targets []string) error {
	if ctx.Err() != nil || s.journal != nil && s.journal.done[name] {
		return nil
	}
	finder, err := s.open(name)
	if err != nil {
		return err
	}
	s.Options.Progress.Phase(name)
	request := driver.FindRequest{Targets: targets, Now: s.Now}
	if s.journal == nil {
		err = finder.Find(ctx, request, s)
	} else {
		request.Resume = s.journal.at[name]
		err = finder.Find(ctx, request, keepingSink{s, name})
	}
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("couldn't look with driver %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.journal.reached(entry{Driver: name, Done: true})
}

// open returns the driver of a name, opened with its settings.
func (s *Scan) open(name string) (driver.Finder, error) {
	if finder, ok := s.finders[name]; ok {
		return finder, nil
	}
	i := slices.IndexFunc(s.Drivers, func(d driver.Driver) bool { return d.Name() == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no driver %s", name)
	}
	opened, err := s.Drivers[i].Open(s.Settings[name])
	if err != nil {
		return nil, err
	}
	finder, ok := opened.(driver.Finder)
	if !ok {
		return nil, fmt.Errorf("driver %s does not find", name)
	}
	s.finders[name] = finder
	return finder, nil
}
