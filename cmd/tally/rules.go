// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/rule"
	"github.com/tallystick/tallystick/rules"
)

func (p *program) rulesCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "rules [RULE...]", Short: "Explain the rules: what is wrong, why, and what to do",
		Long:    "List the rules, or explain those that are named.\n\n" + exitStatuses("0 done", "2 bad usage, or there is no such rule"),
		Example: "  tally rules\n  tally rules expired weak-key",
		RunE: func(_ *cobra.Command, args []string) error {
			picked, err := pickRules(args)
			if err != nil {
				return err
			}
			if asJSON {
				return printRulesJSON(p.out, picked)
			}
			if len(args) == 0 {
				return printRules(p.out, picked)
			}
			return explainRules(p.out, picked)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a line")
	return cmd
}

// pickRules returns the rules of some names; all when there are none.
func pickRules(names []string) ([]rule.Rule, error) {
	all := rules.All()
	if len(names) == 0 {
		return all, nil
	}
	byName := map[string]rule.Rule{}
	var known []string
	for _, r := range all {
		byName[r.Name] = r
		known = append(known, r.Name)
	}
	var picked []rule.Rule
	for _, name := range names {
		r, ok := byName[name]
		if !ok {
			hint := `run "tally rules" to see them`
			if near := problem.Nearest(name, known); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return nil, misuse(fmt.Errorf("there is no rule %q", name), hint)
		}
		picked = append(picked, r)
	}
	return picked, nil
}

func printRules(out io.Writer, list []rule.Rule) error {
	t := newTable(out, "SEVERITY", "RULE", "TITLE")
	for _, r := range list {
		t.row(r.Severity.String(), r.Name, r.Title)
	}
	return t.write()
}

func explainRules(out io.Writer, list []rule.Rule) error {
	for i, r := range list {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s (%s)\n  %s\n\n", r.Name, r.Severity, r.Title)
		fmt.Fprintf(out, "%s\n\n", wrap(r.About, "  ", textWidth))
		fmt.Fprintf(out, "%s\n\n", wrap("What to do: "+r.Do, "  ", textWidth))
		fmt.Fprintf(out, "  See %s, since %s\n  %s\n", r.Citation, dayOf(r.Effective), r.URL)
	}
	return nil
}

// A ruleLine is what --json writes for a rule.
type ruleLine struct {
	Name      string `json:"name"`
	Title     string `json:"title"`
	About     string `json:"about"`
	Severity  string `json:"severity"`
	Citation  string `json:"citation"`
	URL       string `json:"url"`
	Effective string `json:"effective"`
	Do        string `json:"do"`
}

func printRulesJSON(out io.Writer, list []rule.Rule) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, r := range list {
		line := ruleLine{r.Name, r.Title, r.About, r.Severity.String(), r.Citation, r.URL, dayOf(r.Effective), r.Do}
		if err := encoder.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

func (p *program) driversCommand() *cobra.Command {
	return &cobra.Command{
		Use: "drivers", Short: "List the drivers: what they look at, and their options",
		Long: "List the drivers: what they look at, what they can do, and the options that a\n" +
			"configuration may set.\n\n" + exitStatuses("0 done", "2 bad usage"),
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return printDrivers(p.out, drivers.All()) },
	}
}

func printDrivers(out io.Writer, list []driver.Driver) error {
	for i, d := range list {
		if i > 0 {
			fmt.Fprintln(out)
		}
		fmt.Fprintf(out, "%s (%s)\n%s\n", d.Name(), strings.Join(d.Verbs(), ", "), wrap(d.About(), "  ", textWidth))
		for _, o := range d.Options() {
			text := o.Help
			if o.Default != "" {
				text += " (default " + o.Default + ")"
			}
			fmt.Fprintf(out, "\n  %s\n%s\n", o.Name, wrap(text, "      ", textWidth))
		}
	}
	return nil
}
