// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/scan"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules"
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
	cmd.Flags().BoolVar(&flags.all, "all", false, "list every credential, also those of trust stores, those with nothing wrong, and with --json those that an endpoint sends above its leaf")
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
	progress := p.newProgress()
	s := p.newScan(progress, flags.rate, flags.timeout)
	failed := errors.Join(s.Trust(ctx), s.Look(ctx, targets))
	progress.stop()
	// What was found before a signal is worth seeing too.
	result, err := s.Judge(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	if err := flags.print(out, result); err != nil {
		return fmt.Errorf("couldn't write what was found: %w", err)
	}
	if err := out.done(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return problem.With(fmt.Errorf("stopped before everything was seen: %w", ctx.Err()), "what was found until then is shown")
	}
	if failed = errors.Join(failed, unreadable(targets.Paths, result)); failed != nil {
		return failed
	}
	return failOnFindings(result.Found, failOn)
}

// newScan returns a scan with every driver, and with the rules that need no
// inventory: nobody has said yet who owns what is found.
func (p *program) newScan(progress *progress, rate int, timeout time.Duration) *scan.Scan {
	needNone := slices.DeleteFunc(rules.All(), func(r rule.Rule) bool { return r.Name == "no-owner" })
	return scan.New(scan.Options{
		Drivers: drivers.All(), Rules: needNone, Now: p.now, Rate: rate, Timeout: timeout, Progress: progress,
	})
}

// unreadable returns an error for the paths that were named and in which
// nothing was seen because they could not be read.
func unreadable(paths []string, result scan.Result) error {
	var err error
	for _, path := range paths {
		absolute, absErr := filepath.Abs(path)
		if absErr != nil {
			return absErr
		}
		place := tallystick.FilePlace(absolute)
		i := slices.IndexFunc(result.Misses, func(m tallystick.Miss) bool { return m.Place == place })
		if i >= 0 && !slices.ContainsFunc(result.Found, func(f scan.Found) bool { return f.Place == place }) {
			err = &statusError{err: fmt.Errorf("couldn't read %s: %s", path, result.Misses[i].Error), status: problem.ExitFailed}
		}
	}
	return err
}

// check returns the severity of --fail-on, or 0.
func (f scanFlags) check() (tallystick.Severity, error) {
	switch {
	case f.rate < 0:
		return 0, usage(fmt.Errorf("--rate %d is less than nothing", f.rate), "leave it out for no limit")
	case f.rate > scan.MaxRate:
		return 0, usage(fmt.Errorf("--rate %d is more than %d", f.rate, scan.MaxRate), "leave it out for no limit")
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
func (f scanFlags) print(out io.Writer, result scan.Result) error {
	if f.json {
		return printSightings(out, result, f.all)
	}
	return printReport(out, result, f.all)
}

// failOnFindings returns the error of --fail-on.
func failOnFindings(found []scan.Found, failOn tallystick.Severity) error {
	if failOn == 0 {
		return nil
	}
	count := 0
	for _, j := range found {
		for _, f := range j.Findings {
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
