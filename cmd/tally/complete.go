// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/rules"
)

// ruleNames are the names of all rules.
func ruleNames() []string {
	var names []string
	for _, r := range rules.All() {
		names = append(names, r.Name)
	}
	return names
}

// flagValues are what the flags of a name take, wherever it is known.
func flagValues() map[string]func() []string {
	these := func(words ...string) func() []string { return func() []string { return words } }
	return map[string]func() []string{
		"rule":      ruleNames,
		"kind":      inventory.Kinds,
		"algorithm": inventory.Families,
		"severity":  finding.Severities,
		"scheme":    finding.Schemes,
		"state":     finding.States,
		"sample":    these("true", "false"),
	}
}

// completeValues lets a shell complete the values of a command's flags.
func completeValues(cmd *cobra.Command) {
	for flag, values := range flagValues() {
		if cmd.Flags().Lookup(flag) != nil {
			completeFlag(cmd, flag, values)
		}
	}
	// The meaning of role depends on the command.
	if flag := cmd.Flags().Lookup("role"); flag != nil && strings.Contains(flag.Usage, "holds") {
		completeFlag(cmd, "role", inventory.Roles)
	}
}

// completeFlag lets a shell complete the value of one flag.
func completeFlag(cmd *cobra.Command, flag string, values func() []string) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return values(), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // there is no such flag: a mistake in this program
	}
}

// completeSorts lets a shell complete --sort, from the list of its help.
func completeSorts(cmd *cobra.Command, sorts string) {
	completeFlag(cmd, "sort", func() []string { return strings.Split(sorts, ", ") })
}
