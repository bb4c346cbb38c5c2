// SPDX-License-Identifier: Apache-2.0

package main

// How tally talks to people, and to programs:
//
//   - what was asked for goes to standard output, everything else to standard error;
//   - an error is one line that begins with "tally:", in lower case and without
//     a full stop, and where there is something to do about it a second one that
//     begins with "hint:"; there is never a stack trace;
//   - a progress line is shown on a terminal and nowhere else;
//   - whatever a foreign system wrote is printed without control characters;
//   - exit statuses are those of package problem, and in the help of each command.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
)

// A program is what every command is given of the world.
type program struct {
	in     io.Reader
	out    io.Writer
	err    io.Writer
	getenv func(string) string
	now    func() time.Time
}

// run runs one command line and returns the exit status.
func (p *program) run(ctx context.Context, args []string) int {
	root := p.root()
	root.SetArgs(args)
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.err)
	return p.report(root.ExecuteContext(ctx))
}

// root returns the command tree.
func (p *program) root() *cobra.Command {
	root := group("tally", "Find the credentials of machines and what is wrong with them")
	root.Long = `Tallystick finds the certificates and keys of machines, says what is wrong with
them and what to do about it, and keeps watch over them.

"tally scan" looks once and needs no set-up. "tally up" keeps an inventory, looks
again every day, and shows it all in a browser; the other commands read and
change that inventory.`
	root.SilenceErrors, root.SilenceUsage = true, true
	root.SetFlagErrorFunc(flagError)
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(helpCommand())
	root.AddCommand(p.upCommand(), p.scanCommand(), p.reconcileCommand(), p.sigmaCommand(), p.ledgerCommand(), p.inspectCommand(), p.listCommand(), p.exportCommand(), p.changesCommand(), p.directoryCommand(), p.watchCommand(), p.runCommand(), p.sourceCommand(), p.annotateCommand(),
		p.findingCommand(), p.userCommand(), p.tokenCommand(), p.auditCommand(), p.caCommand(), p.acmeCommand(), p.sshCommand(), p.custodyCommand(), p.vaultCommand(), p.policyCommand(), p.issuersCommand(), p.renewCommand(), p.doorsCommand(), p.agentCommand(), p.recallCommand(), p.evidenceCommand(), p.rulesCommand(), p.driversCommand(), p.versionCommand(),
		p.crlCommand(), p.demoCommand(), p.completionCommand(), p.docsCommand())
	return root
}

// group returns a command that only holds others.
func group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, SuggestionsMinimumDistance: 2,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			hint := fmt.Sprintf("run %q to see the commands", cmd.CommandPath()+" --help")
			if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
				hint = fmt.Sprintf("did you mean %q?", cmd.CommandPath()+" "+near[0])
			}
			return misuse(fmt.Errorf("unknown command %q", cmd.CommandPath()+" "+args[0]), hint)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
}

// flagError makes a usage error of what pflag says.
func flagError(cmd *cobra.Command, err error) error {
	hint := fmt.Sprintf("run %q to see the flags", cmd.CommandPath()+" --help")
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		})
		if near := problem.Nearest(unknown.GetSpecifiedName(), names); near != "" {
			hint = "did you mean --" + near + "?"
		}
	}
	return misuse(err, hint)
}

// misuse marks err as a mistake in the command line.
func misuse(err error, hint string) error {
	return problem.With(&usageError{err}, hint)
}

// A usageError reads as the error that it wraps, without "invalid input".
type usageError struct{ err error }

func (e *usageError) Error() string   { return e.err.Error() }
func (e *usageError) Unwrap() []error { return []error{tallystick.ErrInvalid, e.err} }

// A statusError ends the program with a status of its own, and perhaps a hint.
type statusError struct {
	err    error
	status int
	hint   string
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// report tells the person what went wrong and returns the exit status.
func (p *program) report(err error) int {
	if err == nil {
		return problem.ExitOK
	}
	for i, line := range strings.Split(strings.TrimSpace(err.Error()), "\n") {
		fmt.Fprintf(p.err, "%s%s\n", []string{"tally: ", "  "}[min(i, 1)], clean(line))
	}
	known := problem.Of(err)
	hint, status := known.Hint, known.Exit
	if own, ok := errors.AsType[*statusError](err); ok {
		hint, status = own.hint, own.status
	}
	if hint != "" {
		fmt.Fprintf(p.err, "hint: %s\n", asLine(hint))
	}
	return status
}

// noArguments is the Args of a command that takes none.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return misuse(fmt.Errorf("%q takes no argument %q", cmd.CommandPath(), args[0]), fmt.Sprintf("run %q", cmd.CommandPath()+" --help"))
}

// exactly is the Args of a command that takes n.
func exactly(n int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return misuse(fmt.Errorf("%q takes %s, and nothing else", cmd.CommandPath(), what), fmt.Sprintf("run %q", cmd.CommandPath()+" --help"))
	}
}
