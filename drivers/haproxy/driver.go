// SPDX-License-Identifier: Apache-2.0

// Package haproxy is the door HAProxy: what its listeners show, whose clients it lets in
// by certificate, and how it is made to show another one and to refuse one.
//
// Every change is written to the file that a restart reads, checked by haproxy -c, and
// made in the running process over its admin socket, without a reload; where there is no
// such socket, or it does not take as much, by SIGUSR2. The file comes first, so that
// nothing that somebody has seen is lost by a restart. A session that is resumed is not
// looked up in a revocation list, so Block goes by a list of denied certificates as
// well, which is asked at every request; docs/doors.md has what haproxy.cfg needs for it.
package haproxy

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Options are what can be set.
type Options struct {
	Program     string        `option:"program" default:"haproxy" help:"the program haproxy: a name or an absolute path"`
	Config      []string      `option:"config" default:"/etc/haproxy/haproxy.cfg" help:"absolute paths of its configuration files, in the order of its command line"`
	Socket      string        `option:"socket" default:"/run/haproxy/admin.sock" help:"absolute path of its stats socket of level admin; empty does without"`
	PIDFile     string        `option:"pid-file" default:"/run/haproxy.pid" help:"absolute path of the file with the process id of its master"`
	Certificate string        `option:"certificate" help:"absolute path of the certificate that Install replaces; when empty it is the only one that it has"`
	Deny        string        `option:"deny" default:"/etc/haproxy/tallystick-deny.lst" help:"absolute path of the list of denied certificates, by which an ACL of the configuration goes (docs/doors.md)"`
	Address     string        `option:"address" help:"host name or address of this machine that clients use, for listeners without one such as *:443; 127.0.0.1 and ::1 when empty"`
	Path        string        `option:"path" default:"/" help:"path of the page that is asked for when a certificate is tried"`
	Patience    time.Duration `option:"patience" default:"1m" help:"how long a reload may take"`
	Grace       time.Duration `option:"grace" default:"30s" help:"how long requests from before a Block may finish"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("haproxy", "HAProxy: the certificates that it shows, and the clients that it lets in by certificate", open)
}

// A Door is one HAProxy.
type Door struct{ options Options }

var (
	_ driver.Looker    = (*Door)(nil)
	_ driver.Installer = (*Door)(nil)
	_ driver.Truster   = (*Door)(nil)
	_ driver.Blocker   = (*Door)(nil)
)

func open(o Options) (*Door, error) {
	if len(o.Config) == 0 {
		return nil, invalid("option config: it names at least one file")
	}
	all := append([]string{o.PIDFile, o.Deny}, o.Config...)
	for _, optional := range []string{o.Socket, o.Certificate} {
		if optional != "" {
			all = append(all, optional)
		}
	}
	for _, one := range all {
		// The paths stand in commands for the admin socket, which ends them at a blank.
		if !path.IsAbs(one) || path.Clean(one) != one || strings.ContainsAny(one, " \t\r\n;<\\") {
			return nil, invalid("%q is not an absolute path in its shortest form, without blanks, semicolons and backslashes", one)
		}
	}
	if !strings.HasPrefix(o.Path, "/") {
		return nil, invalid("option path: %q does not begin with /", o.Path)
	}
	if o.Patience <= 0 || o.Grace < 0 {
		return nil, invalid("options patience and grace: a reload takes some time, and grace is not negative")
	}
	return &Door{o}, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
