// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/recall"
)

func (p *program) recallCommand() *cobra.Command {
	cmd := group("recall", "Replace a stolen credential everywhere by a date, and prove that the old one is dead")
	cmd.Long = `Replace a stolen credential everywhere by a date, without an outage, and prove that
the old one is dead. "tally up" does the work; these commands plan it, let people
decide, and say how it stands. docs/recall.md is the manual.`
	cmd.AddCommand(p.recallPlan(), p.recallOpen(), p.recallRehearse(), p.recallApprove(),
		p.recallTurn("start", "Begin a recall that was approved", "runs", func(e *recall.Engine) recallVerb { return withoutReason(e.Start) }),
		p.recallStatus(), p.recallList(), p.recallTargets(), p.recallLog(),
		p.recallTurn("pause", "Begin nothing more; a deadline that blocks comes all the same", "pauses", func(e *recall.Engine) recallVerb { return e.Pause }),
		p.recallTurn("resume", "Go on with a recall that was paused or has stopped", "runs", func(e *recall.Engine) recallVerb { return withoutReason(e.Resume) }),
		p.recallExtend(),
		p.recallTurn("cancel", "End a recall as it is", "is cancelled", func(e *recall.Engine) recallVerb { return e.Cancel }),
		p.recallAt("retry", "Try again what has failed of a target", "is tried again", func(e *recall.Engine) recallVerb { return e.Retry }),
		p.recallAt("skip", "Go on without a target; there must be a --reason", "is skipped", func(e *recall.Engine) recallVerb { return e.Skip }),
		p.recallAt("undo", "Roll a target back to the old credential, until that is being revoked", "is rolled back", func(e *recall.Engine) recallVerb { return e.Undo }),
		p.recallAt("done", "Say that a task for a person is done", "is done", func(e *recall.Engine) recallVerb { return e.Done }),
		p.recallReport(), p.recallWork())
	return cmd
}

func recallStatuses() string {
	return exitStatuses("0 done", "1 something failed, or there is no such recall or inventory", "2 bad usage")
}

// insideRecalls runs fn over the data with what works at recalls. Nothing of it runs.
func (p *program) insideRecalls(ctx context.Context, flags dataFlags, fn func(context.Context, *house, *recall.Engine) error) error {
	return p.inside(ctx, flags, func(ctx context.Context, h *house) error {
		r, err := p.openRecalling(h, recallWith{})
		if err != nil {
			return err
		}
		return errors.Join(fn(ctx, h, r.engine), r.close())
	})
}

// recallNamed finds a recall by its name.
func (h *house) recallNamed(ctx context.Context, name string) (tallystick.Recall, error) {
	r, err := h.db.RecallByName(ctx, name)
	if errors.Is(err, tallystick.ErrNotFound) {
		err = fmt.Errorf("there is no recall %q: %w", name, tallystick.ErrNotFound)
	}
	return r.Recall, problem.With(err, `"tally recall list" shows all of them`)
}

// A recallVerb does something with a recall, or with a target of one.
type recallVerb = func(ctx context.Context, who gate.Actor, id int64, reason string) error

// requestFlags are what a recall is asked for with.
type requestFlags struct {
	dataFlags
	request  recall.Request
	since    string
	deadline string
	canary   int
	growth   int
	errors   int
	json     bool
}

