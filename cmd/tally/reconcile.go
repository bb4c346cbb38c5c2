// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/reconcile"
	"github.com/tallystick/tallystick/internal/tally"
	"github.com/tallystick/tallystick/internal/uses"
)

// reconcileFlags are the flags of "tally reconcile".
type reconcileFlags struct {
	holder, relying []string
	tolerance       time.Duration
	closeAtEnd      bool
	json            bool
	out             string
	strict          bool
}

func (p *program) reconcileCommand() *cobra.Command {
	var flags reconcileFlags
	cmd := &cobra.Command{
		Use:   "reconcile --holder FILE... --relying [FORMAT:]FILE...",
		Short: "Tell which uses of a credential its holder did not make",
		Long: `Tell which uses of a credential its holder did not make. It matches what the
holders of credentials recorded with what the systems that accept them recorded;
what was accepted there and not made here is foreign. Nothing is kept.

Every FILE after --holder or --relying belongs to it, up to the next of the two;
"-" is standard input, and gzip and zstd are read as they are. The format of a
file is recognised; FORMAT: before its name says what it is:
  ` + strings.ReplaceAll(wrap(strings.Join(uses.FormatNames(), ", "), "", textWidth-2), "\n", "\n  ") + `

A use is called foreign when the holder's book is closed past its time, by a
closing mark in the file or by --close-at-end; until then it is pending. The rules
and the formats are in docs/reconcile.md. Times are UTC.

` + exitStatuses(
			"0 done, no foreign use",
			"1 something failed",
			"2 bad usage, or a file that cannot be read or recognised; with --strict also malformed lines",
			"3 done, and there are foreign uses"),
		Example: `  tally reconcile --holder broker-*.ndjson --relying signins.json --close-at-end
  tally reconcile --holder eu.ndjson us.ndjson.gz --relying entra-signin:export.json --json --out verdicts.ndjson
  zcat access.json.gz | tally reconcile --holder uses.ndjson --relying nginx:-`,
		// A flag of cobra takes one word; here it takes all that follow.
		DisableFlagParsing: true,
		RunE:               withFileLists(func(cmd *cobra.Command) error { return p.reconcile(cmd.Context(), flags) }),
	}
	cmd.Flags().StringArrayVar(&flags.holder, "holder", nil, "`FILE...` that those wrote who have the key")
	cmd.Flags().StringArrayVar(&flags.relying, "relying", nil, "`[FORMAT:]FILE...` that those wrote who accept it")
	cmd.Flags().DurationVar(&flags.tolerance, "tolerance", tally.DefaultTolerance, "how far the two records of a use may be apart")
	cmd.Flags().BoolVar(&flags.closeAtEnd, "close-at-end", false, "take the holders' files for complete")
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line for each use that is not matched, and a summary")
	cmd.Flags().StringVar(&flags.out, "out", "", "write to this `FILE`, which appears when all is written")
	cmd.Flags().BoolVar(&flags.strict, "strict", false, "exit with status 2 when there are malformed lines")
	return cmd
}

// withFileLists parses flags that take all the files behind them, and runs the command.
func withFileLists(run func(*cobra.Command) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		args, err := listArguments(cmd, args)
		if err != nil {
			return err
		}
		cmd.DisableFlagParsing = false
		if err := cmd.ParseFlags(args); err != nil {
			return flagError(cmd, err)
		}
		if help, err := cmd.Flags().GetBool("help"); err == nil && help {
			return cmd.Help()
		}
		return run(cmd)
	}
}

// listArguments writes the flag before every file that belongs to it.
func listArguments(cmd *cobra.Command, args []string) ([]string, error) {
	var out []string
	list, onlyFiles := "", false
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--" && !onlyFiles:
			onlyFiles = true
		case !onlyFiles && (arg == "--holder" || arg == "--relying"):
			list = arg[2:]
		case !onlyFiles && len(arg) > 1 && arg[0] == '-':
			out = append(out, arg)
			name, _, hasValue := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
			if name == "holder" || name == "relying" {
				list = name
			}
			flag := cmd.Flags().Lookup(name)
			if flag != nil && flag.NoOptDefVal == "" && !hasValue && i+1 < len(args) {
				i++
				out = append(out, args[i])
			}
		case list == "":
			return nil, misuse(fmt.Errorf("whose file is %s?", arg), "write --holder or --relying before it")
		default:
			out = append(out, "--"+list+"="+arg)
		}
	}
	return out, nil
}

// reconcile is the command.
func (p *program) reconcile(ctx context.Context, flags reconcileFlags) error {
	inputs, err := flags.inputs()
	if err != nil {
		return err
	}
	out, err := p.create(flags.out)
	if err != nil {
		return err
	}
	defer out.abandon()
	// Most of what is read is let go of at once, and what is kept holds no
	// pointers: collecting often is cheap, and halves the memory.
	defer debug.SetGCPercent(debug.SetGCPercent(20))
	files, err := reconcile.Run(ctx, tally.Options{Tolerance: flags.tolerance, CloseAtEnd: flags.closeAtEnd}, inputs, p.in, p.now())
	if err != nil {
		return reconcileError(err)
	}
	defer files.Close()
	p.tellMalformed(files)
	p.tellBroken(files)
	if flags.json {
		err = printVerdicts(ctx, out, files)
	} else {
		err = printReconciliation(ctx, out, files)
	}
	if err != nil {
		return fmt.Errorf("couldn't write what was found: %w", err)
	}
	if err := out.done(); err != nil {
		return err
	}
	return flags.status(files)
}

