// SPDX-License-Identifier: Apache-2.0

package postgresql

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/trying"
)

// tryTime bounds one sign-in.
const tryTime = 20 * time.Second

// TestSecret signs in as the role at each address, from the machine of the server, under TLS. The
// password goes only to a server that shows the certificate of ssl_cert_file.
func (d *door) TestSecret(ctx context.Context, request driver.SecretRequest) (driver.Tested, error) {
	now, err := d.settings(ctx, request.Host)
	if err != nil {
		return driver.Tested{}, err
	}
	c := client{door: d, host: request.Host, role: request.Account, now: request.Now}
	if now.ssl {
		certificates, err := blocking.AuthoritiesAt(ctx, request.Host, now.cert)
		if err != nil || len(certificates) == 0 {
			return driver.Tested{}, fmt.Errorf("couldn't read which certificate PostgreSQL shows from %s: %w", now.cert, errors.Join(err, tallystick.ErrInvalid))
		}
		c.pin = string(tallystick.FingerprintOf(certificates[0].Raw))
	}
	listeners := d.rolesAt(now, request.Account)
	if len(listeners) == 0 {
		return driver.Tested{}, invalid("PostgreSQL listens at no address (listen_addresses): passwords cannot be tried over its socket")
	}
	t := trying.Trial{Request: request}
	err = t.Everywhere(ctx, request.Host, listeners, func(l driver.Listener, address string) trying.Spot {
		return trying.Spot{
			Listener: l, Address: address,
			Try: func(ctx context.Context, secret driver.Secret) (driver.Attempt, error) {
				return c.try(ctx, l, address, secret), ctx.Err()
			},
			Tell: func(_ driver.Secret, attempt driver.Attempt) {
				trying.Tell(request, []string{tallystick.NormalName("account:postgres/" + request.Account)}, "postgres:", attempt)
			},
		}
	})
	return t.Tested, err
}

// A client signs in as a role.
type client struct {
	door *door
	host driver.Host
	role string
	pin  string // SHA-256 of the certificate that the server shows, hex; "" where it speaks no TLS
	now  func() time.Time
}

// try signs in once.
func (c client) try(ctx context.Context, listener driver.Listener, address string, password driver.Secret) driver.Attempt {
	attempt := driver.Attempt{Listener: listener, Address: address, Way: driver.WayFresh, Outcome: driver.OutcomeFailed, At: c.now().UTC()}
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	var heard overheard
	err := c.signIn(ctx, address, password, &heard, &attempt.Served)
	var said *pgconn.PgError
	switch {
	case err == nil && heard.asked:
		attempt.Outcome, attempt.Answer = driver.OutcomeAccepted, "signed in to the database "+c.door.Database
	case err == nil:
		attempt.Outcome, attempt.Answer = driver.OutcomeAccepted, "the server lets it in without asking for a password (trust in pg_hba.conf)"
	case errors.As(err, &said):
		attempt.Answer = said.Severity + " " + said.Code + " " + said.Message
		if heard.let { // it was right, and something else was not: the database is not there, there is no room
			attempt.Outcome, attempt.Answer = driver.OutcomeAccepted, "the password is right; after it: "+attempt.Answer
		} else if said.Code == wrongPassword {
			attempt.Outcome = driver.OutcomeRefused
		}
	default:
		attempt.Answer = err.Error()
	}
	attempt.Answer = network.Clean(driver.Redact(attempt.Answer, password))
	return attempt
}

// wrongPassword is invalid_password of the manual, appendix A. Where no line of pg_hba.conf fits,
// which says nothing of a password, that is 28000.
const wrongPassword = "28P01"

// signIn signs in, and out again.
func (c client) signIn(ctx context.Context, address string, password driver.Secret, heard *overheard, served *string) error {
	settings, err := c.door.client(c.role, password)
	if err != nil {
		return err
	}
	if c.pin == "" {
		settings.RequireAuth = "scram-sha-256"
	} else {
		settings.TLSConfig = c.tls(served)
	}
	settings.RuntimeParams = map[string]string{"application_name": "tallystick"}
	settings.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		conn, err := c.host.Dial(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		return network.Limited(conn, byteLimit), nil
	}
	settings.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		heard.in = r
		return pgproto3.NewFrontend(heard, w)
	}
	conn, err := pgconn.ConnectConfig(ctx, &settings.Config)
	if err != nil {
		return err
	}
	_ = conn.Close(ctx) // the server has given its answer
	return nil
}

// tls is that of a server which shows the certificate that it is known to have.
func (c client) tls(served *string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, ServerName: c.door.ServerName,
		VerifyConnection: func(state tls.ConnectionState) error {
			*served = string(tallystick.FingerprintOf(state.PeerCertificates[0].Raw))
			if *served != c.pin {
				return errors.New("the server shows another certificate than that of ssl_cert_file: the password was not sent")
			}
			return nil
		},
	}
}

// overheard is what a server sends, read along for how it answers a sign-in: an error that
// comes after its yes is about something else.
type overheard struct {
	in    io.Reader
	head  []byte // of the message that has begun: its type, its length, and the word of an answer
	skip  int    // bytes of it that are not looked at
	asked bool   // it wanted a password
	let   bool   // it said yes (AuthenticationOk)
}

// Read reads along.
func (o *overheard) Read(p []byte) (int, error) {
	n, err := o.in.Read(p)
	for b := p[:n]; len(b) > 0 && !o.let; {
		if o.skip > 0 {
			skipped := min(o.skip, len(b))
			o.skip, b = o.skip-skipped, b[skipped:]
			continue
		}
		o.head, b = append(o.head, b[0]), b[1:]
		o.hear()
	}
	return n, err
}

// hear looks at the head of a message ("Message Formats" of the manual). Lengths count themselves.
func (o *overheard) hear() {
	if len(o.head) < 5 {
		return
	}
	length := int(binary.BigEndian.Uint32(o.head[1:]))
	if o.head[0] != 'R' || length < 8 {
		o.head, o.skip = o.head[:0], max(0, length-4)
		return
	}
	if len(o.head) < 9 {
		return
	}
	o.let = binary.BigEndian.Uint32(o.head[5:]) == 0
	o.asked = o.asked || !o.let
	o.head, o.skip = o.head[:0], length-8
}
