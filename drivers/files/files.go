// SPDX-License-Identifier: Apache-2.0

// Package files finds credentials in the files of this machine.
//
// A target is a directory tree or one file, as an absolute or relative path.
// Find goes through its targets twice. The first pass reads names only: it
// counts symbolic links and reads the configuration of the servers it knows
// (usedby_*.go), so that the second pass can say at once which service uses a
// file. The second pass decides by name, then by the first bytes, and reads and
// parses only what is left; package parse turns bytes into credentials.
//
// What is looked into: files whose first bytes are those of a credential,
// whatever their name, except names that never hold one (names.go), and files
// whose name says so (".pem", "id_rsa", "cacerts", ".kube/config"), wherever in
// them the credential stands. A PEM block in the middle of a program's source
// or of an archive is not looked for: that is the work of a secret scanner.
//
// The tree may belong to an attacker. Nothing but regular files is ever opened
// for reading, no link is followed on the way, a file is read up to a limit,
// and a tree is held one batch of names at a time. Trying passphrases costs what
// the file asks for, and therefore has an allowance for each account (budget.go):
// when it is spent, the rest is reported as sealed, with the miss "too-much-work".
//
// A credential that is in one file several times is one sighting, which says
// what holds for its least protected copy (merge.go).
package files

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Options are the settings of the driver.
type Options struct {
	Passphrases   string   `option:"passphrases" help:"file with one passphrase a line (at most 100), tried on encrypted keys and keystores"`
	MaxFileSize   int64    `option:"max-file-size" default:"4194304" help:"bytes; a larger file that looks like a credential is reported as too large, not read"`
	Exclude       []string `option:"exclude" default:"/var/cache,.cache,.git" help:"globs of what is left out, with all beneath it and what links lead to in it: matched against the path if they begin with /, else against each name; a target in it is not read either, but for what the default names; trust stores are read all the same"`
	OneFileSystem bool     `option:"one-file-system" default:"false" help:"do not go into file systems that are mounted beneath a target"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("files", "certificates, keys and keystores in the files of this machine, who can read them and which service uses them", open)
}

// defaultTargets are looked at when none is named.
var defaultTargets = [...]string{"/etc", "/usr", "/opt", "/home", "/root", "/srv", "/var"}

// maxSize is the most that max-file-size may be: a file is held in memory.
const maxSize = 256 << 20

// A finder is an opened driver.
type finder struct {
	options     Options
	passphrases []string
}

func open(options Options) (*finder, error) {
	for i, glob := range options.Exclude {
		if len(glob) > 1 {
			options.Exclude[i] = strings.TrimRight(glob, "/")
		}
		if _, err := filepath.Match(glob, ""); err != nil {
			return nil, fmt.Errorf("%w: option exclude: %q is not a glob", tallystick.ErrInvalid, glob)
		}
	}
	if options.MaxFileSize < headSize || options.MaxFileSize > maxSize {
		return nil, fmt.Errorf("%w: option max-file-size: %d is not between %d and %d",
			tallystick.ErrInvalid, options.MaxFileSize, headSize, maxSize)
	}
	f := &finder{options: options}
	var err error
	if options.Passphrases != "" {
		f.passphrases, err = readPassphrases(options.Passphrases)
	}
	return f, err
}

// A look is one run of Find.
type look struct {
	*finder
	ctx      context.Context
	sink     driver.Sink
	now      func() time.Time
	targets  []target
	people   *people
	services *usages
	links    *links
	budgets  *budgets
	done     atomic.Int64 // files seen by the second pass
	total    atomic.Int64 // files seen by the first pass
}

// Find looks at every target; see driver.Finder. Each place is the real path
// of a file, also when a symbolic link led there. Targets within each other
// are looked at once.
func (f *finder) Find(ctx context.Context, request driver.FindRequest, sink driver.Sink) error {
	l := &look{finder: f, ctx: ctx, sink: sink, now: request.Now, people: readPeople(), services: newUsages(), links: newLinks(), budgets: newBudgets()}
	if err := l.resolve(request.Targets); err != nil {
		return err
	}
	if err := l.survey(); err != nil {
		return err
	}
	if err := l.read(); err != nil {
		return err
	}
	sink.Progress(l.done.Load(), l.done.Load())
	return nil
}

// survey is the first pass.
func (l *look) survey() error {
	beside := &walker{look: l, file: l.surveyConfig, link: l.surveyConfig, report: true}
	for _, dir := range configDirs() {
		if l.covers(dir) || l.leftOut(dir) {
			continue
		}
		if err := beside.outside(dir); err != nil {
			return err
		}
	}
	first := &walker{look: l, file: l.surveyFile, link: l.surveyLink, single: l.surveyFile}
	for _, t := range l.targets {
		if err := first.target(t); err != nil {
			return err
		}
	}
	return nil
}

// read is the second pass.
func (l *look) read() error {
	second := &walker{look: l, file: l.readFile, link: l.readLink, single: l.readTarget, report: true}
	for _, t := range l.targets {
		if err := second.target(t); err != nil {
			return err
		}
	}
	return nil
}

// surveyFile looks at the name of one file in the first pass.
func (l *look) surveyFile(d *directory, name string) error {
	l.total.Add(1)
	return l.surveyConfig(d, name)
}

// surveyLink looks at one symbolic link in the first pass.
func (l *look) surveyLink(d *directory, name string) error {
	if classify(name) != never {
		l.links.count(d, name)
	}
	return l.surveyConfig(d, name)
}

// A target is a place to look at: a directory, or a file in one.
type target struct {
	path string // absolute, without symbolic links
	dir  bool
}

// resolve makes targets of what was asked for and reports those that cannot
// be seen or are excluded. A default target that does not exist, or is excluded,
// is no miss.
func (l *look) resolve(asked []string) error {
	byDefault := len(asked) == 0
	if byDefault {
		asked = defaultTargets[:]
	}
	for _, name := range asked {
		if name == "" || strings.ContainsRune(name, 0) {
			return fmt.Errorf("%w: %q is not a path", tallystick.ErrInvalid, name)
		}
		path, err := filepath.Abs(name)
		if err != nil {
			return fmt.Errorf("couldn't make %q absolute: %w", name, err)
		}
		t, err := l.allowedTarget(path)
		if byDefault && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, errExcluded)) {
			continue
		}
		if err != nil {
			if failed := l.missed(path, err); failed != nil {
				return failed
			}
			if t.path != "" && t.path != path { // what was seen there before is not gone
				if failed := l.missed(t.path, err); failed != nil {
					return failed
				}
			}
			continue
		}
		l.targets = append(l.targets, t)
	}
	l.targets = outermost(l.targets)
	return nil
}

// outermost drops targets that lie within another.
func outermost(targets []target) []target {
	slices.SortFunc(targets, func(a, b target) int { return strings.Compare(a.path, b.path) })
	var kept []target
	for _, t := range targets {
		covered := func(k target) bool { return k.path == t.path || k.dir && within(t.path, k.path) }
		if !slices.ContainsFunc(kept, covered) {
			kept = append(kept, t)
		}
	}
	return kept
}

// within says whether path lies beneath dir.
func within(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (dir == "/" || strings.HasPrefix(rest, "/"))
}

// covers says whether the second pass comes to path by itself.
func (l *look) covers(path string) bool {
	for _, t := range l.targets {
		if t.path == path {
			return true
		}
		if t.dir && within(path, t.path) {
			return !l.excludedBelow(t.path, path)
		}
	}
	return false
}
