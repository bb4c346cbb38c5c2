// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/discovery"
	"github.com/tallystick/tallystick/internal/store"
)

// changeKinds are what --kind takes, in the order in which changes are told.
var changeKinds = [...]string{
	store.ChangeNew, store.ChangeGone, store.ChangeRenewed, store.ChangeWentBack, store.ChangeReturned, store.ChangeFacts, store.ChangeReplaced,
}

// changesFlags are the flags of "tally changes".
type changesFlags struct {
	dataFlags
	since      int64
	kind, sort string
	limit      int
	json       bool
}

const changeSorts = "place, credential, found"

func (p *program) changesCommand() *cobra.Command {
	var flags changesFlags
	cmd := &cobra.Command{
		Use: "changes [RUN]", Short: "Say what a look found to be different",
		Long: `Say what a look found to be different: what is new, gone, renewed, back, went back
to an older certificate, or changed. Without a RUN it is the last ended look of
every job; "tally list runs" lists them. After a first look all is new, so only its
numbers are told; --kind new lists what they count.

` + listStatuses(),
		Example: "  tally changes\n  tally changes 4711 --kind went-back\n  tally changes 4711 --since 4242\n  tally changes 4711 --json",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return misuse(fmt.Errorf("one run at a time, not %d", len(args)), "without a run it is the last one of every job; --since compares it with an earlier one")
			}
			return nil
		},
	}
	flags.addTo(cmd)
	cmd.Flags().Int64Var(&flags.since, "since", 0, "what is different since this earlier `RUN` of the same job")
	cmd.Flags().StringVar(&flags.kind, "kind", "", "only changes of this `KIND`: "+strings.Join(changeKinds[:], ", "))
	cmd.Flags().StringVar(&flags.sort, "sort", "", "sort by `COLUMN`: "+changeSorts)
	cmd.Flags().IntVar(&flags.limit, "limit", 100, "list this many of each kind at most; 0 lists all")
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line, for all changes, in no order")
	completeFlag(cmd, "kind", func() []string { return changeKinds[:] })
	completeSorts(cmd, changeSorts)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := flags.check(args)
		if err != nil {
			return err
		}
		return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error { return p.changes(ctx, h, id, flags) })
	}
	return cmd
}

// check reads the run and holds the flags against each other.
func (f changesFlags) check(args []string) (int64, error) {
	id := int64(0)
	if len(args) == 1 {
		var err error
		if id, err = runID(args[0]); err != nil {
			return 0, err
		}
	}
	switch {
	case f.since < 0 || f.since > 0 && id == 0:
		return 0, misuse(fmt.Errorf("--since needs the run that is compared"), "write it as: tally changes 4711 --since 4242")
	case f.kind != "" && !slices.Contains(changeKinds[:], f.kind):
		return 0, misuse(fmt.Errorf("unknown --kind %q", f.kind), "it is one of "+strings.Join(changeKinds[:], ", "))
	case f.limit < 0:
		return 0, misuse(fmt.Errorf("--limit %d is less than nothing", f.limit), "0 lists all")
	}
	return id, nil
}

// runID reads the number of a run.
func runID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, misuse(fmt.Errorf("%q is not the number of a run", text), `run "tally list runs" to see them`)
	}
	return id, nil
}

// changes is the command.
func (p *program) changes(ctx context.Context, h *house, id int64, flags changesFlags) error {
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
		report, err := h.discovery.Report(ctx, h.actor, id, flags.since)
		if err != nil {
			return err
		}
		if flags.json {
			err = printChangesJSON(ctx, h, out, report, flags)
		} else {
			err = printChanges(ctx, h, out, report, flags)
		}
		if err != nil {
			return err
		}
	}
	return out.done()
}

// recentRuns is how far back the last look of a job is searched for.
const recentRuns = 500

// lastRuns returns the last ended run of each job.
func lastRuns(ctx context.Context, h *house) ([]int64, error) {
	runs, err := h.discovery.Runs(ctx, h.actor, "", 0, recentRuns)
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
	Run   int64  `json:"run"`
	Job   string `json:"job"`
	Since int64  `json:"since,omitempty"`
	store.RunChange
}

func printChangesJSON(ctx context.Context, h *house, out io.Writer, r discovery.Report, flags changesFlags) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	return h.discovery.Changes(ctx, h.actor, r.Run.ID, flags.since, func(c store.RunChange) error {
		if flags.kind != "" && c.Kind != flags.kind {
			return nil
		}
		return encoder.Encode(changeLine{r.Run.ID, r.Run.Source, flags.since, c})
	})
}

func printChanges(ctx context.Context, h *house, out io.Writer, r discovery.Report, flags changesFlags) error {
	since := ""
	if r.Since != nil {
		since = fmt.Sprintf(" since run %d", r.Since.ID)
	}
	sentence := discovery.Sentence(r.Changes)
	if !r.Run.Ended() {
		sentence = fmt.Sprintf("%d new so far", r.Run.Appeared)
	}
	fmt.Fprintf(out, "Run %d, %s, %s%s: %s%s\n", r.Run.ID, r.Run.Source, r.Run.State, since, sentence, missedWords(r.Missed))
	kinds := changeKinds[:]
	switch {
	case flags.kind != "":
		kinds = []string{flags.kind}
	case r.Changes.First && r.Changes.New > 0:
		fmt.Fprintf(out, "  \"tally changes %d --kind new\" lists them\n", r.Run.ID)
		return nil
	default: // what was replaced is told with what replaced it
		kinds = kinds[:len(kinds)-1]
	}
	t := newTable(out, "  WHAT", "FINGERPRINT", "CREDENTIAL", "REPLACES", "PLACE")
	var cut []string
	for _, kind := range kinds {
		more, err := tableChanges(ctx, h, t, r, kind, flags)
		if err != nil {
			return err
		}
		if more {
			cut = append(cut, kind)
		}
	}
	if err := t.write(); err != nil {
		return err
	}
	if len(cut) > 0 {
		fmt.Fprintf(out, "  the first %d of %s are listed; --limit 0 lists all\n", flags.limit, strings.Join(cut, ", "))
	}
	return nil
}

// tableChanges adds the changes of a kind to a table, and says whether there are more.
func tableChanges(ctx context.Context, h *house, t *table, r discovery.Report, kind string, flags changesFlags) (more bool, err error) {
	page := store.PageRequest{Sort: flags.sort}
	for shown := 0; ; {
		page.Limit = pageOf(flags.limit, shown)
		list, err := h.discovery.ListChanges(ctx, h.actor, r.Run.ID, flags.since, kind, page)
		if err != nil {
			return false, err
		}
		for _, c := range list.Items {
			credential := tallystick.Credential{ID: c.Credential, Kind: c.CredKind, Subject: c.Subject}
			t.row("  "+strings.ReplaceAll(c.Kind, "-", " "), c.Credential.Short(), name(&credential), c.Replaces.Short(), placeText(c.Place))
		}
		shown, page.After = shown+len(list.Items), list.Next
		if list.Next == "" || shown == flags.limit {
			return list.Next != "", nil
		}
	}
}

// missedWords says what could not be seen: "; not seen: 3 timeout, 1 refused".
func missedWords(missed map[string]int64) string {
	if len(missed) == 0 {
		return ""
	}
	var parts []string
	for _, word := range slices.Sorted(maps.Keys(missed)) {
		parts = append(parts, fmt.Sprintf("%d %s", missed[word], clean(word)))
	}
	return "; not seen: " + strings.Join(parts, ", ")
}
