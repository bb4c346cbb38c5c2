// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/zip"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
)

// withoutReason fits a verb that takes no reason among those that do.
func withoutReason(do func(context.Context, gate.Actor, int64) error) recallVerb {
	return func(ctx context.Context, who gate.Actor, id int64, _ string) error { return do(ctx, who, id) }
}

func writeJSON(out io.Writer, v any) error { return json.NewEncoder(out).Encode(v) }

// showPlan writes a plan: what is alarming first, then wave by wave.
func (p *program) showPlan(plan recall.Plan, asJSON bool) error {
	if asJSON {
		return writeJSON(p.out, plan)
	}
	r := plan.Recall
	fmt.Fprintf(p.out, "%s: %s and %s in %s; %s at %s\n", clean(r.What.String()), plural(len(plan.Targets), "target"), plural(plan.Steps, "step"), plural(len(plan.Waves), "wave"),
		map[string]string{tallystick.AtDeadlineBlock: "the old one is blocked", tallystick.AtDeadlineHold: "what is not ready is left"}[r.AtDeadline], r.Deadline.Format(time.RFC3339))
	fmt.Fprintf(p.out, "it takes %s or more, %s of it so that holders are quiet", roughly(plan.Shortest), roughly(r.Quiet))
	if plan.People > 0 {
		fmt.Fprintf(p.out, "; %s for people", plural(plan.People, "task"))
	}
	fmt.Fprintln(p.out)
	for _, warning := range plan.Warnings {
		p.say("warning: %s", clean(warning))
	}
	for _, unseen := range plan.Unseen {
		p.say("not seen: %s", clean(unseen))
	}
	if len(plan.Targets) == 0 {
		return nil
	}
	fmt.Fprintln(p.out)
	return p.targetTable(plan.Targets, false)
}

// targetTable writes targets; tasks for people follow with what is to be done.
func (p *program) targetTable(list []tallystick.RecallTarget, numbered bool) error {
	heads := []string{"WAVE", "KIND", "HOLDER", "LETS IT IN", "OPENS", "OWNER", "CREDENTIAL"}
	if numbered {
		heads = append([]string{"TARGET", "STATE"}, heads...)
	}
	t := newTable(p.out, heads...)
	for _, one := range list {
		where := one.Relying
		if where == "" {
			where = one.RelyingParty
		}
		cells := []string{fmt.Sprint(one.Wave), one.Kind, one.Holder, where, strings.Join(one.Grants, ", "), one.Owner, one.Subject}
		if numbered {
			state := one.State
			if one.Late {
				state += ", late"
			}
			cells = append([]string{fmt.Sprint(one.ID), state}, cells...)
		}
		t.row(cells...)
	}
	if err := t.write(); err != nil {
		return err
	}
	for _, one := range list {
		told := one.Instructions
		if one.Error != "" {
			told = strings.TrimSpace(told + " " + one.Error)
		}
		if told == "" || one.State == tallystick.TargetProven {
			continue
		}
		name := one.Kind
		if numbered {
			name = fmt.Sprintf("target %d", one.ID)
		}
		fmt.Fprintf(p.out, "\n%s\n", wrap(name+": "+clean(told), "  ", 90))
	}
	return nil
}

// roughly writes a duration as people say it.
func roughly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%.0f days", d.Hours()/24)
	case d >= 2*time.Hour:
		return fmt.Sprintf("%.0f hours", d.Hours())
	case d >= 2*time.Minute:
		return fmt.Sprintf("%.0f minutes", d.Minutes())
	}
	return fmt.Sprintf("%.0f seconds", d.Seconds())
}

func (p *program) recallList() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List recalls, the newest first", Long: "List recalls, the newest first.\n\n" + listStatuses(),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.insideRecalls(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house, e *recall.Engine) error {
				list, err := e.List(ctx, h.actor, 0, 1000)
				if err != nil {
					return err
				}
				return showAll(p, flags.json, list, []string{"RECALL", "STATE", "DEADLINE", "OPENED", "BY", "WHAT"}, recallCells)
			})
		},
	}
	flags.dataFlags.addTo(cmd)
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line")
	return cmd
}

func recallCells(r tallystick.Recall) []string {
	return []string{r.Name, string(r.State), r.Deadline.UTC().Format("2006-01-02 15:04"), r.Opened.UTC().Format("2006-01-02 15:04"), r.OpenedBy, r.What.String()}
}

