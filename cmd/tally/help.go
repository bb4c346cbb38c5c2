// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// helpCommand is "tally help", which knows when there is no such command.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use: "help [COMMAND...]", Short: "Explain a command",
		Long: "Explain a command.\n\n" + exitStatuses("0 done", "2 there is no such command"),
		RunE: func(cmd *cobra.Command, args []string) error {
			root := cmd.Root()
			found, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return misuse(fmt.Errorf("unknown command %q", "tally "+strings.Join(args, " ")), `run "tally --help" to see the commands`)
			}
			return found.Help()
		},
	}
}

func (p *program) completionCommand() *cobra.Command {
	shells := map[string]func(*cobra.Command) error{
		"bash":       func(root *cobra.Command) error { return root.GenBashCompletionV2(p.out, true) },
		"zsh":        func(root *cobra.Command) error { return root.GenZshCompletion(p.out) },
		"fish":       func(root *cobra.Command) error { return root.GenFishCompletion(p.out, true) },
		"powershell": func(root *cobra.Command) error { return root.GenPowerShellCompletionWithDesc(p.out) },
	}
	return &cobra.Command{
		Use: "completion SHELL", Short: "Write a script that completes commands and flags",
		Long: "Write a script that completes commands and flags in a shell: bash, zsh, fish or\npowershell.\n\n" +
			exitStatuses("0 done", "2 bad usage"),
		Example:   "  tally completion bash > /etc/bash_completion.d/tally",
		ValidArgs: []string{"bash", "zsh", "fish", "powershell"},
		Args:      exactly(1, "the name of a shell"),
		RunE: func(cmd *cobra.Command, args []string) error {
			write, ok := shells[args[0]]
			if !ok {
				return misuse(fmt.Errorf("%q is not a shell that it knows", args[0]), "it is one of bash, zsh, fish, powershell")
			}
			return write(cmd.Root())
		},
	}
}

// docsCommand writes the reference of the commands, docs/cli.md.
func (p *program) docsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "docs", Short: "Write the reference of all commands as Markdown", Hidden: true, Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return writeDocs(p.out, cmd.Root()) },
	}
}

// writeDocs writes the reference.
func writeDocs(out io.Writer, root *cobra.Command) error {
	var text strings.Builder
	text.WriteString("# The commands of tally\n\n" +
		"<!-- Made from the help texts in cmd/tally; go test ./cmd/tally -run TestDocs -update writes it. -->\n")
	document(&text, root)
	_, err := io.WriteString(out, text.String())
	return err
}

// document writes a command and those below it.
func document(text *strings.Builder, cmd *cobra.Command) {
	if cmd.Hidden {
		return
	}
	long := cmd.Long
	if long == "" {
		long = cmd.Short + "."
	}
	fmt.Fprintf(text, "\n## %s\n\n```\n%s\n```\n\n%s\n", cmd.CommandPath(), cmd.UseLine(), fenced(long))
	if cmd.Example != "" {
		fmt.Fprintf(text, "\nExamples:\n\n```\n%s\n```\n", strings.ReplaceAll(strings.TrimPrefix(cmd.Example, "  "), "\n  ", "\n"))
	}
	if flags := flagTable(cmd.LocalFlags()); flags != "" {
		fmt.Fprintf(text, "\n| flag | meaning |\n| --- | --- |\n%s", flags)
	}
	for _, sub := range cmd.Commands() {
		document(text, sub)
	}
}

// fenced puts the parts of a help text that are laid out by hand into fences.
func fenced(long string) string {
	var out []string
	inside := false
	for line := range strings.SplitSeq(long, "\n") {
		indented := strings.HasPrefix(line, "  ")
		if indented != inside {
			out = append(out, "```")
			inside = indented
		}
		out = append(out, line)
	}
	if inside {
		out = append(out, "```")
	}
	return strings.Join(out, "\n")
}

func flagTable(flags *pflag.FlagSet) string {
	var rows strings.Builder
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name == "help" {
			return
		}
		value, help := pflag.UnquoteUsage(f)
		name := strings.TrimSpace("--" + f.Name + " " + value)
		if f.DefValue != "" && f.DefValue != "false" && f.DefValue != "0" && f.DefValue != "[]" {
			help += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(&rows, "| `%s` | %s |\n", name, strings.ReplaceAll(help, "|", `\|`))
	})
	return rows.String()
}
