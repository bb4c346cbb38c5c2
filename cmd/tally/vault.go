// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

func (p *program) vaultCommand() *cobra.Command {
	cmd := group("vault", "Keep credentials that customers have entrusted, and say what could read them")
	cmd.Long = `Keep credentials that customers have entrusted, and say what could read them:
passwords of service accounts, client secrets, API keys, certificates with their
keys. A value leaves to its holder alone. docs/vault.md is the manual.`
	cmd.AddCommand(p.vaultEntrust(), p.vaultImport(), p.vaultList(), p.vaultShow(), p.vaultReveal(), p.vaultReadable(), p.vaultLineage(), p.vaultHosts(),
		p.vaultRotate(), p.custodyRewrap(), p.vaultDestroy(), p.vaultCheck())
	return cmd
}

// entrustFlags say what a value is.
type entrustFlags struct {
	dataFlags
	one    vault.Entrust
	age    string
	file   string
	line   bool
	asJSON bool
}

// addNames adds the flags that say what secrets are.
func (f *entrustFlags) addNames(cmd *cobra.Command) {
	f.addTo(cmd)
	cmd.Flags().StringVar(&f.one.Customer, "customer", "", "whose it is: the name of a `CUSTOMER`")
	cmd.Flags().StringVar(&f.one.System, "system", "", "what it opens: a `SYSTEM` of the customer, such as ldap.example.com")
	cmd.Flags().StringVar(&f.one.Kind, "kind", vault.Password, "a secret of this `KIND`: "+strings.Join(vault.Kinds(), ", "))
	cmd.Flags().StringVar(&f.one.Opens, "opens", "", "what it opens, in `WORDS`")
	cmd.Flags().StringVar(&f.one.Holder, "holder", "", "who alone is given the value: token:7, person:ada or local:root (default nobody) as `HOLDER`")
	cmd.Flags().StringVar(&f.age, "max-age", "", "replace it when it is older than this `AGE`: 90d, 12h")
	completeFlag(cmd, "kind", vault.Kinds)
}

// readAge reads --max-age.
func (f *entrustFlags) readAge() (err error) {
	if f.age != "" {
		f.one.MaxAge, err = vault.ParseAge(f.age)
	}
	return err
}

func (p *program) vaultEntrust() *cobra.Command {
	var flags entrustFlags
	cmd := &cobra.Command{
		Use: "entrust", Short: "Take a value in, or the next version of one",
		Long: `Take a value in, or the next version of the one that opens the same. It is read from
a file, from standard input, or asked for on a terminal, and never from the command
line, where others could see it. Any bytes will do, up to 64 KiB, and they are kept
as they are.

The version before is kept for as long as a system takes both; what is older is
destroyed. Only the holder that is named here is ever given the value.

` + vaultStatuses(),
		Example: `  tally vault entrust --customer acme --system ldap.acme.example --account cn=mail-sync --holder token:7 --max-age 90d
  pass show acme/smtp | tally vault entrust --line --customer acme --system smtp.acme.example --account relay@acme.example --file -`,
		Args: noArguments,
	}
	flags.addNames(cmd)
	cmd.Flags().StringVar(&flags.one.Account, "account", "", "an `ACCOUNT` or a connection of the system")
	cmd.Flags().StringVar(&flags.file, "file", "", "read the value from this `FILE`; - is standard input")
	cmd.Flags().BoolVar(&flags.line, "line", false, "the value is a line: leave out the end of it")
	cmd.Flags().BoolVar(&flags.asJSON, "json", false, "write what is kept as a JSON object, without the value")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := flags.readAge(); err != nil {
			return err
		}
		value, err := p.readValue(flags.file)
		if err != nil {
			return err
		}
		if flags.line {
			value = strings.TrimSuffix(strings.TrimSuffix(value, "\n"), "\r")
		}
		flags.one.Value = driver.NewSecret(value)
		return p.founded(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error {
			s, err := h.vault.Entrust(ctx, h.actor, flags.one)
			if err != nil {
				return err
			}
			p.doubtHolder(ctx, h, flags.one.Holder)
			if flags.asJSON {
				return showAll(p, true, []store.EntrustedSecret{s}, nil, nil)
			}
			p.say("%s is kept as version %d of %s", flags.one.Name, s.Version, s.ID)
			fmt.Fprintln(p.out, s.ID)
			return nil
		})
	}
	return cmd
}

