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
	Rate     int           // endpoints to begin with each second, MaxRate at most; 0 is no limit
	Timeout  time.Duration // of one connection; 0 leaves it to the driver
	Progress Progress
}

// A Progress is told how far a scan has come. Its methods are called from
// several goroutines.
type Progress interface {
	Phase(driver string)   // a driver begins
	Set(done, total int64) // in a unit of the driver's; total is 0 while unknown
	Step()                 // one more is done
	Saw()                  // one more credential
}

// A Scan is one look and what it has brought; each distinct credential is held
// once. It is the driver.Sink of the drivers that it lets look, and takes what
// its owner has read elsewhere in the same way. Make one with New.
type Scan struct {
	Options
	cas *knownCAs

	mu          sync.Mutex
	credentials map[tallystick.Fingerprint]*tallystick.Credential // guarded by mu
	chains      map[string][]tallystick.Credential                // guarded by mu; by their fingerprints
	sightings   []tallystick.Sighting                             // guarded by mu
	misses      []tallystick.Miss                                 // guarded by mu
}

var _ driver.Sink = (*Scan)(nil)

// New returns a scan that has seen nothing.
func New(o Options) *Scan {
	return &Scan{
		Options: o, cas: newKnownCAs(),
		credentials: map[tallystick.Fingerprint]*tallystick.Credential{}, chains: map[string][]tallystick.Credential{},
	}
}

// Saw takes a sighting; the further certificates of its chain become sightings
// of their own at the same place.
func (s *Scan) Saw(sighting tallystick.Sighting) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	further := sighting.Further()
	sighting.Credential, sighting.Chain = *s.hold(sighting.Credential), s.holdChain(sighting.Chain)
	s.sightings = append(s.sightings, sighting)
	for _, f := range further {
		f.Credential = *s.hold(f.Credential)
		s.sightings = append(s.sightings, f)
	}
	s.Options.Progress.Saw()
	return nil
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
func (s *Scan) holdChain(chain []tallystick.Credential) []tallystick.Credential {
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
			held = append(held, *s.hold(c))
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
	return nil
}

// Progress passes on how far the look of a driver has come.
func (s *Scan) Progress(done, total int64) { s.Options.Progress.Set(done, total) }

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
	if t.Machine {
		var failed error
		for _, name := range []string{"truststore", "tls", "files"} {
			failed = errors.Join(failed, s.find(ctx, name, nil))
		}
		return failed
	}
	var failed error
	if stores := slices.Concat(t.Stores, s.cas.storesAt(t.Paths)); len(stores) > 0 {
		failed = s.find(ctx, "truststore", stores)
	}
	if len(t.Paths) > 0 {
		failed = errors.Join(failed, s.find(ctx, "files", t.Paths))
	}
	return errors.Join(failed, s.endpoints(ctx, t.Hosts))
}

// find lets a driver look at targets; without any it looks where it does by itself.
func (s *Scan) find(ctx context.Context, name string, targets []string) error {
	if ctx.Err() != nil {
		return nil
	}
	finder, err := s.open(name)
	if err != nil {
		return err
	}
	s.Options.Progress.Phase(name)
	err = finder.Find(ctx, driver.FindRequest{Targets: targets, Now: s.Now}, s)
	if err != nil && ctx.Err() == nil {
		return fmt.Errorf("couldn't look with driver %s: %w", name, err)
	}
	return nil
}

// open opens the driver of a name.
func (s *Scan) open(name string) (driver.Finder, error) {
	i := slices.IndexFunc(s.Drivers, func(d driver.Driver) bool { return d.Name() == name })
	if i < 0 {
		return nil, fmt.Errorf("there is no driver %s", name)
	}
	options := map[string]string{}
	if name == "tls" && s.Timeout > 0 {
		options["timeout"] = s.Timeout.String()
	}
	opened, err := s.Drivers[i].Open(options)
	if err != nil {
		return nil, err
	}
	finder, ok := opened.(driver.Finder)
	if !ok {
		return nil, fmt.Errorf("driver %s does not find", name)
	}
	return finder, nil
}
