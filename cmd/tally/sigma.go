// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/sigma"
)

func (p *program) sigmaCommand() *cobra.Command {
	cmd := group("sigma", "Check detection rules in the Sigma format, and run them over log files")
	cmd.AddCommand(p.sigmaCheckCommand(), p.sigmaRunCommand())
	return cmd
}

// sigmaFlags say how rules are read.
type sigmaFlags struct {
	placeholders []string
	normalise    bool
	uses         bool
	json         bool
}

func (f *sigmaFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&f.placeholders, "placeholder", nil, "give `NAME=VALUE` for %NAME% in rules; repeat it for more values")
	cmd.Flags().BoolVar(&f.normalise, "normalise", false, "compare without invisible characters, and compatibility forms and dashes alike")
	cmd.Flags().BoolVar(&f.json, "json", false, "write one JSON object a line")
}

// options returns what the flags say.
func (f *sigmaFlags) options() (sigma.Options, error) {
	options := sigma.Options{Normalise: f.normalise, MappedOnly: f.uses, Placeholders: map[string][]string{}}
	for _, given := range f.placeholders {
		name, value, ok := strings.Cut(given, "=")
		if !ok || name == "" {
			return options, misuse(fmt.Errorf("--placeholder %s is not NAME=VALUE", given), "write it as --placeholder Servers='srv*'")
		}
		options.Placeholders[name] = append(options.Placeholders[name], value)
	}
	return options, nil
}

func (p *program) sigmaCheckCommand() *cobra.Command {
	var flags sigmaFlags
	cmd := &cobra.Command{
		Use:   "check FILE...|DIR...",
		Short: "Say which rules can be used here, and why others cannot",
		Long: `Say which Sigma rules can be used here. A rule that uses something that is not
supported, or that is about a log that is not read here, is refused with the
reason and the place. Of a DIR all files that end in .yml or .yaml are read,
also below it. What is supported is in docs/sigma.md.

` + exitStatuses("0 all rules are accepted", "1 something failed", "2 bad usage, a file that cannot be read, or rules that are refused"),
		Example: `  tally sigma check rules/
  tally sigma check --placeholder Servers='srv*' rule.yml --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return misuse(errors.New("which rules?"), "name their files or directories: tally sigma check rules/")
			}
			return p.sigmaCheck(flags, args)
		},
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&flags.uses, "uses", false, "as \"tally up\" runs them, over uses and without the record as it was written")
	return cmd
}

// A sigmaRule is a line of "tally sigma check --json".
type sigmaRule struct {
	Accepted  bool             `json:"accepted"`
	Rule      string           `json:"rule"`
	ID        string           `json:"id,omitempty"`
	Level     string           `json:"level,omitempty"`
	LogSource *sigma.LogSource `json:"logsource,omitempty"`
	Place     string           `json:"place"`
	Reason    string           `json:"reason,omitempty"`
}

func (p *program) sigmaCheck(flags sigmaFlags, paths []string) error {
	options, err := flags.options()
	if err != nil {
		return err
	}
	rules, refused, err := readRules(paths, options)
	if err != nil {
		return err
	}
	_, err = sigma.NewSet(rules, sigma.SetOptions{})
	if more, ok := errors.AsType[sigma.Refusals](err); ok {
		refused = append(refused, more...)
		rules = without(rules, more)
	}
	if err := p.printRules(flags.json, rules, refused); err != nil {
		return fmt.Errorf("couldn't write the rules: %w", err)
	}
	if len(refused) > 0 {
		return &statusError{err: fmt.Errorf("%s refused", plural(len(refused), "rule")), status: problem.ExitUsage,
			hint: "docs/sigma.md says what is supported"}
	}
	return nil
}

// without leaves out the correlations that were refused.
func without(rules []*sigma.Rule, refused sigma.Refusals) []*sigma.Rule {
	return slices.DeleteFunc(rules, func(r *sigma.Rule) bool {
		return slices.ContainsFunc(refused, func(one *sigma.Refusal) bool {
			return r.Correlation != nil && one.Rule == r.Label() && one.ID == r.ID
		})
	})
}

// printRules writes what became of each rule.
func (p *program) printRules(asJSON bool, rules []*sigma.Rule, refused sigma.Refusals) error {
	var lines []sigmaRule
	for _, r := range rules {
		line := sigmaRule{Accepted: true, Rule: r.Label(), ID: r.ID, Level: r.Level, Place: r.Place}
		if r.Correlation == nil {
			line.LogSource = &r.LogSource
		}
		lines = append(lines, line)
	}
	for _, r := range refused {
		lines = append(lines, sigmaRule{Rule: r.Rule, ID: r.ID, Place: r.Place, Reason: r.Reason})
	}
	if asJSON {
		encoder := json.NewEncoder(escaping{p.out})
		encoder.SetEscapeHTML(false)
		for _, line := range lines {
			if err := encoder.Encode(line); err != nil {
				return err
			}
		}
		return nil
	}
	w := &reportWriter{out: p.out}
	for _, line := range lines {
		switch {
		case !line.Accepted:
			w.line("refused   %s: %s\n          %s", clean(line.Place), clean(line.Rule), clean(line.Reason))
		case line.LogSource == nil:
			w.line("accepted  %s: %s (correlation)", clean(line.Place), clean(line.Rule))
		default:
			w.line("accepted  %s: %s (%s)", clean(line.Place), clean(line.Rule), clean(line.LogSource.String()))
		}
	}
	w.line("%s accepted, %d refused", plural(len(rules), "rule"), len(refused))
	return w.err
}

// readRules reads the rules of files and directories.
func readRules(paths []string, options sigma.Options) (rules []*sigma.Rule, refused sigma.Refusals, err error) {
	for _, path := range paths {
		err := filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || file != path && !slices.Contains([]string{".yml", ".yaml"}, filepath.Ext(file)) {
				return err
			}
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			options.Name = file
			more, err := sigma.Compile(text, options)
			rules = append(rules, more...)
			if r, ok := errors.AsType[sigma.Refusals](err); ok {
				refused = append(refused, r...)
			}
			return nil
		})
		if err != nil {
			return nil, nil, &statusError{err: fmt.Errorf("couldn't read the rules: %w", err), status: problem.ExitUsage, hint: "check the spelling of the path"}
		}
	}
	if len(rules)+len(refused) == 0 {
		return nil, nil, misuse(errors.New("there are no rules in "+strings.Join(paths, ", ")), "rules are files that end in .yml or .yaml")
	}
	return rules, refused, nil
}
