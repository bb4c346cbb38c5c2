// SPDX-License-Identifier: Apache-2.0

// Command entra measures what it costs to read the sign-ins of Microsoft 365: those of one
// large tenant, page by page, and those of thousands of small ones by one process.
//
//	go run ./bench/entra [-records 100000,1000000] [-tenants 3600]
//
// No tenant of Microsoft's can be had for this: it reads from the emulator of
// internal/lab/entra, which is a process of its own and whose cost is given apart. Each size is
// read in a process of its own, so that its peak of memory is its own. The driver keeps to
// five requests in ten seconds by a clock that is told to jump where it would wait.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	records := flag.String("records", "100000,1000000", "how many sign-ins the tenant has")
	tenants := flag.Int("tenants", 3600, "how many small tenants there are; 0 leaves them out")
	role := flag.String("role", "", "used by the program itself")
	flag.Parse()
	var err error
	switch *role {
	case "":
		err = measureAll(*records, *tenants)
	case "emulator":
		err = emulate(*records, *tenants)
	default:
		err = read(*role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "entra:", err)
		os.Exit(1)
	}
}

// A place is where the emulator is, and what is in it.
type place struct {
	Login, Graph, CA, Secret string
	Application, Product     string
	Tenants                  []string
	Records                  int
}

// A result is what a reader says in the end.
type result struct {
	Records  int
	Requests int           // rounds, for many tenants
	Waited   time.Duration // that the clock jumped
	Took     time.Duration
}

func measureAll(records string, tenants int) error {
	fmt.Println("read by          records   CPU s   us/record   peak MB   wall s   at Microsoft's limit   the emulator's CPU s")
	for text := range strings.SplitSeq(records, ",") {
		if err := measure("one", text, 1); err != nil {
			return err
		}
	}
	if tenants > 0 {
		return measure("many", "5", tenants)
	}
	return nil
}

// measure has one size read by a process of its own.
func measure(role, records string, tenants int) error {
	dir, err := os.MkdirTemp("", "bench-entra")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		return err
	}
	emulator := exec.Command(self, "-role", "emulator", "-records", records, "-tenants", strconv.Itoa(tenants))
	emulator.Dir, emulator.Stderr = dir, os.Stderr
	out, err := emulator.StdoutPipe()
	if err != nil {
		return err
	}
	stop, err := emulator.StdinPipe() // it ends when this is closed
	if err != nil {
		return err
	}
	if err := emulator.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return fmt.Errorf("couldn't start the emulator: %w", err)
	}
	before := cpuOf(emulator.Process.Pid)
	reader := exec.Command(self, "-role", role)
	reader.Dir, reader.Stderr, reader.Stdin = dir, os.Stderr, strings.NewReader(line)
	said, err := reader.Output()
	if err != nil {
		return fmt.Errorf("couldn't read: %w", err)
	}
	cost := cpuOf(emulator.Process.Pid) - before
	var r result
	if err := json.Unmarshal(said, &r); err != nil {
		return err
	}
	report(role, tenants, r, reader.ProcessState, cost)
	stop.Close()
	return emulator.Wait()
}

func report(role string, tenants int, r result, state *os.ProcessState, cost time.Duration) {
	cpu := state.UserTime() + state.SystemTime()
	name := "one tenant"
	if role == "many" {
		name = fmt.Sprintf("%d tenants", tenants)
	}
	limit := "-"
	if r.Waited > 0 {
		limit = fmt.Sprintf("%.0f s", r.Waited.Seconds())
	}
	fmt.Printf("%-14s %9d %7.2f %11.1f %9d %8.1f %22s %22.2f\n", name, r.Records, cpu.Seconds(), float64(cpu.Microseconds())/float64(max(r.Records, 1)),
		state.SysUsage().(*syscall.Rusage).Maxrss/1024, r.Took.Seconds(), limit, cost.Seconds())
	if role == "many" {
		fmt.Printf("               %d rounds: %.0f us of CPU each\n", r.Requests, float64(cpu.Microseconds())/float64(max(r.Requests, 1)))
	}
}

// cpuOf returns what a process has used so far (proc(5), fields 14 and 15, in hundredths of a second).
func cpuOf(pid int) time.Duration {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(fields[11], 10, 64)
	system, _ := strconv.ParseInt(fields[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}
