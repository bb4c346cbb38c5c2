// SPDX-License-Identifier: Apache-2.0

package ldap_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	wire "github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/internal/lab"
)

// An estate is a slapd with two accounts.
type estate struct {
	pki   *lab.PKI
	slapd *lab.Slapd
	admin *wire.Conn
	dir   string
}

func newEstate(t *testing.T) *estate {
	t.Helper()
	return newEstateOf(t, lab.SlapdSettings{})
}

func newEstateOf(t *testing.T, settings lab.SlapdSettings) *estate {
	t.Helper()
	p := lab.NewPKI(t)
	settings.PKI = p
	e := &estate{pki: p, slapd: lab.StartSlapd(t, settings), dir: t.TempDir()}
	e.write(t, "ca.pem", lab.CertificatePEM(p.Root.Raw))
	e.write(t, "password", lab.SlapdPassword+"\n")
	raw, err := net.Dial("unix", e.slapd.Socket)
	if err != nil {
		t.Fatal(err)
	}
	e.admin = wire.NewConn(raw, false)
	e.admin.Start()
	t.Cleanup(func() { e.admin.Close() })
	if err := e.admin.ExternalBind(); err != nil {
		t.Fatal(err)
	}
	return e
}

func (e *estate) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(e.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (e *estate) options(edits map[string]string) map[string]string {
	all := map[string]string{
		"url": "ldaps://" + e.slapd.LDAPS, "server-name": "localhost", "ca": filepath.Join(e.dir, "ca.pem"),
		"bind": e.slapd.Admin, "password-file": filepath.Join(e.dir, "password"),
	}
	for name, value := range edits {
		if all[name] = value; value == "" {
			delete(all, name)
		}
	}
	return all
}

func (e *estate) open(t *testing.T, edits map[string]string) *ldap.LDAP {
	t.Helper()
	opened, err := ldap.Driver().Open(e.options(edits))
	if err != nil {
		t.Fatal(err)
	}
	return opened.(*ldap.LDAP)
}

func (e *estate) dn(name string) string { return "uid=" + name + "," + e.slapd.People }

func (e *estate) modify(t *testing.T, name string, edit func(*wire.ModifyRequest)) {
	t.Helper()
	request := wire.NewModifyRequest(e.dn(name), nil)
	edit(request)
	if err := e.admin.Modify(request); err != nil {
		t.Fatal(err)
	}
}
