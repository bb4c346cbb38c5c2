// SPDX-License-Identifier: Apache-2.0

// Package sshd is the driver of OpenSSH servers: their host keys and host certificates,
// and whom they let in by keys and by certificates.
//
// What is so is read from sshd itself (sshd -T), for the machine and for each account, so
// that includes and Match blocks count. Host keys are files that sshd reads when it gets
// SIGHUP. Keys of users, and the list of revoked ones (RevokedKeys), it reads at every
// sign-in, so that a key on that list is refused at once, also where a certificate is
// shown for it; sessions that are open go on, and the driver ends those whose sign-in the
// log tells. Private keys that people have entrusted are rotated: the public half of the next
// one gets a line of its own beside that of the old one, which is taken away later.
package sshd

import (
	"fmt"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Options are what can be set.
type Options struct {
	Program  string        `option:"program" default:"/usr/sbin/sshd" help:"absolute path of sshd"`
	Config   string        `option:"config" default:"/etc/ssh/sshd_config" help:"absolute path of its configuration"`
	Accounts []string      `option:"accounts" help:"accounts whose keys are looked at; all that have a shell when empty"`
	HostKey  string        `option:"host-key" help:"absolute path of the HostKey that Install replaces; when empty it is the one of the new key's type"`
	Address  string        `option:"address" help:"host name or address of this machine that clients use, for listeners without one; 127.0.0.1 and ::1 when empty"`
	Log      string        `option:"log" default:"/var/log/auth.log" help:"absolute path of the log in which sshd says who signed in; without it nobody knows which session is whose"`
	Close    bool          `option:"close" default:"true" help:"end the open sessions of a key that is blocked, or dropped in a rotation"`
	Patience time.Duration `option:"patience" default:"15s" help:"how long a reload, or the end of a session, may take"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("sshd", "OpenSSH servers: their host keys and host certificates, and whom they let in by keys and certificates", open)
}

// A Door is one sshd.
type Door struct {
	options Options
	// writing is held from before files of keys are read until they are written: keys of several
	// accounts may stand in one file, and are rotated at the same time.
	writing sync.Mutex
}

var (
	_ driver.Looker    = (*Door)(nil)
	_ driver.Installer = (*Door)(nil)
	_ driver.Truster   = (*Door)(nil)
	_ driver.Blocker   = (*Door)(nil)
	_ driver.Rotator   = (*Door)(nil)
)

func open(o Options) (*Door, error) {
	for _, one := range []struct{ name, value string }{{"program", o.Program}, {"config", o.Config}, {"host-key", o.HostKey}, {"log", o.Log}} {
		if err := installing.CheckPath(one.name, one.value); err != nil {
			return nil, err
		}
	}
	for _, account := range o.Accounts {
		if !isAccount(account) {
			return nil, invalid("option accounts: %q is no account", account)
		}
	}
	if o.Patience <= 0 {
		return nil, invalid("option patience: a reload takes some time")
	}
	return &Door{options: o}, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
