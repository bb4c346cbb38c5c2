// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
)

// rewrapFlags say where the new wrapping key is.
type rewrapFlags struct {
	dataFlags
	to, file string
	options  map[string]string
	json     bool
}

func (p *program) custodyRewrap() *cobra.Command {
	var flags rewrapFlags
	cmd := &cobra.Command{
		Use: "rewrap", Short: "Put all secrets under another wrapping key",
		Long: `Put all secrets under another wrapping key. The configuration still names the old
one; at the end this says what to write there. "tally up" must not run meanwhile.
When it is interrupted, run it again with the same flags.

Only the keys of secrets are wrapped anew. Whoever has the old wrapping key and an
old copy of the data can still read what was under it then: when the key is stolen,
replace what "tally custody readable" lists.

` + custodyStatuses(),
		Example: `  tally custody rewrap --to tpm
  tally custody rewrap --to passphrase --file /etc/tallystick/passphrase
  tally custody rewrap --to transit --option address=https://bao.example.com:8200 --option key=tally --option token_file=/run/bao/token`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.to == "" {
				return misuse(errors.New("--to is missing"), `run "tally custody kinds" to see where a wrapping key can be`)
			}
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error { return p.rewrap(ctx, h, flags) })
		},
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&flags.to, "to", "", "of this `KIND` is the new wrapping key")
	cmd.Flags().StringVar(&flags.file, "file", "", "of kind file: the `FILE` of the key, which is made when it is missing; of kind passphrase: that of the passphrase")
	cmd.Flags().StringToStringVar(&flags.options, "option", nil, "an option of the kind, as `NAME=VALUE`; may be repeated")
	cmd.Flags().BoolVar(&flags.json, "json", false, "write what was done as a JSON object")
	completeFlag(cmd, "to", func() []string {
		var names []string
		for _, kind := range custody.Kinds() {
			names = append(names, kind.Name)
		}
		return names
	})
	return cmd
}

// rewrap is the command.
func (p *program) rewrap(ctx context.Context, h *house, flags rewrapFlags) error {
	if err := h.gate.Check(ctx, h.actor, gate.ManageCustody, "rewrap to "+flags.to); err != nil {
		return err
	}
	if err := h.alone(ctx); err != nil {
		return err
	}
	keys, err := custody.Keys(ctx, h.db)
	if err != nil {
		return err
	}
	from, err := h.wrapper(ctx, keys, false)
	if err != nil {
		return err
	}
	to, err := p.newWrapper(ctx, h, flags, keys, from.Identity().ID)
	if err != nil {
		return err
	}
	// What an earlier attempt has brought there is read from there.
	one, err := h.newCustody(ctx, keys, from, to)
	if err != nil {
		return err
	}
	done := 0
	progress, end := p.countLine()
	err = one.Rewrap(ctx, to, func(n, total int) { done = n; progress(n, total) })
	end()
	if err != nil {
		return rewrapHint(custodyHint(err, keys))
	}
	// This host could read with the new key from now on.
	if err := h.db.ReportReader(ctx, vaultHost(h.config), []string{to.Identity().ID}, p.now()); err != nil {
		return err
	}
	return p.rewrapped(to.Identity(), done, flags)
}

// alone refuses to go on while a server works on the data: it would not know the
// new wrapping key.
func (h *house) alone(ctx context.Context) error {
	url, err := h.config.StoreURL()
	if err != nil {
		return err
	}
	if filepath.IsAbs(url.Reveal()) && attended(h.config.Data) {
		return problem.With(fmt.Errorf("%w: \"tally up\" works on %s", tallystick.ErrInUse, h.config.Data),
			"stop it, run this, change custody in the configuration as this says, and start it again")
	}
	return h.db.Alone(ctx)
}

// newWrapper returns the new wrapping key: one that an interrupted rewrap has begun
// with, or a new one.
func (p *program) newWrapper(ctx context.Context, h *house, flags rewrapFlags, keys []custody.KeyStatus, now string) (custody.Wrapper, error) {
	file, err := absolute(flags.file)
	if err != nil {
		return nil, err
	}
	s := p.setting(h, custody.Setting{Kind: flags.to, File: file, Options: flags.options, Known: knownOf(keys, flags.to, now)})
	s.Create = len(s.Known) == 0
	w, err := s.Wrapper(ctx)
	if errors.Is(err, custody.ErrWrongKey) {
		return nil, problem.With(err, "an earlier rewrap was interrupted: name the key that it went to")
	}
	if err == nil && w.Identity().ID == now {
		err = fmt.Errorf("%w: that is the wrapping key which everything is under now", tallystick.ErrInvalid)
	}
	return w, problem.With(err, `name another one with --file or --option; "tally custody kinds" says what each kind takes`)
}

func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}

// countLine returns what shows "3 of 7" on a terminal, and what takes it away.
func (p *program) countLine() (show func(done, total int), end func()) {
	file, ok := p.err.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return func(int, int) {}, func() {}
	}
	return func(done, total int) { fmt.Fprintf(p.err, "\r\x1b[K%d of %d", done, total) }, func() { fmt.Fprint(p.err, "\r\x1b[K") }
}

func rewrapHint(err error) error {
	if errors.Is(err, tallystick.ErrUnavailable) || errors.Is(err, context.Canceled) {
		return problem.With(err, "nothing is lost: run it again with the same flags when everything answers")
	}
	return err
}

// rewrapped says what was done, and what the configuration has to say now.
func (p *program) rewrapped(is custody.Identity, done int, flags rewrapFlags) error {
	if flags.json {
		return json.NewEncoder(p.out).Encode(struct {
			WrappingKey string `json:"wrapping_key"`
			Kind        string `json:"kind"`
			About       string `json:"about"`
			Secrets     int    `json:"secrets"`
		}{is.ID, is.Kind, is.About, done})
	}
	p.say("%s rewrapped: everything is under %s (%s) now", plural(done, "secret"), is.ID, is.About)
	p.say(`hint: write this into the configuration before "tally up" starts again; keep the old key as long as copies of the data from before`)
	var text strings.Builder
	fmt.Fprintf(&text, "custody:\n  kind: %s\n", flags.to)
	file, err := absolute(flags.file)
	if err != nil {
		return err
	}
	if file != "" {
		fmt.Fprintf(&text, "  file: %q\n", file)
	}
	if len(flags.options) > 0 {
		fmt.Fprintln(&text, "  options:")
	}
	for _, name := range slices.Sorted(maps.Keys(flags.options)) {
		fmt.Fprintf(&text, "    %s: %q\n", name, flags.options[name])
	}
	_, err = fmt.Fprint(p.out, text.String())
	return err
}