// inputs checks the flags and returns the files.
func (f reconcileFlags) inputs() ([]reconcile.Input, error) {
	switch {
	case len(f.holder) == 0:
		return nil, misuse(errors.New("--holder is missing"), "name the files of those who have the key: --holder uses.ndjson")
	case len(f.relying) == 0:
		return nil, misuse(errors.New("--relying is missing"), "name the logs of those who accept it: --relying signins.json")
	case f.tolerance < 0:
		return nil, misuse(fmt.Errorf("--tolerance %v is less than nothing", f.tolerance), "write it as 30s, 2m or 1h")
	}
	var inputs []reconcile.Input
	stdin := 0
	for _, one := range []struct {
		side  tallystick.Side
		files []string
	}{{tallystick.SideHolder, f.holder}, {tallystick.SideRelying, f.relying}} {
		for _, file := range one.files {
			list, err := inputsOf(file, one.side)
			if err != nil {
				return nil, err
			}
			for _, in := range list {
				if in.Path == "-" {
					stdin++
				}
			}
			inputs = append(inputs, list...)
		}
	}
	if stdin > 1 {
		return nil, misuse(errors.New("standard input can be one file only"), "write one of them to a file first")
	}
	return inputs, nil
}

// inputsOf reads [FORMAT:]FILE. A pattern that the shell left alone, because of
// the format before it, stands for the files that fit.
func inputsOf(arg string, side tallystick.Side) ([]reconcile.Input, error) {
	if arg == "" {
		return nil, misuse(errors.New("a file without a name"), "leave out the empty word")
	}
	format, path, ok := strings.Cut(arg, ":")
	if _, known := uses.FormatNamed(format); !ok || !known {
		format, path = "", arg
	}
	paths := []string{path}
	if strings.ContainsAny(path, "*?[") {
		if found, err := filepath.Glob(path); err == nil && len(found) > 0 {
			paths = found
		}
	}
	var inputs []reconcile.Input
	for _, path := range paths {
		inputs = append(inputs, reconcile.Input{Path: path, Format: format, Side: side})
	}
	return inputs, nil
}

// reconcileError gives the errors of files a hint, and those of their own the
// status of bad input.
func reconcileError(err error) error {
	status, hint := problem.ExitUsage, problem.Of(err).Hint
	unreadable, isFile := errors.AsType[*fs.PathError](err)
	switch {
	case errors.Is(err, uses.ErrUnknownFormat):
		hint = "write FORMAT: before its name, FORMAT being one of " + strings.Join(uses.FormatNames(), ", ")
	case isFile && errors.Is(err, fs.ErrNotExist):
		hint = missingHint(unreadable.Path)
	case isFile && !errors.Is(err, fs.ErrPermission):
		hint = "name a file that is whole; of a directory, the files in it"
	case errors.Is(err, uses.ErrTemporary):
		status, hint = problem.ExitFailed, "set TMPDIR to a directory with room, or write it to a file first and name that"
	case !isFile && !errors.Is(err, tallystick.ErrInvalid):
		return err
	}
	return &statusError{err: err, status: status, hint: hint}
}

// missingHint says what may be wrong with the path of a file that is not there.
func missingHint(path string) string {
	hint := "check the spelling of its path"
	if format, _, ok := strings.Cut(path, ":"); ok && !strings.ContainsAny(format, "/. ") {
		hint += "; if " + format + " is meant as a format, the formats are " + strings.Join(uses.FormatNames(), ", ")
	}
	return hint
}

// maxTold is how many malformed lines are named before it is enough.
const maxTold = 1000

// tellMalformed names what could not be used on standard error.
func (p *program) tellMalformed(files *reconcile.Files) {
	for i, m := range files.Malformed {
		if i == maxTold {
			break
		}
		fmt.Fprintf(p.err, "tally: %s, line %d: %s\n", clean(m.File), m.Line, clean(m.Expected))
	}
	if more := files.Result.Summary.Malformed - int64(min(len(files.Malformed), maxTold)); more > 0 {
		fmt.Fprintf(p.err, "tally: and %s more\n", plural(int(more), "malformed line"))
	}
}

// tellBroken names the places where a chained book does not follow from itself,
// and the other books of which records are missing.
func (p *program) tellBroken(files *reconcile.Files) {
	told := files.Broken[:min(len(files.Broken), maxTold)]
	for _, b := range told {
		fmt.Fprintf(p.err, "tally: %s\n", clean(b.String()))
	}
	if more := files.BrokenCount - int64(len(told)); more > 0 {
		fmt.Fprintf(p.err, "tally: and %s more\n", plural(int(more), "broken place"))
	}
	for _, b := range files.Result.Books {
		named := slices.ContainsFunc(told, func(one reconcile.Broken) bool { return one.Source == b.Source })
		if b.Missing > 0 && !named {
			fmt.Fprintf(p.err, "tally: book %s: %d of its numbers %s missing\n", clean(b.Source), b.Missing, isOrAre(b.Missing))
		}
	}
}

func isOrAre(n int64) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

// status is how the command ends once everything is written.
func (f reconcileFlags) status(files *reconcile.Files) error {
	sum := files.Result.Summary
	unread := errors.Join(files.Unread...)
	switch {
	case sum.Foreign > 0:
		return &statusError{err: errors.Join(unread, fmt.Errorf("%s", plural(int(sum.Foreign), "foreign use"))), status: problem.ExitFindings}
	case unread != nil:
		hint := "the verdicts are of what could be read; get the whole file and run it again"
		if errors.Is(unread, reconcile.ErrNothingRead) {
			hint = "name the format that it is in, as FORMAT:FILE; tally reconcile --help lists them"
		}
		return &statusError{err: unread, status: problem.ExitUsage, hint: hint}
	case f.strict && sum.Malformed > 0:
		return &statusError{err: errors.New(plural(int(sum.Malformed), "malformed line")), status: problem.ExitUsage}
	}
	return nil
}
