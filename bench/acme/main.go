// SPDX-License-Identifier: Apache-2.0

// Command acme measures what an ACME server spends on an order: from newOrder to the
// certificate and its renewal window, each with a name of its own that is proven by
// http-01. It asks a server of its own, step-ca if there is one, or a server that is
// running. See README.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

// options are the flags.
type options struct {
	orders, rounds, parallel int
	stepca                   string
	target                   target
	polls                    int
}

func main() {
	var o options
	flag.IntVar(&o.orders, "orders", 1000, "how many certificates to order in a round")
	flag.IntVar(&o.rounds, "rounds", 3, "how often to measure; the median is shown")
	flag.IntVar(&o.parallel, "parallel", 8, "how many clients order at the same time")
	flag.StringVar(&o.stepca, "step-ca", "", "measure this step-ca too")
	flag.IntVar(&o.polls, "polls", 100_000, "how many windows to ask for; 0 leaves that out")
	flag.StringVar(&o.target.directory, "directory", "", "measure the server with this directory in place of one of our own; it must prove names at -http-port with the resolver -resolver")
	flag.IntVar(&o.target.pid, "pid", 0, "of the server of -directory")
	flag.StringVar(&o.target.roots, "roots", "", "a file with the root certificates of -directory")
	flag.IntVar(&o.target.httpPort, "http-port", 0, "where the server of -directory proves names")
	flag.StringVar(&o.target.resolver, "resolver", "127.0.0.1:5353", "where the name server for -directory is to listen")
	serve := flag.String("serve", "", "be the server, in this directory; the program starts itself so")
	flag.Parse()
	err := error(nil)
	if *serve != "" {
		err = serveOurs(*serve, flag.Args())
	} else {
		err = bench(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "acme:", err)
		os.Exit(1)
	}
}

// bench measures all servers there are.
func bench(o options) error {
	dir, err := os.MkdirTemp("", "bench-acme-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var targets []target
	if o.target.directory != "" {
		o.target.name = "the server that is running"
		targets = append(targets, o.target)
	} else {
		ours, stop, err := startOurs(dir)
		if err != nil {
			return err
		}
		defer stop()
		targets = append(targets, ours)
	}
	if o.stepca != "" {
		other, stop, err := startStepCA(dir, o.stepca)
		if err != nil {
			return err
		}
		defer stop()
		targets = append(targets, other)
	}
	var first float64
	for i, t := range targets {
		cpu, wall, err := t.measure(o)
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		fmt.Printf("%-28s %6.2f CPU seconds per 1,000 orders, %5.0f orders per second\n", t.name, cpu, float64(o.orders)/wall.Seconds())
		if i == 0 {
			first = cpu
		} else {
			fmt.Printf("%-28s %6.2f times as much\n", "", cpu/first)
		}
	}
	if o.polls == 0 {
		return nil
	}
	return targets[0].measureWindows(o)
}

// measureWindows asks for windows: over connections that stay, and over one for each.
func (t target) measureWindows(o options) error {
	for _, keep := range []bool{true, false} {
		n := o.polls
		how := "connections that stay"
		if !keep {
			n, how = o.polls/10, "a connection for each"
		}
		began := time.Now()
		cpu, err := t.poll(n, o.parallel, keep)
		if err != nil {
			return err
		}
		// 100,000 certificates that ask every ten minutes ask 167 times a second.
		share := cpu / float64(n) * 100_000 / 600 * 100
		fmt.Printf("renewal windows, %-22s %6.1f µs of CPU each, %5.0f a second: 100,000 certificates that ask every 10 minutes take %.1f %% of a core\n",
			how+":", cpu/float64(n)*1e6, float64(n)/time.Since(began).Seconds(), share)
	}
	return nil
}
