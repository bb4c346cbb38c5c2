// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/sources"
	"github.com/tallystick/tallystick/internal/store"
)

// mostEach bounds how many sources are added at once.
const mostEach = 100_000

// each stands for the line of a list.
const each = "{}"

// watchers returns the names of the drivers that read logs.
func watchers() []string {
	var names []string
	config := sources.Config{Drivers: drivers.All()}
	for _, d := range config.Watchers() {
		names = append(names, d.Name())
	}
	return names
}

// driver takes the driver and its options from the flags.
func (flags *sourceFlags) driver(one *store.Source) error {
	if one.Driver != "" && one.Kind == "" {
		one.Kind = store.SourceDriver
	}
	for _, text := range flags.set {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return misuse(fmt.Errorf("--set %q is not NAME=VALUE", clean(text)), "write it as --set tenant=8f1c2f0e-...")
		}
		if one.Options == nil {
			one.Options = map[string]string{}
		}
		one.Options[name] = value
	}
	if flags.each != "" && !strings.Contains(one.Name, each) {
		return misuse(fmt.Errorf("%q is one name, and --each adds many", clean(one.Name)), "write {} where each line of the file is to stand: 'm365-{}'")
	}
	return nil
}

// addEach adds a source for each line of a file.
func (p *program) addEach(ctx context.Context, h *house, pattern store.Source, flags sourceFlags) error {
	words, err := readEach(flags.each)
	if err != nil {
		return err
	}
	list := make([]store.Source, 0, len(words))
	for _, word := range words {
		one := pattern
		one.Name, one.Options = strings.ReplaceAll(one.Name, each, word), maps.Clone(one.Options)
		for name, value := range one.Options {
			one.Options[name] = strings.ReplaceAll(value, each, word)
		}
		list = append(list, one)
	}
	added, err := p.sources(h).AddEach(ctx, h.actor, list)
	if err != nil {
		return err
	}
	if flags.json {
		_, err = fmt.Fprintf(p.out, "{\"added\":%d,\"already\":%d}\n", added, len(list)-added)
		return err
	}
	p.say("%d sources are added, and %d were there already", added, len(list)-added)
	if h.unattended() != nil {
		p.say("hint: they are read as soon as \"tally up\" works on %s", h.config.Data)
	}
	return nil
}

// readEach returns the first word of each line.
func readEach(path string) ([]string, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("couldn't read --each: %w", err)
	}
	defer file.Close()
	var words []string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		if words = append(words, fields[0]); len(words) > mostEach {
			return nil, misuse(fmt.Errorf("%s has more than %d lines", path, mostEach), "add them in several parts")
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", path, err)
	}
	return words, nil
}
