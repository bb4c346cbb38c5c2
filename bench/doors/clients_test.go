// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick/internal/lab"
)

// A signIn is one sign-in with a handshake of its own, by means of a library that has
// nothing to do with ours.
type signIn func(ctx context.Context, config *tls.Config) error

func overHTTPS(address string) signIn {
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

// overSMTP goes as far as the answer to a recipient, which only who is known may have.
func overSMTP(address string, wrapped bool) signIn {
	return func(ctx context.Context, config *tls.Config) error {
		conn, err := dial(ctx, address)
		if err != nil {
			return err
		}
		if wrapped {
			conn = tls.Client(conn, config)
		}
		c, err := smtp.NewClient(conn, "localhost")
		if err != nil {
			conn.Close()
			return err
		}
		defer c.Close()
		if !wrapped {
			if err := c.StartTLS(config); err != nil {
				return err
			}
		}
		if err := c.Mail("alice@lab.test"); err != nil {
			return err
		}
		if err := c.Rcpt(lab.Recipient); err != nil {
			return err
		}
		_ = c.Quit() // it was let in
		return nil
	}
}

func overIMAPS(address string) signIn {
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

func overLDAPS(address string) signIn {
	return func(_ context.Context, config *tls.Config) error {
		c, err := ldap.DialURL("ldaps://"+address, ldap.DialWithTLSConfig(config), ldap.DialWithDialer(&net.Dialer{Timeout: patience}))
		if err != nil {
			return err
		}
		defer c.Close()
		c.SetTimeout(patience)
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

func overPostgres(address string) signIn {
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
		return c.Close(ctx)
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

// patience is how long a client waits for one sign-in.
const patience = time.Minute

// A tally counts the sign-ins at doors of one kind.
type tally struct {
	took   []time.Duration
	failed []string
}

// A load is clients that sign in at doors with what is in alice's files at that time.
type load struct {
	*estate
	rate  int // sign-ins a second, as far as the machine allows
	began time.Time
	next  atomic.Int64
	over  atomic.Bool
	group sync.WaitGroup

	mu    sync.Mutex
	kinds map[string]*tally // guarded by mu
}

// clients is how many sign in at the same time.
const clients = 32

// sign begins the load: at every door in turn, by its listeners in turn, with TLS 1.2 and
// 1.3 in turn, until stop is called, and at least least times.
func (e *estate) sign(rate, least int) *load {
	l := &load{estate: e, rate: rate, began: time.Now(), kinds: map[string]*tally{}}
	for range clients {
		l.group.Go(func() {
			for {
				n := int(l.next.Add(1)) - 1
				if l.over.Load() && n >= least {
					return
				}
				time.Sleep(time.Until(l.began.Add(time.Duration(n) * time.Second / time.Duration(l.rate))))
				l.once(n)
			}
		})
	}
	return l
}

// stop waits until there were as many as there had to be.
func (l *load) stop() {
	l.over.Store(true)
	l.group.Wait()
}

func (l *load) once(n int) {
	d, round := l.doors[n%len(l.doors)], n/len(l.doors)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	began := time.Now()
	version := []uint16{tls.VersionTLS12, tls.VersionTLS13}[round%2]
	config, err := l.follow()
	if err == nil {
		config.MinVersion, config.MaxVersion = version, version
		err = d.ways[round/2%len(d.ways)](ctx, config)
	}
	took := time.Since(began)
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.kinds[d.kind]
	if t == nil {
		t = &tally{}
		l.kinds[d.kind] = t
	}
	t.took = append(t.took, took)
	if err != nil {
		t.failed = append(t.failed, fmt.Sprintf("%s %s, %s, %s: %v", time.Now().Format("15:04:05.000"), d.name, tls.VersionName(version), took.Round(time.Millisecond), err))
	}
}

// follow reads certificate, key and trust, as a program does that reads them when it connects.
func (e *estate) follow() (*tls.Config, error) {
	text, err := os.ReadFile(e.bundle)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, err
	}
	trust, err := os.ReadFile(e.pki.RootFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if block, _ := pem.Decode(trust); block == nil || !roots.AppendCertsFromPEM(trust) {
		return nil, fmt.Errorf("%s has no certificate", e.pki.RootFile)
	}
	return &tls.Config{RootCAs: roots, ServerName: "localhost", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }}, nil
}

// at returns the time within which a share of the sign-ins were done.
func (t *tally) at(share float64) time.Duration {
	slices.Sort(t.took)
	return t.took[min(int(share*float64(len(t.took))), len(t.took)-1)]
}
