// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

// scanFlags are the flags of "tally scan".
type scanFlags struct {
	ports   string
	json    bool
	out     string
	rate    int
	timeout time.Duration
	failOn  string
	all     bool
}

func (p *program) scanCommand() *cobra.Command {
	var flags scanFlags
	cmd := &cobra.Command{
		Use:   "scan [TARGET...]",
		Short: "Look for credentials once, and say what is wrong with them",
		Long: `Look for credentials once, and say what is wrong with them. Nothing is kept.

A TARGET is a file or a directory, host:port, https://host, a host, an address or
a CIDR block; "-" reads targets from standard input, one a line. Hosts, addresses
and blocks are asked at the ports of --ports. A word that is both a file here and
a host is taken for the file. Without a target it looks at this machine: its
trust stores, its files, and the TLS ports that listen on it.

Of each credential it says which rules it breaks; "tally rules" explains them.
Rules that need an inventory (who owns a credential) are left out.

` + exitStatuses(
			"0 done, also when some endpoints did not answer: they are listed",
			"1 something failed, or a file or directory that was named could not be read",
			"2 bad usage",
			"3 done, and there are findings of the severity that --fail-on names, or worse"),
		Example: `  tally scan
  tally scan /etc/nginx mail.example.com:993
  tally scan 10.1.0.0/24 --ports 443,8443 --json --out found.ndjson
  tally scan --fail-on high build/certs`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.scan(cmd.Context(), flags, args) },
	}
	cmd.Flags().StringVar(&flags.ports, "ports", "443", "ports of hosts, addresses and blocks: 443,8443,9000-9010")
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line for each sighting")
	cmd.Flags().StringVar(&flags.out, "out", "", "write to this `FILE`, which appears when all is written")
	cmd.Flags().IntVar(&flags.rate, "rate", 0, "endpoints to begin with each second; 0 is no limit")
	cmd.Flags().DurationVar(&flags.timeout, "timeout", 5*time.Second, "how long one connection may take")
	cmd.Flags().StringVar(&flags.failOn, "fail-on", "", "exit with status 3 when there is a finding of this `SEVERITY` or worse")
	cmd.Flags().BoolVar(&flags.all, "all", false, "list every credential, also those of trust stores and those with nothing wrong")
	return cmd
}

// scan is the command.
func (p *program) scan(ctx context.Context, flags scanFlags, args []string) error {
	failOn, err := flags.check()
	if err != nil {
		return err
	}
	targets, err := parseTargets(args, flags.ports, p.in)
	if err != nil {
		return err
	}
	out, err := p.create(flags.out)
	if err != nil {
		return err
	}
	defer out.abandon()
	h := newHaul(p.now)
	failed := p.look(ctx, h, targets, flags)
	// What was found before a signal is worth seeing too.
	judged, err := h.judge(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	if err := flags.print(out, judged, h); err != nil {
		return fmt.Errorf("couldn't write what was found: %w", err)
	}
	if err := out.done(); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	return failOnFindings(judged, failOn)
}

// check returns the severity of --fail-on, or 0.
func (f scanFlags) check() (tallystick.Severity, error) {
	switch {
	case f.rate < 0:
		return 0, usage(fmt.Errorf("--rate %d is less than nothing", f.rate), "leave it out for no limit")
	case f.timeout <= 0:
		return 0, usage(fmt.Errorf("--timeout %v is not a time to wait", f.timeout), "write it as 500ms, 5s or 1m")
	case f.failOn == "":
		return 0, nil
	}
	severity, err := tallystick.ParseSeverity(f.failOn)
	if err != nil {
		return 0, usage(err, "for example --fail-on high")
	}
	return severity, nil
}

// print writes what was found.
func (f scanFlags) print(out io.Writer, judged []judgedSighting, h *haul) error {
	if f.json {
		return printSightings(out, judged, h.misses)
	}
	return printReport(out, judged, h, f.all)
}

// look looks at every target and returns what failed.
func (p *program) look(ctx context.Context, h *haul, targets scanTargets, flags scanFlags) error {
	progress := p.newProgress()
	defer progress.stop()
	s := &looker{haul: h, progress: progress, flags: flags}
	failed := s.anchors(ctx)
	targets.stores = append(targets.stores, h.cas.storesAt(targets.paths)...)
	if targets.machine {
		failed = errors.Join(failed, s.machine(ctx))
	} else {
		failed = errors.Join(failed, s.find(ctx, "truststore", targets.stores), s.find(ctx, "files", targets.paths), s.endpoints(ctx, targets))
	}
	if ctx.Err() != nil {
		return problem.With(fmt.Errorf("stopped before everything was seen: %w", ctx.Err()), "what was found until then is shown")
	}
	return errors.Join(failed, h.unreadable(targets))
}

// failOnFindings returns the error of --fail-on.
func failOnFindings(judged []judgedSighting, failOn tallystick.Severity) error {
	if failOn == 0 {
		return nil
	}
	count := 0
	for _, j := range judged {
		for _, f := range j.findings {
			if f.Severity >= failOn {
				count++
			}
		}
	}
	if count == 0 {
		return nil
	}
	return &statusError{err: fmt.Errorf("%s of severity %s or worse", plural(count, "finding"), failOn), status: problem.ExitFindings}
}

// exitStatuses is the end of a command's help.
func exitStatuses(lines ...string) string {
	return "Exit status:\n  " + strings.Join(lines, "\n  ")
}
