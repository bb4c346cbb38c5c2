// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/sigma"
	"github.com/tallystick/tallystick/internal/uses"
)

func (p *program) sigmaRunCommand() *cobra.Command {
	var flags sigmaFlags
	var rules []string
	cmd := &cobra.Command{
		Use:   "run --rules DIR [FORMAT:]FILE...",
		Short: "Run rules over log files",
		Long: `Run Sigma rules over log files, with no server, and keep nothing. The files are
those that "tally reconcile" reads, and JSON of the logs that rules can be about;
"-" is standard input, and gzip and zstd are read as they are. Rules that cannot
be used are counted on standard error; "tally sigma check" names them.

Correlations go by the time of the events over all files, and are told at the end.

` + exitStatuses("0 done, nothing matched", "1 something failed, or a correlation had no room", "2 bad usage, no rule, or a file that cannot be read or recognised",
			"3 done, and rules matched"),
		Example: `  tally sigma run --rules rules/ signins.json auditlogs.json
  tally sigma run --rules rules/cloud cloudtrail:*.json.gz --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(rules) == 0:
				return misuse(errors.New("--rules is missing"), "name the directory of the rules: --rules rules/")
			case len(args) == 0:
				return misuse(errors.New("which log files?"), "name them behind the flags: tally sigma run --rules rules/ signins.json")
			}
			return p.sigmaRun(cmd.Context(), flags, rules, args)
		},
	}
	cmd.Flags().StringArrayVar(&rules, "rules", nil, "read the rules of this `DIR` or file")
	flags.register(cmd)
	return cmd
}

// A sigmaRun evaluates rules over files.
type sigmaRun struct {
	*program
	set     *sigma.Set
	encoder *json.Encoder // or nil
	report  reportWriter

	records, unknown, malformed, hits int
}

func (p *program) sigmaRun(ctx context.Context, flags sigmaFlags, paths, files []string) error {
	options, err := flags.options()
	if err != nil {
		return err
	}
	rules, refused, err := readRules(paths, options)
	if err != nil {
		return err
	}
	// Files come one after the other, whatever times are in them.
	set, err := sigma.NewSet(rules, sigma.SetOptions{Tolerance: math.MaxInt64})
	if more, ok := errors.AsType[sigma.Refusals](err); ok {
		refused = append(refused, more...)
	}
	if len(refused) > 0 {
		fmt.Fprintf(p.err, "tally: %s refused; run tally sigma check %s\n", plural(len(refused), "rule"), strings.Join(paths, " "))
	}
	if len(rules) == 0 {
		return misuse(errors.New("no rule can be used"), "run tally sigma check to see why")
	}
	run := sigmaRun{program: p, set: set, report: reportWriter{out: p.out}}
	if flags.json {
		run.encoder = json.NewEncoder(escaping{p.out})
		run.encoder.SetEscapeHTML(false)
	}
	var unread []error
	for _, arg := range files {
		inputs, err := inputsOf(arg, "")
		if err != nil {
			return err
		}
		for _, in := range inputs {
			if err := run.file(ctx, in.Path, in.Format); err != nil {
				unread = append(unread, err)
			}
		}
	}
	return run.end(errors.Join(unread...))
}

// file evaluates the rules over a file.
func (r *sigmaRun) file(ctx context.Context, path, format string) error {
	settings := uses.Settings{}
	if path == "-" {
		settings.Near = r.now()
	}
	log, err := uses.Open(path, format, settings, r.in)
	if errors.Is(err, uses.ErrUnknownFormat) && path != "-" {
		// Logs that say nothing of uses have no format; what they are is seen
		// by the members of their JSON, which this one does not ask for.
		if log, err = uses.Open(path, "use", settings, r.in); err == nil {
			log.Format.Name = ""
		}
	}
	if err != nil {
		return err
	}
	defer log.Close()
	reader, read := sigma.NewReader(log.Format.Name), log.Reader()
	before, known := r.records, r.unknown
	err = log.Blocks(func(b *uses.Block) error {
		b.Each(func(text string, _ int64, line int) {
			var said said
			if log.Format.Name != "" {
				_ = read(text, &said) // a record that is no use can match all the same
			}
			if record := reader.Read(text); record != nil {
				r.record(record, said, log.Name, line)
			}
		})
		return cmp.Or(ctx.Err(), r.report.err)
	}, func(line int, err error) {
		r.malformed++
		fmt.Fprintf(r.err, "tally: %s, line %d: %s\n", clean(log.Name), line, clean(err.Error()))
	})
	if n := r.records - before; err == nil && n > 0 && n == r.unknown-known {
		return fmt.Errorf("no record of %s is of a log that rules can be about", log.Name)
	}
	return err
}

// said is what a record says: a use, which stands for all that it counts, and changes.
type said struct {
	use     *tallystick.Use
	changes []tallystick.Change
}

func (s *said) Use(u *tallystick.Use) {
	if s.use == nil {
		s.use = uses.Keep(u)
	}
}
func (s *said) Change(c *tallystick.Change)  { s.changes = append(s.changes, uses.KeepChange(c)) }
func (s *said) Close(tallystick.ClosingMark) {}
func (s *said) Lost(*tallystick.Use)         {}

// record evaluates the rules over a record: as the log has it once, and as each
// change that it says.
func (r *sigmaRun) record(record *sigma.Record, said said, file string, line int) {
	r.records++
	event, at, id := sigma.Event(record), record.Time, record.ID()
	changes := said.changes
	switch {
	case said.use != nil:
		event, at, id = sigma.UseEvent{Use: said.use, Record: record}, said.use.Time, cmp.Or(said.use.ID, id)
	case len(changes) > 0:
		event, at, id = sigma.ChangeEvent{Change: &changes[0], Record: record}, changes[0].Time, cmp.Or(changes[0].ID, id)
		changes = changes[1:]
	}
	if len(event.LogSources()) == 0 {
		r.unknown++
	}
	for _, hit := range r.set.Event(event, at) {
		r.hit(hit, id, file, line)
	}
	for i := range changes {
		for _, hit := range r.set.Event(sigma.ChangeEvent{Change: &changes[i]}, changes[i].Time) {
			r.hit(hit, id, file, line)
		}
	}
}

// A hitLine is a line of "tally sigma run --json".
type hitLine struct {
	Rule   string              `json:"rule"`
	RuleID string              `json:"rule_id,omitempty"`
	Level  string              `json:"level,omitempty"`
	Tags   []string            `json:"tags,omitempty"`
	Time   *time.Time          `json:"time,omitempty"`
	ID     string              `json:"id,omitempty"`
	File   string              `json:"file,omitempty"`
	Line   int                 `json:"line,omitempty"`
	From   *time.Time          `json:"from,omitempty"` // of a correlation
	Group  map[string][]string `json:"group,omitempty"`
	Value  *float64            `json:"value,omitempty"`
}

// hit writes a hit.
func (r *sigmaRun) hit(h sigma.Hit, id, file string, line int) {
	r.hits++
	out := hitLine{Rule: h.Rule.Label(), RuleID: h.Rule.ID, Level: h.Rule.Level, Tags: h.Rule.Tags}
	when := "no time"
	if !h.Time.IsZero() {
		at := h.Time.UTC()
		out.Time, when = &at, moment(at)
	}
	where := fmt.Sprintf("%s:%d", file, line)
	if h.Event != nil {
		out.ID, out.File, out.Line = id, file, line
		where = strings.TrimSpace(id + "  " + where)
	} else {
		from := h.From.UTC()
		out.From, out.Value, out.Group = &from, &h.Value, map[string][]string{}
		where = fmt.Sprintf("from %s, %v", moment(from), h.Value)
		for _, g := range h.Group {
			out.Group[g.Field] = g.Values
			where += fmt.Sprintf(", %s %s", g.Field, strings.Join(g.Values, " "))
		}
	}
	if r.encoder != nil {
		r.report.err = cmp.Or(r.report.err, r.encoder.Encode(out))
		return
	}
	r.report.line("%-13s  %s  %s  %s", cmp.Or(h.Rule.Level, "no level"), when, clean(h.Rule.Label()), clean(where))
}

// end tells what is left, and how it ended.
func (r *sigmaRun) end(unread error) error {
	for _, h := range r.set.Flush() {
		r.hit(h, "", "", 0)
	}
	if r.report.err != nil {
		return fmt.Errorf("couldn't write what matched: %w", r.report.err)
	}
	var lost []error
	for _, l := range r.set.Losses() {
		lost = append(lost, fmt.Errorf("correlation %q had no room for %d events, and %d came without a time or too late", l.Rule.Label(), l.Full, l.Late))
	}
	fmt.Fprintf(r.err, "tally: %s, of which %d are of no log that rules can be about; %s\n", plural(r.records, "record"), r.unknown, plural(r.hits, "hit"))
	switch all := errors.Join(unread, errors.Join(lost...)); {
	case r.hits > 0:
		return &statusError{err: errors.Join(all, fmt.Errorf("rules matched %s", times(r.hits))), status: problem.ExitFindings}
	case unread != nil:
		return &statusError{err: all, status: problem.ExitUsage, hint: "docs/sigma.md lists the logs; write FORMAT: before the name of a file to say how it is written"}
	case all != nil:
		return &statusError{err: all, status: problem.ExitFailed, hint: "run the correlation over fewer files, or with a shorter timespan"}
	}
	return nil
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}
