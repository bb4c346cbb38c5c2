// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/starttls"
	"github.com/tallystick/tallystick/drivers/tls/hello"
)

// patience bounds how often an endpoint may let a connection run into its
// timeout before it is left, so that one which hangs on every second hello
// costs little more than one which does not answer at all.
const patience = 3

// One that answers every hello at the last moment, and takes every suite, is
// left after so many times the timeout of one connection.
const (
	longest       = 12
	longestSuites = 60 // a server with every suite of the JDK is asked some 250 times
)

var errImpatient = errors.New("it took too long in all")

// A door is one address of one endpoint, as one name.
type door struct {
	*lookout
	address  netip.AddrPort
	name     string // for SNI; "" sends none
	host     string // name or address of the target, for the words before TLS
	protocol string // scheme of package starttls
	guessed  bool   // protocol follows from the port alone
	late     int    // connections that timed out
	began    time.Time
}

// An answer is what a door said, and whether it has proven its key by finishing
// a handshake.
type answer struct {
	hello.Answer
	finished bool
}

// ask makes one connection and sends one hello.
func (d *door) ask(ctx context.Context, o hello.Offer) answer {
	if d.late >= patience || time.Since(d.began) > d.most() {
		return answer{Answer: hello.Answer{Err: errImpatient}}
	}
	if d.options.Complete {
		return d.complete(ctx, &o)
	}
	var a answer
	err := d.connect(ctx, func(conn net.Conn) {
		o.ServerName = d.name
		a.Answer = d.prober.Ask(conn, &o)
	})
	if err != nil {
		a.Err = err
	}
	d.note(a.Err)
	return a
}

// most is how long the endpoint may take in all.
func (d *door) most() time.Duration {
	if d.depth == tallystick.DepthSuites {
		return longestSuites * d.options.Timeout
	}
	return longest * d.options.Timeout
}

// note counts the connections that timed out.
func (d *door) note(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		d.late++
	}
}

// connect dials, speaks what comes before TLS, and lets use have the connection
// until the timeout, or the end of ctx, which comes out as the deadline's error.
func (d *door) connect(ctx context.Context, use func(net.Conn)) error {
	conn, err := d.dialer.Dial(ctx, d.address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(d.options.Timeout)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := starttls.Upgrade(ctx, conn, d.protocol, d.host); err != nil {
		return err
	}
	use(conn)
	return nil
}
