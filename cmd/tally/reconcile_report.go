// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/reconcile"
	"github.com/tallystick/tallystick/internal/tally"
)

// An incident is the foreign uses of one credential.
type incident struct {
	names, parties, addresses, reasons map[string]int64
	count                              int64
	first, last                        time.Time
}

// add counts a use.
func (i *incident) add(v reconcile.Verdict) {
	i.parties[cmp.Or(v.Use.RelyingParty, "not named in the log")] += v.Count
	i.addresses[cmp.Or(v.Use.Address, "not in the log")] += v.Count
	i.reasons[v.Reason.String()] += v.Count
	i.count += v.Count
	if i.first.IsZero() || v.Use.Time.Before(i.first) {
		i.first = v.Use.Time
	}
	if v.Use.Until.After(i.last) {
		i.last = v.Use.Until
	}
}

// printReconciliation writes the report for people.
func printReconciliation(ctx context.Context, out io.Writer, files *reconcile.Files) error {
	incidents := map[uint32]*incident{}
	err := files.Each(ctx, func(v reconcile.Verdict) error {
		if v.Verdict != tallystick.VerdictForeign {
			return nil
		}
		one, ok := incidents[v.Credential]
		if !ok {
			one = &incident{names: map[string]int64{}, parties: map[string]int64{}, addresses: map[string]int64{}, reasons: map[string]int64{}}
			for _, name := range files.Result.Names[v.Credential] {
				one.names[name] = 1
			}
			incidents[v.Credential] = one
		}
		one.add(v)
		return nil
	})
	if err != nil {
		return err
	}
	list := slices.SortedFunc(maps.Values(incidents), func(a, b *incident) int {
		return cmp.Or(a.first.Compare(b.first), cmp.Compare(-a.count, -b.count), slices.Compare(slices.Sorted(maps.Keys(a.names)), slices.Sorted(maps.Keys(b.names))))
	})
	w := &reportWriter{out: out}
	w.headline(files.Result, len(list))
	for _, one := range list {
		w.incident(one)
	}
	w.totals(files)
	w.books(files.Result)
	w.broken(files)
	w.next(files, len(list) > 0)
	return w.err
}

// A reportWriter writes until something goes wrong.
type reportWriter struct {
	out io.Writer
	err error
}

func (w *reportWriter) line(format string, args ...any) {
	if w.err == nil {
		_, w.err = fmt.Fprintf(w.out, format+"\n", args...)
	}
}

func (w *reportWriter) headline(result tally.Result, credentials int) {
	sum := result.Summary
	switch {
	case sum.Foreign > 0:
		w.line("%s of %s: accepted there, and not made by the holder.", plural(int(sum.Foreign), "foreign use"), plural(credentials, "credential"))
	case sum.Pending > 0 && sum.Pending == result.Doubtful:
		w.line("No use that is surely foreign; %s without a record at a time of which the holder's book lost some.", plural(int(sum.Pending), "use"))
	case sum.Pending > 0:
		w.line("No foreign use so far; %s until the holder's book is closed.", waits(sum.Pending))
	case sum.Relying == 0:
		w.line("No foreign use, because the relying side recorded no use at all.")
	default:
		w.line("No foreign use: the holder made every use that was recorded.")
	}
}

// waits says that uses wait.
func waits(n int64) string {
	if n == 1 {
		return "1 use waits"
	}
	return plural(int(n), "use") + " wait"
}

// incident writes the uses of one credential.
func (w *reportWriter) incident(i *incident) {
	w.line("")
	w.list("Credential", i.names, "")
	if moment(i.first) == moment(i.last) {
		w.line("  Foreign uses   %d, at %s", i.count, moment(i.first))
	} else {
		w.line("  Foreign uses   %d, the first at %s, the last at %s", i.count, moment(i.first), moment(i.last))
	}
	w.list("  Used at", i.parties, "use")
	w.list("  From", i.addresses, "use")
	w.list("  Why", i.reasons, "use")
}

// maxListed bounds each list of a report.
const maxListed = 10

// list writes what there is most of first.
func (w *reportWriter) list(label string, counts map[string]int64, unit string) {
	names := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Or(-cmp.Compare(counts[a], counts[b]), cmp.Compare(a, b)) })
	for n, name := range names {
		if n == maxListed {
			w.line("%-17sand %d more", "", len(names)-n)
			return
		}
		if unit != "" && len(names) > 1 {
			name = fmt.Sprintf("%s (%s)", name, plural(int(counts[name]), unit))
		}
		text := wrap(clean(name), "                 ", textWidth)
		w.line("%-17s%s", label, strings.TrimPrefix(text, "                 "))
		label = ""
	}
}

