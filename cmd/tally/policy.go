// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/problem"
)

func (p *program) policyCommand() *cobra.Command {
	cmd := group("policy", "Show and try the rules about who may have which certificate")
	cmd.AddCommand(p.policyListCommand(), p.policyTestCommand(), p.policyExplainCommand())
	return cmd
}

// policyOf compiles the policies of a configuration. What is wrong is told with its
// place in the file.
func policyOf(c *config.Config) (*policy.Policy, error) {
	var rules []policy.Rule
	for _, r := range c.Issuing.Policies {
		rules = append(rules, policy.Rule{Name: r.Name, When: r.When, Require: r.Require, Approve: r.Approve, Grants: r.Grants,
			Because: r.Because, Citation: r.Citation, From: r.FromDay()})
	}
	compiled, err := policy.Compile(rules)
	if err == nil {
		return compiled, nil
	}
	var placed []error
	for _, one := range flatten(err) {
		wrong, ok := errors.AsType[*policy.Error](one)
		if !ok {
			placed = append(placed, one)
			continue
		}
		i := slices.IndexFunc(c.Issuing.Policies, func(r config.Policy) bool { return r.Name == wrong.Rule })
		path := strings.TrimSuffix(fmt.Sprintf("issuing.policies[%d].%s", i, wrong.Part), ".")
		placed = append(placed, fmt.Errorf("%s: %w", c.Where(path), one))
	}
	return nil, errors.Join(placed...)
}

// flatten returns the errors that errors.Join has joined.
func flatten(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, flatten(one)...)
	}
	return all
}

// loadPolicy reads the configuration, and compiles its policies.
func (p *program) loadPolicy(path string) (*config.Config, *policy.Policy, error) {
	c, err := p.load(dataFlags{config: path})
	if err != nil {
		return nil, nil, err
	}
	rules, err := policyOf(c)
	return c, rules, err
}

// A policyRule is a line of "tally policy list --json".
type policyRule struct {
	Name     string `json:"name"`
	BuiltIn  bool   `json:"built_in"`
	When     string `json:"when,omitempty"`
	Require  string `json:"require,omitempty"`
	Approve  bool   `json:"approve,omitempty"`
	Grants   bool   `json:"grants,omitempty"`
	Because  string `json:"because,omitempty"`
	Citation string `json:"citation,omitempty"`
	From     string `json:"from,omitempty"`
}

// policyRules returns the rules that hold.
func policyRules(c *config.Config, rules *policy.Policy) []policyRule {
	var list []policyRule
	for _, r := range rules.Rules() {
		one := policyRule{Name: r.Name, When: asOneLine(r.When), Require: asOneLine(r.Require), Approve: r.Approve, Grants: r.Grants, Because: r.Because, Citation: r.Citation}
		one.BuiltIn = !slices.ContainsFunc(c.Issuing.Policies, func(own config.Policy) bool { return own.Name == r.Name })
		if !r.From.IsZero() {
			one.From = r.From.Format("2006-01-02")
		}
		list = append(list, one)
	}
	return list
}

// asOneLine writes an expression without its line breaks.
func asOneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

func (p *program) policyListCommand() *cobra.Command {
	var path string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the rules that hold, those of the configuration first",
		Long: `List the rules about who may have which certificate, in the order in which they
are asked: those of the configuration, then those that are built in. All rules
that apply to a request must agree. docs/policy.md says how to write rules.

` + exitStatuses("0 done", "2 bad usage, or a configuration that cannot be used"),
		Example: "  tally policy list --config tally.yaml",
		Args:    noArguments,
		RunE: func(*cobra.Command, []string) error {
			c, rules, err := p.loadPolicy(path)
			if err != nil {
				return err
			}
			list := policyRules(c, rules)
			if asJSON {
				return p.printLines(list)
			}
			t := newTable(p.out, "RULE", "FROM", "APPLIES WHEN", "REQUIRES")
			for _, r := range list {
				t.row(r.Name, r.origin(), orElse(r.When, "always"), r.demand())
			}
			return t.write()
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "read this configuration `FILE`")
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a line")
	return cmd
}

func orElse(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// origin says where a rule is from, and from when it holds.
func (r policyRule) origin() string {
	origin := "configuration"
	if r.BuiltIn {
		origin = "built in"
	}
	if r.From != "" {
		origin += ", from " + r.From
	}
	return origin
}

// demand says what a rule wants.
func (r policyRule) demand() string {
	parts := []string{}
	if r.Require != "" {
		parts = append(parts, r.Require)
	}
	if r.Approve {
		parts = append(parts, "approval")
	}
	return strings.Join(parts, ", then ")
}

// printLines writes one JSON object a line.
func (p *program) printLines(list []policyRule) error {
	encoder := json.NewEncoder(escaping{p.out})
	encoder.SetEscapeHTML(false)
	for _, one := range list {
		if err := encoder.Encode(one); err != nil {
			return fmt.Errorf("couldn't write the rules: %w", err)
		}
	}
	return nil
}

func (p *program) policyExplainCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "explain [RULE...]", Short: "Explain rules, or what rules can speak of",
		Long: `Explain the rules that are named. Without a name, list the variables and the
functions that rules can use, beside what CEL itself has (https://cel.dev).

` + exitStatuses("0 done", "2 bad usage, there is no such rule, or a configuration that cannot be used"),
		Example: "  tally policy explain\n  tally policy explain proven-or-operator",
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return p.explainVariables()
			}
			c, rules, err := p.loadPolicy(path)
			if err != nil {
				return err
			}
			return p.explainRules(policyRules(c, rules), args)
		},
	}
	cmd.Flags().StringVar(&path, "config", "", "read this configuration `FILE`")
	return cmd
}

// explainVariables lists what expressions can speak of.
func (p *program) explainVariables() error {
	t := newTable(p.out, "VARIABLE", "TYPE", "WHAT IT IS")
	for _, v := range policy.Variables() {
		t.row(v.Name, v.Type, strings.ReplaceAll(v.About, "`", ""))
	}
	if err := t.write(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(p.out); err != nil {
		return err
	}
	t = newTable(p.out, "FUNCTION", "SAYS")
	for _, f := range policy.Functions() {
		t.row(f.Example, strings.ReplaceAll(f.About, "`", ""))
	}
	return t.write()
}

// explainRules writes everything about some rules.
func (p *program) explainRules(list []policyRule, names []string) error {
	s := &sheet{out: p.out}
	for i, name := range names {
		at := slices.IndexFunc(list, func(r policyRule) bool { return r.Name == name })
		if at < 0 {
			var known []string
			for _, r := range list {
				known = append(known, r.Name)
			}
			hint := `run "tally policy list" to see them`
			if near := problem.Nearest(name, known); near != "" {
				hint = "did you mean " + near + "?"
			}
			return &statusError{err: fmt.Errorf("there is no rule %q: %w", name, tallystick.ErrNotFound), status: problem.ExitUsage, hint: hint}
		}
		if i > 0 {
			s.print("\n")
		}
		r := list[at]
		s.print("%s (%s)\n", clean(r.Name), r.origin())
		s.put("Applies when", orElse(r.When, "always"))
		s.put("Requires", r.Require)
		if r.Approve {
			s.put("And then", "somebody's approval")
		}
		if r.Grants {
			s.put("And then", "the names need not be proven otherwise")
		}
		s.put("Because", r.Because)
		s.put("Citation", r.Citation)
	}
	return s.err
}
