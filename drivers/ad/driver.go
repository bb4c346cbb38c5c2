// SPDX-License-Identifier: Apache-2.0

// Package ad is the driver of Active Directory, of Windows or of Samba: it finds the credentials
// of accounts and what they open, sees them change, and takes a change back.
//
// It is written to [MS-ADTS], [MS-ADA1] to [MS-ADA3] and KB5014754, and tested against domain
// controllers of Samba 4.17. It signs in at one domain controller, with one account, by a
// password over TLS or at the socket of Samba; where the domain controller does not take the password it
// is not tried again before it is written anew, because a few tries lock an account.
//
// It rotates the passwords of accounts that people have made; see rotate.go.
//
// Between calls it keeps connections for some minutes, and who was turned away, in memory.
package ad

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/driver/ldapdir"
)

// Options are what can be set.
type Options struct {
	URL          string        `option:"url" help:"a domain controller: ldaps://dc1.lab.test, ldap:// for StartTLS, or ldapi:///path of Samba's socket for root; targets of a look name others"`
	Bind         string        `option:"bind" help:"who signs in: a DN, or name@domain"`
	PasswordFile string        `option:"password-file" help:"absolute path of the file with their password, which others cannot read"`
	CA           string        `option:"ca" help:"PEM file of the roots of the domain controller, in place of what this machine trusts"`
	ServerName   string        `option:"server-name" help:"the name in its certificate, where url has another"`
	Plain        bool          `option:"plain" help:"ask for no TLS on ldap://; a password is sent to this machine alone then"`
	Timeout      time.Duration `option:"timeout" default:"30s" help:"how long to wait for one answer"`

	Every             time.Duration `option:"every" default:"1s" help:"how often to ask whether something has changed"`
	Method            string        `option:"method" default:"auto" help:"how changes are read: dirsync, usn, or auto, which takes usn where dirsync is denied"`
	WriteBind         string        `option:"write-bind" help:"who takes changes back (default bind) and resets passwords (default each account changes its own)"`
	WritePasswordFile string        `option:"write-password-file" help:"absolute path of the file with the password of write-bind"`

	Admins bool `option:"admins" help:"rotate passwords of administrators of the domain too (those of its protected groups), which are refused else"`

	KDC             string        `option:"kdc" help:"where passwords are tried by Kerberos: host:port, or none (default port 88 of the host of url)"`
	Realm           string        `option:"realm" help:"the realm of Kerberos (default the name of the domain in capitals)"`
	OldPasswordTime time.Duration `option:"old-password-time" default:"1h" help:"how long the domain controller takes the old password after a new one is set, as it is configured there; 0 for not at all"`
}

// Driver returns the driver. All that one value opens shares who was turned away.
func Driver() driver.Driver {
	lobby := &ldapdir.Lobby{}
	return driver.New("ad", "Active Directory: credentials of accounts, what they open, every change of them, and new passwords for them", func(o Options) (*AD, error) {
		return open(o, lobby)
	})
}

// The values of the option method.
const (
	methodAuto    = "auto"
	methodDirSync = "dirsync"
	methodUSN     = "usn"
)

// An AD is one domain controller.
type AD struct {
	Options
	lobby  *ldapdir.Lobby
	keeper *ldapdir.Keeper
}

func open(o Options, lobby *ldapdir.Lobby) (*AD, error) {
	d := &AD{Options: o, lobby: lobby, keeper: &ldapdir.Keeper{}}
	if o.URL != "" {
		if _, err := d.server(o.URL); err != nil {
			return nil, err
		}
	}
	switch {
	case o.Method != methodAuto && o.Method != methodDirSync && o.Method != methodUSN:
		return nil, invalid("option method: %q is none of auto, dirsync and usn", o.Method)
	case o.Every < 100*time.Millisecond || o.Every > time.Hour:
		return nil, invalid("option every: %v is not between 100ms and 1h", o.Every)
	case (o.WriteBind == "") != (o.WritePasswordFile == ""):
		return nil, invalid("options write-bind and write-password-file belong together: give both or none")
	case o.OldPasswordTime < 0 || o.OldPasswordTime > 30*24*time.Hour:
		return nil, invalid("option old-password-time: %v is not between 0 and 720h", o.OldPasswordTime)
	}
	if o.KDC != "" && o.KDC != kdcNone {
		if _, _, err := net.SplitHostPort(o.KDC); err != nil {
			return nil, invalid("option kdc: %q is neither host:port nor none", o.KDC)
		}
	}
	return d, nil
}

