// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/store"
)

// listFlags are what every list takes.
type listFlags struct {
	dataFlags
	sort  string
	desc  bool
	limit int
	json  bool
}

func (f *listFlags) addTo(cmd *cobra.Command, sorts string) {
	f.dataFlags.addTo(cmd)
	cmd.Flags().IntVar(&f.limit, "limit", 100, "list this many at most; 0 lists all")
	cmd.Flags().BoolVar(&f.json, "json", false, "write one JSON object a line")
	if sorts != "" {
		cmd.Flags().StringVar(&f.sort, "sort", "", "sort by `COLUMN`: "+sorts)
		completeSorts(cmd, sorts)
		cmd.Flags().BoolVar(&f.desc, "desc", false, "sort the other way round")
	}
}

// listStatuses is the end of the help of commands that read the inventory.
func listStatuses() string {
	return exitStatuses("0 done", "1 something failed, or there is no inventory", "2 bad usage")
}

func (p *program) listCommand() *cobra.Command {
	cmd := group("list", "List what the inventory holds")
	cmd.Long = `List what the inventory holds. The flags that narrow a list have the names of the
parameters in the address of its page and in the API.`
	cmd.AddCommand(p.listCredentials(), p.listPlaces(), p.listFindings(), p.listNetworks(), p.listRuns())
	return cmd
}

func (p *program) listCredentials() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "credentials", Short: "List credentials",
		Long: "List credentials, those that end first at the top.\n\n" + listStatuses(),
		Example: `  tally list credentials --ends-before 2027-01-01 --kind certificate
  tally list credentials --owner - --severity high
  tally list credentials --q example.org --json`,
		Args: noArguments,
	}
	flags.addTo(cmd, "expires, subject, seen, places, severity")
	addParameters(cmd, credentialParameters[:])
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := inventory.ParseCredentialFilter(queryOf(cmd, credentialParameters[:]), ruleNames())
		if err != nil {
			return err
		}
		return p.list(cmd.Context(), flags, func(ctx context.Context, h *house) error {
			return show(p, flags, func(r store.PageRequest) (store.Page[store.CredentialRow], int64, error) {
				return h.inventory.Credentials(ctx, h.actor, filter, r)
			}, credentialHeads[:], func(r store.CredentialRow) []string { return credentialCells(r, h.sshName(ctx, r)) })
		})
	}
	return cmd
}

var credentialHeads = [...]string{"SEVERITY", "FINGERPRINT", "CREDENTIAL", "KEY", "ENDS", "PLACES", "OWNER"}

// sshName returns what OpenSSH calls the key of a row, or "". Rows are without
// the key itself, so that it is read for those that have such a name.
func (h *house) sshName(ctx context.Context, r store.CredentialRow) string {
	if r.Kind != tallystick.KindKey && r.Kind != tallystick.KindSSHCertificate {
		return ""
	}
	c, _, err := h.db.Credential(ctx, r.ID)
	if err != nil {
		return "" // the row says what matters
	}
	return sshName(c)
}

// credentialCells writes a row, with the name that OpenSSH has for it.
func credentialCells(r store.CredentialRow, openSSH string) []string {
	c := tallystick.Credential{ID: r.ID, Kind: r.Kind, Subject: r.Subject, Names: r.Names}
	called := name(&c)
	if openSSH != "" {
		called = words(openSSH, strings.TrimPrefix(called, string(c.Kind)+" "+c.ID.Short()))
	}
	return []string{
		severityWord(r.Severity), r.ID.Short(), called, r.Algorithm, dayOf(r.NotAfter), strconv.FormatInt(r.Places, 10), r.Annotation.Owner,
	}
}

func severityWord(s tallystick.Severity) string {
	if s == 0 {
		return "ok"
	}
	return s.String()
}

