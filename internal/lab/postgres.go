// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// PostgresSettings say what a PostgreSQL is started with. The zero value of each but PKI is good.
type PostgresSettings struct {
	PKI    *PKI
	Server driver.Material // what it shows; the zero value is one of the PKI for localhost
	CRLs   [][]byte        // what it begins with, DER; none is no list at all
	CRLDir bool            // the lists stand in a directory (ssl_crl_dir) and not in a file
	Roles  []string        // whom certificates let in; none is alice and bob
	Ident  string          // lines of pg_ident.conf for the map "people"; "" lets CN=name in as name
	Config string          // further lines of postgresql.conf
	HBA    string          // lines of pg_hba.conf that count before its own, each with its end
}

// PostgresAdmin is a superuser who signs in with PostgresPassword, over the socket and by TLS.
const (
	PostgresAdmin    = "tally"
	PostgresPassword = "not-a-secret"
)

// A Postgres is a PostgreSQL that clients sign in at with certificates.
type Postgres struct {
	*Process
	Dir, Data, Address string          // Address is host:port
	Socket             string          // of connections on the machine
	Cert, Key, CA      string          // files
	CRL, CRLDir        string          // "" where there is none
	Material           driver.Material // what it shows at first
}

// StartPostgres starts one: by the user postgres when the test is run by root, which
// PostgreSQL refuses.
func StartPostgres(t TB, s PostgresSettings) *Postgres {
	t.Helper()
	if len(s.Server.Chain) == 0 {
		s.Server = s.PKI.Localhost(t)
	}
	if s.Roles == nil {
		s.Roles = []string{"alice", "bob"}
	}
	port, dir := FreePort(t), OpenDir(t)
	OwnedDir(t, dir, "postgres")
	p := &Postgres{Dir: dir, Data: filepath.Join(dir, "data"), Address: Loopback(port), Material: s.Server,
		Socket: filepath.Join(dir, ".s.PGSQL."+strconv.Itoa(port))}
	programs := postgresPrograms(t)
	p.initialise(t, programs)
	p.configure(t, s, port)
	server := asPostgres([]string{filepath.Join(programs, "postgres"), "-D", p.Data, "-F"}, dir)
	p.Process = Start(t, dir, nil, server.Args, p.Address)
	// The fast end, before Start asks for one that waits for whoever is connected.
	t.Cleanup(func() { syscall.Kill(p.PID, syscall.SIGINT) })
	p.roles(t, programs, s.Roles)
	return p
}

// initialise makes the data directory.
func (p *Postgres) initialise(t TB, programs string) {
	t.Helper()
	password := write(t, p.Dir, "password", PostgresPassword)
	give(t, p.Dir, password)
	initdb := []string{filepath.Join(programs, "initdb"), "-D", p.Data, "-U", PostgresAdmin, "-A", "scram-sha-256", "--pwfile", password,
		"-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions"}
	if out, err := asPostgres(initdb, p.Dir).CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
}

// configure writes the files that the server reads.
func (p *Postgres) configure(t TB, s PostgresSettings, port int) {
	t.Helper()
	put := func(name, text string) string {
		path := write(t, p.Data, name, text)
		give(t, p.Dir, path)
		return path
	}
	chain, key := MaterialPEM(t, s.Server)
	p.Cert, p.Key = put("server.pem", chain), put("server.key", key)
	p.CA = put("ca.pem", CertificatePEM(s.PKI.Root.Raw))
	config := strings.NewReplacer("DIR", p.Dir, "PORT", strconv.Itoa(port)).Replace(postgresConfig)
	switch {
	case s.CRLDir:
		p.CRLDir = filepath.Join(p.Data, "lists")
		if err := os.Mkdir(p.CRLDir, 0o700); err != nil {
			t.Fatal(err)
		}
		give(t, p.Dir, p.CRLDir)
		for _, der := range s.CRLs {
			put(p.hashed(t, der), CRLPEM(der))
		}
		config += "ssl_crl_dir = 'lists'\n"
	case len(s.CRLs) > 0:
		p.CRL = put("crl.pem", CRLPEM(s.CRLs...))
		config += "ssl_crl_file = 'crl.pem'\n"
	}
	put("postgresql.conf", config+s.Config)
	put("pg_hba.conf", s.HBA+"local all all scram-sha-256\nhostssl all "+PostgresAdmin+" 127.0.0.1/32 scram-sha-256\nhostssl all all 127.0.0.1/32 cert map=people\n")
	put("pg_ident.conf", cmp.Or(s.Ident, "people /^(.*)$ \\1")+"\n")
}

// hashed returns the name under which OpenSSL finds a list, that is still free.
func (p *Postgres) hashed(t TB, der []byte) string {
	t.Helper()
	openssl := exec.Command(Program(t, "openssl"), "crl", "-hash", "-noout", "-inform", "DER")
	openssl.Stdin = bytes.NewReader(der)
	hash, err := openssl.Output()
	if err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		name := fmt.Sprintf("lists/%s.r%d", bytes.TrimSpace(hash), n)
		if _, err := os.Stat(filepath.Join(p.Data, name)); err != nil {
			return name
		}
	}
}

func (p *Postgres) roles(t TB, programs string, names []string) {
	t.Helper()
	var statements strings.Builder
	for _, name := range names {
		fmt.Fprintf(&statements, "CREATE ROLE %s LOGIN;\n", name)
	}
	args := []string{filepath.Join(programs, "psql"), "-q", "-v", "ON_ERROR_STOP=1", "-h", p.Dir, "-p", filepath.Ext(p.Socket)[1:], "-U", PostgresAdmin, "-d", "postgres"}
	var out []byte
	// Connections are taken a moment before they are served.
	for range 500 {
		psql := exec.Command(args[0], args[1:]...)
		psql.Env, psql.Stdin = []string{"PGPASSWORD=" + PostgresPassword}, strings.NewReader(statements.String())
		var err error
		if out, err = psql.CombinedOutput(); err == nil {
			return
		}
		if !strings.Contains(string(out), "starting up") && !strings.Contains(string(out), "No such file") && !strings.Contains(string(out), "refused") {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("psql: %s", out)
}

func postgresPrograms(t TB) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		t.Fatal("this test needs PostgreSQL: run scripts/test-tools")
	}
	return filepath.Dir(found[len(found)-1])
}

// asPostgres runs a command in dir by the user postgres when this is root.
func asPostgres(args []string, dir string) *exec.Cmd {
	if os.Getuid() == 0 {
		args = append([]string{"setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"}, args...)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	return cmd
}

// give gives a file the owner of dir.
func give(t TB, dir, path string) {
	t.Helper()
	info, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(path, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
}

const postgresConfig = `listen_addresses = '127.0.0.1'
port = PORT
unix_socket_directories = 'DIR'
max_connections = 60
shared_buffers = 16MB
min_wal_size = 32MB
max_wal_size = 64MB
ssl = on
ssl_cert_file = 'server.pem'
ssl_key_file = 'server.key'
ssl_ca_file = 'ca.pem'
log_connections = on
log_disconnections = on
log_line_prefix = '%m [%p] u=%u d=%d h=%h app=%a '
`
