// SPDX-License-Identifier: Apache-2.0

// Package postfix is the door of a Postfix: the certificate that its smtpd shows, the
// one that its smtp client signs in with, the tables of fingerprints by which clients may
// relay or are refused, and the passwords that its smtp client signs in with.
//
// What Postfix is told is asked of postconf, which knows defaults and the settings of
// each service. Postfix reads no revocation lists: who is refused stands in a table.
package postfix

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/editing"
)

// Options are the settings of one Postfix.
type Options struct {
	Config      string        `option:"config" default:"/etc/postfix" help:"the configuration directory"`
	Role        string        `option:"role" default:"server" help:"server: the certificate that it shows and the clients that it knows; client: the certificate and the passwords that it signs in with elsewhere"`
	Certificate string        `option:"certificate" help:"the certificate file that this door is about, where Postfix has several"`
	Sender      string        `option:"sender" help:"who a probe says that mail is from; empty is the null sender"`
	Recipient   string        `option:"recipient" default:"postmaster@recall.invalid" help:"whom a probe asks to send to; nothing is sent. Name somebody to whom only known clients may send"`
	Log         string        `option:"log" help:"the file that smtpd logs to; default: maillog_file, or /var/log/mail.log"`
	Patience    time.Duration `option:"patience" default:"30s" help:"how long a reload may take"`
}

// The words of Options.Role.
const (
	roleServer = "server"
	roleClient = "client"
)

// Driver describes the driver. At tables of passwords all that one value opens queue up.
func Driver() driver.Driver {
	queue := &editing.Queue{}
	return driver.New("postfix", "Installs the certificate of a Postfix, decides which certificates may relay through it, and supplies the passwords that it signs in with.", func(o Options) (*door, error) {
		return open(o, queue)
	})
}

// A door is one Postfix.
type door struct {
	Options
	queue *editing.Queue
}

func open(o Options, queue *editing.Queue) (*door, error) {
	switch {
	case !filepath.IsAbs(o.Config) || o.Certificate != "" && !filepath.IsAbs(o.Certificate):
		return nil, invalid("the options config and certificate of postfix are absolute paths")
	case o.Role != roleServer && o.Role != roleClient:
		return nil, invalid("the option role of postfix is server or client, not %q", o.Role)
	case strings.ContainsAny(o.Sender+o.Recipient, "<> \r\n"):
		return nil, invalid("the options sender and recipient of postfix are addresses such as postmaster@example.com")
	case o.Patience <= 0:
		return nil, invalid("the option patience of postfix must be above 0")
	}
	return &door{o, queue}, nil
}

// Verbs are those that the role leaves.
func (d *door) Verbs() []string {
	if d.Role == roleClient {
		return []string{"look", "install", "supply"}
	}
	return []string{"look", "install", "trust", "block"}
}

// servesOnly is the answer of verbs that a client does not have.
func (d *door) servesOnly(verb string) error {
	if d.Role == roleServer {
		return nil
	}
	return invalid("a postfix with role client lets nobody in, so that it cannot %s: make a door with role server", verb)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