// moment writes a time for people.
func moment(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// totals says what became of everything.
func (w *reportWriter) totals(files *reconcile.Files) {
	sum := files.Result.Summary
	w.line("")
	w.line("Relying side     %s: %d matched, %d foreign, %d pending", plural(int(sum.Relying), "use"), sum.Matched, sum.Foreign, sum.Pending)
	w.line("Holder side      %s: %d unconfirmed, seen by no relying party", plural(int(sum.Holder), "use"), sum.Unconfirmed)
	var aside []string
	for _, one := range []struct {
		n    int64
		noun string
	}{{sum.Duplicates, "duplicate"}, {sum.Attempts, "attempt"}, {sum.Malformed, "malformed line"}} {
		if one.n > 0 {
			aside = append(aside, plural(int(one.n), one.noun))
		}
	}
	if files.Other > 0 {
		aside = append(aside, plural(int(files.Other), "record")+" about other things")
	}
	if len(aside) > 0 {
		w.line("Set aside        %s", strings.Join(aside, ", "))
	}
}

// books says how far each holder's book goes.
func (w *reportWriter) books(result tally.Result) {
	for n, b := range result.Books {
		if n == maxListed {
			w.line("                 and %d more books", len(result.Books)-n)
			return
		}
		text := cmp.Or(b.Source, "without a name") + ": " + plural(int(b.Records), "record")
		if b.Records > 0 {
			text += fmt.Sprintf(", %s to %s", moment(b.First), moment(b.Last))
		}
		if !b.Closed.IsZero() {
			text += ", closed up to " + moment(b.Closed)
		}
		if b.Missing > 0 {
			text += fmt.Sprintf("; %d of its numbers are missing", b.Missing)
		}
		if b.Lost > 0 {
			text += "; it lost " + plural(int(b.Lost), "use")
		}
		w.line("Book             %s", clean(text))
	}
}

// broken says where a book does not follow from itself.
func (w *reportWriter) broken(files *reconcile.Files) {
	for n, b := range files.Broken {
		if n == maxListed {
			break
		}
		w.line("%-17s%s", "Broken", strings.TrimPrefix(wrap(clean(b.String()), "                 ", textWidth), "                 "))
	}
	if more := files.BrokenCount - int64(min(len(files.Broken), maxListed)); more > 0 {
		w.line("                 and %s more", plural(int(more), "broken place"))
	}
}

// next says what to do.
func (w *reportWriter) next(files *reconcile.Files, foreign bool) {
	sum := files.Result.Summary
	var steps []string
	if files.HolderMalformed > 0 && foreign {
		steps = append(steps, plural(int(files.HolderMalformed), "line")+" of the holder's files could not be read (standard error names them), and may be the very uses that look foreign here: mend them and run it again before anything else.")
	}
	if foreign {
		steps = append(steps,
			"Rule out a gap first: ask the holder whether every program that has the key writes to these books.",
			"If they are complete, the credential is in other hands. Put a new one in its place at every relying party named here, then remove the old one there; tokens that were issued stay good until they expire.",
			"Keep these files as they are. --json lists each foreign use with its ids, for the relying parties to look up what was done with it.")
	}
	if files.Result.Doubtful > 0 {
		steps = append(steps, "A book that lost uses cannot clear those of that time: ask the relying parties named by --json what was done with them, and give the holder's program more room (Memory of its book).")
	}
	if sum.Pending > files.Result.Doubtful {
		steps = append(steps, "Pending uses get their verdict when the holder's book has a closing mark past their time, or with --close-at-end when the files are complete.")
	}
	for _, b := range files.Result.Books {
		if b.Missing > 0 {
			steps = append(steps, "Find the missing records of "+clean(b.Source)+": uses that they hold look foreign here.")
			break
		}
	}
	if files.BrokenCount > 0 {
		steps = append(steps, "Get the broken books again from where they are kept, and ask who can write there: a record that was changed or taken out hides a use, or makes one look foreign.")
	}
	if len(steps) == 0 {
		return
	}
	w.line("")
	w.line("What to do next")
	for _, step := range steps {
		w.line("%s", strings.Replace(wrap(step, "    ", textWidth), "    ", "  - ", 1))
	}
}
