// SPDX-License-Identifier: Apache-2.0

// Package dovecot is the door of a Dovecot 2.3: the certificate that it shows, the clients
// that it lets in by theirs (SASL EXTERNAL), and the passwords of accounts in its passwd-file.
//
// Dovecot knows a client's certificate by the CAs in ssl_ca and by the user whom its
// subject names, so that one of two certificates of a user is refused by the revocation
// lists in the same file alone.
package dovecot

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/editing"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/signin"
)

// Options are the settings of one Dovecot.
type Options struct {
	Config      string        `option:"config" default:"/etc/dovecot/dovecot.conf" help:"the configuration file"`
	Certificate string        `option:"certificate" help:"the certificate file that this door is about, where Dovecot has several"`
	Patience    time.Duration `option:"patience" default:"30s" help:"how long a reload may take"`
	Hold        bool          `option:"hold" default:"true" help:"hold new connections back (nft) until those that are signing in have done so, and Dovecot has reloaded; it closes those that have not signed in then"`

	PasswdFile    string   `option:"passwd-file" help:"the file with the passwords of accounts that are rotated (default the one that Dovecot reads)"`
	PasswdFileOld string   `option:"passwd-file-old" help:"the file of a second passdb, for old passwords that get in beside new ones during a rotation"`
	Listeners     []string `option:"listeners" help:"where the same passwords are tried besides, such as smtp://mail.example.com:587 of a Postfix that asks this Dovecot"`
	CA            string   `option:"ca" help:"PEM file of the roots of the option listeners, in place of what this machine trusts"`
	Kick          bool     `option:"kick" default:"true" help:"end the sessions of an account when its old password is dropped: also those of the new one, which cannot be told apart"`
}

// Driver describes the driver. At files of accounts all that one value opens queue up.
func Driver() driver.Driver {
	queue := &editing.Queue{}
	return driver.New("dovecot", "Installs the certificate of a Dovecot, decides which certificates of clients get in, and rotates passwords of accounts.", func(o Options) (*door, error) {
		return open(o, queue)
	})
}

// A door is one Dovecot.
type door struct {
	Options
	further []driver.Listener
	queue   *editing.Queue
}

func open(o Options, queue *editing.Queue) (*door, error) {
	further, err := signin.Listeners(o.Listeners)
	for option, path := range map[string]string{"passwd-file": o.PasswdFile, "passwd-file-old": o.PasswdFileOld, "ca": o.CA} {
		err = errors.Join(err, installing.CheckPath(option, path))
	}
	switch {
	case err != nil:
		return nil, err
	case o.PasswdFile != "" && o.PasswdFile == o.PasswdFileOld:
		return nil, invalid("the options passwd-file and passwd-file-old of dovecot are two files")
	case !filepath.IsAbs(o.Config) || o.Certificate != "" && !filepath.IsAbs(o.Certificate):
		return nil, invalid("the options config and certificate of dovecot are absolute paths")
	case o.Patience <= 0:
		return nil, invalid("the option patience of dovecot must be above 0")
	}
	return &door{o, further, queue}, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
