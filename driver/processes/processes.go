// SPDX-License-Identifier: Apache-2.0

// Package processes is what drivers of doors share whose servers are a master with processes
// that it has started: those of before a reload know nothing of what the server has read since.
package processes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// A Process is one that a server's master has started.
type Process struct {
	PID   int
	Title string // what ps shows
}

// Master returns the process id in a file of one; ErrUnavailable where there is none, or none yet, or
// where that process does not run.
func Master(ctx context.Context, h driver.Host, path string) (int, error) {
	text, err := h.ReadFile(ctx, path, 64)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: the server does not run: there is no %s", tallystick.ErrUnavailable, path)
	}
	if err != nil {
		return 0, err
	}
	if len(text) == 0 { // a server makes the file, and then writes it
		return 0, fmt.Errorf("%w: the server has not written its process id to %s yet", tallystick.ErrUnavailable, path)
	}
	// HAProxy writes a line for each process, the master's first.
	first, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil || pid < 2 {
		return 0, fmt.Errorf("%w: %s has no process id", tallystick.ErrInvalid, path)
	}
	if _, err := h.Stat(ctx, fmt.Sprintf("/proc/%d", pid)); errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: the server does not run: process %d of %s is gone", tallystick.ErrUnavailable, pid, path)
	}
	return pid, nil
}

// Children returns the processes that a process has started and that run, as Linux
// tells (proc(5), /proc/PID/task/TID/children), by process id.
func Children(ctx context.Context, h driver.Host, pid int) ([]Process, error) {
	text, err := h.ReadFile(ctx, fmt.Sprintf("/proc/%d/task/%d/children", pid, pid), 1<<20)
	if err != nil {
		return nil, fmt.Errorf("couldn't see what process %d has started: %w", pid, err)
	}
	var all []Process
	for _, field := range strings.Fields(string(text)) {
		child, err := strconv.Atoi(field)
		if err != nil {
			return nil, fmt.Errorf("%w: couldn't read the children of process %d", tallystick.ErrInvalid, pid)
		}
		line, err := h.ReadFile(ctx, fmt.Sprintf("/proc/%d/cmdline", child), 1<<20)
		if err != nil || len(line) == 0 {
			continue // it has ended
		}
		all = append(all, Process{child, string(bytes.TrimRight(bytes.ReplaceAll(line, []byte{0}, []byte{' '}), " "))})
	}
	slices.SortFunc(all, func(a, b Process) int { return a.PID - b.PID })
	return all, nil
}

// Signal sends a signal ("TERM") to processes. Those that have ended are no error.
func Signal(ctx context.Context, h driver.Host, signal string, pids ...int) error {
	// kill is a command of the shell everywhere, and a program only on some machines.
	args := []string{"sh", "-c", `for pid; do kill -s "$0" "$pid" 2>/dev/null; done; :`, signal}
	for _, pid := range pids {
		args = append(args, strconv.Itoa(pid))
	}
	_, err := installing.Run(ctx, h, args...)
	return err
}

// maxPause is how often processes are looked at in the end; at first it is more often,
// because most reloads take no longer than a look.
const maxPause = 50 * time.Millisecond

// Outlive waits until none of the children of master is one of those that old picks, or
// patience ends, and returns those that are left.
func Outlive(ctx context.Context, h driver.Host, master int, patience time.Duration, old func(Process) bool) ([]Process, error) {
	pause := 5 * time.Millisecond
	for began := time.Now(); ; {
		children, err := Children(ctx, h, master)
		if err != nil {
			return nil, err
		}
		left := slices.DeleteFunc(children, func(p Process) bool { return !old(p) })
		if len(left) == 0 || time.Since(began) >= patience {
			return left, nil
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, maxPause)
		case <-ctx.Done():
			return left, ctx.Err()
		}
	}
}

// dying is the time that a process has to end after it was told to.
const dying = 5 * time.Second

// End lets the children of master that old picks finish what they are at for grace, and
// ends those that are left. It says how many that were, and which did not end.
func End(ctx context.Context, h driver.Host, master int, grace time.Duration, old func(Process) bool) (ended int, left []string, err error) {
	lingering, err := Outlive(ctx, h, master, grace, old)
	if err != nil || len(lingering) == 0 {
		return 0, nil, err
	}
	var pids []int
	for _, p := range lingering {
		pids = append(pids, p.PID)
	}
	if err := Signal(ctx, h, "TERM", pids...); err != nil {
		return 0, nil, err
	}
	stuck, err := Outlive(ctx, h, master, dying, func(p Process) bool { return slices.Contains(pids, p.PID) && old(p) })
	for _, p := range stuck {
		left = append(left, fmt.Sprintf("pid %d: it was told to end and has not; its connections stay open", p.PID))
	}
	return len(lingering) - len(stuck), left, err
}
