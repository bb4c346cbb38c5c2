// SPDX-License-Identifier: Apache-2.0

package postgresql_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

// A rolesEstate is a PostgreSQL where members of the role "people" sign in by password under TLS.
type rolesEstate struct {
	*estate
	count atomic.Int64
}

func newRoles(t *testing.T) *rolesEstate {
	t.Helper()
	e := &rolesEstate{estate: &estate{servers: lab.NewPKI(t)}}
	e.server = lab.StartPostgres(t, lab.PostgresSettings{
		PKI: e.servers, Server: e.servers.Localhost(t), Roles: []string{"people", "trusted"}, Config: "log_statement = all\nlog_timezone = UTC\n",
		HBA: "hostssl all +people 127.0.0.1/32 scram-sha-256\nhostssl all +trusted 127.0.0.1/32 trust\n" +
			"hostnossl all " + lab.PostgresAdmin + " 127.0.0.1/32 scram-sha-256\n", // for the relay, in place of the socket
	})
	return e
}

// role makes a role that signs in with a password, and whose name has to be quoted.
func (e *rolesEstate) role(t *testing.T, options string) (string, driver.Secret) {
	t.Helper()
	name, secret := fmt.Sprintf(`App "%d" of O'Hara \ $1`, e.count.Add(1)), "first-of-"+strings.ToLower(t.Name()[:4])+"-0123456789"
	e.exec(t, "CREATE ROLE "+pgx.Identifier{name}.Sanitize()+" PASSWORD '"+secret+"' "+options)
	if !strings.Contains(options, "NOLOGIN") {
		e.exec(t, "ALTER ROLE "+pgx.Identifier{name}.Sanitize()+" LOGIN")
	}
	return name, driver.NewSecret(secret)
}

func (e *rolesEstate) person(t *testing.T) (string, driver.Secret) {
	return e.role(t, "IN ROLE people")
}

