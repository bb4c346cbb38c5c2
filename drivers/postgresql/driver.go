// SPDX-License-Identifier: Apache-2.0

// Package postgresql is the driver of PostgreSQL servers, 14 or newer, to which clients
// connect by TLS.
//
// It signs in on the machine, over the socket, as a superuser; asks which files the server
// reads; replaces those; and has the server read them again (pg_reload_conf), which ends no
// connection. The server keeps what it had when it cannot use the new files, and says so
// only in its log: so what is written is checked before, and looked at after.
//
// One certificate is refused by the revocation list of its CA: the server knows clients by
// a name in their certificates. Connections that are open know by which certificate they
// were made (pg_stat_ssl), so that exactly those of a blocked one are ended. PostgreSQL
// resumes no TLS sessions.
//
// It rotates passwords of roles. The server is told what it keeps of one (SCRAM-SHA-256, RFC
// 5803), and never the password, which would stand in its log and in pg_stat_activity.
package postgresql

import (
	"fmt"
	"path"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Options are what can be set.
type Options struct {
	Socket      string        `option:"socket" default:"/var/run/postgresql/.s.PGSQL.5432" help:"the socket of the server on its machine"`
	User        string        `option:"user" default:"postgres" help:"the superuser to sign in as"`
	Password    driver.Secret `option:"password" help:"its password; none when pg_hba.conf lets it in by peer"`
	Database    string        `option:"database" default:"postgres" help:"the database to sign in to, also when a client or a password is tried"`
	ClientUser  string        `option:"client-user" help:"the role to try clients as; needed to try them"`
	ServerName  string        `option:"server-name" help:"the name that is asked for by SNI"`
	List        string        `option:"list" default:"tallystick-crl.pem" help:"where revocation lists are written, in the data directory, when the server has neither ssl_crl_file nor ssl_crl_dir"`
	EndSessions bool          `option:"end-sessions" help:"when the old password of a role is dropped, end its sessions that began before the new one was set; they are only named otherwise"`
}

// Driver returns the driver.
func Driver() driver.Driver {
	return driver.New("postgresql", "PostgreSQL servers that clients connect to by TLS", open)
}

func open(o Options) (*door, error) {
	if !path.IsAbs(o.Socket) {
		return nil, invalid("option socket: %q is not an absolute path", o.Socket)
	}
	if o.List == "" {
		return nil, invalid("option list: name a file")
	}
	return &door{o}, nil
}

// A door is one server.
type door struct{ Options }

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
