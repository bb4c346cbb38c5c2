// SPDX-License-Identifier: Apache-2.0

package postgresql_test

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/postgresql"
	"github.com/tallystick/tallystick/internal/lab"
)

func TestDriver(t *testing.T) {
	drivertest.Run(t, drivertest.Suite{Driver: postgresql.Driver()})
}

func TestDoor(t *testing.T) {
	for name, dir := range map[string]bool{"file": false, "directory": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := newEstate(t, lab.PostgresSettings{CRLDir: dir})
			drivertest.Doors(t, drivertest.DoorSuite{
				Start: func(t *testing.T) drivertest.Door {
					e.reset(t)
					return e.door(t)
				},
				Shared: true,
				Reads:  func(c driver.Command) bool { return c.Args[0] == "openssl" },
			})
		})
	}
}

// An estate is a PostgreSQL whose own CA is not that of its clients.
type estate struct {
	servers, clients, others *lab.PKI
	server                   *lab.Postgres
	bob                      driver.Material
	files                    map[string]string // as they were at first
}

func newEstate(t *testing.T, s lab.PostgresSettings) *estate {
	t.Helper()
	e := &estate{servers: lab.NewPKI(t), clients: lab.NewPKI(t), others: lab.NewPKI(t), files: map[string]string{}}
	s.PKI, s.Server = e.clients, e.servers.Localhost(t)
	s.CRLs = append(e.clients.CRLs(t), e.others.CRLs(t)...)
	e.server, e.bob = lab.StartPostgres(t, s), e.clients.Client(t, "bob")
	paths := []string{e.server.Cert, e.server.Key, e.server.CA, filepath.Join(e.server.Data, "pg_ident.conf")}
	if e.server.CRL != "" {
		paths = append(paths, e.server.CRL)
	}
	paths = append(paths, e.lists(t)...)
	for _, path := range paths {
		e.files[path] = lab.Read(t, path)
	}
	return e
}

func (e *estate) door(t *testing.T) drivertest.Door {
	alice, next := e.clients.Client(t, "alice"), e.others.WithRoot(e.others.Client(t, "alice"))
	return drivertest.Door{
		Opened: e.open(t, nil), Host: host.Local(),
		Shown: e.server.Material, Next: e.servers.Localhost(t),
		Client: alice, NextClient: next, CRLs: e.clients.CRLs(t, alice.Public),
		Listeners: e.listeners("alice"),
		Good:      func() error { return e.signIn(e.bob) },
		Reset:     e.reset,
	}
}

func (e *estate) open(t *testing.T, options map[string]string) any {
	t.Helper()
	all := map[string]string{"socket": e.server.Socket, "user": lab.PostgresAdmin, "password": lab.PostgresPassword, "server-name": "localhost", "client-user": "alice"}
	for name, value := range options {
		all[name] = value
	}
	return drivertest.Open[any](t, postgresql.Driver(), all)
}

func (e *estate) listeners(user string) []driver.Listener {
	return []driver.Listener{{Address: e.server.Address, Protocol: "postgres", ServerName: "localhost", Details: map[string]string{"user": user, "database": "postgres"}}}
}

// reset has the server read the files that it began with.
func (e *estate) reset(t *testing.T) {
	t.Helper()
	for path, text := range e.files {
		lab.Write(t, path, text)
	}
	for _, path := range e.lists(t) {
		if _, known := e.files[path]; !known {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := e.loaded(t)
	e.query(t, "SELECT pg_reload_conf()", new(bool))
	for !e.loaded(t).After(before) {
		time.Sleep(5 * time.Millisecond)
	}
}

// lists returns the files of the directory of lists, if there is one.
func (e *estate) lists(t *testing.T) []string {
	t.Helper()
	lists, err := filepath.Glob(filepath.Join(e.server.Data, "lists", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return lists
}

func (e *estate) loaded(t *testing.T) time.Time {
	t.Helper()
	var at time.Time
	e.query(t, "SELECT pg_conf_load_time()", &at)
	return at
}

// query asks as the administrator, over the socket.
func (e *estate) query(t *testing.T, query string, answer any) {
	t.Helper()
	c, err := pgx.ParseConfig("host=" + e.server.Dir + " port=" + filepath.Ext(e.server.Socket)[1:] + " user=" + lab.PostgresAdmin + " password=" + lab.PostgresPassword + " dbname=postgres")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), query).Scan(answer); err != nil {
		t.Fatal(err)
	}
}

// connect signs in with a certificate, as the role of its common name.
func (e *estate) connect(ctx context.Context, m driver.Material) (*pgx.Conn, error) {
	leaf, err := x509.ParseCertificate(m.Chain[0])
	if err != nil {
		return nil, err
	}
	hostname, port, err := net.SplitHostPort(e.server.Address)
	if err != nil {
		return nil, err
	}
	c, err := pgx.ParseConfig("host=" + hostname + " port=" + port + " user=" + leaf.Subject.CommonName + " dbname=postgres sslmode=require connect_timeout=10")
	if err != nil {
		return nil, err
	}
	c.TLSConfig = e.servers.ClientConfig(m)
	return pgx.ConnectConfig(ctx, c)
}

// signIn signs in, asks for something and goes.
func (e *estate) signIn(m driver.Material) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := e.connect(ctx, m)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	return ask(ctx, conn)
}

func ask(ctx context.Context, conn *pgx.Conn) error {
	var one int
	return conn.QueryRow(ctx, "SELECT "+strconv.Itoa(1)).Scan(&one)
}
