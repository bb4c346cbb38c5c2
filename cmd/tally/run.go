// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

func (p *program) runCommand() *cobra.Command {
	cmd := group("run", "Start a look, follow it, pause it, let it go on, or end it")
	cmd.Long = `Start a look, follow it, pause it, let it go on, or end it. The looks are done by
"tally up", which takes up what is asked for here within 5 seconds.

A look waits, runs, and ends as done, failed or cancelled. One that is paused stays
so, also when "tally up" starts again, until it is resumed or cancelled; its job is
not looked at meanwhile. What it has seen is kept, and it goes on where it stood.`
	turn := func(verb, short, done string, act func(*discovery.Discovery) func(context.Context, gate.Actor, int64) error) *cobra.Command {
		return p.runTurn(verb, short, done, act)
	}
	cmd.AddCommand(p.runStart(), p.runShow(),
		turn("pause", "Keep a run from going on", "paused", func(d *discovery.Discovery) func(context.Context, gate.Actor, int64) error { return d.Pause }),
		turn("resume", "Let a paused run go on", "goes on", func(d *discovery.Discovery) func(context.Context, gate.Actor, int64) error { return d.Resume }),
		turn("cancel", "End a run; what it has seen is kept", "cancelled", func(d *discovery.Discovery) func(context.Context, gate.Actor, int64) error { return d.Cancel }))
	return cmd
}

