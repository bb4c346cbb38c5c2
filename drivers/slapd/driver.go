// SPDX-License-Identifier: Apache-2.0

// Package slapd is the driver of OpenLDAP servers with a configuration that can be
// changed while they run (cn=config).
//
// It signs in over LDAPI as the account that it runs as (SASL EXTERNAL, RFC 4422 appendix
// A), reads from cn=config which files slapd uses for TLS, replaces those files, and sets
// the attributes that name them once more: then slapd reads them again, and connections
// that are open go on. slapd reads no file by itself, and has no signal for it.
//
// One certificate is refused by the revocation list of its CA and in no other way: slapd
// knows clients by the subjects of their certificates, and the new one has the subject of
// the old. It resumes no TLS sessions. Connections that are open it neither tells apart
// by certificate nor closes; the driver has the kernel of the machine close them.
package slapd

import (
	"fmt"
	"net"
	"path"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Options are what can be set.
type Options struct {
	Socket     string   `option:"socket" default:"/var/run/slapd/ldapi" help:"the socket of ldapi:///, on which the account of Tallystick may read and change cn=config"`
	Listeners  []string `option:"listeners" help:"where slapd listens, such as ldaps://10.0.0.5:636, when it has no cn=monitor that says so"`
	ServerName string   `option:"server-name" help:"the name that is asked for by SNI"`
	List       string   `option:"list" default:"/etc/ldap/tallystick-crl.pem" help:"where revocation lists are written when olcTLSCRLFile names no file yet"`
	Hold       bool     `option:"hold" default:"true" help:"hold new connections back (nft) for the moment in which TLS settings change; slapd with GnuTLS may crash over a handshake that goes on then"`
	Close      bool     `option:"close" default:"true" help:"close connections of a blocked credential; slapd tells credentials of one subject apart by nothing but the time"`
}

// Driver returns the driver.
func Driver() driver.Driver {
	return driver.New("slapd", "OpenLDAP servers that are configured by cn=config", open)
}

func open(o Options) (*door, error) {
	for name, file := range map[string]string{"socket": o.Socket, "list": o.List} {
		if file != "" && !path.IsAbs(file) {
			return nil, invalid("option %s: %q is not an absolute path", name, file)
		}
	}
	d := &door{Options: o}
	for _, address := range o.Listeners {
		l, err := d.listener(address)
		if err != nil {
			return nil, err
		}
		d.listeners = append(d.listeners, l)
	}
	return d, nil
}

// A door is one slapd.
type door struct {
	Options
	listeners []driver.Listener
}

// listener reads an address such as "ldaps://10.0.0.5:636".
func (d *door) listener(address string) (driver.Listener, error) {
	protocol, hostport, _ := strings.Cut(address, "://")
	if _, _, err := net.SplitHostPort(hostport); err != nil || protocol != "ldap" && protocol != "ldaps" {
		return driver.Listener{}, invalid("option listeners: %q is neither ldap://HOST:PORT nor ldaps://HOST:PORT", address)
	}
	return driver.Listener{Address: hostport, Protocol: protocol, ServerName: d.ServerName}, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