func (p *program) listPlaces() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "places", Short: "List places where credentials are",
		Long:    "List places where credentials are.\n\n" + listStatuses(),
		Example: "  tally list places --scheme tls\n  tally list places --prefix /etc/ --sort credentials --desc",
		Args:    noArguments,
	}
	flags.addTo(cmd, "place, credentials")
	addParameters(cmd, placeParameters[:])
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := inventory.ParsePlaceFilter(queryOf(cmd, placeParameters[:]))
		if err != nil {
			return err
		}
		return p.list(cmd.Context(), flags, func(ctx context.Context, h *house) error {
			return show(p, flags, func(r store.PageRequest) (store.Page[store.PlaceRow], int64, error) {
				return h.inventory.Places(ctx, h.actor, filter, r)
			}, placeHeads[:], placeCells)
		})
	}
	return cmd
}

var placeHeads = [...]string{"CREDENTIALS", "SINCE", "PLACE"}

func placeCells(r store.PlaceRow) []string {
	return []string{strconv.FormatInt(r.Present, 10), dayOf(r.FirstSeen), string(r.Place)}
}

func (p *program) listFindings() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "findings", Short: "List what is wrong, the worst first",
		Long:    "List what is wrong, the worst first. Places and evidence are shortened; --json has\nthem whole.\n\n" + listStatuses(),
		Example: "  tally list findings --severity high\n  tally list findings --place /etc/nginx\n  tally list findings --rule expired --state all --json",
		Args:    noArguments,
	}
	flags.addTo(cmd, "severity, opened")
	addParameters(cmd, findingParameters[:])
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := finding.ParseFilter(queryOf(cmd, findingParameters[:]), ruleNames())
		if err != nil {
			return err
		}
		return p.list(cmd.Context(), flags, func(ctx context.Context, h *house) error {
			return show(p, flags, func(r store.PageRequest) (store.Page[store.FindingRow], int64, error) {
				return h.findings.List(ctx, h.actor, filter, r)
			}, findingHeads[:], findingCells)
		})
	}
	return cmd
}

var findingHeads = [...]string{"ID", "SEVERITY", "RULE", "CREDENTIAL", "FINGERPRINT", "SINCE", "WHERE", "EVIDENCE"}

// How wide the columns of findings are, in characters.
const (
	findingWidth  = 28 // of the credential's name
	whereWidth    = 44
	evidenceWidth = 72
)

func findingCells(f store.FindingRow) []string {
	where := clipMiddle(clean(placeText(f.At())), whereWidth)
	if f.Place == "" && f.Places > 1 {
		where = clipMiddle(clean(placeText(f.At())), whereWidth-6) + fmt.Sprintf(" +%d", f.Places-1)
	}
	return []string{
		strconv.FormatInt(f.ID, 10), f.Severity.String(), f.Rule, clip(findingName(f), findingWidth), f.Credential.Short(), dayOf(f.Opened),
		where, clip(f.Evidence, evidenceWidth),
	}
}

// findingName is what people call the credential of a finding.
func findingName(f store.FindingRow) string {
	return name(&tallystick.Credential{ID: f.Credential, Kind: f.Kind, Subject: f.Subject})
}

func (p *program) listRuns() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "runs", Short: "List looks, the newest first",
		Long: "List looks, the newest first. \"tally changes\" says what one of them changed, and\n\"tally run show\" how far one has come. Of each job the newest 100 are kept, and the\nnewest 1000 that changed something.\n\n" + listStatuses(),
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.list(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				return show(p, flags, func(r store.PageRequest) (store.Page[store.Run], int64, error) {
					before, err := strconv.ParseInt("0"+r.After, 10, 64)
					if err != nil {
						return store.Page[store.Run]{}, 0, err
					}
					runs, err := h.discovery.Runs(ctx, h.actor, "", before, r.Limit)
					page := store.Page[store.Run]{Items: runs}
					if len(runs) == r.Limit {
						page.Next = strconv.FormatInt(runs[len(runs)-1].ID, 10)
					}
					return page, 0, err
				}, runHeads[:], runCells)
			})
		},
	}
	flags.addTo(cmd, "")
	return cmd
}