// server reads where a domain controller is.
func (d *AD) server(text string) (ldapdir.Server, error) {
	u, err := ldapdir.ParseURL(text)
	if err != nil {
		return ldapdir.Server{}, err
	}
	s := ldapdir.Server{
		URL: u, Bind: d.Bind, PasswordFile: d.PasswordFile, CA: d.CA, ServerName: d.ServerName, Plain: d.Plain, Timeout: d.Timeout,
	}
	return s, s.Check()
}

// A domain is what the root of a domain controller says of itself.
type domain struct {
	base          string // DN
	name          string // DNS name
	short         string // NetBIOS name
	configuration string // DN of the naming context
	service       string // DN of the settings of this domain controller
	invocation    string // GUID of its database
	highest       uint64 // its update sequence number
	clock         time.Time
}

// ask reads the root.
func ask(ctx context.Context, s *ldapdir.Session) (domain, error) {
	root, err := s.Root(ctx, "defaultNamingContext", "configurationNamingContext", "dsServiceName", "highestCommittedUSN", "currentTime")
	if err != nil {
		return domain{}, err
	}
	d := domain{
		base: ldapdir.Text(root, "defaultNamingContext"), configuration: ldapdir.Text(root, "configurationNamingContext"),
		service: ldapdir.Text(root, "dsServiceName"), clock: ldapdir.Time(ldapdir.Text(root, "currentTime")),
	}
	if d.highest, err = number(ldapdir.Text(root, "highestCommittedUSN")); err != nil || d.base == "" {
		return domain{}, invalid("what answers at %s is no domain controller", s.Host)
	}
	dn, err := ldap.ParseDN(d.base)
	if err != nil {
		return domain{}, invalid("what answers at %s is no domain controller", s.Host)
	}
	var labels []string
	for _, part := range dn.RDNs {
		labels = append(labels, strings.ToLower(part.Attributes[0].Value))
	}
	d.name = strings.Join(labels, ".")
	d.short = labels[0]
	return d, nil
}

// complete reads what is asked for once in a look or a watch: the short name of the domain, and the
// database of this domain controller.
func (d *domain) complete(ctx context.Context, s *ldapdir.Session) error {
	err := s.Each(ctx, ldapdir.Query{
		Base: "CN=Partitions," + d.configuration, Scope: ldap.ScopeSingleLevel,
		Filter:     "(&(objectClass=crossRef)(nCName=" + ldap.EscapeFilter(d.base) + "))",
		Attributes: []string{"nETBIOSName"},
	}, func(e *ldap.Entry) error {
		if short := ldapdir.Text(e, "nETBIOSName"); short != "" {
			d.short = strings.ToLower(short)
		}
		return nil
	})
	if err != nil && !errors.Is(err, tallystick.ErrNotFound) && !errors.Is(err, tallystick.ErrDenied) {
		return err
	}
	settings, err := s.One(ctx, ldapdir.Query{Base: d.service, Attributes: []string{"invocationId"}})
	if err == nil {
		if raw := ldapdir.Raw(settings, "invocationId"); len(raw) == 1 {
			d.invocation = adbytes.GUID(raw[0])
		}
	} else if !errors.Is(err, tallystick.ErrNotFound) && !errors.Is(err, tallystick.ErrDenied) {
		return err
	}
	return nil
}

// directory is how changes call the domain.
func (d *domain) directory() string { return "ad:" + d.name }

// accounts are the names under which uses of an account are recorded.
func (d *domain) accounts(name string, sid []byte) []string {
	if name == "" {
		return nil
	}
	names := []string{tallystick.NormalName("account:ad/" + d.short + "/" + name)}
	if text, _, err := adbytes.ReadSID(sid); err == nil {
		names = append(names, tallystick.NormalName("account:sid/"+string(text)))
	}
	return names
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
