// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/lab"
)

// A book is an audit log in memory.
type book struct {
	mu      sync.Mutex
	records []audit.Record // guarded by mu
}

func (b *book) Append(_ context.Context, r audit.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.records = append(b.records, r)
	return nil
}

// The clients of an estate: each signs in once, over a connection of its own, by means
// of a library that has nothing to do with ours.

func getter(address string) func(context.Context, int, *tls.Config) error {
	return func(ctx context.Context, _ int, config *tls.Config) error {
		transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
		defer transport.CloseIdleConnections()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/", nil)
		if err != nil {
			return err
		}
		answer, err := (&http.Client{Transport: transport}).Do(r)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("status %d", answer.StatusCode)
		}
		return nil
	}
}

func mailer(address string) func(context.Context, int, *tls.Config) error {
	return func(ctx context.Context, n int, config *tls.Config) error {
		conn, err := dial(ctx, address)
		if err != nil {
			return err
		}
		c, err := smtp.NewClient(conn, "localhost")
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.StartTLS(config); err != nil {
			return err
		}
		if err := c.Mail("alice@lab.test"); err != nil {
			return err
		}
		if err := c.Rcpt(lab.Recipient); err != nil {
			return err
		}
		w, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(w, "Message-ID: <estate-%d@lab.test>\r\nFrom: alice@lab.test\r\nSubject: %d\r\n\r\nhello\r\n", n, n); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		_ = c.Quit() // it was accepted
		return nil
	}
}

func imapper(address string) func(context.Context, int, *tls.Config) error {
	return func(ctx context.Context, _ int, config *tls.Config) error {
		conn, err := dial(ctx, address)
		if err != nil {
			return err
		}
		c := tls.Client(conn, config)
		defer c.Close()
		lines := bufio.NewReader(c)
		if _, err := lines.ReadString('\n'); err != nil {
			return fmt.Errorf("greeting: %w", err)
		}
		if _, err := io.WriteString(c, "a AUTHENTICATE EXTERNAL =\r\n"); err != nil {
			return err
		}
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return fmt.Errorf("signing in: %w", err)
			}
			if strings.HasPrefix(line, "a ") {
				if !strings.HasPrefix(line, "a OK") {
					return fmt.Errorf("signing in: %q", line)
				}
				_, err := io.WriteString(c, "b LOGOUT\r\n")
				return err
			}
		}
	}
}

func binder(address string) func(context.Context, int, *tls.Config) error {
	return func(_ context.Context, _ int, config *tls.Config) error {
		c, err := ldap.DialURL("ldaps://"+address, ldap.DialWithTLSConfig(config))
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetTimeout(10 * time.Second)
		if err := c.ExternalBind(); err != nil {
			return err
		}
		who, err := c.WhoAmI(nil)
		if err == nil && !strings.Contains(who.AuthzID, "alice") {
			err = fmt.Errorf("signed in as %q", who.AuthzID)
		}
		return err
	}
}

func querier(address string) func(context.Context, int, *tls.Config) error {
	return func(ctx context.Context, _ int, config *tls.Config) error {
		settings, err := pgx.ParseConfig("postgres://alice@" + address + "/postgres")
		if err != nil {
			return err
		}
		settings.TLSConfig, settings.Fallbacks = config, nil
		c, err := pgx.ConnectConfig(ctx, settings)
		if err != nil {
			return err
		}
		defer c.Close(ctx)
		var one int
		return c.QueryRow(ctx, "select 1").Scan(&one)
	}
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	deadline, _ := ctx.Deadline() // there is one
	return conn, conn.SetDeadline(deadline)
}
