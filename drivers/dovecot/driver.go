// SPDX-License-Identifier: Apache-2.0

// Package dovecot is the door of a Dovecot 2.3: the certificate that it shows, and the
// clients that it lets in by theirs (SASL EXTERNAL).
//
// Dovecot knows a client's certificate by the CAs in ssl_ca and by the user whom its
// subject names, so that one of two certificates of a user is refused by the revocation
// lists in the same file alone.
package dovecot

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// Options are the settings of one Dovecot.
type Options struct {
	Config      string        `option:"config" default:"/etc/dovecot/dovecot.conf" help:"the configuration file"`
	Certificate string        `option:"certificate" help:"the certificate file that this door is about, where Dovecot has several"`
	Patience    time.Duration `option:"patience" default:"30s" help:"how long a reload may take"`
	Hold        bool          `option:"hold" default:"true" help:"hold new connections back (nft) until those that are signing in have done so, and Dovecot has reloaded; it closes those that have not signed in then"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("dovecot", "Installs the certificate of a Dovecot, and decides which certificates of clients get in.", open)
}

// A door is one Dovecot.
type door struct{ Options }

func open(o Options) (*door, error) {
	switch {
	case !filepath.IsAbs(o.Config) || o.Certificate != "" && !filepath.IsAbs(o.Certificate):
		return nil, invalid("the options config and certificate of dovecot are absolute paths")
	case o.Patience <= 0:
		return nil, invalid("the option patience of dovecot must be above 0")
	}
	return &door{o}, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
