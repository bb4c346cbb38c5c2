// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
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
	depth   string
	exclude []string
	rate    int
	perHost int
	workers int
	timeout time.Duration
	hurried bool // --timeout was given
	resume  string
	json    bool
	out     string
	failOn  string
	all     bool
}

func (p *program) scanCommand() *cobra.Command {
	var flags scanFlags
	cmd := &cobra.Command{
		Use:   "scan [TARGET...]",
		Short: "Look for credentials once, and say what is wrong with them",
		Long: `Look for credentials once, and say what is wrong with them. Nothing is kept.

A TARGET is a file or a directory; a host, an address, a CIDR block or a range of
addresses, with or without ports (10.0.0.0/24:443,8443); or any of those with a
protocol before it: https://, smtp://, imap://, ldap://, postgres://, ssh:// and
others. @FILE reads targets from a file and "-" from standard input, one a line;
lines that are no targets are named and left out. Without a port, a target is
asked at that of its protocol, or at --ports. A word that is both a file here and
a host is taken for the file. Without a target it looks at this machine: its
trust stores, its files, and the SSH and TLS ports that listen on it.

Nothing is connected to that was not named, and nothing that --exclude names. One
address is asked at most --per-host times in a second, one network (/24, or /48
of IPv6) ten times as often; endpoints are asked in an order that spreads over
networks. After Ctrl-C the same command with the same --resume-file goes on.

Of each credential it says which rules it breaks; "tally rules" explains them.
Rules that need an inventory (who owns a credential) are left out.

` + exitStatuses(
			"0 done, also when some endpoints did not answer: they are listed",
			"1 something failed, a file or directory that was named could not be read, or a list had lines that are no targets",
			"2 bad usage",
			"3 done, and there are findings of the severity that --fail-on names, or worse"),
		Example: `  tally scan
  tally scan /etc/nginx mail.example.com:993 smtp://mail.example.com ssh://10.1.0.0/24
  tally scan 10.1.0.0/16 --ports 443,8443 --exclude 10.1.7.0/24 --json --out found.ndjson
  tally scan - --resume-file scan.state <targets.txt
  tally scan --fail-on high build/certs`,
		RunE: func(cmd *cobra.Command, args []string) error {
			flags.hurried = cmd.Flags().Changed("timeout")
			return p.scan(cmd.Context(), flags, args)
		},
	}
	flags.addTo(cmd)
	return cmd
}

func (f *scanFlags) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.ports, "ports", "443", "ports of targets that name neither a port nor a protocol: 443,8443,9000-9010")
	cmd.Flags().StringVar(&f.depth, "depth", string(tallystick.DepthVersions), "how much TLS endpoints are asked: certificate, versions (with groups and weak suites), or suites (all of them)")
	cmd.Flags().StringArrayVar(&f.exclude, "exclude", nil, "leave `WHAT` out: a host, *.domain, address, block or range; a file or directory, whose path has a slash in it; or files of a name, as file:NAME; may be repeated")
	cmd.Flags().IntVar(&f.rate, "rate", 0, "connections to begin each second in all; 0 is no limit")
	cmd.Flags().IntVar(&f.perHost, "per-host", 20, "connections to begin each second to one address, and ten times as many to one network; 0 is no limit")
	cmd.Flags().IntVar(&f.workers, "concurrency", 256, "endpoints to look at together, 1 to 10000; networks where many do not answer want more")
	cmd.Flags().DurationVar(&f.timeout, "timeout", 5*time.Second, "how long one connection may take; one that reads metadata has 30s unless this is given")
	cmd.Flags().StringVar(&f.resume, "resume-file", "", "keep in this `FILE` what was found and how far the scan came, go on from there if it exists, and remove it at the end")
	cmd.Flags().BoolVar(&f.json, "json", false, "write one JSON object a line for each sighting")
	cmd.Flags().StringVar(&f.out, "out", "", "write to this `FILE`, which appears when all is written")
	cmd.Flags().StringVar(&f.failOn, "fail-on", "", "exit with status 3 when there is a finding of this `SEVERITY` or worse")
	cmd.Flags().BoolVar(&f.all, "all", false, "list every credential, also those of trust stores, those with nothing wrong, and with --json those that an endpoint sends above its leaf")
}

