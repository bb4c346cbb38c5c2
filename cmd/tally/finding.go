// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

func (p *program) findingCommand() *cobra.Command {
	cmd := group("finding", "Accept, reopen and assign findings")
	cmd.AddCommand(p.findingAccept(), p.findingReopen(), p.findingAssign())
	return cmd
}

// A findingAct is what a command does to findings.
type findingAct struct {
	verb, state string        // "accept" those that are "open"
	ready       func() error  // says what is missing in the command line
	outcome     func() string // "accepted until 2027-03-31"
	do          func(context.Context, *house, finding.Selection) (int, error)
}

func (p *program) findingAccept() *cobra.Command {
	var reason, until string
	var end time.Time
	cmd := p.findingChange("accept [ID...]", "Let findings stand until a day", "", findingAct{
		verb: "accept", state: "open",
		ready: func() (err error) {
			end, err = acceptFlags(reason, until)
			return err
		},
		outcome: func() string { return "accepted until " + dayOf(end) },
		do: func(ctx context.Context, h *house, s finding.Selection) (int, error) {
			// The day that was given is the last one.
			return h.findings.Accept(ctx, h.actor, s, reason, end.AddDate(0, 0, 1))
		},
	})
	cmd.Flags().StringVar(&reason, "reason", "", "why they may stand")
	cmd.Flags().StringVar(&until, "until", "", "the last `DAY` on which they may, a year from now at most")
	cmd.Example = `  tally finding accept 4711 --reason 'replaced in the next release' --until 2027-03-31
  tally finding accept --rule expired --place /usr/share --reason 'samples of packages' --until 2027-03-31`
	return cmd
}

// lastDay writes the day that ends at an instant, as --until has named it.
func lastDay(end time.Time) string { return dayOf(end.Add(-time.Nanosecond)) }

// acceptFlags reads the flags of an acceptance, and names all that are missing.
func acceptFlags(reason, until string) (time.Time, error) {
	var missing []string
	if strings.TrimSpace(reason) == "" {
		missing = append(missing, "--reason")
	}
	if until == "" {
		missing = append(missing, "--until")
	}
	if len(missing) > 0 {
		verb := map[bool]string{true: " is", false: " are"}[len(missing) == 1]
		return time.Time{}, misuse(errors.New(strings.Join(missing, " and ")+verb+" missing"),
			"say why, and until when, a year at most: --reason 'replaced soon' --until 2027-03-31")
	}
	return dayFlag("until", until)
}

func (p *program) findingReopen() *cobra.Command {
	cmd := p.findingChange("reopen [ID...]", "Take acceptances back", "", findingAct{
		verb: "reopen", state: "accepted",
		ready:   func() error { return nil },
		outcome: func() string { return "open again" },
		do: func(ctx context.Context, h *house, s finding.Selection) (int, error) {
			return h.findings.Reopen(ctx, h.actor, s)
		},
	})
	cmd.Example = "  tally finding reopen 4711\n  tally finding reopen --rule expired --yes"
	return cmd
}

func (p *program) findingAssign() *cobra.Command {
	var to string
	cmd := p.findingChange("assign [ID...]", "Say who is to see to findings", "Without --to it is nobody.\n\n", findingAct{
		verb: "assign", state: "open",
		ready: func() error { return nil },
		outcome: func() string {
			if to == "" {
				return "assigned to nobody"
			}
			return "assigned to " + to
		},
		do: func(ctx context.Context, h *house, s finding.Selection) (int, error) {
			return h.findings.Assign(ctx, h.actor, s, to)
		},
	})
	cmd.Flags().StringVar(&to, "to", "", "the `PERSON`")
	cmd.Example = "  tally finding assign 4711 --to maria\n  tally finding assign --place /etc/nginx --to maria"
	return cmd
}

