// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/sources"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
	"github.com/tallystick/tallystick/internal/uses"
)

func (p *program) sourceCommand() *cobra.Command {
	cmd := group("source", "Say where uses of credentials are read from")
	cmd.Long = `Say where uses of credentials are read from: files that grow, directories,
senders of use records, OpenTelemetry logs or syslog, and systems whose logs a
driver reads. "tally up" reads them, and takes up what is changed here within 2
seconds. docs/sources.md is the manual.`
	turn := func(verb, short, done string, act func(*sources.Sources) func(context.Context, gate.Actor, string) error) *cobra.Command {
		return p.sourceTurn(verb, short, done, act)
	}
	cmd.AddCommand(p.sourceAdd(), p.sourceList(),
		turn("remove", "Read a source no more; what it gave is kept", "removed", func(s *sources.Sources) func(context.Context, gate.Actor, string) error { return s.Remove }),
		turn("pause", "Keep a source from being read", "paused", func(s *sources.Sources) func(context.Context, gate.Actor, string) error { return s.Pause }),
		turn("resume", "Let a paused source go on where it stood", "goes on", func(s *sources.Sources) func(context.Context, gate.Actor, string) error { return s.Resume }))
	return cmd
}

// sources are those of the data, for commands that do not read them.
func (p *program) sources(h *house) *sources.Sources {
	return sources.New(sources.Config{DB: h.db, Gate: h.gate, Now: p.now, Drivers: drivers.All()})
}

func sourceStatuses() string {
	return exitStatuses("0 done", "1 something failed, or there is no such source or inventory", "2 bad usage")
}

// sourceFlags are what is said of a new source.
type sourceFlags struct {
	dataFlags
	source      store.Source
	side        string
	certificate string
	set         []string
	each        string
	json        bool
}

func (p *program) sourceAdd() *cobra.Command {
	flags := sourceFlags{}
	cmd := &cobra.Command{
		Use: "add NAME [PATH]", Short: "Add a source",
		Long: `Add a source. NAME is the name of its book; a holder's book that names itself is
added under that name.

  file       PATH is a file that grows; it is followed when it is rotated
  directory  PATH is a directory; all files in it are read, and new ones as they come
  http       a sender posts use records; its token is written to standard output,
             and cannot be had again
  otlp       a sender posts OpenTelemetry logs; as http
  syslog     a sender connects over TLS, with the certificate of --certificate
  driver     the driver of --driver reads the logs of a system, with the options
             of --set; no value may be a secret: name a file that holds it

With --each a source is added for each line of a file, such as a list of tenants:
the line, or its first word, stands where NAME and the values of --set have {}. What
is there already stays as it is, so that a list that has grown can be added again.
An empty line, and one that begins with #, is passed over.

A log that has no closing marks needs --settle: how long after its time a record
may come at the latest. Until then a use that only the other side has recorded is
pending; with too short a time it is called foreign too early.

` + sourceStatuses(),
		Example: `  tally source add edge --kind file --side relying --format nginx --settle 30s /var/log/nginx/tally.log
  tally source add broker-eu-1 --kind http --side holder
  tally source add dc1 --kind syslog --side relying --format samba --settle 1m --certificate 5F:3A:...
  tally source add contoso --driver entra --side relying --set tenant=8f1c2f0e-5b0a-4f0e-9d0a-6a1f7d1c5e11 \
    --set application=0f0e... --set credential=/etc/tally/watch.pem
  tally source add 'm365-{}' --driver entra --side relying --each tenants.txt --set tenant={} \
    --set application=0f0e... --set credential=/etc/tally/watch.pem`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 || len(args) == 2 {
				return nil
			}
			return misuse(fmt.Errorf("%q takes the name of a source and, for files, a path", cmd.CommandPath()), fmt.Sprintf("run %q", cmd.CommandPath()+" --help"))
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			one := flags.source
			one.Name, one.Side = args[0], tallystick.Side(flags.side)
			if len(args) == 2 {
				var err error
				if one.Path, err = filepath.Abs(args[1]); err != nil {
					return fmt.Errorf("couldn't find %s: %w", args[1], err)
				}
			}
			if err := flags.driver(&one); err != nil {
				return err
			}
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error {
				if flags.each != "" {
					return p.addEach(ctx, h, one, flags)
				}
				return p.addSource(ctx, h, one, flags)
			})
		},
	}
	flags.addTo(cmd)
	flags.flags(cmd)
	return cmd
}

