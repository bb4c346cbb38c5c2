// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/internal/access"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/server"
)

// upFlags are the flags of "tally up".
type upFlags struct {
	dataFlags
	listen  string
	verbose bool
}

func (p *program) upCommand() *cobra.Command {
	var flags upFlags
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Keep an inventory, look again every day, and show it in a browser",
		Long: `Keep an inventory, look again every day, and show it in a browser.

Without a configuration it looks at this machine: its files, its trust stores, and
the TLS and SSH ports that listen on it. "tally list", "tally export" and the other
commands read and change the same data, also while it runs. The first start
prints a link to sign in with; "tally user link" makes another one. The
configuration is read at the start: to change it, stop this and start it again.

It stops within 10 seconds on SIGTERM or Ctrl-C; a second signal ends it at once.
A look that was cut short, also by a crash, is taken up again at the next start.

` + exitStatuses("0 stopped as asked", "1 something failed, such as a port in use or data in use by another tally", "2 bad usage, or a configuration that cannot be used"),
		Example: `  tally up
  tally up --data /var/lib/tallystick --listen 127.0.0.1:9443 --config tally.yaml`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return p.up(cmd.Context(), flags) },
	}
	flags.addTo(cmd)
	cmd.Flags().StringVar(&flags.listen, "listen", "", "listen for HTTPS on this `ADDR:PORT` (default 127.0.0.1:8443)")
	cmd.Flags().BoolVar(&flags.verbose, "verbose", false, "log every request")
	return cmd
}

// up is the command.
func (p *program) up(ctx context.Context, flags upFlags) (err error) {
	c, err := p.load(flags.dataFlags)
	if err != nil {
		return err
	}
	if flags.listen != "" {
		c.Listen = flags.listen
	}
	if err := checkJobs(c); err != nil {
		return err
	}
	if _, err := openIssuers(c); err != nil {
		return err
	}
	lock, err := lockData(c.Data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.close()) }()
	listener, err := listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	defer listener.Close() // the server has closed it, unless it never ran
	h, err := p.open(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	if err := h.db.Alone(ctx); err != nil {
		return err
	}
	log := p.newLog(flags.verbose)
	t, err := p.openTally(ctx, h, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	i, err := p.openIssuance(ctx, h, listener.Addr(), log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.close()) }()
	r, err := p.openServing(h, t, i)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.close()) }()
	s, err := p.newServer(h, t, i, r, listener.Addr().String(), log)
	if err != nil {
		return err
	}
	if err := i.openEST(ctx, h, s.Certificate, log); err != nil {
		return err
	}
	if err := i.openAgents(ctx, h, r.agents, r.engine.ForAgents(), log); err != nil {
		return err
	}
	if err := t.listen(ctx, c.Syslog, s.Certificate); err != nil {
		return err
	}
	i.avoidOwn(t.syslog)
	url := urlOf(listener.Addr())
	if err := lock.say(url); err != nil {
		return err
	}
	if err := p.welcome(ctx, h, s, i, url); err != nil {
		return err
	}
	return run(ctx, h, t, i, r, s, listener)
}

// newLog returns the log of a server, on standard error.
func (p *program) newLog(verbose bool) *slog.Logger {
	options := &slog.HandlerOptions{}
	if verbose {
		options.Level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(p.err, options))
}

// listen opens the port.
func listen(ctx context.Context, address string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, misuse(fmt.Errorf("--listen %q is not an address and a port", address), "write it as 127.0.0.1:8443")
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		if op, ok := errors.AsType[*net.OpError](err); ok {
			err = op.Err // not the address once more
		}
		return nil, fmt.Errorf("couldn't listen on %s: %w", address, err)
	}
	return listener, nil
}

// urlOf returns where a browser on this machine finds the server.
func urlOf(address net.Addr) string {
	if tcp, ok := address.(*net.TCPAddr); ok && tcp.IP.IsUnspecified() {
		return fmt.Sprintf("https://localhost:%d", tcp.Port)
	}
	return "https://" + address.String()
}

// newServer puts the server together.
func (p *program) newServer(h *house, t *tallying, i *issuance, r *recalling, address string, log *slog.Logger) (*server.Server, error) {
	certificate, err := p.certificate(h.config, address)
	if err != nil {
		return nil, err
	}
	token, err := h.config.MetricsToken()
	if err != nil {
		return nil, err
	}
	return server.New(server.Config{
		Inventory: h.inventory, Findings: h.findings, Discovery: h.discovery, Directory: h.directory, Vault: h.vault, Usage: t.usage, Sources: t.sources, Access: h.access, Audit: h.log, Gate: h.gate,
		DB: h.db, Now: p.now, Log: log, Certificate: certificate, MetricsToken: token, Issuing: i.issuing, Recalls: r.engine, Protocols: i.protocols(),
	})
}

