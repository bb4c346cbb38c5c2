// SPDX-License-Identifier: Apache-2.0

// Command tally finds the credentials of machines, says what is wrong with
// them, and keeps watch. Each command is a file of this package: it parses its
// arguments, calls a feature, and prints.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // from here on a second signal ends the process at once
	p := &program{in: os.Stdin, out: os.Stdout, err: os.Stderr, getenv: os.Getenv, now: time.Now}
	status := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(status)
}
