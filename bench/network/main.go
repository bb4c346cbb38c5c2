// SPDX-License-Identifier: Apache-2.0

// Command network measures "tally scan" on thousands of TLS servers of its own
// on the loopback device and, in the same run, the programs that Debian has for
// the task. With -sets it compares what each of them finds. See README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

// options are the flags.
type options struct {
	endpoints int
	rounds    int
	tally     string
	n         counts
	timeout   time.Duration
}

func main() {
	var o options
	flag.IntVar(&o.endpoints, "endpoints", 5000, "how many servers the farm has, and tally scan is asked about")
	flag.IntVar(&o.rounds, "rounds", 3, "how often to measure each after one run to warm up; the median is shown")
	flag.StringVar(&o.tally, "tally", "", "measure this program instead of building cmd/tally")
	flag.IntVar(&o.n.nmap, "nmap", 100, "how many endpoints to ask with nmap")
	flag.IntVar(&o.n.sslscan, "sslscan", 20, "how many endpoints to ask with sslscan")
	flag.IntVar(&o.n.testssl, "testssl", 1, "how many endpoints to ask with testssl; 0 leaves it out")
	flag.DurationVar(&o.timeout, "timeout", 2*time.Second, "of a connection, where half of the endpoints do not answer")
	only := flag.String("only", "", "measure this alone: certificate, versions, suites, kinds or dead")
	compare := flag.Bool("sets", false, "compare the versions and suites that the programs find, and measure nothing")
	server := flag.Bool("serve", false, "be the farm, as the process that serves is")
	flag.Parse()
	o.n.tally = o.endpoints
	var err error
	switch {
	case *server:
		err = serveFarm(o.endpoints)
	case *compare:
		err = compareSets(o.tally)
	default:
		err = bench(o, *only)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// bench measures all, or what was asked for alone.
func bench(o options, only string) error {
	if err := need("taskset", "nmap", "sslscan", "testssl"); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-network")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.tally == "" {
		if o.tally, err = buildTally(dir); err != nil {
			return err
		}
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if only != "dead" {
		ports, stop, err := startFarm(self, o.endpoints)
		if err != nil {
			return err
		}
		defer stop()
		if err := benchTasks(o, dir, ports, only); err != nil {
			return err
		}
		if err := benchKinds(o, dir, ports, only); err != nil {
			return err
		}
	}
	if only == "" || only == "dead" {
		return benchDead(o, dir, self)
	}
	return nil
}

// benchTasks compares the programs on the plain servers of the farm.
func benchTasks(o options, dir string, ports farmPorts, only string) error {
	fmt.Printf("%-12s %-28s %9s %9s %12s %9s %9s %8s\n", "task", "program", "endpoints", "whole", "CPU s/1,000", "peak MiB", "wall s", "ratio")
	var ours float64 // of the same task
	for _, c := range contenders(o.tally, o.n) {
		if c.count == 0 || only != "" && only != c.task {
			continue
		}
		t, err := writeTargets(dir, ports.Plain, c.count)
		if err != nil {
			return err
		}
		m, err := c.median(t, o.rounds)
		if err != nil {
			return err
		}
		cost := m.cpu.Seconds() / float64(c.count) * 1000
		if c.count == o.n.tally {
			ours = cost
		}
		fmt.Printf("%-12s %-28s %9d %9d %12.3f %9.0f %9.2f %8.1f\n",
			c.task, c.name, c.count, m.got, cost, float64(m.peak)/1024, m.wall.Seconds(), cost/ours)
	}
	return nil
}

// benchKinds measures us alone on servers of other kinds.
func benchKinds(o options, dir string, ports farmPorts, only string) error {
	if only != "" && only != "kinds" {
		return nil
	}
	for _, kind := range []struct {
		name   string
		port   int
		count  int // fewer of those that cost the farm a signature with RSA for each hello
		only13 bool
	}{{"TLS 1.3 alone", ports.Only13, o.endpoints, true}, {"RSA-2048", ports.RSA, (o.endpoints + 9) / 10, false}} {
		for _, task := range []string{taskCertificate, taskVersions, taskSuites} {
			t, err := writeTargets(dir, kind.port, kind.count)
			if err != nil {
				return err
			}
			m, err := scanner(o.tally, task, kind.count, kind.only13).median(t, o.rounds)
			if err != nil {
				return err
			}
			fmt.Printf("%-12s %-28s %9d %9d %12.3f %9.0f %9.2f\n", task, "tally scan, "+kind.name, kind.count, m.got,
				m.cpu.Seconds()/float64(kind.count)*1000, float64(m.peak)/1024, m.wall.Seconds())
		}
	}
	return nil
}
