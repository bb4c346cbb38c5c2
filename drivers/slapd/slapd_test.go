// SPDX-License-Identifier: Apache-2.0

package slapd_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/slapd"
	"github.com/tallystick/tallystick/internal/lab"
)

func TestDriver(t *testing.T) {
	drivertest.Run(t, drivertest.Suite{Driver: slapd.Driver()})
}

func TestDoor(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{Start: func(t *testing.T) drivertest.Door {
		e := newEstate(t, "try")
		alice, next := e.clients.Client(t, "alice"), e.others.WithRoot(e.others.Client(t, "alice"))
		return drivertest.Door{
			Opened: e.open(t, nil), Host: host.Local(),
			Shown: e.slapd.Material, Next: e.servers.Localhost(t),
			Client: alice, NextClient: next, CRLs: e.clients.CRLs(t, alice.Public),
			Listeners: e.listeners(),
			Good:      func() error { return e.bind(e.bob) },
			Reset:     e.reset,
		}
	}})
}

// An estate is a slapd whose own CA is not that of its clients.
type estate struct {
	servers, clients, others *lab.PKI
	slapd                    *lab.Slapd
	bob                      driver.Material
	files                    map[string]string // as they were at first
}

func newEstate(t *testing.T, verify string) *estate {
	e := &estate{servers: lab.NewPKI(t), clients: lab.NewPKI(t), others: lab.NewPKI(t), files: map[string]string{}}
	e.slapd = lab.StartSlapd(t, lab.SlapdSettings{PKI: e.clients, Server: e.servers.Localhost(t), CRLs: e.clients.CRLs(t), Verify: verify})
	e.bob = e.clients.Client(t, "bob")
	for _, path := range []string{e.slapd.Cert, e.slapd.Key, e.slapd.CA, e.slapd.CRL} {
		e.files[path] = lab.Read(t, path)
	}
	return e
}

func (e *estate) open(t *testing.T, options map[string]string) any {
	t.Helper()
	all := map[string]string{"socket": e.slapd.Socket, "server-name": "localhost"}
	for name, value := range options {
		all[name] = value
	}
	return drivertest.Open[any](t, slapd.Driver(), all)
}

func (e *estate) listeners() []driver.Listener {
	return []driver.Listener{{Address: e.slapd.LDAPS, Protocol: "ldaps", ServerName: "localhost"}, {Address: e.slapd.LDAP, Protocol: "ldap", ServerName: "localhost"}}
}

// reset has slapd read the files that it began with.
func (e *estate) reset(t *testing.T) {
	t.Helper()
	for path, text := range e.files {
		lab.Write(t, path, text)
	}
	e.modify(t, "olcTLSCertificateFile", e.slapd.Cert)
}

func (e *estate) modify(t *testing.T, attribute string, values ...string) {
	t.Helper()
	conn, err := net.Dial("unix", e.slapd.Socket)
	if err != nil {
		t.Fatal(err)
	}
	admin := ldap.NewConn(conn, false)
	admin.Start()
	defer admin.Close()
	if err := admin.ExternalBind(); err != nil {
		t.Fatal(err)
	}
	request := ldap.NewModifyRequest("cn=config", nil)
	request.Replace(attribute, values)
	if err := admin.Modify(request); err != nil {
		t.Fatal(err)
	}
}

// connect makes a connection and signs in.
func (e *estate) connect(config *tls.Config) (*ldap.Conn, error) {
	raw, err := net.DialTimeout("tcp", e.slapd.LDAPS, 5*time.Second)
	if err != nil {
		return nil, err
	}
	raw.SetDeadline(time.Now().Add(time.Minute))
	conn := ldap.NewConn(tls.Client(raw, config), true)
	conn.Start()
	if err := conn.ExternalBind(); err != nil {
		conn.Close()
		return nil, fmt.Errorf("bind: %w", err)
	}
	return conn, nil
}

// bind signs in, reads an entry and goes.
func (e *estate) bind(m driver.Material) error {
	conn, err := e.connect(e.servers.ClientConfig(m))
	if err != nil {
		return err
	}
	defer conn.Close()
	return search(conn)
}

func search(conn *ldap.Conn) error {
	_, err := conn.Search(ldap.NewSearchRequest("ou=people,dc=lab,dc=test", ldap.ScopeSingleLevel, ldap.NeverDerefAliases, 0, 5, false, "(uid=bob)", []string{"cn"}, nil))
	return err
}
