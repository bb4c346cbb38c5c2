// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/processes"
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
func stale(p processes.Process) bool {
	return strings.HasPrefix(p.Title, "nginx: worker process is shutting down")
}

func worker(p processes.Process) bool { return strings.HasPrefix(p.Title, "nginx: worker process") }

// reload makes nginx read its configuration, and returns when only workers that have
// read it take new connections.
func (d *Door) reload(ctx context.Context, h driver.Host, s *site) error {
	master, err := processes.Master(ctx, h, s.pidFile)
	if err != nil {
		return err
	}
	before, err := processes.Children(ctx, h, master)
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
	old := func(p processes.Process) bool {
		return worker(p) && !stale(p) && slices.ContainsFunc(before, func(b processes.Process) bool { return b.PID == p.PID })
	}
	left, err := processes.Outlive(ctx, h, master, d.options.Patience, old)
	if err != nil {
		return err
	}
	if len(left) > 0 {
		return fmt.Errorf("%w: nginx has not read its configuration within %s: its error log says why", tallystick.ErrUnavailable, d.options.Patience)
	}
	return nil
}

// change is one of files that nginx reads when it reloads.
func (d *Door) change(h driver.Host, s *site, files []installing.File) installing.Change {
	return installing.Change{
		Host: h, Files: files, Patience: d.options.Patience,
		Check:  func(ctx context.Context) error { return d.check(ctx, h) },
		Reload: func(ctx context.Context) error { return d.reload(ctx, h, s) },
	}
}

// apply puts files into place and makes nginx read them. Then it calls settle. It says whether
// anything was to be done.
func (d *Door) apply(ctx context.Context, h driver.Host, s *site, files []installing.File, settle func(context.Context) error) (bool, error) {
	change := d.change(h, s, files)
	if differs, err := change.Differs(ctx); err != nil || !differs {
		return false, err
	}
	change.Arrived = settle
	_, err := change.Do(ctx)
	return err == nil, err
}