func (f *requestFlags) addTo(cmd *cobra.Command, rehearsal bool) {
	f.dataFlags.addTo(cmd)
	flags := cmd.Flags()
	flags.StringVar(&f.request.Name, "name", "", "call it this `NAME` (default: made of the date and what is burnt)")
	flags.StringVar(&f.request.Why, "why", "", "say why, for everybody who reads it: `TEXT`")
	flags.IntVar(&f.canary, "canary", 0, "`NUMBER` of targets in the first wave (default: recall.canary of the configuration)")
	flags.IntVar(&f.growth, "growth", 0, "each wave is this `FACTOR` larger than the one before (default: recall.growth)")
	flags.IntVar(&f.errors, "errors", -1, "failed targets in 1000 that a wave bears before the recall stops, a `NUMBER` (default: recall.errors)")
	flags.BoolVar(&f.json, "json", false, "write it as a JSON object")
	if rehearsal {
		return
	}
	flags.StringVar(&f.since, "since", "", "it may be in other hands since this `TIME`")
	flags.StringVar(&f.deadline, "deadline", "", "block the old one at this `TIME`, or after this long, such as 72h (default: six days from now)")
	flags.StringVar(&f.request.AtDeadline, "at-deadline", "", "`WHAT` becomes of what is not ready then: block or hold (default: recall.at_deadline)")
	flags.DurationVar(&f.request.Quiet, "quiet", 0, "the holder must not have used the old one for this `DURATION` (default: recall.quiet)")
	completeFlag(cmd, "at-deadline", func() []string { return []string{tallystick.AtDeadlineBlock, tallystick.AtDeadlineHold} })
}

// read completes the request.
func (f *requestFlags) read(what string, now time.Time, defaults tallystick.Waves) error {
	kind, value, ok := strings.Cut(what, ":")
	if !ok || value == "" {
		return misuse(fmt.Errorf("%q does not say what is burnt", what),
			"write credential:FINGERPRINT, key:ID, issuer:ca/NAME, place:file:///PATH, wrapping:NAME or entrusted:ID")
	}
	f.request.What = tallystick.Burnt{Kind: kind, Value: value}
	var err error
	if f.request.Since, err = readTime("since", f.since, now, -1); err != nil {
		return err
	}
	if f.request.Deadline, err = readTime("deadline", f.deadline, now, 1); err != nil {
		return err
	}
	if f.canary > 0 {
		defaults.Canary = f.canary
	}
	if f.growth > 0 {
		defaults.Growth = f.growth
	}
	if f.errors >= 0 {
		defaults.Errors = f.errors
	}
	f.request.Waves = &defaults
	return nil
}

// readTime reads a time, or how far it is from now: ahead of it, or with -1 before it.
func readTime(flag, text string, now time.Time, sign time.Duration) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(sign * d), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, misuse(fmt.Errorf("--%s %q is no time", flag, text), `write it as 2026-12-01, "2026-12-01 18:00" (UTC), 2026-12-01T18:00:00Z or 72h`)
}

func (p *program) recallPlan() *cobra.Command {
	var flags requestFlags
	cmd := &cobra.Command{
		Use: "plan KIND:VALUE", Short: "Say what a recall would do, and do nothing",
		Long: `Say what a recall would do, and do nothing: it looks at every door of the
configuration, and at the inventory, for whatever holds what is burnt or lets it in.
KIND:VALUE is one of

  credential:FINGERPRINT   one certificate or key, or any name that uses have of it
  key:ID                   a key, and every certificate of it
  issuer:ca/NAME           a CA, and everything that it signed; or its FINGERPRINT
  place:file:///PATH       every private key that was seen at a place, or beneath it
  wrapping:NAME            every key that was ever under a wrapping key of custody,
                           and every entrusted secret
  entrusted:ID             a secret that a customer has entrusted ("tally vault list")
  entrusted:host/NAME      all that was readable from a host; with @FROM/TO behind it,
                           between two times
  entrusted:due            all that is to be replaced ("tally vault list --due")

` + recallStatuses(),
		Example: "  tally recall plan credential:9a0c4f --deadline 72h\n  tally recall plan place:file:///srv/mail --json",
		Args:    exactly(1, "what is burnt"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.insideRecalls(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, e *recall.Engine) error {
				if err := flags.read(args[0], p.now(), e.Defaults.Waves); err != nil {
					return err
				}
				plan, err := e.Plan(ctx, h.actor, flags.request)
				if err != nil {
					return err
				}
				return p.showPlan(plan, flags.json)
			})
		},
	}
	flags.addTo(cmd, false)
	return cmd
}

