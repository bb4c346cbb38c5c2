// SPDX-License-Identifier: Apache-2.0

// Command reconcile makes the two sides of a tally, sign-ins as Microsoft Graph
// gives them and the use records of a holder, and measures programs that find
// what is foreign in them. See README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	n := flag.Int("n", 1_000_000, "sign-ins, and about as many records of the holder")
	foreign := flag.Int("foreign", 1000, "how many of the sign-ins are foreign")
	rounds := flag.Int("rounds", 3, "how often to measure each; the median is shown")
	dir := flag.String("dir", "", "keep the data in this directory, and use it when it is there (default a temporary one)")
	also := flag.String("also", "", "also measure this program: it is given the holder's file and the sign-ins, and prints how many are foreign")
	flag.Parse()
	if err := run(*n, *foreign, *rounds, *dir, *also); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(n, foreign, rounds int, dir, also string) error {
	if dir == "" {
		temporary, err := os.MkdirTemp("", "reconcile-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(temporary)
		dir = temporary
	}
	holder, relying := filepath.Join(dir, "holder.ndjson"), filepath.Join(dir, "signins.ndjson")
	if _, err := os.Stat(relying); err != nil {
		if err := generate(holder, relying, n, foreign); err != nil {
			return fmt.Errorf("couldn't make the data: %w", err)
		}
	}
	tally := filepath.Join(dir, "tally")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", tally, "github.com/tallystick/tallystick/cmd/tally").CombinedOutput(); err != nil {
		return fmt.Errorf("couldn't build tally: %w\n%s", err, out)
	}
	size, err := sizeOf(holder, relying)
	if err != nil {
		return err
	}
	fmt.Printf("%d sign-ins and as many records, %.2f GB\n", n, float64(size)/1e9)
	contenders := []contender{{"wc -l (reading alone)", "wc", []string{"-l", holder, relying}, ""},
		{"tally reconcile", tally, []string{"reconcile", "--holder", holder, "--relying", relying, "--close-at-end", "--json", "--out", os.DevNull}, "foreign"}}
	if also != "" {
		contenders = append(contenders, contender{also, also, []string{holder, relying}, "foreign"})
	}
	for _, c := range contenders {
		if err := c.measure(rounds, n, foreign); err != nil {
			return err
		}
	}
	return nil
}

func sizeOf(paths ...string) (size int64, err error) {
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			return 0, err
		}
		size += info.Size()
	}
	return size, nil
}

// A contender is a program that is measured.
type contender struct {
	name, program string
	args          []string
	says          string // what it must say after the number of foreign uses
}

// measure runs it and prints medians. One that finds something else than what
// was planted is no contender.
func (c contender) measure(rounds, n, foreign int) error {
	var cpu, wall []time.Duration
	var memory int64
	for range rounds {
		cmd := exec.Command(c.program, c.args...)
		began := time.Now()
		out, err := cmd.CombinedOutput()
		wall = append(wall, time.Since(began))
		if cmd.ProcessState == nil {
			return fmt.Errorf("couldn't run %s: %w", c.name, err)
		}
		if want := fmt.Sprintf("%d foreign", foreign); c.says != "" && !strings.Contains(string(out), want) {
			return fmt.Errorf("%s does not say %q but:\n%s", c.name, want, out)
		}
		cpu = append(cpu, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
		memory = max(memory, cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	}
	slices.Sort(cpu)
	slices.Sort(wall)
	half := rounds / 2
	fmt.Printf("%-24s %7.2f CPU s  %7.2f s  %6d MiB  %9.0f records/s/core\n", filepath.Base(c.name), cpu[half].Seconds(), wall[half].Seconds(),
		memory/1024, float64(2*n)/cpu[half].Seconds())
	return nil
}