var runHeads = [...]string{"RUN", "JOB", "STATE", "STARTED", "TOOK", "SIGHTINGS", "NEW", "GONE", "NOT SEEN", "ERROR"}

func runCells(r store.Run) []string {
	started, took := "-", "-"
	if !r.Started.IsZero() {
		started = r.Started.UTC().Format("2006-01-02 15:04")
	}
	if !r.Finished.IsZero() && !r.Started.IsZero() {
		took = r.Finished.Sub(r.Started).Round(100_000_000).String()
	}
	return []string{
		strconv.FormatInt(r.ID, 10), r.Source, r.State, started, took, strconv.FormatInt(r.Sightings, 10),
		strconv.FormatInt(r.Appeared, 10), strconv.FormatInt(r.Vanished, 10), strconv.FormatInt(r.Misses, 10), r.Error,
	}
}

// list opens the inventory for a list.
func (p *program) list(ctx context.Context, flags listFlags, fn func(context.Context, *house) error) error {
	if flags.limit < 0 {
		return misuse(fmt.Errorf("--limit %d is less than nothing", flags.limit), "0 lists all")
	}
	return p.inside(ctx, flags.dataFlags, fn)
}

// show writes a list, page by page.
func show[T any](p *program, flags listFlags, read func(store.PageRequest) (store.Page[T], int64, error), heads []string, cells func(T) []string) error {
	out, err := p.create("")
	if err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	request := store.PageRequest{Sort: flags.sort, Desc: flags.desc}
	shown, total := 0, int64(0)
	for {
		request.Limit = pageOf(flags.limit, shown)
		page, count, err := read(request)
		if err != nil {
			return err
		}
		t := newTable(out, heads...)
		for _, item := range page.Items {
			if !flags.json {
				t.row(cells(item)...)
			} else if err := encoder.Encode(item); err != nil {
				return err
			}
		}
		if err := t.write(); err != nil {
			return err
		}
		shown, total, request.After = shown+len(page.Items), count, page.Next
		if page.Next == "" || shown == flags.limit {
			break
		}
	}
	if err := out.done(); err != nil {
		return err
	}
	if request.After != "" {
		fmt.Fprintf(p.err, "%s shown%s; --limit 0 lists all\n", plural(shown, "row"), ofTotal(total))
	} else if shown == 0 && !flags.json {
		fmt.Fprintln(p.err, "nothing to list")
	}
	return nil
}

// ofTotal says how many there are, where that is known.
func ofTotal(total int64) string {
	switch {
	case total == 0:
		return ""
	case total >= store.CountCap:
		return fmt.Sprintf(" of %d or more", store.CountCap)
	}
	return fmt.Sprintf(" of %d", total)
}

// orMore says that counting stopped.
func orMore(total int64) string {
	if total >= store.CountCap {
		return " or more"
	}
	return ""
}

// listPage is how many rows are read at once when there is no limit below it.
const listPage = 1000

func pageOf(limit, shown int) int {
	if limit == 0 {
		return listPage
	}
	return min(listPage, limit-shown)
}

// inside opens the inventory, calls fn, and closes it.
func (p *program) inside(ctx context.Context, flags dataFlags, fn func(context.Context, *house) error) error {
	h, err := p.enter(ctx, flags)
	if err != nil {
		return err
	}
	if err := fn(ctx, h); err != nil {
		_ = h.close() // err says what matters
		return err
	}
	return h.close()
}

// words joins what is not empty.
func words(list ...string) string {
	var kept []string
	for _, word := range list {
		if word != "" {
			kept = append(kept, word)
		}
	}
	return strings.Join(kept, " ")
}

// showAll writes a list that is short.
func showAll[T any](p *program, asJSON bool, items []T, heads []string, cells func(T) []string) error {
	flags := listFlags{json: asJSON}
	return show(p, flags, func(store.PageRequest) (store.Page[T], int64, error) {
		return store.Page[T]{Items: items}, 0, nil
	}, heads, cells)
}
