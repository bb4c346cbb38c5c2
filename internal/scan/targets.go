// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
)

// Targets is where a scan looks.
type Targets struct {
	Machine   bool                // at everything here; the rest is empty then
	Paths     []string            // of files and directories
	Stores    []string            // of trust stores
	Endpoints map[string][]string // targets of the drivers that dial, by their names
	Size      int64               // how many endpoints those are
}

// A Sorter reads targets and gives each to the driver that takes it: one with a
// scheme to the driver whose scheme it is, one that is a path to the files, and
// what is left to the driver "tls".
type Sorter struct {
	Targets  Targets
	grammars map[string]network.Grammar // by driver
	schemes  map[string]string          // to driver
}

// Sorter returns one that knows the drivers of s. Its error is that of drivers
// which cannot be opened with Options.Settings.
func (s *Scan) Sorter() (*Sorter, error) {
	x := &Sorter{grammars: map[string]network.Grammar{}, schemes: map[string]string{}, Targets: Targets{Endpoints: map[string][]string{}}}
	for _, d := range s.Drivers {
		if !slices.Contains(d.Verbs(), "find") {
			continue // it has nothing to do with targets, and may not open without options
		}
		finder, err := s.open(d.Name())
		if err != nil {
			return nil, err
		}
		dials, ok := finder.(network.Finder)
		if !ok {
			continue
		}
		x.grammars[d.Name()] = dials.Grammar()
		for scheme := range dials.Grammar().Schemes {
			x.schemes[scheme] = d.Name()
		}
	}
	return x, nil
}

// Add takes one target; its error is tallystick.ErrInvalid.
func (x *Sorter) Add(text string) error {
	scheme, _, hasScheme := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case hasScheme && scheme == "file":
		x.Targets.Paths = append(x.Targets.Paths, tallystick.Place(text).Path())
		return nil
	case hasScheme && scheme == "truststore":
		x.Targets.Stores = append(x.Targets.Stores, text)
		return nil
	case hasScheme && scheme == "metadata":
		x.Targets.Endpoints["metadata"] = append(x.Targets.Endpoints["metadata"], text)
		x.Targets.Size++
		return nil
	case !hasScheme && isPath(text):
		x.Targets.Paths = append(x.Targets.Paths, text)
		return nil
	}
	name, known := "tls", true
	if hasScheme {
		name, known = x.schemes[scheme]
	}
	if !known {
		return fmt.Errorf("%w: %s:// is not a protocol that this version speaks: it speaks %s", tallystick.ErrInvalid,
			network.Clean(scheme), strings.Join(slices.Sorted(maps.Keys(x.schemes)), ", "))
	}
	count, err := x.grammars[name].Count(text)
	if err != nil {
		return err
	}
	x.Targets.Size += count
	x.Targets.Endpoints[name] = append(x.Targets.Endpoints[name], text)
	return nil
}

// AddList takes the lines of a list; empty ones and those that begin with # do
// not count. A line that is no target is given to bad and does not stop the rest.
func (x *Sorter) AddList(ctx context.Context, list io.Reader, bad func(line int, err error)) error {
	return network.Lines(ctx, list, func(number int, text string, long bool) error {
		if long {
			bad(number, fmt.Errorf("%w: it is longer than any target", tallystick.ErrInvalid))
		} else if err := x.Add(text); err != nil {
			bad(number, err)
		}
		return nil
	})
}

// isPath says whether a target is a path: it is written as one, something is
// there, or it ends as the files of credentials do.
func isPath(text string) bool {
	if text == "." || text == ".." || filepath.IsAbs(text) || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") {
		return true
	}
	if _, err := os.Lstat(text); err == nil {
		return true
	}
	switch strings.ToLower(filepath.Ext(text)) {
	case ".pem", ".crt", ".cer", ".der", ".key", ".p12", ".pfx", ".p7b", ".p7c", ".jks", ".pub":
		return true
	}
	return false
}