func (p *program) recallStatus() *cobra.Command {
	var flags dataFlags
	var asJSON, watch bool
	cmd := &cobra.Command{
		Use: "status NAME", Short: "Say how a recall stands: how far, by when, and who is holding it up",
		Long: `Say how a recall stands. With --watch it goes on until the recall is over, and writes
what happens.

` + recallStatuses(),
		Example: "  tally recall status sync-2026\n  tally recall status sync-2026 --watch", Args: exactly(1, "the name of a recall"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withRecall(cmd.Context(), flags, args[0], func(ctx context.Context, h *house, e *recall.Engine, r tallystick.Recall) error {
				if watch {
					return p.watchRecall(ctx, h, e, r.ID)
				}
				if asJSON {
					s, err := e.Status(ctx, h.actor, r.ID)
					if err != nil {
						return err
					}
					return writeJSON(p.out, s)
				}
				return p.sayRecall(ctx, h, e, r.ID)
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write it as a JSON object")
	cmd.Flags().BoolVar(&watch, "watch", false, "go on until it is over")
	return cmd
}

// sayRecall writes how a recall stands.
func (p *program) sayRecall(ctx context.Context, h *house, e *recall.Engine, id int64) error {
	s, err := e.Status(ctx, h.actor, id)
	if err != nil {
		return err
	}
	kind := "recall"
	if s.Rehearse > 0 {
		kind = "rehearsal"
	}
	fmt.Fprintf(p.out, "%s %s of %s is %s", kind, s.Name, clean(s.What.String()), s.State)
	if s.Reason != "" {
		fmt.Fprintf(p.out, ": %s", clean(s.Reason))
	}
	fmt.Fprintf(p.out, "\n%d of %s done", s.Done, plural(int(s.Total), "target"))
	if s.Rehearse == 0 {
		fmt.Fprintf(p.out, "; deadline %s", s.Deadline.Format(time.RFC3339))
		if left := s.Deadline.Sub(p.now()); !s.State.Over() && left > 0 {
			fmt.Fprintf(p.out, ", in %s", roughly(left))
		}
	}
	fmt.Fprintln(p.out)
	switch s.State {
	case tallystick.RecallWaiting:
		fmt.Fprintf(p.out, "opened by %s, approved by %d of %d\n", clean(s.OpenedBy), len(s.ApprovedBy), s.Needs)
		p.say("next, somebody else: tally recall approve %s, or the page of the recall (docs/recall.md says who is somebody else)", s.Name)
	case tallystick.RecallApproved:
		p.say("next: tally recall start %s", s.Name)
	case tallystick.RecallStopped:
		p.say("next: tally recall retry TARGET, or skip it with a reason; then tally recall resume %s", s.Name)
	case tallystick.RecallRunning:
		if h.unattended() != nil {
			p.say("nobody works at it: it goes on as soon as \"tally up\" works on %s", h.config.Data)
		}
	}
	if !s.Wanted.IsZero() {
		fmt.Fprintf(p.out, "%s asks for the deadline %s\n", clean(s.WantedBy), s.Wanted.Format(time.RFC3339))
	}
	fmt.Fprintln(p.out, phaseLine(s))
	p.sayWaiting(s.Waiting)
	stuck, err := stuckTargets(ctx, h, e, id)
	if err != nil {
		return err
	}
	if len(stuck) > 0 && !s.State.Over() {
		fmt.Fprintf(p.out, "\nholding it up:\n")
		if err := p.targetTable(stuck, true); err != nil {
			return err
		}
	}
	if err := p.sayStillTried(ctx, h, e, s.Recall); err != nil {
		return err
	}
	return p.sayBroken(ctx, h, e, s)
}

// mostWaiting is how many holders the status names that a recall waits for.
const mostWaiting = 20

// sayWaiting names the holders that have not been given new values.
func (p *program) sayWaiting(list []recall.Waiting) {
	for _, one := range list[:min(len(list), mostWaiting)] {
		fmt.Fprintf(p.out, "waits for %s, which has not asked the vault for %s\n", clean(one.Holder), plural(int(one.Targets), "new value"))
	}
	if more := len(list) - mostWaiting; more > 0 {
		fmt.Fprintf(p.out, "and for %s more (--json names all)\n", plural(more, "holder"))
	}
}

// sayStillTried says who goes on with passwords that are proven dead, as far as the ledger beside the
// inventory knows.
func (p *program) sayStillTried(ctx context.Context, h *house, e *recall.Engine, r tallystick.Recall) error {
	found, err := e.StillTried(ctx, h.actor, r.ID, 0)
	for _, one := range found {
		fmt.Fprintf(p.out, "target %d: %s\n", one.Target, clean(one.String()))
	}
	return err
}

// stuckTargets returns what has failed, and what people have to do: a page of each.
func stuckTargets(ctx context.Context, h *house, e *recall.Engine, id int64) ([]tallystick.RecallTarget, error) {
	stuck, err := e.Targets(ctx, h.actor, id, recall.Filter{State: tallystick.TargetFailed}, 0, 100)
	if err != nil {
		return nil, err
	}
	tasks, err := e.Targets(ctx, h.actor, id, recall.Filter{Kind: tallystick.TargetPerson}, 0, 1000)
	for _, t := range tasks {
		if t.State != tallystick.TargetProven && t.State != tallystick.TargetSkipped && t.State != tallystick.TargetFailed {
			stuck = append(stuck, t)
		}
	}
	return stuck, err
}

// sayBroken says who would have been left without, after a rehearsal.
func (p *program) sayBroken(ctx context.Context, h *house, e *recall.Engine, s recall.Status) error {
	if s.Rehearse == 0 || s.State != tallystick.RecallDone {
		return nil
	}
	broken, err := e.Broken(ctx, h.actor, s.ID)
	if err != nil {
		return err
	}
	for _, b := range broken {
		if b.Error != "" {
			fmt.Fprintf(p.out, "nobody can tell: %s, whose books cannot be asked: %s\n", clean(targetName(b.Target)), clean(b.Error))
			continue
		}
		fmt.Fprintf(p.out, "would have broken: %s, %s\n", clean(targetName(b.Target)), plural(int(b.Answer.Uses), "use"))
	}
	if len(broken) == 0 {
		fmt.Fprintln(p.out, "no holder's book has a use of it while it was blocked; of a holder that keeps no book nobody can tell")
	}
	return nil
}

// phaseLine says how many targets stand where.
func phaseLine(s recall.Status) string {
	counts := map[string]int64{}
	for _, c := range s.Targets {
		counts[c.State] += c.Count
	}
	var states []string
	for _, phase := range tallystick.Phases() {
		states = append(states, string(phase))
	}
	words := map[string]string{}
	if s.Rehearse > 0 { // it blocks, and lets in again
		states = []string{string(tallystick.PhaseRevoke), string(tallystick.PhaseProve)}
		words = map[string]string{states[0]: "block", states[1]: "let in again", tallystick.TargetProven: "rehearsed"}
	}
	states = append(states, tallystick.TargetProven)
	for _, state := range []string{tallystick.TargetFailed, tallystick.TargetSkipped, tallystick.TargetUndone} {
		if counts[state] > 0 {
			states = append(states, state)
		}
	}
	var parts []string
	for _, state := range states {
		parts = append(parts, fmt.Sprintf("%s %d", cmp.Or(words[state], state), counts[state]))
	}
	return strings.Join(parts, " · ")
}

// watchStep is how often a watched recall is looked at.
const watchStep = time.Second

// watchRecall writes what happens until the recall is over.
func (p *program) watchRecall(ctx context.Context, h *house, e *recall.Engine, id int64) error {
	after := int64(0)
	line := ""
	for {
		s, err := e.Status(ctx, h.actor, id)
		if err != nil {
			return err
		}
		if after, err = p.writeEvents(ctx, h, e, id, after); err != nil {
			return err
		}
		if now := phaseLine(s); now != line {
			p.say("%s", now)
			line = now
		}
		if s.State.Over() || s.State == tallystick.RecallStopped {
			return p.sayRecall(ctx, h, e, id)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(watchStep):
		}
	}
}

// writeEvents writes what has happened since an event, and returns the last.
func (p *program) writeEvents(ctx context.Context, h *house, e *recall.Engine, id, after int64) (int64, error) {
	for {
		events, err := e.Events(ctx, h.actor, id, after, 500)
		if err != nil || len(events) == 0 {
			return after, err
		}
		for _, event := range events {
			after = event.N
			text, err := eventText(ctx, h, event)
			if err != nil {
				return after, err
			}
			if _, err := fmt.Fprintf(p.out, "%s  %s\n", event.At.UTC().Format("2006-01-02 15:04:05"), clean(text)); err != nil {
				return after, err
			}
		}
	}
}

// eventText is what an event says, with where that was unless it says so itself.
func eventText(ctx context.Context, h *house, event recall.Event) (string, error) {
	if event.Target == 0 {
		return event.Text, nil
	}
	t, err := h.db.RecallTarget(ctx, event.Target)
	if err != nil || !t.Entrusted() && t.Holder != "" && strings.Contains(event.Text, t.Holder) || !t.Entrusted() && t.Relying != "" && strings.Contains(event.Text, t.Relying) {
		return event.Text, err
	}
	return targetName(t) + ": " + event.Text, nil
}

// targetName says where a target is.
func targetName(t tallystick.RecallTarget) string {
	if t.Entrusted() {
		return t.Subject
	}
	if t.Holder != "" && t.Relying != "" {
		return t.Holder + " to " + t.Relying
	}
	return cmp.Or(t.Holder, t.Relying, t.RelyingParty, t.Subject, "a task")
}

func (p *program) recallTargets() *cobra.Command {
	var flags dataFlags
	var asJSON bool
	var state string
	cmd := &cobra.Command{
		Use: "targets NAME", Short: "List the targets of a recall with their numbers",
		Long: "List the targets of a recall with their numbers, and what people have to do.\n\n" + recallStatuses(), Args: exactly(1, "the name of a recall"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withRecall(cmd.Context(), flags, args[0], func(ctx context.Context, h *house, e *recall.Engine, r tallystick.Recall) error {
				var all []tallystick.RecallTarget
				for after := int64(0); ; {
					list, err := e.Targets(ctx, h.actor, r.ID, recall.Filter{State: state}, after, 1000)
					if err != nil {
						return err
					}
					if len(list) == 0 {
						break
					}
					all, after = append(all, list...), list[len(list)-1].ID
				}
				if asJSON {
					for _, t := range all {
						if err := writeJSON(p.out, t); err != nil {
							return err
						}
					}
					return nil
				}
				if err := p.targetTable(all, true); err != nil {
					return err
				}
				return p.sayStillTried(ctx, h, e, r)
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a line")
	cmd.Flags().StringVar(&state, "state", "", "only those in this `STATE`: a phase, proven, failed, skipped, undone")
	return cmd
}

func (p *program) recallLog() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "log NAME", Short: "Write what has happened in a recall, in plain words",
		Long: "Write what has happened in a recall, in plain words; times are UTC.\n\n" + recallStatuses(), Args: exactly(1, "the name of a recall"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withRecall(cmd.Context(), flags, args[0], func(ctx context.Context, h *house, e *recall.Engine, r tallystick.Recall) error {
				_, err := p.writeEvents(ctx, h, e, r.ID, 0)
				return err
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}

func (p *program) recallReport() *cobra.Command {
	var flags dataFlags
	var path string
	cmd := &cobra.Command{
		Use: "report NAME", Short: "Write a report of a recall as a web page, to read and to print",
		Long: `Write a report of a recall as a web page, to read and to print. It is the report of
the evidence (tally evidence export), without what proves it.

` + recallStatuses(),
		Example: "  tally recall report sync-2026 --out report.html", Args: exactly(1, "the name of a recall"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.withRecall(cmd.Context(), flags, args[0], func(ctx context.Context, h *house, _ *recall.Engine, r tallystick.Recall) error {
				return p.writeReport(ctx, h, r, path)
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&path, "out", "-", "write to this `FILE`")
	return cmd
}

// writeReport takes the report out of evidence that is made for it.
func (p *program) writeReport(ctx context.Context, h *house, r tallystick.Recall, path string) (err error) {
	whole, err := os.CreateTemp("", "tally-report-*.zip")
	if err != nil {
		return fmt.Errorf("couldn't make the report: %w", err)
	}
	defer func() { err = errors.Join(err, whole.Close(), os.Remove(whole.Name())) }()
	if err := p.evidenceOf(ctx, h, r, whole); err != nil {
		return err
	}
	members, err := zip.OpenReader(whole.Name())
	if err != nil {
		return fmt.Errorf("couldn't read the report: %w", err)
	}
	defer members.Close()
	page, err := members.Open("report.html")
	if err != nil {
		return fmt.Errorf("couldn't read the report: %w", err)
	}
	out, err := p.create(path)
	if err != nil {
		return err
	}
	defer out.abandon()
	if _, err := io.Copy(out, page); err != nil {
		return fmt.Errorf("couldn't write the report: %w", err)
	}
	return out.done()
}

func (p *program) recallWork() *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: "work", Short: "Help a server with its recalls, from another machine on the same PostgreSQL",
		Long: `Help a server with its recalls: take up steps beside it, and take over those of a
server that has died. It serves no pages and looks for nothing. It wants the same
configuration as the server, with the same wrapping key, and reaches the same doors;
the database is PostgreSQL. It goes on until it is stopped.

` + recallStatuses(),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.workAtRecalls(cmd.Context(), flags)
		},
	}
	flags.addTo(cmd)
	return cmd
}