func (p *program) certificate(c *config.Config, address string) (*server.Certificate, error) {
	if c.TLS.Certificate != "" {
		certificate, err := server.LoadCertificate(c.TLS.Certificate, c.TLS.Key, p.now())
		return certificate, problem.With(err, "see tls in the configuration")
	}
	return server.MakeCertificate(c.Data, address, p.now())
}

// welcome says where to go and what happens now.
func (p *program) welcome(ctx context.Context, h *house, s *server.Server, i *issuance, url string) error {
	link, err := h.access.FirstLink(ctx)
	if err != nil {
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "Tallystick is up.\n\n")
	if link == "" {
		fmt.Fprintf(&text, "  Open         %s/\n", url)
		fmt.Fprintf(&text, "               \"tally user link NAME\" makes a link to sign in with.\n")
	} else {
		fmt.Fprintf(&text, "  Open         %s/sign-in/%s\n", url, link)
		fmt.Fprintf(&text, "               This link signs you in as administrator, once, within %.0f minutes;\n", access.LinkLife.Minutes())
		fmt.Fprintf(&text, "               \"tally user link NAME --role ROLE\" makes further ones.\n")
	}
	if !s.Certificate.Configured() {
		fmt.Fprintf(&text, "  Certificate  %s\n", s.Certificate.Fingerprint())
		fmt.Fprintf(&text, "               It is self-signed, so your browser warns; compare its SHA-256 fingerprint.\n")
	}
	fmt.Fprintf(&text, "  Data         %s\n", h.config.Data)
	fmt.Fprintf(&text, "  Looks        %s\n", looksOf(h.config))
	for _, line := range i.served(h.config, url) {
		fmt.Fprintf(&text, "  %s\n", line)
	}
	text.WriteByte('\n')
	_, err = fmt.Fprint(p.out, text.String())
	return err
}

// looksOf says in a line what is looked at.
func looksOf(c *config.Config) string {
	var names []string
	for _, j := range c.Discovery {
		if !j.Off {
			names = append(names, fmt.Sprintf("%s (every %s)", j.Name, short(j.Every)))
		}
	}
	if len(names) == 0 {
		return "at nothing by itself: every job is off"
	}
	return strings.Join(names, ", ")
}

// short writes a duration without the units that are zero.
func short(d time.Duration) string {
	text := d.String()
	text = strings.TrimSuffix(text, "0s")
	return strings.TrimSuffix(text, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(text, "h0m")]
}

// run runs everything until ctx ends or the server fails.
func run(ctx context.Context, h *house, t *tallying, i *issuance, r *recalling, s *server.Server, listener net.Listener) error {
	h.lookLog = s.Log
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	parts.Go(func() { keep(ctx, s.Log, "discovery", h.discovery.Run) })
	parts.Go(func() { keep(ctx, s.Log, "findings", h.findings.Run) })
	parts.Go(func() { keep(ctx, s.Log, "inventory", h.inventory.Run) })
	parts.Go(func() { keep(ctx, s.Log, "vault", h.vault.Run) })
	t.run(ctx, &parts, s.Log)
	i.run(ctx, h, &parts, s.Log)
	r.run(ctx, &parts, s.Log)
	parts.Go(func() {
		if err := s.Run(ctx, listener); err != nil {
			cancel(err)
		}
	})
	<-ctx.Done()
	s.Log.Info("stopping")
	parts.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// again is how long a part that failed as a whole rests.
const again = 30 * time.Second

// keep keeps a part of the program going until ctx ends: what it cannot do is
// logged, and a panic in it does not take the rest along.
func keep(ctx context.Context, log *slog.Logger, name string, part func(context.Context, func(error)) error) {
	for ctx.Err() == nil {
		guard(ctx, log, name, part)
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

func guard(ctx context.Context, log *slog.Logger, name string, part func(context.Context, func(error)) error) {
	defer func() {
		if failure := recover(); failure != nil {
			log.Error("a part panicked and starts again soon", "part", name, "panic", fmt.Sprint(failure), "stack", string(debug.Stack()))
		}
	}()
	err := part(ctx, func(err error) { log.Error("something failed and is tried again", "part", name, "error", err) })
	if err != nil && ctx.Err() == nil {
		log.Error("a part ended and starts again soon", "part", name, "error", err)
	}
}
