// SPDX-License-Identifier: Apache-2.0

package haproxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/processes"
)

var infoPID = regexp.MustCompile(`(?m)^Pid: ([0-9]+)\r?$`)

// answering returns the process that answers at the admin socket: during a reload it may
// be the old one as well as the new one, because both have the socket.
func (d *Door) answering(ctx context.Context, h driver.Host) (int, error) {
	answer, err := d.ask(ctx, h, "show info")
	if err != nil {
		return 0, err
	}
	if match := infoPID.FindStringSubmatch(answer); match != nil {
		return strconv.Atoi(match[1])
	}
	return 0, invalid("HAProxy does not say which process it is")
}

// master returns the process that starts the others, 0 where HAProxy runs without one.
func (d *Door) master(ctx context.Context, h driver.Host) (int, error) {
	if d.options.Socket == "" {
		return processes.Master(ctx, h, d.options.PIDFile)
	}
	worker, err := d.answering(ctx, h)
	if err != nil {
		return 0, err
	}
	fields, err := stat(ctx, h, worker)
	if err != nil {
		return 0, err
	}
	line, err := h.ReadFile(ctx, fmt.Sprintf("/proc/%d/cmdline", fields.parent), 1<<20)
	if err != nil || !d.isHAProxy(string(line)) {
		return 0, nil
	}
	return fields.parent, nil
}

// facts are what the kernel says of a process.
type facts struct {
	parent  int
	started int64 // ticks since the machine started
}

// stat reads proc(5), /proc/PID/stat: pid (name) state ppid, and the time as field 22.
func stat(ctx context.Context, h driver.Host, pid int) (facts, error) {
	text, err := h.ReadFile(ctx, fmt.Sprintf("/proc/%d/stat", pid), 1<<16)
	if err != nil {
		return facts{}, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:])) // the name may have anything in it
	if len(fields) < 20 {
		return facts{}, invalid("couldn't read what the kernel says of process %d", pid)
	}
	parent, err := strconv.Atoi(fields[1])
	started, wrong := strconv.ParseInt(fields[19], 10, 64)
	if err := errors.Join(err, wrong); err != nil {
		return facts{}, invalid("couldn't read what the kernel says of process %d: %v", pid, err)
	}
	return facts{parent, started}, nil
}

func (d *Door) isHAProxy(title string) bool {
	name := strings.FieldsFunc(title, func(c rune) bool { return c == 0 || c == ' ' })
	return len(name) > 0 && path.Base(name[0]) == path.Base(d.options.Program)
}

// workers returns the workers of a master, the newest last: that is the one that takes
// new connections, or is about to.
func (d *Door) workers(ctx context.Context, h driver.Host, master int) ([]int, error) {
	children, err := processes.Children(ctx, h, master)
	if err != nil {
		return nil, err
	}
	started := map[int]int64{}
	var pids []int
	for _, p := range children {
		one, err := stat(ctx, h, p.PID)
		if errors.Is(err, fs.ErrNotExist) || !d.isHAProxy(p.Title) {
			continue
		}
		if err != nil {
			return nil, err
		}
		started[p.PID] = one.started
		pids = append(pids, p.PID)
	}
	slices.SortFunc(pids, func(a, b int) int { return int(started[a] - started[b]) })
	return pids, nil
}

// wait calls done until it says yes, or patience ends.
func (d *Door) wait(ctx context.Context, what string, done func() (bool, error)) error {
	pause := 5 * time.Millisecond
	for began := time.Now(); time.Since(began) < d.options.Patience; {
		if ok, err := done(); err != nil || ok {
			return err
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 50*time.Millisecond)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%w: %s within %s: its log says why", tallystick.ErrUnavailable, what, d.options.Patience)
}

// steady waits until the newest process alone answers at the admin socket. That is so
// when it has answered a few times running, because the one before it lets go of the
// socket together with its other listeners.
func (d *Door) steady(ctx context.Context, h driver.Host) error {
	const running = 3
	master, err := d.master(ctx, h)
	if err != nil || master == 0 {
		return err
	}
	count := 0
	return d.wait(ctx, "HAProxy has not ended a reload", func() (bool, error) {
		workers, err := d.workers(ctx, h, master)
		if err != nil {
			return false, err
		}
		pid, err := d.answering(ctx, h)
		if err != nil || len(workers) == 0 || pid != workers[len(workers)-1] {
			count = 0
			return false, nil // while a process starts the socket may be away
		}
		count++
		return count >= running, nil
	})
}

// repeat is after what time without a new process the master is told again, at first.
const repeat = 2 * time.Second

// reload makes HAProxy read its configuration anew, and returns when a new process has.
func (d *Door) reload(ctx context.Context, h driver.Host) error {
	master, err := d.master(ctx, h)
	if err != nil {
		return err
	}
	if master == 0 {
		return invalid("HAProxy runs without a master (-W), and cannot be reloaded")
	}
	before, err := d.workers(ctx, h, master)
	if err != nil {
		return err
	}
	// A master that reloads for somebody else ignores what asks it to.
	again, pause := time.Now(), repeat
	err = d.wait(ctx, "HAProxy has not read its configuration", func() (bool, error) {
		if !time.Now().Before(again) {
			again, pause = again.Add(pause), 2*pause
			if err := processes.Signal(ctx, h, "USR2", master); err != nil {
				return false, err
			}
		}
		now, err := d.workers(ctx, h, master)
		return len(now) > 0 && !slices.Contains(before, now[len(now)-1]), err
	})
	if err != nil || d.options.Socket == "" {
		return err
	}
	return d.steady(ctx, h)
}

// endOld ends processes from before a reload, which know of nothing that was done since,
// after grace.
func (d *Door) endOld(ctx context.Context, h driver.Host) (ended int, left []string, err error) {
	master, err := d.master(ctx, h)
	if err != nil || master == 0 {
		return 0, nil, err
	}
	workers, err := d.workers(ctx, h, master)
	if err != nil || len(workers) < 2 {
		return 0, nil, err
	}
	old := workers[:len(workers)-1]
	return processes.End(ctx, h, master, d.options.Grace, func(p processes.Process) bool { return slices.Contains(old, p.PID) })
}
