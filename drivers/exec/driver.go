// SPDX-License-Identifier: Apache-2.0

// Package exec is the driver for systems that no other driver knows: a program of the
// operator does the work. It is given one request, JSON, on its standard input, and gives
// one answer, JSON, on its standard output. docs/exec-driver.md describes both.
//
// What the program says is checked like every answer of a foreign system: it is bounded,
// it has the members that the protocol names and no others, and text in it is made fit to print.
package exec

import (
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Options are what can be set.
type Options struct {
	Command   string        `option:"command" help:"the program with its arguments: words with blanks between them, quotes around words that have blanks; there is no shell"`
	Listeners []string      `option:"listeners" help:"where the new certificate must be shown after install: tls://host:port?sni=name, https://... and so on"`
	Verbs     []string      `option:"verbs" default:"install,trust,block,probe" help:"what the program can do, besides look: install, trust, block, probe, rotate and supply"`
	Timeout   time.Duration `option:"timeout" default:"2m" help:"how long the program may take for one request"`
	Patience  time.Duration `option:"patience" default:"30s" help:"how long listeners may go on showing the old certificate after install"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("exec", "anything else, by a program of yours that takes a request and gives an answer, JSON both", open)
}

// Door is what the program works at.
type Door struct {
	command   []string
	verbs     []string
	listeners []driver.Listener
	timeout   time.Duration
	patience  time.Duration
}

var (
	_ driver.Looker    = (*Door)(nil)
	_ driver.Installer = (*Door)(nil)
	_ driver.Truster   = (*Door)(nil)
	_ driver.Blocker   = (*Door)(nil)
	_ driver.Prober    = (*Door)(nil)
	_ driver.Rotator   = (*Door)(nil)
	_ driver.Supplier  = (*Door)(nil)
)

func open(o Options) (*Door, error) {
	words, err := installing.Words(o.Command)
	if err != nil {
		return nil, err
	}
	if len(words) == 0 {
		return nil, invalid("option command: name the program")
	}
	for _, verb := range o.Verbs {
		if !slices.Contains([]string{"install", "trust", "block", "probe", "rotate", "supply"}, verb) {
			return nil, invalid("option verbs: %q is none of install, trust, block, probe, rotate and supply", verb)
		}
	}
	if o.Timeout < time.Second || o.Patience < 0 {
		return nil, invalid("option timeout is a second or more, and patience is not negative")
	}
	listeners, err := installing.Listeners(o.Listeners)
	if err != nil {
		return nil, err
	}
	return &Door{command: words, verbs: o.Verbs, listeners: listeners, timeout: o.Timeout, patience: o.Patience}, nil
}

// Verbs are look, and those of the options.
func (d *Door) Verbs() []string { return append([]string{"look"}, d.verbs...) }

// does is the answer of verbs that the program does not have.
func (d *Door) does(verb string) error {
	if slices.Contains(d.verbs, verb) {
		return nil
	}
	return invalid("option verbs says that the program does not %s", verb)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
