// SPDX-License-Identifier: Apache-2.0

// Package drivertest is the one suite that every driver runs: what the
// interfaces of package driver promise, as tests against a real target.
package drivertest

import (
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// A Suite is what one driver brings to the tests.
type Suite struct {
	Driver  driver.Driver
	Options map[string]string
	Targets []string           // real targets with at least one credential
	Want    []tallystick.Place // places that must be among the sightings
	// Bad is a target of the driver's form at which nothing can be seen; it
	// must become a miss. It may be empty only when there is no such target.
	Bad string
	// Secrets are texts that are in the targets, or the options, and must appear nowhere.
	Secrets []string
	// Issuing is brought by a driver that issues; one that does nothing else needs
	// neither Targets nor Want nor Bad.
	Issuing *Issuing
}

// Run runs the whole suite.
func Run(t *testing.T, s Suite) {
	t.Run("described", s.described)
	if slices.Contains(s.Driver.Verbs(), "issue") {
		s.runIssuing(t)
	}
	if !slices.Contains(s.Driver.Verbs(), "find") {
		return
	}
	t.Run("find", s.find)
	t.Run("repeatable", s.repeatable)
	t.Run("miss", s.miss)
	t.Run("cancel", s.cancel)
	t.Run("sink error", s.sinkError)
}

func (s Suite) described(t *testing.T) {
	if !regexp.MustCompile(`^[a-z][a-z0-9-]+$`).MatchString(s.Driver.Name()) || s.Driver.About() == "" {
		t.Errorf("a driver has a lower-case name and says what it is about: %q, %q", s.Driver.Name(), s.Driver.About())
	}
	if len(s.Driver.Verbs()) == 0 {
		t.Error("a driver has at least one verb")
	}
	_, err := s.Driver.Open(map[string]string{"no-such-option": "1"})
	if !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("an unknown option gives %v, want ErrInvalid", err)
	}
}

func (s Suite) find(t *testing.T) {
	sink := Find(t, s.Driver, s.Options, s.Targets...)
	seen := map[tallystick.Place]bool{}
	for _, sighting := range sink.Sightings {
		seen[sighting.Place] = true
		checkSighting(t, sighting)
	}
	for _, place := range s.Want {
		if !seen[place] {
			t.Errorf("nothing was seen at %s", place)
		}
	}
	text, err := json.Marshal(sink.Sightings)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range s.Secrets {
		if strings.Contains(string(text), secret) {
			t.Errorf("a secret of %d bytes is in the sightings", len(secret))
		}
	}
}

func checkSighting(t *testing.T, s tallystick.Sighting) {
	t.Helper()
	c := s.Credential
	if s.Place.Scheme() == "" || s.Role == "" || !s.Seen.Equal(Clock()) || c.ID == "" || c.Kind == "" {
		t.Errorf("incomplete sighting: place %q role %q seen %v id %q kind %q", s.Place, s.Role, s.Seen, c.ID, c.Kind)
	}
	if c.Kind != tallystick.KindSealed && tallystick.FingerprintOf(c.Raw) != c.ID {
		t.Errorf("%s: the fingerprint is not that of the raw bytes", s.Place)
	}
	if len(c.Key.SPKI) > 0 && tallystick.KeyIDOf(c.Key.SPKI) != c.Key.ID {
		t.Errorf("%s: the key id is not that of the public key", s.Place)
	}
}

func (s Suite) repeatable(t *testing.T) {
	first := places(Find(t, s.Driver, s.Options, s.Targets...))
	second := places(Find(t, s.Driver, s.Options, s.Targets...))
	if d := cmp.Diff(first, second); d != "" {
		t.Errorf("two looks at one estate differ:\n%s", d)
	}
}

func (s Suite) miss(t *testing.T) {
	if s.Bad == "" {
		return
	}
	sink := Find(t, s.Driver, s.Options, s.Bad)
	if len(sink.Misses) == 0 {
		t.Fatalf("%s: neither seen nor missed", s.Bad)
	}
	for _, m := range sink.Misses {
		if m.Error == "" || strings.ContainsAny(m.Error, " \n") || m.Place.Scheme() == "" || !m.Seen.Equal(Clock()) {
			t.Errorf("a miss names its place, its time and one word: %+v", m)
		}
	}
}

func (s Suite) cancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	err := finder(t, s.Driver, s.Options).Find(ctx, driver.FindRequest{Targets: s.Targets, Now: Clock}, &Recorder{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled look returns %v, want context.Canceled", err)
	}
}

func (s Suite) sinkError(t *testing.T) {
	full := errors.New("the sink is full")
	err := finder(t, s.Driver, s.Options).Find(context.Background(), driver.FindRequest{Targets: s.Targets, Now: Clock}, &Recorder{Answer: func() error { return full }})
	if !errors.Is(err, full) {
		t.Errorf("a failing sink gives %v, want its error", err)
	}
}

// places counts the sightings of each credential at each place.
func places(r *Recorder) map[string]int {
	count := map[string]int{}
	for _, s := range r.Sightings {
		count[string(s.Place)+" "+string(s.Credential.ID)]++
	}
	return count
}
