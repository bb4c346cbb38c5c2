// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/network"
)

// An edit is what a table shall be.
type edit struct {
	table
	digest    string // of the fingerprints in it
	old, text []byte
	want      map[string]string // what keys shall lead to then, "" to nothing
}

// edits reads tables, as they are.
func readAll(ctx context.Context, h driver.Host, found map[table]string) ([]edit, error) {
	var all []edit
	for _, t := range sorted(found) {
		text, err := t.read(ctx, h)
		if err != nil {
			return nil, err
		}
		all = append(all, edit{table: t, digest: found[t], old: text, text: text, want: map[string]string{}})
	}
	return all, nil
}

// put writes the tables that were edited and makes Postfix read them, or puts back what
// was there. The tables are all that the door has: when an earlier call was killed nobody
// knows which of them Postfix has read.
func (d *door) put(ctx context.Context, h driver.Host, edits []edit) (driver.Changed, error) {
	change := installing.Change{Host: h, Journal: installing.JournalFor(filepath.Join(d.Config, "tables"))}
	for _, e := range edits {
		if len(e.text) > 0 || len(e.old) > 0 { // else there need be no file
			change.Files = append(change.Files, installing.File{Path: e.path, Content: e.text, Mode: 0o644})
		}
	}
	_, unfinished, err := change.Before(ctx)
	if err != nil {
		return driver.Changed{}, err
	}
	edits = slices.DeleteFunc(edits, func(e edit) bool { return !unfinished && bytes.Equal(e.old, e.text) })
	var names, how []string
	for _, e := range edits {
		if names = append(names, e.table.String()); indexed[e.kind] == "" {
			how = []string{"reload"}
		}
	}
	if len(edits) == 0 {
		return driver.Changed{}, nil
	}
	if len(how) == 0 || len(how) < len(edits) && slices.ContainsFunc(edits, func(e edit) bool { return indexed[e.kind] != "" }) {
		how = append([]string{"postmap"}, how...)
	}
	change.Reload = func(ctx context.Context) error { return d.heed(ctx, h, edits) }
	change.Arrived = func(ctx context.Context) error { return d.agree(ctx, h, edits) }
	if _, err := change.Do(ctx); err != nil {
		return driver.Changed{}, err
	}
	return driver.Changed{Changed: true, How: how, Detail: "tables: " + strings.Join(names, ", ")}, nil
}

// heed makes Postfix read tables as they are now.
func (d *door) heed(ctx context.Context, h driver.Host, edits []edit) error {
	reload := false
	for _, e := range edits {
		if indexed[e.kind] == "" {
			reload = true
			continue
		}
		if err := d.postmap(ctx, h, e.table); err != nil {
			return err
		}
	}
	if !reload {
		return nil
	}
	if err := d.reload(ctx, h); err != nil {
		return err
	}
	return network.Sleep(ctx, settling)
}

// postmap makes the file of a table that Postfix reads. It notices by the time of that,
// in seconds, that it has changed: one that was changed in the same second before is
// made again in the next.
func (d *door) postmap(ctx context.Context, h driver.Host, t table) error {
	if _, err := h.Stat(ctx, t.path); errors.Is(err, fs.ErrNotExist) {
		return h.Remove(ctx, t.path+indexed[t.kind]) // it was not there before either
	}
	path := t.path + indexed[t.kind]
	before, err := h.Stat(ctx, path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for {
		if _, err := installing.Run(ctx, h, "postmap", "-c", d.Config, t.String()); err != nil {
			return err
		}
		after, err := h.Stat(ctx, path)
		if err != nil || t.live() || after.Modified.Unix() != before.Modified.Unix() {
			return err
		}
		if err := network.Sleep(ctx, time.Second+100*time.Millisecond); err != nil {
			return err
		}
	}
}

// agree asks the tables as Postfix does.
func (d *door) agree(ctx context.Context, h driver.Host, edits []edit) error {
	for _, e := range edits {
		for key, want := range e.want {
			output, err := h.Run(ctx, driver.Command{Args: []string{"postmap", "-c", d.Config, "-q", key, e.table.String()}})
			if err != nil {
				return err
			}
			if got := strings.TrimSpace(string(output.Stdout)); got != want || strings.Contains(string(output.Stderr), "fatal:") {
				return fmt.Errorf("the table %s does not say what was written into %s: %s", e.table, e.path, installing.Said(output))
			}
		}
	}
	return nil
}

// reload makes Postfix read its configuration. Processes that wait for clients end at
// once, those that serve one after it.
func (d *door) reload(ctx context.Context, h driver.Host) error {
	if _, err := installing.Run(ctx, h, "postfix", "-c", d.Config, "reload"); err != nil {
		return fmt.Errorf("couldn't reload Postfix: %w", err)
	}
	return nil
}

// settling is the time in which processes that wait notice that there was a reload.
const settling = 300 * time.Millisecond
