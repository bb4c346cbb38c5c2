// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/holding"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/processes"
)

const (
	quietWithin = time.Second            // for an instant in which nobody is signing in
	settling    = 300 * time.Millisecond // in which processes hear of a reload
)

// reload makes Dovecot read its files again, and returns when no process of before takes
// clients any more.
//
// Dovecot closes the connections that have not signed in when it reloads. So new ones are
// held back, and those that are signing in get a moment to be done; who has not signed in
// after it is only lingering, or too slow, and connects again.
func (d *door) reload(ctx context.Context, h driver.Host, c *block) error {
	master, err := processes.Master(ctx, h, c.values["base_dir"]+"/master.pid")
	if err != nil {
		return err
	}
	if d.Hold {
		listeners := c.signingIn()
		defer holding.Hold(ctx, h, listeners, "dovecot")()
		d.quiet(ctx, h, holding.Ports(listeners))
	}
	before, err := processes.Children(ctx, h, master)
	if err != nil {
		return err
	}
	if _, err := installing.Run(ctx, h, "doveadm", "-c", d.Config, "reload"); err != nil {
		return err
	}
	return d.heeded(ctx, h, master, before)
}

// heeded waits until the master has heeded a reload: it begins a further process that
// writes the log then. Processes that wait for clients are told in the same moment, and
// settling is the time in which they hear it. Those that are left pass on what
// clients say who are signed in.
func (d *door) heeded(ctx context.Context, h driver.Host, master int, before []processes.Process) error {
	for began, wait := time.Now(), 10*time.Millisecond; ; wait = 50 * time.Millisecond {
		children, err := processes.Children(ctx, h, master)
		if err != nil {
			return err
		}
		if slices.ContainsFunc(children, func(p processes.Process) bool {
			return isLog(p) && !slices.ContainsFunc(before, func(old processes.Process) bool { return old.PID == p.PID })
		}) {
			return network.Sleep(ctx, settling)
		}
		if time.Since(began) > d.Patience {
			return fmt.Errorf("dovecot has not heeded the reload within %s", d.Patience)
		}
		if err := network.Sleep(ctx, wait); err != nil {
			return err
		}
	}
}

// isLog says whether a process writes the log: "dovecot/log", or "dovecot-NAME/log" with
// an instance_name.
func isLog(p processes.Process) bool {
	program, _, _ := strings.Cut(p.Title, " ")
	return strings.HasPrefix(program, "dovecot") && strings.HasSuffix(program, "/log")
}

// signingIn are the listeners at which clients sign in: not those of LMTP, whose
// connections doveadm who does not tell of.
func (b *block) signingIn() []driver.Listener {
	var all []driver.Listener
	for _, p := range b.ports() {
		if p.service != "lmtp" {
			all = append(all, p.Listener)
		}
	}
	return all
}

// quiet waits until as many are signed in as there are connections, twice in a row: who
// has just signed out may be listed still.
func (d *door) quiet(ctx context.Context, h driver.Host, ports []string) {
	calm := 0
	for began := time.Now(); calm < 2 && time.Since(began) < quietWithin; {
		// Connections first: those that sign in meanwhile count among the signed in.
		open, err := established(ctx, h, ports)
		signedIn, failed := d.sessions(ctx, h)
		if calm++; err != nil || failed != nil || open > signedIn {
			calm = 0
		}
		if calm < 2 && network.Sleep(ctx, 20*time.Millisecond) != nil {
			return
		}
	}
}

// established counts the connections of clients to the ports.
func established(ctx context.Context, h driver.Host, ports []string) (int, error) {
	filter := "sport = :" + strings.Join(ports, " or sport = :")
	text, err := installing.Run(ctx, h, "ss", "-H", "-t", "-n", "state", "established", filter)
	return strings.Count(text, "\n"), err
}

// sessions counts the sessions of a user, or of all where none is named.
func (d *door) sessions(ctx context.Context, h driver.Host, user ...string) (int, error) {
	output, err := h.Run(ctx, driver.Command{Args: slices.Concat([]string{"doveadm", "-c", d.Config, "-f", "tab", "who", "-1"}, user)})
	return countSessions(string(output.Stdout)), err
}
