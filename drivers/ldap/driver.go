// SPDX-License-Identifier: Apache-2.0

// Package ldap is the driver of directories that speak LDAP version 3, such as OpenLDAP: it
// finds the credentials of accounts and what they open, sees them change, takes a change back, and
// rotates passwords. For Active Directory there is the driver ad.
//
// It reads changes by the change numbers of OpenLDAP (entryCSN), or by the time of the last
// change (modifyTimestamp, RFC 4512 section 3.4.4) where there are none. It never reads a password,
// nor a hash of one, but those of an account whose password it rotates. Where the directory does not
// take the password of the account that it signs in with, it is not tried again before it is written
// anew.
//
// Between calls it keeps connections for some minutes, and who was turned away, in memory.
package ldap

import (
	"context"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
)

// Options are what can be set.
type Options struct {
	URL          string        `option:"url" help:"the directory: ldaps://ldap.lab.test/dc=lab,dc=test, ldap:// for StartTLS, or ldapi:///path of its socket; targets of a look name others"`
	Base         string        `option:"base" help:"DN below which to look, where url names none (default the first suffix of the directory)"`
	Bind         string        `option:"bind" help:"DN of who signs in"`
	PasswordFile string        `option:"password-file" help:"absolute path of the file with their password, which others cannot read"`
	External     bool          `option:"external" help:"sign in by SASL EXTERNAL: as the user of this process at a socket, or by certificate"`
	Certificate  string        `option:"certificate" help:"PEM file of the certificate and key that sign in with external"`
	CA           string        `option:"ca" help:"PEM file of the roots of the directory, in place of what this machine trusts"`
	ServerName   string        `option:"server-name" help:"the name in its certificate, where url has another"`
	Plain        bool          `option:"plain" help:"ask for no TLS on ldap://; a password is sent to this machine alone then"`
	Timeout      time.Duration `option:"timeout" default:"30s" help:"how long to wait for one answer"`

	Filter string        `option:"filter" default:"(objectClass=*)" help:"which entries to look at"`
	Every  time.Duration `option:"every" default:"2s" help:"how often to ask what has changed"`
	Late   time.Duration `option:"late" default:"1m" help:"how far back to ask each time, for what other servers have sent late"`

	WriteBind         string `option:"write-bind" help:"DN of who takes changes back and sets passwords (default who signs in; who may not read a password is not asked to set it, then each account does that itself with its old one)"`
	WritePasswordFile string `option:"write-password-file" help:"absolute path of the file with the password of write-bind"`

	Policy   string   `option:"policy" help:"DN of the password policy of accounts that name none, where the directory does not let its default be read; none says that they have none"`
	Replicas []string `option:"replicas" help:"URLs of the other servers of the directory, at which passwords are tried as well"`

	MailListeners []string `option:"mail-listeners" help:"mail servers that ask this directory, at which passwords are tried as well, such as imaps://mail.example.com:993"`
	MailCA        string   `option:"mail-ca" help:"PEM file of the roots of the option mail-listeners, in place of what this machine trusts"`
	MailUser      string   `option:"mail-user" default:"uid" help:"by what accounts sign in to those: uid, mail, or dn"`
}

// Driver returns the driver. All that one value opens shares who was turned away.
func Driver() driver.Driver {
	lobby := &ldapdir.Lobby{}
	return driver.New("ldap", "a directory such as OpenLDAP: credentials of accounts, what they open, every change of them, and new passwords for them", func(o Options) (*LDAP, error) {
		return open(o, lobby)
	})
}

// An LDAP is one directory.
type LDAP struct {
	Options
	lobby  *ldapdir.Lobby
	keeper *ldapdir.Keeper
	mail   []driver.Listener
}

func open(o Options, lobby *ldapdir.Lobby) (*LDAP, error) {
	d := &LDAP{Options: o, lobby: lobby, keeper: &ldapdir.Keeper{}}
	if o.URL != "" {
		if _, err := d.server(o.URL); err != nil {
			return nil, err
		}
	}
	switch {
	case !ldapdir.IsFilter(o.Filter):
		return nil, invalid("option filter: %q is not a filter such as (objectClass=person)", o.Filter)
	case o.Every < 100*time.Millisecond || o.Every > time.Hour:
		return nil, invalid("option every: %v is not between 100ms and 1h", o.Every)
	case o.Late < 0 || o.Late > 24*time.Hour:
		return nil, invalid("option late: %v is not between 0 and 24h", o.Late)
	case (o.WriteBind == "") != (o.WritePasswordFile == ""):
		return nil, invalid("options write-bind and write-password-file belong together: give both or none")
	}
	for _, text := range o.Replicas {
		if _, err := d.server(text); err != nil {
			return nil, err
		}
	}
	if err := d.openMail(); err != nil {
		return nil, err
	}
	return d, nil
}

// server reads where a directory is.
func (d *LDAP) server(text string) (ldapdir.Server, error) {
	u, err := ldapdir.ParseURL(text)
	if err != nil {
		return ldapdir.Server{}, err
	}
	s := ldapdir.Server{
		URL: u, Bind: d.Bind, PasswordFile: d.PasswordFile, External: d.External, Certificate: d.Certificate,
		CA: d.CA, ServerName: d.ServerName, Plain: d.Plain, Timeout: d.Timeout,
	}
	return s, s.Check()
}

// A directory is a session with what to look at there.
type directory struct {
	*ldapdir.Session
	base string
}

// enter asks for the base where nobody has named one.
func (d *LDAP) enter(ctx context.Context, server ldapdir.Server, s *ldapdir.Session) (directory, error) {
	in := directory{Session: s, base: server.Base()}
	if in.base == "" {
		in.base = d.Base
	}
	if in.base != "" {
		return in, nil
	}
	root, err := s.Root(ctx, "namingContexts")
	if err != nil {
		return in, err
	}
	if in.base = ldapdir.Text(root, "namingContexts"); in.base == "" {
		return in, invalid("%s does not say what it holds: name it in the option base", s.Host)
	}
	return in, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