func (e *rolesEstate) exec(t *testing.T, statement string) {
	t.Helper()
	c, err := pgx.ParseConfig("host=" + e.server.Dir + " port=" + e.port(t) + " user=" + lab.PostgresAdmin + " password=" + lab.PostgresPassword + " dbname=postgres")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func (e *rolesEstate) port(t *testing.T) string {
	t.Helper()
	_, port, err := net.SplitHostPort(e.server.Address)
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// signIn signs in by psql.
func (e *rolesEstate) signIn(t *testing.T, account string, secret driver.Secret) bool {
	t.Helper()
	psql := exec.Command(lab.Program(t, "psql"), "-X", "-w", "-c", "SELECT 1", "-h", "127.0.0.1", "-p", e.port(t), "-U", account, "-d", "postgres")
	psql.Env = []string{"PGPASSWORD=" + secret.Reveal(), "PGSSLMODE=require"}
	out, err := psql.CombinedOutput()
	if err != nil && !strings.Contains(string(out), "password authentication failed") && !strings.Contains(string(out), "no password supplied") {
		t.Fatalf("psql as %s: %v\n%s", account, err, out)
	}
	return err == nil
}

func (e *rolesEstate) rotator(t *testing.T, options map[string]string) driver.Rotator {
	t.Helper()
	return e.open(t, options).(driver.Rotator)
}

// relayed is a host whose connections to the socket go through a relay.
type relayed struct {
	driver.Host
	relay *drivertest.Relay
}

func (h relayed) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if network == "unix" {
		network, address = "tcp", h.relay.Address
	}
	return h.Host.Dial(ctx, network, address)
}

// rotatorCase brings the suite the server, behind a relay of its own.
func (e *rolesEstate) rotatorCase(t *testing.T) drivertest.RotatorCase {
	relay := drivertest.NewRelay(t, e.server.Address)
	return drivertest.RotatorCase{
		Rotator: e.rotator(t, nil), Host: relayed{host.Local(), relay}, Relay: relay, Another: e.rotatorCase,
		Fresh: e.person, SignIn: e.signIn, Missing: "nobody", Secrets: []string{lab.PostgresPassword},
	}
}

// One server serves all of these: making one takes longer than they do.
func TestRotator(t *testing.T) {
	t.Parallel()
	e := newRoles(t)
	drivertest.Rotator(t, e.rotatorCase(t))
	// Its log has every statement, and no password that it was given by the driver.
	if log := e.server.Log(); !strings.Contains(log, "SCRAM-SHA-256$") || strings.Contains(log, "PASSWORD E'Aa1") {
		t.Error("the log of the server has no verifier, or has a password")
	}
	t.Run("how roles stand", e.howRolesStand)
	t.Run("what answers mean", e.whatAnswersMean)
	t.Run("sessions of the old password", e.sessionsOfTheOldPassword)
	t.Run("without TLS", e.withoutTLS) // the last: it stays without
}

func (e *rolesEstate) howRolesStand(t *testing.T) {
	for options, want := range map[string]string{
		"IN ROLE people": "", "NOLOGIN": "NOLOGIN", "CONNECTION LIMIT 0": "CONNECTION LIMIT 0",
		"VALID UNTIL '2020-02-03 04:05Z'": "2020-02-03 04:05 UTC", "VALID UNTIL '-infinity'": "has expired", "VALID UNTIL 'infinity'": "",
	} {
		account := e.look(t, options)
		if !strings.Contains(account.Barred, want) || (want == "") != (account.Barred == "") {
			t.Errorf("%s: barred %q, want %q", options, account.Barred, want)
		}
		if len(account.Notes) > 0 {
			t.Errorf("%s: %q", options, account.Notes)
		}
	}
	for options, want := range map[string]string{
		"VALID UNTIL '2036-01-02 03:04Z'": "expires on 2036-01-02 03:04 UTC", "IN ROLE trusted": "pg_hba.conf", "PASSWORD NULL": "has no password",
		"PASSWORD 'md500000000000000000000000000000000'": "MD5",
	} {
		if notes := e.look(t, options).Notes; len(notes) != 1 || !strings.Contains(notes[0], want) {
			t.Errorf("%s: notes %q, want one with %q", options, notes, want)
		}
	}
}

// look looks at a new role; a password among its options is its second.
func (e *rolesEstate) look(t *testing.T, options string) driver.Account {
	t.Helper()
	options, password, _ := strings.Cut(options, "PASSWORD")
	name, _ := e.role(t, options)
	if password != "" {
		e.exec(t, "ALTER ROLE "+pgx.Identifier{name}.Sanitize()+" PASSWORD"+password)
	}
	account, err := e.rotator(t, nil).LookAccount(t.Context(), driver.AccountRequest{Host: host.Local(), Account: name, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return account
}

// try tries a password of a role.
func (e *rolesEstate) try(t *testing.T, options map[string]string, name string, secret driver.Secret) driver.Attempt {
	t.Helper()
	tested, err := e.rotator(t, options).TestSecret(t.Context(), driver.SecretRequest{Host: host.Local(), Account: name, New: secret, Now: time.Now})
	if err != nil || len(tested.New) != 1 || len(tested.Old) != 0 {
		t.Fatalf("%+v, %v", tested, err)
	}
	return tested.New[0]
}

func (e *rolesEstate) whatAnswersMean(t *testing.T) {
	name, secret := e.person(t)
	full, fullSecret := e.role(t, "IN ROLE people CONNECTION LIMIT 1")
	defer e.session(t, full, fullSecret).Close(context.Background())
	unnamed, unnamedSecret := e.role(t, "")
	trusted, _ := e.role(t, "IN ROLE trusted")
	expired, expiredSecret := e.role(t, "IN ROLE people VALID UNTIL '2020-01-01'")
	wrong := driver.NewSecret("wrong")
	e.exec(t, "CREATE DATABASE closed")
	e.exec(t, "REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
	for _, row := range []struct {
		what, role    string
		secret        driver.Secret
		database      string
		outcome, says string
	}{
		{"right", name, secret, "postgres", driver.OutcomeAccepted, "signed in"},
		{"wrong", name, wrong, "postgres", driver.OutcomeRefused, "28P01"},
		{"right, and not for this database", name, secret, "closed", driver.OutcomeAccepted, "42501"},
		{"wrong, and not for this database", name, wrong, "closed", driver.OutcomeRefused, "28P01"},
		{"right, and no room", full, fullSecret, "postgres", driver.OutcomeAccepted, "53300"},
		{"no line of pg_hba.conf for passwords", unnamed, unnamedSecret, "postgres", driver.OutcomeFailed, "28000"},
		{"wrong, and let in", trusted, wrong, "postgres", driver.OutcomeAccepted, "trust"},
		{"right, and expired", expired, expiredSecret, "postgres", driver.OutcomeRefused, "28P01"},
	} {
		a := e.try(t, map[string]string{"database": row.database}, row.role, row.secret)
		if a.Outcome != row.outcome || !strings.Contains(a.Answer, row.says) || a.Served == "" {
			t.Errorf("%s: %s (%s), want %s with %q", row.what, a.Outcome, a.Answer, row.outcome, row.says)
		}
	}
	// Whoever stands in for the server gets no password.
	lab.Write(t, e.server.Cert, lab.CertificatePEM(lab.NewPKI(t).Root.Raw))
	if a := e.try(t, nil, name, secret); a.Outcome != driver.OutcomeFailed || !strings.Contains(a.Answer, "another certificate") {
		t.Errorf("by another certificate: %s (%s)", a.Outcome, a.Answer)
	}
	chain, _ := lab.MaterialPEM(t, e.server.Material)
	lab.Write(t, e.server.Cert, chain)
}

// session signs in as a role, and stays.
func (e *rolesEstate) session(t *testing.T, name string, secret driver.Secret) *pgx.Conn {
	t.Helper()
	c, err := pgx.ParseConfig("host=127.0.0.1 port=" + e.port(t) + " user=nobody password=none dbname=postgres sslmode=require")
	if err != nil {
		t.Fatal(err)
	}
	c.User, c.Password = name, secret.Reveal()
	conn, err := pgx.ConnectConfig(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// Sessions that began before the change are named or ended, and no others.
func (e *rolesEstate) sessionsOfTheOldPassword(t *testing.T) {
	for _, ends := range []string{"false", "true"} {
		name, old := e.person(t)
		other, otherSecret := e.person(t)
		next := driver.NewSecret("next-0123456789")
		before, others := e.session(t, name, old), e.session(t, other, otherSecret)
		request := driver.SecretRequest{Host: host.Local(), Account: name, Old: old, New: next, Now: time.Now}
		door := e.rotator(t, map[string]string{"end-sessions": ends})
		if _, err := door.SetSecret(t.Context(), request); err != nil {
			t.Fatal(err)
		}
		// A session that begins right behind the change may have begun before it.
		e.exec(t, "SELECT pg_sleep(1.1)")
		after := e.session(t, name, next)
		blocked, err := door.DropSecret(t.Context(), request)
		if ends == "true" && (err != nil || blocked.Closed != 1 || len(blocked.Left) != 0) || ends == "false" && (err != nil || blocked.Closed != 0 || len(blocked.Left) != 1) {
			t.Errorf("end-sessions=%s: %+v, %v", ends, blocked, err)
		}
		if err := ask(t.Context(), before); (err == nil) != (ends == "false") {
			t.Errorf("end-sessions=%s: the session of the old password: %v", ends, err)
		}
		for _, conn := range []*pgx.Conn{after, others} {
			if err := ask(t.Context(), conn); err != nil {
				t.Errorf("end-sessions=%s: another session: %v", ends, err)
			}
			conn.Close(t.Context())
		}
		before.Close(t.Context())
		var left int
		if e.query(t, "SELECT count(*) FROM pg_db_role_setting WHERE setrole = (SELECT oid FROM pg_roles WHERE rolname = "+quoted(name)+")", &left); left != 0 {
			t.Errorf("%d settings of roles are left", left)
		}
		request.New = driver.NewSecret("another")
		if _, err := door.DropSecret(t.Context(), request); !errors.Is(err, tallystick.ErrConflict) {
			t.Errorf("dropped in favour of what was never set: %v", err)
		}
	}
}

func (e *rolesEstate) withoutTLS(t *testing.T) {
	name, secret := e.role(t, "")
	hba := e.server.Data + "/pg_hba.conf"
	lab.Write(t, hba, "host all all 127.0.0.1/32 scram-sha-256\n"+lab.Read(t, hba))
	before := e.loaded(t)
	e.exec(t, "ALTER SYSTEM SET ssl = off")
	e.exec(t, "SELECT pg_reload_conf()")
	e.await(t, before)
	if a := e.try(t, nil, name, secret); a.Outcome != driver.OutcomeAccepted {
		t.Errorf("%s (%s)", a.Outcome, a.Answer)
	}
	// What asks for the password itself does not get it.
	lab.Write(t, hba, strings.Replace(lab.Read(t, hba), "scram-sha-256", "password", 1))
	before = e.loaded(t)
	e.exec(t, "SELECT pg_reload_conf()")
	e.await(t, before)
	if a := e.try(t, nil, name, secret); a.Outcome != driver.OutcomeFailed {
		t.Errorf("asked for the password itself: %s (%s)", a.Outcome, a.Answer)
	}
}

// quoted writes a string of SQL.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// await waits until the server has read its configuration after a time.
func (e *estate) await(t *testing.T, before time.Time) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !e.loaded(t).After(before); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server does not read its configuration")
		}
	}
}
