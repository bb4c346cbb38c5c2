// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A contender is one program doing one task.
type contender struct {
	task, name string
	// command returns the arguments that ask count endpoints of a port, and
	// the file that goes to standard input, if any.
	command func(t targets) (args []string, stdin string)
	count   int // of endpoints
	// got counts the endpoints that the output answers the task for.
	got func(output io.Reader) (int, error)
}

// targets are the endpoints that one run asks.
type targets struct {
	port  int
	count int
	file  string // of addresses with ports, one a line
	hosts string // of addresses alone
}

// writeTargets writes the lists that programs read.
func writeTargets(dir string, port, count int) (targets, error) {
	t := targets{port: port, count: count,
		file: fmt.Sprintf("%s/endpoints-%d-%d", dir, port, count), hosts: fmt.Sprintf("%s/hosts-%d", dir, count)}
	var endpoints, hosts strings.Builder
	for _, a := range addresses(count) {
		fmt.Fprintf(&endpoints, "%s:%d\n", a, port)
		fmt.Fprintln(&hosts, a)
	}
	return t, errors.Join(os.WriteFile(t.file, []byte(endpoints.String()), 0o600), os.WriteFile(t.hosts, []byte(hosts.String()), 0o600))
}

// A measure is what one run cost.
type measure struct {
	cpu, wall time.Duration
	// peak is of resident memory, in KiB. Linux begins to count with the process
	// that starts another one, so that this program has to stay small: it keeps
	// no output in memory.
	peak int64
	got  int
}

// median runs the contender once to warm up and then rounds times, and returns
// the run with the median of the CPU time.
func (c contender) median(t targets, rounds int) (measure, error) {
	var all []measure
	for range rounds + 1 {
		m, err := c.run(t)
		if err != nil {
			return measure{}, fmt.Errorf("couldn't run %s: %w", c.name, err)
		}
		all = append(all, m)
		if m.wall > slow {
			break // what takes minutes is measured once
		}
	}
	if len(all) > 1 {
		all = all[1:]
	}
	slices.SortFunc(all, func(a, b measure) int { return cmp.Compare(a.cpu, b.cpu) })
	return all[len(all)/2], nil
}

const (
	slow  = time.Minute
	limit = 10 * time.Minute // of one run
)

// run measures the program on CPU 0, with all its children.
func (c contender) run(t targets) (measure, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	args, stdin := c.command(t)
	cmd := exec.CommandContext(ctx, "taskset", append([]string{"-c", "0"}, args...)...)
	if stdin != "" {
		in, err := os.Open(stdin)
		if err != nil {
			return measure{}, err
		}
		defer in.Close()
		cmd.Stdin = in
	}
	out, err := os.CreateTemp("", "bench-network-output")
	if err != nil {
		return measure{}, err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = out, &errs
	start := time.Now()
	err = cmd.Run()
	wall := time.Since(start)
	var exit *exec.ExitError
	if err != nil && (ctx.Err() != nil || !errors.As(err, &exit)) {
		return measure{}, errors.Join(ctx.Err(), err)
	}
	if _, err := out.Seek(0, io.SeekStart); err != nil {
		return measure{}, err
	}
	got, readErr := c.got(out)
	if got == 0 || readErr != nil {
		return measure{}, fmt.Errorf("it found nothing (%v): %.300s", errors.Join(err, readErr), errs.String())
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	return measure{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), wall: wall, peak: usage.Maxrss, got: got}, nil
}
