// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

func (p *program) ledgerCommand() *cobra.Command {
	cmd := group("ledger", "Take in, read and verify what is known of uses of credentials")
	cmd.AddCommand(p.ledgerImport(), p.ledgerBooks(), p.ledgerUses(), p.ledgerIncidents(), p.ledgerTail(), p.ledgerEnd(), p.ledgerVerify())
	return cmd
}

// ledgerStatuses is the end of the help of commands that read the ledger.
func ledgerStatuses() string {
	return exitStatuses("0 done", "1 something failed, or there is no ledger", "2 bad usage")
}

// ledgerDir is where the ledger of some data is.
func ledgerDir(data string) string { return filepath.Join(data, "ledger") }

// insideLedger opens the inventory and its ledger, to read beside a running
// "tally up", calls fn, and closes them.
func (p *program) insideLedger(ctx context.Context, flags dataFlags, fn func(context.Context, *house, *usage.Usage) error) error {
	return p.inside(ctx, flags, func(ctx context.Context, h *house) error {
		book, err := ledger.Open(ledgerDir(h.config.Data), ledger.Options{ReadOnly: true, Now: p.now})
		if errors.Is(err, fs.ErrNotExist) {
			return problem.With(fmt.Errorf("there is no ledger in %s: %w", h.config.Data, tallystick.ErrNotFound),
				`"tally up" begins one; to compare the logs of two sides without it, see "tally reconcile --help"`)
		}
		if err != nil {
			return err
		}
		err = fn(ctx, h, &usage.Usage{DB: h.db, Ledger: book, Gate: h.gate, Now: p.now})
		return errors.Join(err, book.Close())
	})
}

// listLedger is insideLedger for a list.
func (p *program) listLedger(ctx context.Context, flags listFlags, fn func(context.Context, *house, *usage.Usage) error) error {
	if flags.limit < 0 {
		return misuse(fmt.Errorf("--limit %d is less than nothing", flags.limit), "0 lists all")
	}
	return p.insideLedger(ctx, flags.dataFlags, fn)
}

func (p *program) ledgerBooks() *cobra.Command {
	var flags dataFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "books", Short: "List what each source has recorded, and how far it can be trusted",
		Long: `List what each source has recorded, and how far it can be trusted. A use counts as
foreign only when the books that could explain it are closed past its time; a book
that is behind, or silent, holds verdicts up. TROUBLE counts records that are
missing by their numbers, whose hash does not follow, and that came after the mark
that closed their time.

` + ledgerStatuses(),
		Example: "  tally ledger books\n  tally ledger books --json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.insideLedger(cmd.Context(), flags, func(ctx context.Context, h *house, u *usage.Usage) error {
				books, err := u.Books(ctx, h.actor)
				if err != nil {
					return err
				}
				return showAll(p, asJSON, usage.BookBodiesOf(books), bookHeads[:], bookCells)
			})
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a line")
	return cmd
}

var bookHeads = [...]string{"SOURCE", "SIDE", "RECORDS", "LAST", "CLOSED TO", "HEARD", "STATE", "TROUBLE"}

func bookCells(b usage.BookBody) []string {
	state := "open"
	switch {
	case b.Ended != nil:
		state = "ended"
	case b.Silent:
		state = "silent"
	case b.Reading == nil:
		state = "not read"
	case b.Reading.Paused:
		state = "paused"
	case b.Reading.Error != "":
		state = "failing"
	}
	var trouble []string
	for _, t := range []struct {
		count uint64
		what  string
	}{{b.MissingCount, "missing"}, {uint64(b.Chain.BrokenCount), "broken"}, {uint64(b.Twice), "twice"}, {uint64(b.AfterClose), "late"}} {
		if t.count > 0 {
			trouble = append(trouble, fmt.Sprintf("%d %s", t.count, t.what))
		}
	}
	return []string{
		b.Source, string(b.Side), strconv.FormatInt(b.Records, 10), instant(b.Last), instant(b.Closed), instant(b.Heard), state, words(trouble...),
	}
}

// instant writes a time to the second; none is "".
func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// useParameters are those that usage.ParseFilter reads.
var useParameters = [...]parameter{
	{"credential", "of the credential with this `FINGERPRINT`, the beginning of one, or a name as logs have it: x5t:..."},
	{"verdict", "with this `VERDICT`: foreign, unconfirmed, attempt; of one credential also matched, pending"},
	{"side", "that this `SIDE` recorded: holder, relying"},
	{"source", "of this `SOURCE`"},
	{"relying_party", "at this relying `PARTY`, as the records have it"},
	{"address", "from this `ADDRESS`"},
	{"incident", "of the incident with this `NUMBER`"},
	{"from", "at this `TIME` or later: a day, or 2026-11-22T10:00:00Z"},
	{"to", "before this `TIME`"},
}