func (p *program) recallOpen() *cobra.Command {
	var flags requestFlags
	cmd := &cobra.Command{
		Use: "open KIND:VALUE", Short: "Open a recall, for somebody else to approve",
		Long: `Open a recall of what "tally recall plan" shows. Nothing happens until somebody else
has approved it and it is started: recall.approvals of the configuration says how many.

` + recallStatuses(),
		Example: `  tally recall open key:9a0c... --name sync-2026 --why "found in a public repository" --since 2026-11-20 --deadline 72h`,
		Args:    exactly(1, "what is burnt"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.openRecall(cmd.Context(), &flags, args[0])
		},
	}
	flags.addTo(cmd, false)
	return cmd
}

func (p *program) openRecall(ctx context.Context, flags *requestFlags, what string) error {
	return p.insideRecalls(ctx, flags.dataFlags, func(ctx context.Context, h *house, e *recall.Engine) error {
		if err := flags.read(what, p.now(), e.Defaults.Waves); err != nil {
			return err
		}
		r, err := e.Open(ctx, h.actor, flags.request)
		if err != nil {
			return err
		}
		if flags.json {
			return writeJSON(p.out, r)
		}
		fmt.Fprintf(p.out, "recall %s is %s\n", r.Name, r.State)
		if r.State == tallystick.RecallWaiting {
			p.say("next, somebody else: tally recall approve %s", r.Name)
		} else {
			p.say("next: tally recall start %s", r.Name)
		}
		return nil
	})
}

func (p *program) recallRehearse() *cobra.Command {
	var flags requestFlags
	cmd := &cobra.Command{
		Use: "rehearse KIND:VALUE", Short: "Open a rehearsal: doors refuse the old one for a moment, and nothing else changes",
		Long: `Open a rehearsal: the doors of the plan refuse the credential for a moment, wave by
wave, and let it in again by themselves. Nothing is issued and nothing is revoked.
Afterwards "tally recall status" says who went on to use it, and so would have been
left without. It needs approval like a recall.

` + recallStatuses(),
		Example: "  tally recall rehearse credential:9a0c4f --for 60s",
		Args:    exactly(1, "what to rehearse with"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if flags.request.Rehearse <= 0 {
				return misuse(errors.New("--for must be more than nothing"), "write --for 60s")
			}
			return p.openRecall(cmd.Context(), &flags, args[0])
		},
	}
	flags.addTo(cmd, true)
	cmd.Flags().DurationVar(&flags.request.Rehearse, "for", time.Minute, "let it in again after this `DURATION`, an hour at most")
	return cmd
}

