// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/scan"
)

// targetForms is the hint of a target that is none.
const targetForms = "a target is a file, a directory, host:port, https://host, smtp://host, ssh://host, metadata://host/path, a host, an address, a block such as 10.0.0.0/24, or a range such as 10.0.0.1-10.0.0.50"

// scanTargets reads the arguments of a scan. "-" stands for the lines of
// standard input, and @FILE for those of a file; lines that are no targets are
// named on standard error and counted.
func (p *program) scanTargets(ctx context.Context, s *scan.Scan, args []string) (targets scan.Targets, bad int, err error) {
	sorter, err := s.Sorter()
	if err != nil {
		return targets, 0, misuse(errors.New(strings.Replace(plain(err), "option ", "--", 1)), `run "tally scan --help" to see the flags`)
	}
	for _, arg := range args {
		file, isList := strings.CutPrefix(arg, "@")
		n := 0
		switch {
		case arg == "-":
			n, err = p.addList(ctx, sorter, "standard input")
		case isList:
			n, err = p.addFile(ctx, sorter, file)
		default:
			if err = sorter.Add(arg); err != nil {
				err = misuse(errors.New(plain(err)), targetForms)
			}
		}
		if err != nil {
			return targets, 0, err
		}
		bad += n
	}
	sorter.Targets.Machine = len(args) == 0
	if t := sorter.Targets; !t.Machine && bad == 0 && len(t.Paths)+len(t.Stores)+len(t.Endpoints) == 0 {
		return targets, 0, misuse(errors.New("the list names no target"), targetForms)
	}
	return sorter.Targets, bad, nil
}

// plain is the text of an error without saying that the input is invalid, which
// its readers see.
func plain(err error) string {
	return strings.Replace(err.Error(), tallystick.ErrInvalid.Error()+": ", "", 1)
}

// addFile adds the targets of a file.
func (p *program) addFile(ctx context.Context, sorter *scan.Sorter, path string) (bad int, err error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, misuse(fmt.Errorf("couldn't open the list of targets: %w", err), "@FILE stands for the targets in FILE, one a line")
	}
	defer file.Close()
	list := *p
	list.in = file
	return list.addList(ctx, sorter, path)
}

// addList adds the lines of p.in, and returns how many were no targets.
func (p *program) addList(ctx context.Context, sorter *scan.Sorter, name string) (bad int, err error) {
	err = sorter.AddList(ctx, p.in, func(line int, err error) {
		bad++
		fmt.Fprintf(p.err, "%s, line %d: %s\n", clean(name), line, clean(plain(err)))
	})
	if err != nil {
		return bad, fmt.Errorf("couldn't read targets from %s: %w", name, err)
	}
	return bad, nil
}

// exclusions parts what --exclude names into what is not dialled and what is
// not read: paths and, with file: before them, names of files. A word is a path
// when it has a slash in it or when such a file is here.
func exclusions(list []string) (hosts, paths []string, err error) {
	for _, text := range list {
		name, isName := strings.CutPrefix(text, "file:")
		_, prefixErr := netip.ParsePrefix(text)
		_, statErr := os.Lstat(text)
		switch {
		case text == "" || isName && (name == "" || strings.Contains(name, "/")):
			return nil, nil, misuse(fmt.Errorf("--exclude %q names nothing", text), "name a host, a block, a path, or files by file:NAME")
		case strings.Contains(text, ","):
			return nil, nil, misuse(fmt.Errorf("--exclude %q holds a comma", text), "repeat --exclude for each")
		case isName:
			paths = append(paths, name)
		case prefixErr != nil && (strings.Contains(text, "/") || statErr == nil):
			absolute, err := filepath.Abs(text)
			if err != nil {
				return nil, nil, err
			}
			paths = append(paths, absolute)
		default:
			hosts = append(hosts, text)
		}
	}
	return hosts, paths, nil
}

// withDefault returns an option of a driver: what it is by itself, and more.
func withDefault(name, option string, more []string) string {
	all := drivers.All()
	d := all[slices.IndexFunc(all, func(d driver.Driver) bool { return d.Name() == name })]
	for _, o := range d.Options() {
		if o.Name == option && o.Default != "" {
			more = append([]string{o.Default}, more...)
		}
	}
	return strings.Join(more, ",")
}
