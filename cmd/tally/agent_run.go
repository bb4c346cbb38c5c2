// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/holder"
	"github.com/tallystick/tallystick/internal/agent"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/problem"
)

func (p *program) agentRun() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "run", Short: "Be the agent of this machine",
		Long: `Be the agent of this machine: enrol with the token of "tally agent add", and then do
at the doors of the configuration what recalls ask for. Nothing listens here; the
agent asks the server. docs/agent.md says what is in the configuration.

It stops on SIGTERM or Ctrl-C. What was under way is taken up again at the next start.

` + exitStatuses("0 stopped as asked", "1 something failed, such as a token that is no longer good", "2 bad usage, or a configuration that cannot be used"),
		Example: "  tally agent run --config /etc/tallystick/agent.yaml", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return misuse(errors.New("an agent needs a configuration"), "name one with --config; docs/agent.md has an example")
			}
			return p.runAgent(cmd.Context(), file)
		},
	}
	cmd.Flags().StringVar(&file, "config", "", "read this configuration `FILE`")
	return cmd
}

// runAgent is the command.
func (p *program) runAgent(ctx context.Context, file string) (err error) {
	c, err := config.LoadAgent(file)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("couldn't make the data directory: %w", err)
	}
	lock, err := lockData(c.Data)
	if err != nil {
		return problem.With(err, "another agent runs with this data directory")
	}
	defer func() { err = errors.Join(err, lock.close()) }()
	keys, err := agent.OpenKeys(c.Data)
	if err != nil {
		return err
	}
	log := p.newLog(false)
	book, err := openAgentBook(c)
	if err != nil {
		return err
	}
	set, err := doors.Open(doors.Config{Doors: c.Doors, Hosts: c.Hosts, Drivers: drivers.All(), Keys: keys, Now: p.now, Used: recordIn(book)})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, set.Close()) }()
	runner, err := agent.New(agent.Config{
		Doors: set, Data: c.Data, Keys: keys, Token: func() (string, error) { return readToken(c.TokenFile) }, Connect: c.Connect, LookEvery: c.LookEvery,
		Version: versionLine(), Now: p.now,
		Said:   func(text string) { log.Info(text) },
		Failed: func(err error) { log.Warn("it is tried again", "error", err) },
	})
	if err != nil {
		return err
	}
	delivering, stop := context.WithCancel(ctx)
	defer stop()
	var parts sync.WaitGroup
	if book != nil {
		parts.Go(func() { runBook(delivering, book, log) })
	}
	err = runner.Run(ctx)
	stop()
	parts.Wait()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// maxTokenFile bounds the file of a token, in bytes.
const maxTokenFile = 4 << 10

// readToken returns what is in the file of the token, "" where there is none: once the
// agent has enrolled it is no longer needed.
func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("couldn't read the token: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxTokenFile || info.Mode().Perm()&0o077 != 0 {
		return "", problem.With(fmt.Errorf("%w: %s is not a file that only its owner can read", tallystick.ErrInvalid, path), "run chmod 600 "+path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("couldn't read the token: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// openAgentBook opens the book of the agent's own tries; nil where none is kept.
func openAgentBook(c *config.Agent) (*holder.Book, error) {
	if c.Uses == (config.AgentUses{}) {
		return nil, nil
	}
	token, err := readToken(c.Uses.TokenFile)
	if err != nil {
		return nil, err
	}
	client := &http.Client{}
	if c.Uses.CertificateFile != "" {
		text, err := os.ReadFile(c.Uses.CertificateFile)
		if err != nil {
			return nil, fmt.Errorf("couldn't read uses.certificate_file: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%w: %s holds no certificate", tallystick.ErrInvalid, c.Uses.CertificateFile)
		}
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}
	}
	book, err := holder.Open(holder.Config{Source: c.Uses.Source, URL: c.Uses.URL, Token: token, Spool: filepath.Join(c.Data, "uses"), Client: client})
	if err != nil {
		return nil, fmt.Errorf("couldn't open the book of uses: %w", err)
	}
	return book, nil
}

// recordIn writes down the agent's own tries of credentials.
func recordIn(book *holder.Book) func(driver.Public, tallystick.Use) {
	if book == nil {
		return nil
	}
	return func(_ driver.Public, use tallystick.Use) { book.Record(use) }
}

// runBook delivers what the book holds until ctx ends.
func runBook(ctx context.Context, book *holder.Book, log *slog.Logger) {
	if err := book.Run(ctx); err != nil && ctx.Err() == nil {
		log.Warn("uses are not written down", "error", err)
	}
}