func (p *program) ledgerUses() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "uses", Short: "List uses, the newest first",
		Long: `List uses, the newest first: those that do not match, or all of one credential.
With --json each line is a use record (version 1, docs/use-record.schema.json) with
the members "verdict", "reason", "incident" and "key" besides.

` + ledgerStatuses(),
		Example: `  tally ledger uses --verdict foreign
  tally ledger uses --credential 9a0c11 --from 2026-11-22T10:00:00Z --to 2026-11-22T11:00:00Z
  tally ledger uses --incident 4711 --json --limit 0`,
		Args: noArguments,
	}
	flags.addTo(cmd, "")
	addParameters(cmd, useParameters[:])
	completeUses(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := usage.ParseFilter(queryOf(cmd, useParameters[:]))
		if err != nil {
			return err
		}
		return p.listLedger(cmd.Context(), flags, func(ctx context.Context, h *house, u *usage.Usage) error {
			return show(p, flags, func(r store.PageRequest) (store.Page[useLine], int64, error) {
				page, total, err := u.Records(ctx, h.actor, filter, r)
				return linesOf(page), total, err
			}, useHeads[:], useCells)
		})
	}
	return cmd
}

func completeUses(cmd *cobra.Command) {
	completeFlag(cmd, "verdict", usage.Verdicts)
	completeFlag(cmd, "side", func() []string { return []string{string(tallystick.SideHolder), string(tallystick.SideRelying)} })
}

// A useLine is a usage.Record as a line of JSON.
type useLine struct{ usage.Record }

// MarshalJSON adds the verdict to the use record.
func (l useLine) MarshalJSON() ([]byte, error) {
	use := l.Use
	use.Other = maps.Clone(use.Other)
	if use.Other == nil {
		use.Other = map[string]string{}
	}
	for name, value := range map[string]any{"verdict": l.Verdict, "reason": l.Reason, "key": l.Key, "incident": l.Incident} {
		delete(use.Other, name)
		if value == "" || value == int64(0) {
			continue
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		use.Other[name] = string(text)
	}
	return json.Marshal(use)
}

func linesOf(page store.Page[usage.Record]) store.Page[useLine] {
	lines := store.Page[useLine]{Next: page.Next}
	for _, r := range page.Items {
		lines.Items = append(lines.Items, useLine{r})
	}
	return lines
}

var useHeads = [...]string{"TIME", "VERDICT", "SIDE", "CREDENTIAL", "RELYING PARTY", "ADDRESS", "SOURCE", "REASON"}

func useCells(l useLine) []string {
	r := l.Record
	uses := string(r.Verdict)
	if r.Use.Count > 1 {
		uses += fmt.Sprintf(" x%d", r.Use.Count)
	}
	return []string{
		instant(r.Use.Time), uses, string(r.Use.Side), usedName(r.Credential, r.Use.Credential), r.Use.RelyingParty, r.Use.Address, r.Use.Source, r.Reason,
	}
}

// usedName is what people call a credential that is used.
func usedName(c usage.Credential, names []string) string {
	if c.Fingerprint != "" {
		return clip(name(&tallystick.Credential{ID: c.Fingerprint, Kind: c.Kind, Subject: c.Subject}), findingWidth)
	}
	if len(names) > 0 {
		return clip(names[0], findingWidth)
	}
	return ""
}

// incidentParameters are those that usage.ParseIncidentFilter reads but state, which is --all.
var incidentParameters = [...]parameter{
	{"credential", "of the credential with this `FINGERPRINT`, the beginning of one, or a name as logs have it"},
	{"from", "with uses at this `TIME` or later: a day, or 2026-11-22T10:00:00Z"},
	{"to", "with uses before this `TIME`"},
}

func (p *program) ledgerIncidents() *cobra.Command {
	var flags listFlags
	var all bool
	cmd := &cobra.Command{
		Use: "incidents", Short: "List foreign uses by incident, the latest first",
		Long: `List foreign uses by incident, the latest first. An incident is the foreign uses of
one credential that are less than a day apart; "tally ledger uses --incident" lists
them.

` + ledgerStatuses(),
		Example: "  tally ledger incidents --from 2026-11-01\n  tally ledger incidents --credential 9a0c11 --all --json",
		Args:    noArguments,
	}
	flags.addTo(cmd, "")
	addParameters(cmd, incidentParameters[:])
	cmd.Flags().BoolVar(&all, "all", false, "also those that turned out to be none")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		filter, err := usage.ParseIncidentFilter(queryOf(cmd, incidentParameters[:]))
		if err != nil {
			return err
		}
		filter.All = all
		return p.listLedger(cmd.Context(), flags, func(ctx context.Context, h *house, u *usage.Usage) error {
			return show(p, flags, func(r store.PageRequest) (store.Page[usage.Incident], int64, error) {
				return u.Incidents(ctx, h.actor, filter, r)
			}, incidentHeads[:], incidentCells)
		})
	}
	return cmd
}

var incidentHeads = [...]string{"INCIDENT", "FIRST", "LAST", "USES", "PARTIES", "ADDRESSES", "CREDENTIAL"}

func incidentCells(i usage.Incident) []string {
	return []string{
		strconv.FormatInt(i.ID, 10), instant(i.First), instant(i.Last), strconv.FormatInt(i.Uses, 10), strconv.FormatInt(i.Parties, 10),
		strconv.FormatInt(i.Addresses, 10), usedName(i.Credential, i.Credential.Names),
	}
}
