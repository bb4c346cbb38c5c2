// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/store"
)

func (p *program) changesCommand() *cobra.Command {
	var flags dataFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "changes [RUN]", Short: "Say what a look found to be different",
		Long: `Say what a look found to be different: what is new, gone, renewed or back. Without
a RUN it is the last ended look of every job; "tally list runs" lists them.

` + listStatuses(),
		Example: "  tally changes\n  tally changes 4711 --json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usage(fmt.Errorf("one run at a time, not %d", len(args)), "without a run it is the last one of every job")
			}
			return nil
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a line")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := runID(args)
		if err != nil {
			return err
		}
		return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error { return p.changes(ctx, h, id, asJSON) })
	}
	return cmd
}

// runID reads the number of a run; none is 0.
func runID(args []string) (int64, error) {
	if len(args) == 0 {
		return 0, nil
	}
	id, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || id < 1 {
		return 0, usage(fmt.Errorf("%q is not the number of a run", args[0]), `run "tally list runs" to see them`)
	}
	return id, nil
}

// recentRuns is how far back the last look of a job is searched for.
const recentRuns = 500

// changes is the command.
func (p *program) changes(ctx context.Context, h *house, id int64, asJSON bool) error {
	ids := []int64{id}
	if id == 0 {
		var err error
		if ids, err = lastRuns(ctx, h); err != nil {
			return err
		}
	}
	if len(ids) == 0 {
		fmt.Fprintln(p.err, "no look has ended yet")
		return nil
	}
	out, err := p.create("")
	if err != nil {
		return err
	}
	for _, id := range ids {
		report, err := h.discovery.Report(ctx, h.actor, id)
		if err != nil {
			return err
		}
		if asJSON {
			err = printChangesJSON(ctx, h, out, report.Run)
		} else {
			err = printChanges(out, report)
		}
		if err != nil {
			return err
		}
	}
	return out.done()
}

// lastRuns returns the last ended run of each job.
func lastRuns(ctx context.Context, h *house) ([]int64, error) {
	runs, err := h.discovery.Runs(ctx, h.actor, 0, recentRuns)
	seen := map[string]bool{}
	var ids []int64
	for _, r := range runs {
		if r.State == store.RunDone && !seen[r.Source] {
			seen[r.Source] = true
			ids = append(ids, r.ID)
		}
	}
	return ids, err
}

// A changeLine is what --json writes for a change.
type changeLine struct {
	Run int64  `json:"run"`
	Job string `json:"job"`
	store.RunChange
}

func printChangesJSON(ctx context.Context, h *house, out io.Writer, run store.Run) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return h.discovery.Changes(ctx, h.actor, run.ID, func(c store.RunChange) error {
		return encoder.Encode(changeLine{run.ID, run.Source, c})
	})
}

func printChanges(out io.Writer, r discovery.Report) error {
	fmt.Fprintf(out, "Run %d, %s, %s: %d new, %d gone, %s not seen\n",
		r.Run.ID, r.Run.Source, r.Run.State, r.Run.Appeared, r.Run.Vanished, plural(int(r.Run.Misses), "place"))
	t := newTable(out, "  WHAT", "FINGERPRINT", "CREDENTIAL", "PLACE")
	for _, list := range [][]store.RunChange{r.Appeared, r.Vanished} {
		for _, c := range list {
			t.row("  "+changeWord(c), c.Credential.Short(), name(&tallystick.Credential{ID: c.Credential, Kind: c.CredKind, Subject: c.Subject}), placeText(c.Place))
		}
	}
	if err := t.write(); err != nil {
		return err
	}
	if left := r.Run.Appeared + r.Run.Vanished - int64(len(r.Appeared)+len(r.Vanished)); left > 0 {
		fmt.Fprintf(out, "  and %d more; --json lists all of them\n", left)
	}
	return nil
}

func changeWord(c store.RunChange) string {
	switch {
	case c.Replaces != "":
		return "renewed"
	case c.Kind == "returned":
		return "back"
	case c.Kind == "vanished":
		return "gone"
	}
	return "new"
}