func (p *program) recallApprove() *cobra.Command {
	var flags dataFlags
	var deadline string
	cmd := &cobra.Command{
		Use: "approve NAME", Short: "Approve a recall, or another deadline of one, that somebody else asks for",
		Long: `Approve a recall that waits, or another deadline that was asked for. Who opened the
recall, or asked for the deadline, cannot approve it. Look at "tally recall status" first.

` + recallStatuses(),
		Example: "  tally recall approve sync-2026", Args: exactly(1, "the name of a recall"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.insideRecalls(cmd.Context(), flags, func(ctx context.Context, h *house, e *recall.Engine) error {
				r, err := h.recallNamed(ctx, args[0])
				if err != nil {
					return err
				}
				s, err := e.Status(ctx, h.actor, r.ID)
				if err != nil {
					return err
				}
				at := s.Deadline
				if !s.Wanted.IsZero() {
					at = s.Wanted
				}
				if deadline != "" {
					if at, err = readTime("deadline", deadline, p.now(), 1); err != nil {
						return err
					}
				}
				if err := e.Approve(ctx, h.actor, r.ID, at); err != nil {
					return err
				}
				return p.sayRecall(ctx, h, e, r.ID)
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&deadline, "deadline", "", "approve this `TIME` alone (default: the one that waits)")
	return cmd
}

func (p *program) recallExtend() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "extend NAME TIME", Short: "Ask for another deadline; as many must approve it as a recall",
		Long: `Ask for another deadline. The one that there is stands until as many people have
approved the new one as must approve a recall. TIME is one, or how long from now.

` + recallStatuses(),
		Example: "  tally recall extend sync-2026 48h\n  tally recall extend sync-2026 \"2026-12-01 18:00\"",
		Args:    exactly(2, "the name of a recall, and a time"),
		RunE: func(cmd *cobra.Command, args []string) error {
			at, err := readTime("deadline", args[1], p.now(), 1)
			if err != nil {
				return err
			}
			return p.withRecall(cmd.Context(), flags, args[0], func(ctx context.Context, h *house, e *recall.Engine, r tallystick.Recall) error {
				if err := e.Extend(ctx, h.actor, r.ID, at); err != nil {
					return err
				}
				fmt.Fprintf(p.out, "recall %s: the deadline %s is asked for\n", r.Name, at.UTC().Format(time.RFC3339))
				return nil
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}

// withRecall is insideRecalls with one recall.
func (p *program) withRecall(ctx context.Context, flags dataFlags, name string, fn func(context.Context, *house, *recall.Engine, tallystick.Recall) error) error {
	return p.insideRecalls(ctx, flags, func(ctx context.Context, h *house, e *recall.Engine) error {
		r, err := h.recallNamed(ctx, name)
		if err != nil {
			return err
		}
		return fn(ctx, h, e, r)
	})
}

// recallTurn is a command that changes the state of a recall.
func (p *program) recallTurn(verb, short, done string, act func(*recall.Engine) recallVerb) *cobra.Command {
	var flags dataFlags
	var reason string
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short, Long: short + ".\n\n" + recallStatuses(),
		Example: "  tally recall " + verb + " sync-2026", Args: exactly(1, "the name of a recall"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withRecall(cmd.Context(), flags, args[0], func(ctx context.Context, h *house, e *recall.Engine, r tallystick.Recall) error {
				if err := act(e)(ctx, h.actor, r.ID, reason); err != nil {
					return err
				}
				fmt.Fprintf(p.out, "recall %s %s\n", r.Name, done)
				if h.unattended() != nil && done == "runs" {
					p.say("hint: that happens as soon as \"tally up\" works on %s", h.config.Data)
				}
				return nil
			})
		},
	}
	flags.addTo(cmd)
	if verb == "pause" || verb == "cancel" {
		cmd.Flags().StringVar(&reason, "reason", "", "say why: `TEXT`")
	}
	return cmd
}

// recallAt is a command for one target of a recall.
func (p *program) recallAt(verb, short, done string, act func(*recall.Engine) recallVerb) *cobra.Command {
	var flags dataFlags
	var reason string
	cmd := &cobra.Command{
		Use: verb + " TARGET", Short: short,
		Long:    short + ".\n\"tally recall targets NAME\" lists targets with their numbers.\n\n" + recallStatuses(),
		Example: "  tally recall " + verb + " 4711 --reason \"the customer did it by telephone\"", Args: exactly(1, "the number of a target"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := strconv.ParseInt(args[0], 10, 64)
			if err != nil || id <= 0 {
				return misuse(fmt.Errorf("%q is not the number of a target", args[0]), `"tally recall targets NAME" lists them`)
			}
			return p.insideRecalls(cmd.Context(), flags, func(ctx context.Context, h *house, e *recall.Engine) error {
				if err := act(e)(ctx, h.actor, id, reason); err != nil {
					return err
				}
				fmt.Fprintf(p.out, "target %d %s\n", id, done)
				return nil
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&reason, "reason", "", "say why, or what was done: `TEXT`")
	return cmd
}
