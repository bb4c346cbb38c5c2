// SPDX-License-Identifier: Apache-2.0

// Command files measures the files driver on directories of this machine and,
// in the same run, programs that everybody has doing less than the same work.
// See README.md.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/files"
)

func main() {
	rounds := flag.Int("rounds", 3, "how often to measure each; the median is shown")
	worker := flag.Bool("once", false, "only look once and print the counts, as the measured process does")
	flag.Parse()
	targets := flag.Args()
	if len(targets) == 0 {
		targets = []string{"/usr", "/etc", "/opt"}
	}
	run := compare
	if *worker {
		run = once
	}
	if err := run(targets, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// once looks at the targets and says what was there.
func once(targets []string, _ int) error {
	opened, err := files.Driver().Open(nil)
	if err != nil {
		return err
	}
	c := &counter{}
	if err := opened.(driver.Finder).Find(context.Background(), driver.FindRequest{Targets: targets, Now: time.Now}, c); err != nil {
		return err
	}
	fmt.Printf("%d files, %d sightings, %d misses\n", c.files.Load(), c.seen.Load(), c.missed.Load())
	return nil
}

// A counter is a sink that counts.
type counter struct{ files, seen, missed atomic.Int64 }

func (c *counter) Saw(tallystick.Sighting) error { c.seen.Add(1); return nil }
func (c *counter) Missed(tallystick.Miss) error  { c.missed.Add(1); return nil }
func (c *counter) Progress(done, total int64)    { c.files.Store(done) }

// A contender is a command that is measured.
type contender struct {
	name string
	args []string
	also string // what its output means: printed as it is, or counted in lines
}

func compare(targets []string, rounds int) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("couldn't find this program: %w", err)
	}
	contenders := []contender{
		{"files driver", append([]string{self, "-once"}, targets...), ""},
		{"find -type f", append(append([]string{"find"}, targets...), "-xdev", "-type", "f"), "files"},
		{"find -exec head -c 64", append(append([]string{"find"}, targets...), "-xdev", "-type", "f", "-exec", "head", "-q", "-c", "64", "{}", "+"), ""},
		{"grep -rlI 'BEGIN CERTIFICATE'", append([]string{"grep", "-rlI", "BEGIN CERTIFICATE"}, targets...), "files"},
	}
	fmt.Printf("targets %s, median of %d rounds, warm page cache\n\n", strings.Join(targets, " "), rounds)
	fmt.Printf("%-32s %8s %8s %10s  %s\n", "command", "CPU s", "wall s", "peak MiB", "result")
	for _, c := range contenders {
		var all []measure
		for range rounds + 1 { // the first one warms the cache
			m, err := c.measure()
			if err != nil {
				return fmt.Errorf("couldn't run %s: %w", c.name, err)
			}
			all = append(all, m)
		}
		all = all[1:]
		slices.SortFunc(all, func(a, b measure) int { return cmp.Compare(a.cpu, b.cpu) })
		m := all[len(all)/2]
		fmt.Printf("%-32s %8.2f %8.2f %10.0f  %s\n", c.name, m.cpu.Seconds(), m.wall.Seconds(), float64(m.peak)/1024, m.result)
	}
	return nil
}

type measure struct {
	cpu, wall time.Duration
	peak      int64 // KiB
	result    string
}

// measure runs the command once. CPU is that of the process and all its children.
func (c contender) measure() (measure, error) {
	cmd := exec.Command(c.args[0], c.args[1:]...)
	start := time.Now()
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) { // find and grep exit with 1 or 2 for one unreadable file
		return measure{}, err
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	m := measure{cpu: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), wall: time.Since(start), peak: usage.Maxrss}
	switch {
	case c.also != "":
		m.result = fmt.Sprintf("%d %s", strings.Count(string(out), "\n"), c.also)
	case len(out) < 200:
		m.result = strings.TrimSpace(string(out))
	}
	return m, nil
}