// scan is the command.
func (p *program) scan(ctx context.Context, flags scanFlags, args []string) error {
	failOn, err := flags.check()
	if err != nil {
		return err
	}
	settings, err := flags.settings()
	if err != nil {
		return err
	}
	progress := p.newProgress()
	defer progress.stop()
	s := p.newScan(progress, settings)
	targets, bad, err := p.scanTargets(ctx, s, args)
	if err != nil {
		return err
	}
	if flags.resume != "" {
		if err := s.Resume(flags.resume, targets); err != nil {
			return err
		}
	}
	out, err := p.create(flags.out)
	if err != nil {
		return err
	}
	defer out.abandon()
	failed := errors.Join(s.Trust(ctx), s.Look(ctx, targets))
	progress.stop()
	// What was found before a signal is worth seeing too.
	result, err := s.Judge(context.WithoutCancel(ctx))
	if err == nil {
		err = flags.write(out, result)
	}
	if err = errors.Join(err, s.Finish(err == nil && failed == nil && ctx.Err() == nil)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return flags.stopped(ctx)
	}
	if bad > 0 {
		failed = errors.Join(failed, &statusError{err: fmt.Errorf("%s of the lists of targets left out: named above", plural(bad, "line")), status: problem.ExitFailed, hint: targetForms})
	}
	if failed = errors.Join(failed, unreadable(targets.Paths, result)); failed != nil {
		return failed
	}
	return failOnFindings(result, failOn)
}

// stopped is the error of a scan that a signal has ended.
func (f scanFlags) stopped(ctx context.Context) error {
	hint := "what was found until then is shown"
	if f.resume != "" {
		hint += "; the same command goes on from here"
	}
	return problem.With(fmt.Errorf("stopped before everything was seen: %w", ctx.Err()), hint)
}

// settings returns the options of drivers that the flags stand for.
func (f scanFlags) settings() (map[string]map[string]string, error) {
	hosts, paths, err := exclusions(f.exclude)
	if err != nil {
		return nil, err
	}
	metadata := map[string]string{"rate": strconv.Itoa(f.rate), "per-host": strconv.Itoa(f.perHost), "exclude": strings.Join(hosts, ",")}
	ssh := maps.Clone(metadata)
	ssh["timeout"], ssh["concurrency"] = f.timeout.String(), strconv.Itoa(f.workers)
	tls := maps.Clone(ssh)
	tls["ports"], tls["depth"] = f.ports, f.depth
	if f.hurried {
		// Else it keeps its own: a federation's document is large.
		metadata["timeout"] = f.timeout.String()
	}
	files := map[string]string{"exclude": withDefault("files", "exclude", paths)}
	return map[string]map[string]string{"metadata": metadata, "ssh": ssh, "tls": tls, "files": files}, nil
}

// newScan returns a scan with every driver, and with the rules that need no
// inventory: nobody has said yet who owns what is found.
func (p *program) newScan(progress *progress, settings map[string]map[string]string) *scan.Scan {
	needNone := slices.DeleteFunc(rules.All(), func(r rule.Rule) bool { return r.Name == "no-owner" })
	return scan.New(scan.Options{
		Drivers: drivers.All(), Rules: needNone, Now: p.now, Settings: settings, Progress: progress,
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
		if i >= 0 && !result.Has(place) {
			err = &statusError{err: fmt.Errorf("couldn't read %s: %s", path, result.Misses[i].Error), status: problem.ExitFailed}
		}
	}
	return err
}

// maxRate bounds --rate and --per-host; no network takes more from one machine.
const maxRate = 1_000_000

// check returns the severity of --fail-on, or 0.
func (f scanFlags) check() (tallystick.Severity, error) {
	switch {
	case f.rate < 0:
		return 0, misuse(fmt.Errorf("--rate %d is less than nothing", f.rate), "leave it out for no limit")
	case f.rate > maxRate:
		return 0, misuse(fmt.Errorf("--rate %d is more than %d", f.rate, maxRate), "leave it out for no limit")
	case f.perHost < 0:
		return 0, misuse(fmt.Errorf("--per-host %d is less than nothing", f.perHost), "0 is no limit")
	case f.perHost > maxRate:
		return 0, misuse(fmt.Errorf("--per-host %d is more than %d", f.perHost, maxRate), "0 is no limit")
	case f.workers < 1 || f.workers > 10_000:
		return 0, misuse(fmt.Errorf("--concurrency %d is not between 1 and 10000", f.workers), "leave it out for 256")
	case !slices.Contains([]string{"certificate", "versions", "suites"}, f.depth):
		return 0, misuse(fmt.Errorf("--depth %q is not a depth", f.depth), "it is certificate, versions or suites")
	case f.timeout <= 0:
		return 0, misuse(fmt.Errorf("--timeout %v is not a time to wait", f.timeout), "write it as 500ms, 5s or 1m")
	case f.failOn == "":
		return 0, nil
	}
	severity, err := tallystick.ParseSeverity(f.failOn)
	if err != nil {
		return 0, misuse(err, "for example --fail-on high")
	}
	return severity, nil
}

// write writes what was found.
func (f scanFlags) write(out *output, result scan.Result) error {
	print := printReport
	if f.json {
		print = printSightings
	}
	if err := print(out, result, f.all); err != nil {
		return fmt.Errorf("couldn't write what was found: %w", err)
	}
	return out.done()
}

// failOnFindings returns the error of --fail-on.
func failOnFindings(result scan.Result, failOn tallystick.Severity) error {
	if failOn == 0 {
		return nil
	}
	count := 0
	for j := range result.All() {
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
