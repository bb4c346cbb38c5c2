// SPDX-License-Identifier: Apache-2.0

// Package drivers is the list of the real systems that Tallystick knows, one
// folder each.
package drivers

import (
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/drivers/acme"
	"github.com/tallystick/tallystick/drivers/ad"
	"github.com/tallystick/tallystick/drivers/csrfile"
	"github.com/tallystick/tallystick/drivers/dovecot"
	"github.com/tallystick/tallystick/drivers/entra"
	"github.com/tallystick/tallystick/drivers/est"
	"github.com/tallystick/tallystick/drivers/exec"
	"github.com/tallystick/tallystick/drivers/files"
	"github.com/tallystick/tallystick/drivers/haproxy"
	"github.com/tallystick/tallystick/drivers/keystore"
	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/drivers/metadata"
	"github.com/tallystick/tallystick/drivers/nginx"
	"github.com/tallystick/tallystick/drivers/pemfile"
	"github.com/tallystick/tallystick/drivers/postfix"
	"github.com/tallystick/tallystick/drivers/postgresql"
	"github.com/tallystick/tallystick/drivers/samba"
	"github.com/tallystick/tallystick/drivers/slapd"
	"github.com/tallystick/tallystick/drivers/ssh"
	"github.com/tallystick/tallystick/drivers/sshd"
	"github.com/tallystick/tallystick/drivers/stepca"
	"github.com/tallystick/tallystick/drivers/tls"
	"github.com/tallystick/tallystick/drivers/truststore"
	"github.com/tallystick/tallystick/drivers/vault"
)

// All returns every driver. It is the only list.
func All() []driver.Driver {
	return []driver.Driver{
		acme.Driver(),
		ad.Driver(),
		csrfile.Driver(),
		dovecot.Driver(),
		entra.Driver(),
		est.Driver(),
		exec.Driver(),
		files.Driver(),
		haproxy.Driver(),
		keystore.Driver(),
		ldap.Driver(),
		metadata.Driver(),
		nginx.Driver(),
		pemfile.Driver(),
		postfix.Driver(),
		postgresql.Driver(),
		samba.Driver(),
		slapd.Driver(),
		ssh.Driver(),
		sshd.Driver(),
		stepca.Driver(),
		tls.Driver(),
		truststore.Driver(),
		vault.Driver(),
	}
}