// doubtHolder warns of a holder whom nobody knows, or who is let in no more. The value is kept by then,
// so that nothing that goes wrong here is a failure.
func (p *program) doubtHolder(ctx context.Context, h *house, holder string) {
	why, err := h.vault.Doubt(ctx, holder)
	if err != nil {
		why = "couldn't look whether there is a holder " + holder + ": " + err.Error()
	}
	if why != "" {
		p.say("warning: %s; the value is kept for that holder all the same", clean(why))
	}
}

// readValue reads a value from a file, standard input or a terminal.
func (p *program) readValue(path string) (string, error) {
	in := p.in
	if path == "" {
		file, ok := p.in.(*os.File)
		if !ok || !term.IsTerminal(int(file.Fd())) {
			return "", misuse(errors.New("--file is missing"), "name the file with the value; - is standard input")
		}
		fmt.Fprint(p.err, "Value: ")
		text, err := term.ReadPassword(int(file.Fd()))
		fmt.Fprintln(p.err)
		if err != nil {
			return "", fmt.Errorf("couldn't read the value: %w", err)
		}
		defer clear(text)
		return string(text), nil
	}
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return "", fmt.Errorf("couldn't read the value: %w", err)
		}
		defer file.Close() // nothing was written
		in = file
	}
	text, err := io.ReadAll(io.LimitReader(in, vault.MaxValue+1))
	if err != nil {
		return "", fmt.Errorf("couldn't read the value: %w", err)
	}
	defer clear(text)
	if len(text) > vault.MaxValue {
		return "", fmt.Errorf("%w: a value has at most %d bytes", tallystick.ErrInvalid, vault.MaxValue)
	}
	return string(text), nil
}

func vaultStatuses() string {
	return exitStatuses("0 done", "1 something failed, such as a wrapping key that is out of reach", "2 bad usage")
}

// entrustedParameters are those that vault.ParseFilter reads.
var entrustedParameters = [...]parameter{
	{"q", "with this `TEXT` in the customer, the system or the account"},
	{"customer", "of this `CUSTOMER`"},
	{"system", "for this `SYSTEM`"},
	{"account", "for this `ACCOUNT`"},
	{"kind", "of this `KIND`: " + strings.Join(vault.Kinds(), ", ")},
	{"holder", "that this `HOLDER` is given"},
	{"wrapping_key", "whose newest version is under this wrapping `KEY`"},
	{"due", ""},
	{"stale", ""},
	{"destroyed", ""},
}

func (p *program) vaultList() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List what is entrusted, by customer",
		Long:    "List what is entrusted, by customer: never a value.\n\n" + listStatuses(),
		Example: "  tally vault list --customer acme\n  tally vault list --due --sort due\n  tally vault list --json --limit 0",
		Args:    noArguments,
	}
	flags.addTo(cmd, "customer, since, due")
	addParameters(cmd, entrustedParameters[:])
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.list(cmd.Context(), flags, func(ctx context.Context, h *house) error {
			filter, err := h.vault.ParseFilter(queryOf(cmd, entrustedParameters[:]))
			if err != nil {
				return err
			}
			return show(p, flags, func(r store.PageRequest) (store.Page[store.EntrustedSecret], int64, error) {
				return h.vault.List(ctx, h.actor, filter, r)
			}, []string{"ID", "CUSTOMER", "SYSTEM", "ACCOUNT", "KIND", "VERSION", "SINCE", "STATE", "HOLDER"}, h.entrustedCells)
		})
	}
	return cmd
}

func (h *house) entrustedCells(s store.EntrustedSecret) []string {
	return []string{s.ID, s.Customer, s.System, s.Account, s.Kind, strconv.FormatInt(s.Version, 10), dayOf(s.Since), entrustedState(s, h.now()), s.Holder}
}

// entrustedState says in a word or two how a secret stands.
func entrustedState(s store.EntrustedSecret, now time.Time) string {
	switch {
	case !s.Destroyed.IsZero():
		return "destroyed on " + dayOf(s.Destroyed)
	case s.Stale():
		return "stale"
	case s.Due.IsZero():
		return "kept"
	case !s.Due.After(now):
		return "replace it"
	}
	return "until " + dayOf(s.Due)
}
