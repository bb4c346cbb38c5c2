// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
)

// command returns a call of the program for this configuration.
func (d *Door) command(args ...string) []string {
	command := []string{d.options.Program, "-c", d.options.Config}
	if d.options.ErrorLog != "" {
		command = append(command, "-e", d.options.ErrorLog)
	}
	return append(command, args...)
}

// check asks nginx whether it takes the configuration with all files that it names.
func (d *Door) check(ctx context.Context, h driver.Host) error {
	output, err := h.Run(ctx, driver.Command{Args: d.command("-t", "-q")})
	if err != nil {
		return err
	}
	if output.Exit != 0 {
		return invalid("nginx -t refuses it: %s", installing.Said(output))
	}
	return nil
}

// stale says whether a process is a worker that takes no new connections: nginx renames
// those of the time before a reload.
func stale(p blocking.Process) bool {
	return strings.HasPrefix(p.Title, "nginx: worker process is shutting down")
}

func worker(p blocking.Process) bool { return strings.HasPrefix(p.Title, "nginx: worker process") }

// reload makes nginx read its configuration, and returns when only workers that have
// read it take new connections.
func (d *Door) reload(ctx context.Context, h driver.Host, s *site) error {
	master, err := blocking.Master(ctx, h, s.pidFile)
	if err != nil {
		return err
	}
	before, err := blocking.Children(ctx, h, master)
	if err != nil {
		return err
	}
	output, err := h.Run(ctx, driver.Command{Args: d.command("-s", "reload")})
	if err != nil {
		return err
	}
	if output.Exit != 0 {
		return fmt.Errorf("%w: nginx -s reload: %s", tallystick.ErrUnavailable, installing.Said(output))
	}
	old := func(p blocking.Process) bool {
		return worker(p) && !stale(p) && slices.ContainsFunc(before, func(b blocking.Process) bool { return b.PID == p.PID })
	}
	left, err := blocking.Outlive(ctx, h, master, d.options.Patience, old)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%w: nginx has not read its configuration within %s: its error log says why", tallystick.ErrUnavailable, d.options.Patience)
	}
	return nil
}

// unread is the first line of a file that nginx may not have read yet. It is how a call
// knows, after one that was killed, that a reload is still to be made.
const unread = "# tallystick: nginx has not read this yet\n"

// apply puts files into place and makes nginx read them. The first of them is one in
// which lines that begin with # count for nothing; while it says unread, settle and what
// else was to be done is not done. It says whether anything was.
func (d *Door) apply(ctx context.Context, h driver.Host, s *site, files []installing.File, settle func() error) (bool, error) {
	first := files[0]
	current, err := h.ReadFile(ctx, first.Path, blocking.MaxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	marked := bytes.HasPrefix(current, []byte(unread))
	if !marked {
		differs, err := differ(ctx, h, files)
		if err != nil || !differs {
			return false, err
		}
	}
	staged := slices.Clone(files)
	staged[0].Content = slices.Concat([]byte(unread), first.Content)
	swapped, err := installing.Swap(ctx, h, staged)
	if err != nil {
		return false, err
	}
	if err := d.check(ctx, h); err != nil {
		return false, errors.Join(err, swapped.Undo(ctx))
	}
	err = d.reload(ctx, h, s)
	if err == nil {
		err = settle()
	}
	if err == nil {
		err = h.WriteFile(ctx, first.Path, first.Content, first.Mode)
	}
	if err != nil {
		return false, errors.Join(err, d.undo(ctx, h, s, swapped))
	}
	return true, nil
}

func differ(ctx context.Context, h driver.Host, files []installing.File) (bool, error) {
	for _, f := range files {
		content, err := h.ReadFile(ctx, f.Path, blocking.MaxFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
		if err != nil || !bytes.Equal(content, f.Content) {
			return true, nil
		}
	}
	return false, nil
}

// undoing is the time that a roll-back has, beside what a reload may take.
const undoing = time.Minute

// undo puts files back and makes nginx read them, also when the caller's time has run
// out. Nothing is said where that worked; else the error wraps ErrDamaged.
func (d *Door) undo(ctx context.Context, h driver.Host, s *site, swapped *installing.Swapped) error {
	if !swapped.Changed() {
		return nil
	}
	if err := swapped.Undo(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.options.Patience+undoing)
	defer cancel()
	if err := d.reload(ctx, h, s); err != nil {
		return fmt.Errorf("%w: the files are as they were, and nginx reads them at its next reload: %w", tallystick.ErrDamaged, err)
	}
	return nil
}