func (p *program) runStart() *cobra.Command {
	var flags dataFlags
	var wait bool
	cmd := &cobra.Command{
		Use: "start JOB", Short: "Look now",
		Long: `Look now. A run of the job that has not ended is not started twice. JOB is one of
the configuration: name the same --config as for "tally up". Without one the jobs
are files, truststore, tls and ssh, at this machine.

` + runStatuses(),
		Example: "  tally run start front-ends --config tally.yaml --wait",
		Args:    exactly(1, "the name of a job"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				return p.startRun(ctx, h, args[0], flags.config, wait)
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "follow it until it ends or is paused")
	return cmd
}

// startRun asks for a look. It does not when it is to be waited for and nobody
// would do it.
func (p *program) startRun(ctx context.Context, h *house, job, file string, wait bool) error {
	alone := h.unattended()
	if wait && alone != nil {
		return alone
	}
	run, err := h.discovery.Start(ctx, h.actor, job)
	if errors.Is(err, tallystick.ErrNotFound) {
		return problem.With(err, jobHint(h, job, file))
	}
	if err != nil {
		return err
	}
	if wait {
		return p.follow(ctx, h, run.ID)
	}
	fmt.Fprintf(p.out, "run %d of %s is %s\n", run.ID, run.Source, run.State)
	if alone != nil {
		p.say("it stays so for now: %s", alone)
		p.say("hint: %s", problem.Of(alone).Hint)
	}
	return nil
}

// unattended returns an error when no "tally up" works on the data, so that
// nobody takes up what is asked for. One that shares a database may be elsewhere.
func (h *house) unattended() error {
	url, err := h.config.StoreURL()
	if err != nil || !filepath.IsAbs(url.Reveal()) || attended(h.config.Data) {
		return err
	}
	return problem.With(fmt.Errorf("no \"tally up\" works on %s", h.config.Data),
		`start "tally up" with the same --data and --config, in another terminal or as a service: it takes up what waits`)
}

// jobHint says which jobs there are.
func jobHint(h *house, job, file string) string {
	var names []string
	for _, j := range h.discovery.Jobs() {
		names = append(names, j.Name)
	}
	if file == "" {
		return fmt.Sprintf("without --config the jobs are %s; name the configuration of %s with --config FILE", strings.Join(names, ", "), job)
	}
	return fmt.Sprintf("%s: %s", file, orOneOf(job, names))
}

// runHint is what to do about a run that does not exist.
const runHint = `run "tally list runs" to see them`

// unknown gives an error about what does not exist a hint where it is listed.
func unknown(err error, hint string) error {
	if errors.Is(err, tallystick.ErrNotFound) {
		return problem.With(err, hint)
	}
	return err
}

func (p *program) runShow() *cobra.Command {
	var flags dataFlags
	var wait, asJSON bool
	cmd := &cobra.Command{
		Use: "show RUN", Short: "Say how far a run has come, or how it ended",
		Long:    "Say how far a run has come, or how it ended. \"tally list runs\" lists them.\n\n" + runStatuses(),
		Example: "  tally run show 4711 --wait",
		Args:    exactly(1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runID(args[0])
			if err != nil {
				return err
			}
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				switch {
				case wait:
					return p.follow(ctx, h, id)
				case asJSON:
					report, err := h.discovery.Report(ctx, h.actor, id, 0)
					if err != nil {
						return unknown(err, runHint)
					}
					return json.NewEncoder(p.out).Encode(report.Run)
				}
				return p.showRun(ctx, h, id)
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&wait, "wait", false, "follow it until it ends or is paused")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write it as a JSON object")
	return cmd
}

// runTurn is a command that changes the state of a run.
func (p *program) runTurn(verb, short, done string, act func(*discovery.Discovery) func(context.Context, gate.Actor, int64) error) *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: verb + " RUN", Short: short, Long: short + ".\n\n" + runStatuses(),
		Example: "  tally run " + verb + " 4711", Args: exactly(1, "the number of a run"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := runID(args[0])
			if err != nil {
				return err
			}
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				if err := act(h.discovery)(ctx, h.actor, id); err != nil {
					return unknown(err, runHint)
				}
				fmt.Fprintf(p.out, "run %d: %s\n", id, done)
				return nil
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}

func runStatuses() string {
	return exitStatuses("0 done", "1 something failed, there is no such run, job or inventory, or the run has ended", "2 bad usage")
}

// followStep is how often a run that is followed is looked at.
const followStep = 500 * time.Millisecond

// follow shows a run until it ends or is paused: on a terminal as a line that
// moves, and elsewhere only as it ended.
func (p *program) follow(ctx context.Context, h *house, id int64) error {
	file, ok := p.err.(*os.File)
	moving := ok && term.IsTerminal(int(file.Fd()))
	tick := time.NewTicker(followStep)
	defer tick.Stop()
	for {
		report, err := h.discovery.Report(ctx, h.actor, id, 0)
		if moving {
			fmt.Fprint(p.err, "\r\x1b[K")
		}
		if ctx.Err() != nil {
			return leftAlone(id)
		}
		if err != nil {
			return unknown(err, runHint)
		}
		run := report.Run
		if run.Ended() || run.State == store.RunPaused {
			return p.showRun(ctx, h, id)
		}
		if err := h.unattended(); err != nil {
			return err
		}
		if moving {
			fmt.Fprint(p.err, run.Source+": "+progressWords(run, p.now()))
		}
		select {
		case <-ctx.Done():
			if moving {
				fmt.Fprint(p.err, "\r\x1b[K")
			}
			return leftAlone(id)
		case <-tick.C:
		}
	}
}

// leftAlone is the error of who stops following a run with a signal.
func leftAlone(id int64) error {
	return &statusError{err: fmt.Errorf("no longer followed: run %d goes on", id), status: problem.ExitFailed,
		hint: fmt.Sprintf(`"tally run show %[1]d --wait" follows it again, and "tally run cancel %[1]d" ends it`, id)}
}

// showRun writes how a run stands.
func (p *program) showRun(ctx context.Context, h *house, id int64) error {
	report, err := h.discovery.Report(ctx, h.actor, id, 0)
	if err != nil {
		return unknown(err, runHint)
	}
	run := report.Run
	if !run.Ended() {
		fmt.Fprintf(p.out, "Run %d, %s, %s: %s%s\n", run.ID, run.Source, run.State, progressWords(run, p.now()), missedWords(run.Missed))
		return nil
	}
	fmt.Fprintf(p.out, "Run %d, %s, %s after %s: %s%s\n", run.ID, run.Source, run.State, run.Finished.Sub(run.Queued).Round(time.Second),
		discovery.Sentence(report.Changes), missedWords(report.Missed))
	if run.Error != "" {
		fmt.Fprintf(p.out, "  %s\n", clean(run.Error))
	}
	return nil
}

// progressWords says how far a run has come: "1200 of 3400, 17 seen, 40 a second, 55s left".
func progressWords(run store.Run, now time.Time) string {
	if run.State == store.RunWaiting && run.Done == 0 {
		return "waiting for its turn"
	}
	far := fmt.Sprint(run.Done)
	if run.Total > 0 {
		far = fmt.Sprintf("%d of %d", run.Done, run.Total)
	}
	parts := []string{far, fmt.Sprintf("%d seen", run.Sightings)}
	if run.Misses > 0 {
		parts = append(parts, fmt.Sprintf("%d not seen", run.Misses))
	}
	if run.Rate > 0 {
		parts = append(parts, fmt.Sprintf("%.3g a second", run.Rate))
	}
	if left := run.Expected.Sub(now).Round(time.Second); left > 0 {
		parts = append(parts, left.String()+" left")
	}
	return strings.Join(parts, ", ")
}
