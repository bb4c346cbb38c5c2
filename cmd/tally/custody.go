// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// A heldCustody is the custody of a house, which is opened when it is first needed.
type heldCustody struct {
	program *program

	mu  sync.Mutex
	one *custody.Custody // under mu; nil before
}

// openCustody returns the custody, and opens it when nobody has done so yet. A
// wrapping key that is out of reach is no error; see custody.Open.
func (h *house) openCustody(ctx context.Context) (*custody.Custody, error) {
	h.custody.mu.Lock()
	defer h.custody.mu.Unlock()
	if h.custody.one != nil {
		return h.custody.one, nil
	}
	keys, err := custody.Keys(ctx, h.db)
	if err != nil {
		return nil, err
	}
	w, err := h.wrapper(ctx, keys, true)
	if err != nil {
		return nil, err
	}
	h.custody.one, err = h.newCustody(ctx, keys, w)
	return h.custody.one, err
}

// newCustody opens a custody, with others that secrets may be under as well.
func (h *house) newCustody(ctx context.Context, keys []custody.KeyStatus, w custody.Wrapper, also ...custody.Wrapper) (*custody.Custody, error) {
	maker, _ := w.(custody.KeyMaker)
	one, err := custody.Open(ctx, custody.Config{DB: h.db, Wrapper: w, Also: also, Maker: maker, Now: h.custody.program.now})
	return one, custodyHint(err, keys)
}

// wrapper returns the wrapping key that the configuration names. create lets it make
// one where none is on record.
func (h *house) wrapper(ctx context.Context, keys []custody.KeyStatus, create bool) (custody.Wrapper, error) {
	options := map[string]string{}
	for name, value := range h.config.Custody.Options {
		options[name] = value.Reveal()
	}
	s := h.custody.program.setting(h, custody.Setting{Kind: h.config.Custody.Kind, File: h.config.Custody.File, Options: options})
	s.Create = create
	for _, key := range keys {
		if key.Retired.IsZero() {
			s.Known = append(s.Known, key.WrappingKey)
		}
		s.Create = s.Create && key.Kept() == 0
	}
	w, err := s.Wrapper(ctx)
	return w, custodyHint(err, keys)
}

// setting completes a setting with what the program has of the world.
func (p *program) setting(h *house, s custody.Setting) custody.Setting {
	s.Data, s.Getenv = h.config.Data, p.getenv
	if file, ok := p.in.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		s.Ask = func(again bool) ([]byte, error) { return p.askPassphrase(file, again) }
	}
	return s
}

// askPassphrase asks on the terminal; a new one twice.
func (p *program) askPassphrase(in *os.File, again bool) ([]byte, error) {
	ask := func(prompt string) ([]byte, error) {
		fmt.Fprint(p.err, prompt)
		text, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(p.err)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the passphrase: %w", err)
		}
		return text, nil
	}
	if !again {
		return ask("Passphrase of the custody: ")
	}
	first, err := ask("New passphrase of the custody: ")
	if err != nil {
		return nil, err
	}
	second, err := ask("Once more: ")
	if err != nil {
		return nil, err
	}
	defer clear(second)
	if !bytes.Equal(first, second) {
		clear(first)
		return nil, fmt.Errorf("%w: the two are not the same", tallystick.ErrInvalid)
	}
	return first, nil
}

// custodyHint says what to do when the wrapping key cannot be used.
func custodyHint(err error, keys []custody.KeyStatus) error {
	switch {
	case errors.Is(err, custody.ErrWrongKey):
		return problem.With(err, `nothing was changed: see custody in the configuration; "tally custody status" says which key it has to be`)
	case errors.Is(err, fs.ErrNotExist) && len(keys) > 0:
		return problem.With(err, "bring it back from where its copy is kept: without it, what it wraps cannot be read")
	case errors.Is(err, tallystick.ErrInvalid):
		return problem.With(err, `see custody in the configuration; "tally custody kinds" says what each kind takes`)
	}
	return err
}

func (p *program) custodyCommand() *cobra.Command {
	cmd := group("custody", "Say where the keys of secrets are, and bring them elsewhere")
	cmd.Long = `Say where the keys of secrets are, and bring them elsewhere. The private keys of CAs,
of accounts and of certificates are encrypted by keys of their own, and those by a
wrapping key that is not in the data: docs/custody.md is the manual.`
	cmd.AddCommand(p.custodyStatus(), p.custodyKinds(), p.custodyReadable(), p.custodyRewrap())
	return cmd
}

