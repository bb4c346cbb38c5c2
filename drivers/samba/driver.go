// SPDX-License-Identifier: Apache-2.0

// Package samba is the driver of Samba as a domain controller of Active Directory.
//
// A domain controller is two doors, and the option role says which one is meant. As
// "server" it shows a certificate over LDAP: the files that smb.conf names are replaced,
// and Samba is started again, because 4.17 reads them in no other way. As "accounts" it
// lets people and programs in by their certificates, at the KDC (PKINIT, RFC 4556): Trust
// and Block change the accounts in the directory, each by one change that happens as a
// whole or not at all.
//
// The KDC of Samba lets in whoever has a certificate of its anchors that names the
// account. It asks neither for the mapping of the account nor for a revocation list. So
// what refuses one certificate there is to disable its account, and Block does so only
// where it was told to.
package samba

import (
	"fmt"
	"net"
	"path"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// Options are what can be set.
type Options struct {
	Role         string        `option:"role" default:"server" help:"server: what Samba shows over LDAP; accounts: who gets in by certificate"`
	Config       string        `option:"config" default:"/etc/samba/smb.conf" help:"absolute path of smb.conf"`
	Listeners    []string      `option:"listeners" default:"ldaps://127.0.0.1:636,ldap://127.0.0.1:389" help:"where Samba speaks LDAP: ldaps://host:port?sni=name, ldap://..."`
	Restart      string        `option:"restart" default:"systemctl restart samba-ad-dc" help:"command that starts Samba again"`
	KDC          string        `option:"kdc" default:"127.0.0.1:88" help:"host:port at which certificates of accounts are tried"`
	KDCConfig    string        `option:"kdc-config" default:"/etc/krb5.conf" help:"absolute path of the file in which the KDC of Samba finds its settings of PKINIT"`
	Bind         string        `option:"bind" help:"DN of the account that changes others, over the first ldaps of listeners; without one the driver uses Samba's socket for root"`
	PasswordFile string        `option:"password-file" help:"absolute path of the file with its password, which others cannot read"`
	Disable      bool          `option:"disable" help:"Block disables the account of a certificate that the KDC would go on letting in"`
	Timeout      time.Duration `option:"timeout" default:"2m" help:"how long the restart may take"`
	Patience     time.Duration `option:"patience" default:"30s" help:"how long Samba may take to show the new certificate after its restart"`
}

const (
	roleServer   = "server"
	roleAccounts = "accounts"
)

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("samba", "Samba as a domain controller: its certificate, and accounts that sign in by certificate", open)
}

// A door is one role of a domain controller.
type door struct {
	Options
	listeners []driver.Listener
	restart   []string
}

var (
	_ driver.Looker    = (*door)(nil)
	_ driver.Installer = (*door)(nil)
	_ driver.Truster   = (*door)(nil)
	_ driver.Blocker   = (*door)(nil)
	_ driver.Prober    = (*door)(nil)
)

func open(o Options) (*door, error) {
	d := &door{Options: o}
	if o.Role != roleServer && o.Role != roleAccounts {
		return nil, invalid("option role is server or accounts, not %q", o.Role)
	}
	for name, file := range map[string]string{"config": o.Config, "kdc-config": o.KDCConfig, "password-file": o.PasswordFile} {
		if file != "" && !path.IsAbs(file) {
			return nil, invalid("option %s: %q is not an absolute path", name, file)
		}
	}
	if (o.Bind == "") != (o.PasswordFile == "") {
		return nil, invalid("options bind and password-file belong together: give both or none")
	}
	if _, _, err := net.SplitHostPort(o.KDC); err != nil {
		return nil, invalid("option kdc: %q is not HOST:PORT", o.KDC)
	}
	if o.Timeout < time.Second || o.Patience < 0 {
		return nil, invalid("option timeout is a second or more, and patience is not negative")
	}
	var err error
	if d.listeners, err = installing.Listeners(o.Listeners); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(d.listeners, func(l driver.Listener) bool { return l.Protocol != "ldap" && l.Protocol != "ldaps" }); i >= 0 {
		return nil, invalid("option listeners: Samba speaks ldap and ldaps, not %s", d.listeners[i].Protocol)
	}
	if _, ok := d.overTLS(); o.Bind != "" && !ok {
		return nil, invalid("option bind wants an ldaps in option listeners")
	}
	d.restart, err = installing.Words(o.Restart)
	if err == nil && len(d.restart) == 0 {
		err = invalid("option restart: Samba takes up a certificate by nothing else")
	}
	return d, err
}

// overTLS returns the listener that the driver itself signs in at.
func (d *door) overTLS() (driver.Listener, bool) {
	i := slices.IndexFunc(d.listeners, func(l driver.Listener) bool { return l.Protocol == "ldaps" })
	if i < 0 {
		return driver.Listener{}, false
	}
	return d.listeners[i], true
}

// mustBe refuses a verb that the role does not have.
func (d *door) mustBe(role string) error {
	if d.Role == role {
		return nil
	}
	return invalid("this door has the role %s: set up a second one with the option role: %s", d.Role, role)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
