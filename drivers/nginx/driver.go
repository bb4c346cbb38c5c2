// SPDX-License-Identifier: Apache-2.0

// Package nginx is the door nginx: what its listeners show, whose clients it lets in by
// certificate, and how it is made to show another one and to refuse one.
//
// Certificates and lists are files, which nginx reads when its configuration is loaded:
// every change is checked by nginx -t, read by nginx -s reload, and looked at. Workers of
// the time before a reload go on with the connections that they have, so Block ends
// them. A session that is resumed is not looked up in a revocation list, so Block goes
// by a list of denied certificates as well; docs/doors.md has what nginx.conf needs for it.
package nginx

import (
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Options are what can be set.
type Options struct {
	Program     string        `option:"program" default:"nginx" help:"the program nginx: a name or an absolute path"`
	Config      string        `option:"config" default:"/etc/nginx/nginx.conf" help:"absolute path of its configuration"`
	ErrorLog    string        `option:"error-log" help:"absolute path for what nginx -t and nginx -s say before they have read the configuration; nginx's own when empty"`
	PIDFile     string        `option:"pid-file" default:"/run/nginx.pid" help:"absolute path of the file with its process id, where the configuration names none"`
	Certificate string        `option:"certificate" help:"absolute path of the certificate that Install replaces, as the configuration names it; when empty it is the only one that its servers show"`
	Deny        string        `option:"deny" default:"/etc/nginx/tallystick-deny.map" help:"absolute path of the list of denied certificates, which the configuration includes in a map (docs/doors.md)"`
	Address     string        `option:"address" help:"host name or address of this machine that clients use, for listeners without one such as *:443; 127.0.0.1 and ::1 when empty"`
	Path        string        `option:"path" default:"/" help:"path of the page that is asked for when a certificate is tried"`
	Patience    time.Duration `option:"patience" default:"1m" help:"how long a reload may take"`
	Grace       time.Duration `option:"grace" default:"30s" help:"how long connections from before a Block may finish what they are at"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("nginx", "nginx: the certificates that it shows, and the clients that it lets in by certificate", open)
}

// A Door is one nginx.
type Door struct{ options Options }

var (
	_ driver.Looker    = (*Door)(nil)
	_ driver.Installer = (*Door)(nil)
	_ driver.Truster   = (*Door)(nil)
	_ driver.Blocker   = (*Door)(nil)
)

func open(o Options) (*Door, error) {
	for _, one := range []struct{ name, value string }{
		{"config", o.Config}, {"pid-file", o.PIDFile}, {"deny", o.Deny}, {"error-log", o.ErrorLog}, {"certificate", o.Certificate},
	} {
		if err := installing.CheckPath(one.name, one.value); err != nil {
			return nil, err
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
