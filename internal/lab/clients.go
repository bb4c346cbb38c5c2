// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick/driver"
)

// A SignIn signs alice in once, over a connection and with a handshake of its own, by
// means of a library that has nothing to do with ours. The context has a deadline.
type SignIn func(ctx context.Context, config *tls.Config) error

// Follow reads certificate and key of a client from one file, and from another whom it
// trusts, as a program does that reads them each time it connects. The certificate is
// shown whatever authorities the server names.
func Follow(bundle, trust string) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(bundle, bundle)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(trust)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s has no certificate", trust)
	}
	return &tls.Config{RootCAs: roots, ServerName: "localhost", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }}, nil
}

// OverHTTPS gets /, which the server answers with 200 to whom it lets in.
func OverHTTPS(address string) SignIn {
	return func(ctx context.Context, config *tls.Config) error {
		transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+address+"/", nil)
		if err != nil {
			return err
		}
		answer, err := transport.RoundTrip(r)
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

// Gets returns what gets / at each address as somebody whom the servers let in, and trusts
// their root.
func (p *PKI) Gets(addresses []string, m driver.Material) func() error {
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		for _, address := range addresses {
			if err := OverHTTPS(address)(ctx, p.ClientConfig(m)); err != nil {
				return fmt.Errorf("%s: %w", address, err)
			}
		}
		return nil
	}
}

// OverSMTP goes as far as the answer to a recipient, which only who is known may have, by
// STARTTLS. With a message it sends what that returns: header lines and text, with \r\n.
func OverSMTP(address string, message func() string) SignIn {
	return func(ctx context.Context, config *tls.Config) error {
		conn, err := dial(ctx, address)
		if err != nil {
			return err
		}
		return mailOver(conn, config, message)
	}
}

// OverSMTPS does as OverSMTP without a message does, on the port where TLS comes first.
func OverSMTPS(address string) SignIn {
	return func(ctx context.Context, config *tls.Config) error {
		conn, err := dial(ctx, address)
		if err != nil {
			return err
		}
		return mailOver(tls.Client(conn, config), nil, nil)
	}
}

// mailOver talks to Postfix, and closes the connection; config is for STARTTLS.
func mailOver(conn net.Conn, config *tls.Config, message func() string) error {
	c, err := smtp.NewClient(conn, "localhost")
	if err != nil {
		conn.Close()
		return err
	}
	defer c.Close()
	if config != nil {
		if err := c.StartTLS(config); err != nil {
			return err
		}
	}
	if err := c.Mail("alice@lab.test"); err != nil {
		return err
	}
	if err := c.Rcpt(Recipient); err != nil {
		return err
	}
	if message != nil {
		w, err := c.Data()
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, message()); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
	_ = c.Quit() // it was let in
	return nil
}

// OverIMAPS signs in by SASL EXTERNAL.
func OverIMAPS(address string) SignIn {
	return func(ctx context.Context, config *tls.Config) error {
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

// OverLDAPS binds by SASL EXTERNAL, and asks who it is then.
func OverLDAPS(address string) SignIn {
	return func(ctx context.Context, config *tls.Config) error {
		deadline, _ := ctx.Deadline() // there is one
		c, err := ldap.DialURL("ldaps://"+address, ldap.DialWithTLSConfig(config), ldap.DialWithDialer(&net.Dialer{Deadline: deadline}))
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetTimeout(time.Until(deadline))
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

// OverPostgres signs in to the database postgres, and asks it something.
func OverPostgres(address string) SignIn {
	return func(ctx context.Context, config *tls.Config) error {
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