// findingChange returns a command that does something to findings.
func (p *program) findingChange(use, short, more string, act findingAct) *cobra.Command {
	var flags dataFlags
	var yes bool
	cmd := &cobra.Command{
		Use: use, Short: short, Long: short + `. Name them by the numbers that
"tally list findings" lists, or by the flags, which hold together; at least one of
these is --rule, --place or --credential. How many they are is shown, and asked on
a terminal; elsewhere it takes --yes. With --place, a finding is left out whose
credential is at other places too. The audit log holds the filter, and each finding.

` + more + listStatuses(),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.changeFindings(cmd, flags, args, yes, act)
		},
	}
	flags.addTo(cmd)
	addParameters(cmd, manyParameters())
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// changeFindings is what the commands of a findingAct run.
func (p *program) changeFindings(cmd *cobra.Command, flags dataFlags, args []string, yes bool, act findingAct) error {
	query := queryOf(cmd, manyParameters())
	switch {
	case len(args) == 0 && len(query) == 0:
		return misuse(errors.New("say which findings: give their numbers, or --rule, --place or --credential"), `run "tally list findings" to see them`)
	case len(args) > 0 && len(query) > 0:
		return misuse(errors.New("give numbers or a filter, not both"), "the filter is in the flags "+strings.Join(flagNames(manyParameters()), ", "))
	}
	query.Set("state", act.state)
	filter, err := finding.ParseFilter(query, ruleNames())
	if err != nil {
		return err
	}
	var ids []int64
	for _, arg := range args {
		id, err := numberOf(arg, "finding", "tally list findings")
		if err != nil {
			return err
		}
		ids = append(ids, id)
	}
	if err := act.ready(); err != nil {
		return err
	}
	return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
		if len(ids) == 0 {
			return p.changeSelected(ctx, h, filter, yes, act)
		}
		for _, id := range ids {
			if err := p.changeOne(ctx, h, id, act); err != nil {
				return err
			}
		}
		return nil
	})
}

// changeOne changes one finding and says what it is about.
func (p *program) changeOne(ctx context.Context, h *house, id int64, act findingAct) error {
	if _, err := act.do(ctx, h, finding.One(id)); err != nil {
		return err
	}
	f, err := h.findings.Finding(ctx, h.actor, id)
	if err != nil {
		return err
	}
	p.say("finding %d is %s: %s", id, act.outcome(), words(f.Rule+",", findingName(f), atPlace(f)))
	return nil
}

func atPlace(f store.FindingRow) string {
	if f.At() == "" {
		return ""
	}
	return "at " + placeText(f.At())
}

// changeSelected changes all that a filter names, if the person wants that.
func (p *program) changeSelected(ctx context.Context, h *house, filter store.FindingFilter, yes bool, act findingAct) error {
	selected, err := h.findings.Select(ctx, h.actor, filter)
	if err != nil {
		return err
	}
	if n := selected.Elsewhere; n > 0 {
		p.say("%s left out, for the credential is at other places too", plural(int(n), "finding")+map[bool]string{true: " is", false: " are"}[n == 1])
	}
	if len(selected.IDs) == 0 {
		return fmt.Errorf("no finding that is %s matches: %w", act.state, tallystick.ErrNotFound)
	}
	if err := p.confirm(fmt.Sprintf("%s %s", act.verb, plural(len(selected.IDs), "finding")), yes); err != nil {
		return err
	}
	n, err := act.do(ctx, h, selected)
	if err != nil {
		return err
	}
	p.say("%s %s", plural(n, "finding")+map[bool]string{true: " is", false: " are"}[n == 1], act.outcome())
	return nil
}

// confirm asks on a terminal whether to do something, unless that was said
// beforehand.
func (p *program) confirm(what string, yes bool) error {
	if yes {
		return nil
	}
	in, ok := p.in.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return misuse(fmt.Errorf("this would %s, and there is no terminal to ask on", what), "add --yes to do it")
	}
	fmt.Fprintf(p.err, "%s? [y/N] ", strings.ToUpper(what[:1])+what[1:])
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err == nil && strings.HasPrefix(strings.ToLower(strings.TrimSpace(answer)), "y") {
		return nil
	}
	return &statusError{err: errors.New("nothing was changed"), status: problem.ExitFailed}
}

// say tells the person what was done; what they asked for goes to standard output.
func (p *program) say(format string, args ...any) {
	fmt.Fprintln(p.err, clean(fmt.Sprintf(format, args...)))
}

// numberOf reads the number of something that a command lists.
func numberOf(text, of, list string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, misuse(fmt.Errorf("%q is not the number of a %s", text, of), fmt.Sprintf("run %q to see them", list))
	}
	return id, nil
}