func custodyStatuses() string {
	return exitStatuses("0 done", "1 something failed, such as a wrapping key that is not the right one", "2 bad usage")
}

func (p *program) custodyKinds() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "kinds", Short: "List where a wrapping key can be, and what each kind takes",
		Long: "List where a wrapping key can be, and what each kind takes as options.\n\n" + custodyStatuses(), Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return showAll(p, true, custody.Kinds(), nil, nil)
			}
			for _, kind := range custody.Kinds() {
				built := ""
				if !kind.Built {
					built = " (not in this tally; docs/custody.md says how to build one that has it)"
				}
				fmt.Fprintf(p.out, "%-11s %s%s\n", kind.Name, kind.About, built)
				for _, o := range kind.Options {
					if o.Default != "" {
						o.Help += " (default " + o.Default + ")"
					}
					fmt.Fprintf(p.out, "  %-15s %s\n", o.Name, o.Help)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "write one JSON object a line")
	return cmd
}

func (p *program) custodyStatus() *cobra.Command {
	var flags dataFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Say which wrapping keys there are, what is under each, and whether it answers",
		Long: "Say which wrapping keys there are, what is under each, and whether the one of the\nconfiguration is the right one and answers.\n\n" + custodyStatuses(), Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error { return p.showCustody(ctx, h, asJSON) })
		},
	}
	flags.addTo(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "write it as a JSON object")
	return cmd
}

// A custodyBody is what the status is in JSON.
type custodyBody struct {
	WrappingKey string            `json:"wrapping_key"` // "" before there is one
	Kind        string            `json:"kind"`
	About       string            `json:"about"`
	State       string            `json:"state"` // reachable, out-of-reach, unused, unusable
	Why         string            `json:"why,omitempty"`
	Keys        []wrappingKeyBody `json:"keys"`
}

type wrappingKeyBody struct {
	ID      string            `json:"id"`
	Kind    string            `json:"kind"`
	About   string            `json:"about"`
	Since   time.Time         `json:"since"`
	Retired *time.Time        `json:"retired,omitempty"`
	Secrets []secretCountBody `json:"secrets"`
}

type secretCountBody struct {
	Kind      string `json:"kind"`
	Kept      int64  `json:"kept"`
	Devices   int64  `json:"devices"` // of those kept
	Destroyed int64  `json:"destroyed"`
}

// stateUnusable is that of a wrapping key that cannot be had at all.
const stateUnusable = "unusable"

// showCustody is the command. It makes no wrapping key.
func (p *program) showCustody(ctx context.Context, h *house, asJSON bool) error {
	if err := h.gate.Check(ctx, h.actor, gate.ReadCustody, "status"); err != nil {
		return err
	}
	body, failure := custodyBody{Kind: h.config.Custody.Kind, Keys: []wrappingKeyBody{}}, error(nil)
	if body.Kind == "" {
		body.Kind = custody.KindFile
	}
	keys, err := custody.Keys(ctx, h.db)
	if err != nil {
		return err
	}
	status, err := h.custodyNow(ctx, keys)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(keys) == 0:
		body.State = custody.StateUnused
	case err != nil:
		failure, body.State, body.Why = err, stateUnusable, err.Error()
	default:
		body.WrappingKey, body.About, body.State, body.Why = status.Wrapping.ID, status.Wrapping.About, status.State, status.Why
	}
	for _, key := range keys {
		body.Keys = append(body.Keys, wrappingKeyBodyOf(key))
	}
	if asJSON {
		err = json.NewEncoder(p.out).Encode(body)
	} else {
		err = p.writeCustody(body)
	}
	return errors.Join(failure, err)
}

// custodyNow asks the wrapping key of the configuration, and makes none.
func (h *house) custodyNow(ctx context.Context, keys []custody.KeyStatus) (custody.Status, error) {
	w, err := h.wrapper(ctx, keys, false)
	if err != nil {
		return custody.Status{}, err
	}
	one, err := h.newCustody(ctx, keys, w)
	if err != nil {
		return custody.Status{}, err
	}
	status, err := one.Status(ctx)
	return status, custodyHint(err, keys)
}

