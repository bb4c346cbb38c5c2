// SPDX-License-Identifier: Apache-2.0

// Package driver is the contract between Tallystick and one real system.
//
// A driver is a value made by New from three things: a name, a struct of
// options, and a function that opens it. What it can do is a set of verbs, each
// an interface of one method in this package (find.go of a driver implements
// Finder, issue.go Issuer, and so on; door.go here has those of a recall; Sign comes with
// the feature that calls it). A driver has the verbs whose interfaces the opened
// value implements.
//
// A driver imports the root package, package parse, this package with those
// beneath it, and its vendor's library, and nothing else of Tallystick. It does
// not retry, log, read the environment, leave out what nobody told it to leave
// out, or keep anything from one call to the next: whoever calls it does. What
// is named by its options, such as exclude and rate, it keeps to within each
// call. What deserves to be a driver is written in README.md beside this file.
package driver

import (
	"context"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
)

// A Driver describes the code for one real system. The zero value is not
// usable; New makes one.
type Driver struct {
	name    string
	about   string
	options []Option
	verbs   []string
	open    func(map[string]string) (any, error)
}

// New describes a driver whose options are the fields of C and whose verbs are
// the interfaces that V implements. It panics when C is not a struct whose
// fields carry the tags that Option documents, because that is a mistake in
// the source of the driver.
func New[C, V any](name, about string, open func(C) (V, error)) Driver {
	options, err := optionsOf[C]()
	if err != nil {
		panic(fmt.Sprintf("driver %s: %v", name, err))
	}
	var none V
	return Driver{
		name: name, about: about, options: options, verbs: verbsOf(none),
		open: func(values map[string]string) (any, error) {
			config, err := decode[C](options, values)
			if err != nil {
				return nil, fmt.Errorf("driver %s: %w", name, err)
			}
			return open(config)
		},
	}
}

// Name returns the word that configuration and commands use.
func (d Driver) Name() string { return d.name }

// About returns one sentence on what the driver looks at.
func (d Driver) About() string { return d.about }

// Options returns what can be set, in the order of the struct.
func (d Driver) Options() []Option { return d.options }

// Verbs returns the capabilities in a fixed order: "find", "issue", "look",
// "revoke", "install", "trust", "block", "probe", "watch", "undo".
func (d Driver) Verbs() []string { return d.verbs }

// Open makes the driver ready with option values by name; what is not named
// has its default. An unknown name or a senseless value is ErrInvalid.
func (d Driver) Open(values map[string]string) (any, error) { return d.open(values) }

// verbsOf lists the verb interfaces that v implements.
func verbsOf(v any) []string {
	var verbs []string
	for _, verb := range []struct {
		name string
		has  bool
	}{
		{"find", is[Finder](v)}, {"issue", is[Issuer](v)}, {"look", is[StandingLooker](v) || is[Looker](v)}, {"revoke", is[Revoker](v)},
		{"install", is[Installer](v)}, {"trust", is[Truster](v)}, {"block", is[Blocker](v)}, {"probe", is[Prober](v)},
		{"watch", is[Watcher](v)}, {"undo", is[Undoer](v)}, {"rotate", is[Rotator](v)}, {"supply", is[Supplier](v)},
	} {
		if verb.has {
			verbs = append(verbs, verb.name)
		}
	}
	return verbs
}

func is[Verb any](v any) bool { _, ok := v.(Verb); return ok }

// A Finder finds credentials.
//
// Find looks at every target and reports what it sees and where it could not
// see to sink, until ctx ends. It is read-only and safe to repeat: the same
// estate gives the same sightings, in any order. It reports as it goes and
// holds a bounded amount of memory, whatever the size of the target. A target
// that cannot be seen is a miss, not an error; an error from Find means that
// the whole look cannot be relied on (a cancelled context, a failing sink, a
// target that is not of this driver's form: ErrInvalid).
type Finder interface {
	Find(ctx context.Context, request FindRequest, sink Sink) error
}

// A FindRequest says where to look.
type FindRequest struct {
	Targets []string         // as the driver's documentation describes them; none means its default
	Now     func() time.Time // the clock for Seen; never nil
	// Resume is the last position that a Checkpointer was told by a look at the
	// same targets with the same options that did not end; "" begins at the
	// start. A finder that tells no positions ignores it.
	Resume string
	// Used is told of each sign-in that the finder itself makes, as of LookRequest.
	Used func(tallystick.Use)
}

// A Sink receives what a Finder reports. Its methods are safe to call from
// several goroutines, and may block while the receiver catches up; an error
// tells the driver to stop.
type Sink interface {
	Saw(tallystick.Sighting) error
	Missed(tallystick.Miss) error
	// Progress tells how far the look has come, in units of the driver's
	// choice (files, endpoints); total is 0 while it is not known.
	Progress(done, total int64)
}

// A Checkpointer is a Sink that remembers how far a look has come, so that
// another one can go on from there. Everything before position has been
// reported to the sink; a finder may report some of what is behind it again.
type Checkpointer interface {
	Checkpoint(position string) error
}