// flags gives the command those that are its own.
func (flags *sourceFlags) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&flags.source.Kind, "kind", "", "of this `KIND`: "+strings.Join(sources.Kinds(), ", "))
	cmd.Flags().StringVar(&flags.side, "side", "", "the `SIDE` that writes it; holder: of who has the key; relying: of who accepts it")
	cmd.Flags().StringVar(&flags.source.Format, "format", "", "the `FORMAT` in which it is written (default recognised for files; use records for senders)")
	cmd.Flags().DurationVar(&flags.source.Settle, "settle", 0, "after what `DURATION` nothing earlier will come (default it says so itself)")
	cmd.Flags().DurationVar(&flags.source.Silence, "silence", 0, "after what `DURATION` it should have been heard again (default never)")
	cmd.Flags().DurationVar(&flags.source.KeepRaw, "keep-raw", sources.DefaultKeepRaw, "for what `DURATION` it is kept as it was received; 0 is not at all")
	cmd.Flags().BoolVar(&flags.source.Once, "once", false, "read a file or directory to its end and no further")
	cmd.Flags().StringVar(&flags.certificate, "certificate", "", "SHA-256 fingerprint of the `CERTIFICATE` that a sender of syslog shows")
	cmd.Flags().StringVar(&flags.source.Driver, "driver", "", "of kind driver: the `DRIVER` that reads it")
	cmd.Flags().StringArrayVar(&flags.set, "set", nil, "an option of the driver, as `NAME=VALUE`; \"tally drivers\" lists them")
	cmd.Flags().StringVar(&flags.each, "each", "", "add a source for each line of this `FILE`, which stands where there is {}")
	cmd.Flags().BoolVar(&flags.json, "json", false, "write it as a JSON object")
	completeFlag(cmd, "kind", sources.Kinds)
	completeFlag(cmd, "side", func() []string { return []string{string(tallystick.SideHolder), string(tallystick.SideRelying)} })
	completeFlag(cmd, "format", uses.FormatNames)
	completeFlag(cmd, "driver", watchers)
}

// addSource adds a source and says what is to be done next.
func (p *program) addSource(ctx context.Context, h *house, one store.Source, flags sourceFlags) error {
	token, added, err := p.sources(h).Add(ctx, h.actor, one, flags.certificate)
	if err != nil {
		return err
	}
	if flags.json {
		return json.NewEncoder(p.out).Encode(struct {
			usage.SourceBody
			Token string `json:"token,omitempty"`
		}{usage.SourceBodyOf(added), token})
	}
	switch added.Kind {
	case store.SourceHTTP:
		p.say("source %s is added: its sender posts to %s/api/v1/sources/%s/uses with this bearer token", added.Name, baseURL(h), added.Name)
	case store.SourceOTLP:
		p.say("source %s is added: its sender exports to %s/v1/logs with this bearer token", added.Name, baseURL(h))
	case store.SourceSyslog:
		p.say("source %s is added: its sender connects to the address of syslog in the configuration", added.Name)
	default:
		p.say("source %s is added", added.Name)
		if h.unattended() != nil {
			p.say("hint: it is read as soon as \"tally up\" works on %s", h.config.Data)
		}
	}
	if token != "" {
		_, err = fmt.Fprintln(p.out, token)
	}
	return err
}

func (p *program) sourceList() *cobra.Command {
	var flags listFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List the sources, and how far each is read", Long: "List the sources, and how far each is read.\n\n" + sourceStatuses(), Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.inside(cmd.Context(), flags.dataFlags, func(ctx context.Context, h *house) error {
				all, err := p.sources(h).List(ctx, h.actor)
				if err != nil {
					return err
				}
				return showAll(p, flags.json, usage.SourceBodiesOf(all), []string{"NAME", "KIND", "SIDE", "FORMAT", "RECORDS", "MALFORMED", "HEARD", "STATE"}, p.sourceCells)
			})
		},
	}
	flags.dataFlags.addTo(cmd)
	cmd.Flags().BoolVar(&flags.json, "json", false, "write one JSON object a line")
	return cmd
}

func (p *program) sourceCells(s usage.SourceBody) []string {
	heard := "never"
	if !s.Heard.IsZero() {
		heard = p.now().Sub(s.Heard).Round(time.Second).String() + " ago"
	}
	state := "read"
	silent := s.Source.Silence > 0 && s.IsRead() && p.now().Sub(s.HeardLast(time.Time{})) > s.Source.Silence
	switch {
	case s.Error != "" && silent:
		state = "silent; " + s.Error
	case s.Error != "":
		state = s.Error
	case s.Paused:
		state = "paused"
	case !s.Done.IsZero():
		state = "done on " + dayOf(s.Done)
	case silent:
		state = "silent"
	case s.Driver != "" && !s.Begun:
		state = "not read yet"
	case len(s.Wrong) > 0:
		state = "read; malformed: " + s.Wrong[len(s.Wrong)-1]
	}
	kind := s.Kind
	if s.Driver != "" {
		kind += " " + s.Driver
	}
	return []string{s.Name, kind, string(s.Side), s.Format, fmt.Sprint(s.Records), fmt.Sprint(s.Malformed), heard, state}
}

// sourceTurn is a command that changes the state of a source.
func (p *program) sourceTurn(verb, short, done string, act func(*sources.Sources) func(context.Context, gate.Actor, string) error) *cobra.Command {
	var flags dataFlags
	cmd := &cobra.Command{
		Use: verb + " NAME", Short: short, Long: short + ".\n\n" + sourceStatuses(),
		Example: "  tally source " + verb + " edge", Args: exactly(1, "the name of a source"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return p.inside(cmd.Context(), flags, func(ctx context.Context, h *house) error {
				if err := act(p.sources(h))(ctx, h.actor, args[0]); err != nil {
					return unknown(err, `run "tally source list" to see them`)
				}
				fmt.Fprintf(p.out, "source %s: %s\n", clean(args[0]), done)
				return nil
			})
		},
	}
	flags.addTo(cmd)
	return cmd
}