func wrappingKeyBodyOf(key custody.KeyStatus) wrappingKeyBody {
	b := wrappingKeyBody{ID: key.ID, Kind: key.Kind, About: key.About, Since: key.Since, Secrets: []secretCountBody{}}
	if !key.Retired.IsZero() {
		b.Retired = &key.Retired
	}
	for _, n := range key.Secrets {
		b.Secrets = append(b.Secrets, secretCountBody{Kind: n.Kind, Kept: n.Kept, Devices: n.Devices, Destroyed: n.Destroyed})
	}
	return b
}

func (p *program) writeCustody(body custodyBody) error {
	state := body.State
	switch state {
	case custody.StateUnused:
		state = "nothing is kept yet"
	case custody.StateAway:
		state = body.Why
	case stateUnusable:
		state = "not as it is configured" // the error says why
	}
	fmt.Fprintf(p.out, "Custody of kind %s: %s\n", body.Kind, clean(state))
	if len(body.Keys) == 0 {
		return nil
	}
	fmt.Fprintln(p.out)
	t := newTable(p.out, "WRAPPING KEY", "SINCE", "STATE", "SECRETS", "WHERE")
	for _, key := range body.Keys {
		state := "in use"
		if key.Retired != nil {
			state = "retired on " + dayOf(*key.Retired)
		}
		var counts []string
		for _, n := range key.Secrets {
			if n.Kept > 0 {
				counts = append(counts, fmt.Sprintf("%d %s", n.Kept, n.Kind))
			}
		}
		t.row(key.ID, dayOf(key.Since), state, strings.Join(counts, ", "), key.About)
	}
	return t.write()
}

func (p *program) custodyReadable() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "readable KEY", Short: "List what can or could be read with a wrapping key",
		Long: `List what can or could be read with a wrapping key: all secrets that are or were
under it, without the secrets. When the key is stolen, together with a copy of the
data from then, these have to be replaced. Keys in a device could be used by who had
it, and never be read. "tally custody status" lists the wrapping keys.

` + custodyStatuses(),
		Example: "  tally custody readable file:3fa4b2c1d0e94711a9ba00c1e2d3f4a5 --json",
		Args:    exactly(1, "the id of a wrapping key"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error {
				if err := h.gate.Check(ctx, h.actor, gate.ReadCustody, "readable "+args[0]); err != nil {
					return err
				}
				list, err := custody.ReadableWith(ctx, h.db, args[0])
				if err != nil {
					return unknown(err, `run "tally custody status" to see them`)
				}
				return showAll(p, flags.json, readableBodiesOf(list), []string{"SECRET", "KIND", "OWNER", "MADE", "UNDER IT", "STATE"}, readableCells)
			})
		},
	}
	flags.dataFlags.addTo(cmd)
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line")
	return cmd
}

// A readableBody is a secret in JSON.
type readableBody struct {
	ID        string     `json:"id"`
	Kind      string     `json:"kind"`
	Owner     string     `json:"owner"`
	Device    string     `json:"device,omitempty"`
	Created   time.Time  `json:"created"`
	Since     time.Time  `json:"since"`
	Until     *time.Time `json:"until,omitempty"`
	Destroyed *time.Time `json:"destroyed,omitempty"`
}

func readableBodiesOf(list []custody.Readable) []readableBody {
	bodies := make([]readableBody, len(list))
	for i, r := range list {
		bodies[i] = readableBody{ID: r.ID, Kind: r.Kind, Owner: r.Owner, Device: r.Device, Created: r.Created, Since: r.Since}
		if !r.Until.IsZero() {
			bodies[i].Until = &list[i].Until
		}
		if !r.Destroyed.IsZero() {
			bodies[i].Destroyed = &list[i].Destroyed
		}
	}
	return bodies
}

func readableCells(r readableBody) []string {
	under, state := "since "+dayOf(r.Since), "kept"
	if r.Until != nil {
		under = dayOf(r.Since) + " to " + dayOf(*r.Until)
	}
	if r.Device != "" {
		state = "in a device"
	}
	if r.Destroyed != nil {
		state = "destroyed on " + dayOf(*r.Destroyed)
	}
	return []string{r.ID, r.Kind, r.Owner, dayOf(r.Created), under, state}
}

// knownOf returns the wrapping keys of a kind that secrets are under, but one.
func knownOf(keys []custody.KeyStatus, kind, but string) []store.WrappingKey {
	var known []store.WrappingKey
	for _, key := range keys {
		if key.Kind == kind && key.ID != but && key.Retired.IsZero() && key.Kept() > 0 {
			known = append(known, key.WrappingKey)
		}
	}
	return known
}
