// SPDX-License-Identifier: Apache-2.0

package postgresql

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// LookAccount reads what the server knows of a role.
func (d *door) LookAccount(ctx context.Context, request driver.AccountRequest) (driver.Account, error) {
	now, err := d.settings(ctx, request.Host)
	if err != nil {
		return driver.Account{}, err
	}
	conn, err := d.connect(ctx, request.Host)
	if err != nil {
		return driver.Account{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	r, err := findRole(ctx, conn, request.Account)
	if err != nil {
		return driver.Account{}, err
	}
	account := driver.Account{Name: r.name, Overlap: driver.OverlapNone, MayTry: -1, Barred: r.barred(), Notes: r.notes()}
	if !now.ssl {
		account.Notes = append(account.Notes, "PostgreSQL speaks no TLS (ssl is off): passwords are tried by SCRAM-SHA-256 alone, which does not show them")
	}
	account.Listeners = d.rolesAt(now, r.name)
	return account, nil
}

// rolesAt returns where a role signs in.
func (d *door) rolesAt(now settings, role string) []driver.Listener {
	all := d.listeners(now)
	for i := range all {
		all[i].Details = map[string]string{"database": d.Database, "user": role}
	}
	return all
}

// rotated is the setting of a role that says when its password was changed, between SetSecret
// and DropSecret: the server keeps no such time.
const rotated = "tallystick.rotated"

// A role is one, as the server knows it.
type role struct {
	oid        uint32
	name       string
	login      bool
	limit      int        // of connections; -1 is none
	until      *time.Time // VALID UNTIL; nil is for ever
	expired    bool
	has        verifier
	changed    string // rotated, as it was set; "" where it is not
	trusted    bool   // lines of pg_hba.conf let it in without a password
	iterations int
}

const roleQuery = `SELECT a.oid, a.rolname, a.rolcanlogin, a.rolconnlimit, CASE WHEN isfinite(a.rolvaliduntil) THEN a.rolvaliduntil END,
	coalesce(a.rolvaliduntil <= now(), false), coalesce(a.rolpassword, ''),
	coalesce((SELECT substr(c, length($2) + 2) FROM pg_db_role_setting s, unnest(s.setconfig) c
		WHERE s.setrole = a.oid AND s.setdatabase = 0 AND starts_with(c, $2 || '=')), ''),
	EXISTS (SELECT FROM pg_hba_file_rules, unnest(user_name) u LEFT JOIN pg_roles g ON u = '+' || g.rolname
		WHERE auth_method = 'trust' AND type <> 'local' AND (u IN ('all', a.rolname) OR pg_has_role(a.oid, g.oid, 'MEMBER'))),
	coalesce(current_setting('scram_iterations', true)::int, 0)
	FROM pg_authid a WHERE a.rolname = $1`

// findRole reads one.
func findRole(ctx context.Context, conn *pgx.Conn, name string) (role, error) {
	if strings.ContainsRune(name, 0) {
		return role{}, fmt.Errorf("%w: no role of PostgreSQL has a NUL in its name", tallystick.ErrNotFound)
	}
	var r role
	err := conn.QueryRow(ctx, roleQuery, name, rotated).Scan(&r.oid, &r.name, &r.login, &r.limit, &r.until, &r.expired, &r.has, &r.changed, &r.trusted, &r.iterations)
	if errors.Is(err, pgx.ErrNoRows) {
		return role{}, fmt.Errorf("%w: PostgreSQL has no role %s; names of roles are taken letter by letter", tallystick.ErrNotFound, network.Quote(name))
	}
	if err != nil {
		return role{}, answered("couldn't read the role "+network.Quote(name), err)
	}
	return r, nil
}

// barred says why nobody gets in as the role.
func (r role) barred() string {
	switch {
	case !r.login:
		return "the role may not log in (NOLOGIN)"
	case r.limit == 0:
		return "the role may have no connection (CONNECTION LIMIT 0)"
	case r.expired && r.until == nil:
		return "its password has expired (VALID UNTIL)"
	case r.expired:
		return "its password has expired on " + day(*r.until) + " (VALID UNTIL), and a new one would have as well"
	}
	return ""
}

// notes say what else is worth knowing.
func (r role) notes() []string {
	var notes []string
	if !r.expired && r.until != nil {
		notes = append(notes, "its password expires on "+day(*r.until)+", and a new one does as well (VALID UNTIL)")
	}
	if r.has == "" {
		notes = append(notes, "the role has no password")
	}
	if r.has.isMD5() {
		notes = append(notes, "the server has the MD5 of its password; of the new one it gets SCRAM-SHA-256, which libpq before version 10 and other old clients do not speak")
	}
	if r.trusted {
		notes = append(notes, "pg_hba.conf has a line that lets it in without a password (trust): from there a wrong one gets in too, and nothing is proven")
	}
	return notes
}

func day(at time.Time) string { return at.UTC().Format("2006-01-02 15:04 MST") }

// SetSecret gives the server the verifier of the password: one, so that the old password is
// refused from then on. Whether it has that already can be told from what it keeps, so that
// nothing is tried.
func (d *door) SetSecret(ctx context.Context, request driver.SecretRequest) (driver.SecretSet, error) {
	next := request.New
	if request.Withdraw {
		next = request.Old // which is none where the role had none
	} else if next.IsZero() {
		return driver.SecretSet{}, invalid("PostgreSQL takes no empty password")
	}
	conn, err := d.connect(ctx, request.Host)
	if err != nil {
		return driver.SecretSet{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	r, err := findRole(ctx, conn, request.Account)
	if err != nil || r.has.isOf(next.Reveal(), r.name) {
		return driver.SecretSet{}, err
	}
	if err := r.set(ctx, conn, next.Reveal(), request.Withdraw); err != nil {
		return driver.SecretSet{}, err
	}
	return driver.SecretSet{Changed: driver.Changed{
		Changed: true, How: []string{"alter-role"}, Detail: "ALTER ROLE " + network.Quote(r.name) + " PASSWORD, with what the server keeps of it (SCRAM-SHA-256)",
	}}, nil
}

// set sets a password and notes when, in one transaction: statements that are sent together
// are one.
func (r role) set(ctx context.Context, conn *pgx.Conn, password string, withdraw bool) error {
	value, err := newVerifier(password, r.iterations)
	if err != nil {
		return err
	}
	var at time.Time
	if err := conn.QueryRow(ctx, "SELECT clock_timestamp()").Scan(&at); err != nil {
		return answered("couldn't ask PostgreSQL for the time", err)
	}
	alter, note := "ALTER ROLE "+pgx.Identifier{r.name}.Sanitize(), " SET "+rotated+" = "+literal(at.UTC().Format(time.RFC3339Nano))
	if withdraw {
		note = " RESET " + rotated
	}
	// An empty string is no password (CREATE ROLE of the manual).
	statements := alter + " PASSWORD " + literal(string(value)) + "; " + alter + note
	if _, err := conn.PgConn().Exec(ctx, statements).ReadAll(); err != nil {
		return answered("couldn't set the password of the role "+network.Quote(r.name), err)
	}
	return nil
}

// settled is for how long after the change a sign-in may still have gone by the old password:
// the time of the change is taken just before it.
const settled = time.Second

// DropSecret has nothing to make the server refuse: it refuses the old password since the new one
// was set. Connections that were made by the old one are still open; they are ended where the
// option says so, and named otherwise.
func (d *door) DropSecret(ctx context.Context, request driver.SecretRequest) (driver.Blocked, error) {
	conn, err := d.connect(ctx, request.Host)
	if err != nil {
		return driver.Blocked{}, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	r, err := findRole(ctx, conn, request.Account)
	if err != nil {
		return driver.Blocked{}, err
	}
	if !r.has.isOf(request.New.Reveal(), r.name) {
		return driver.Blocked{}, fmt.Errorf("%w: the role %s has another password than the new one: set that first", tallystick.ErrConflict, network.Quote(r.name))
	}
	var blocked driver.Blocked
	since, err := time.Parse(time.RFC3339Nano, r.changed)
	if err != nil {
		return blocked, nil // dropped before, or set by somebody else
	}
	if err := d.endBefore(ctx, conn, r, since.Add(settled), &blocked); err != nil {
		return driver.Blocked{}, err
	}
	if d.EndSessions && len(blocked.Left) > 0 {
		return blocked, nil // the next call goes on
	}
	if _, err := conn.Exec(ctx, "ALTER ROLE "+pgx.Identifier{r.name}.Sanitize()+" RESET "+rotated); err != nil {
		err = answered("couldn't forget when the password of the role "+network.Quote(r.name)+" was changed", err)
		if blocked.Changed.Changed { // sessions have ended
			err = driver.Unsettled(err)
		}
		return driver.Blocked{}, err
	}
	return blocked, nil
}

const sessionsQuery = `SELECT pid, coalesce(host(client_addr) || ':' || client_port, 'the socket'), backend_start FROM pg_stat_activity
	WHERE usesysid = $1 AND backend_type = 'client backend' AND backend_start <= $2 AND pid <> pg_backend_pid() ORDER BY pid`

// endBefore ends, or names, the sessions of a role that began before a time.
func (d *door) endBefore(ctx context.Context, conn *pgx.Conn, r role, at time.Time, blocked *driver.Blocked) error {
	var open []connection
	var begun []time.Time
	rows, err := conn.Query(ctx, sessionsQuery, r.oid, at)
	if err == nil {
		var c connection
		var began time.Time
		_, err = pgx.ForEachRow(rows, []any{&c.pid, &c.from, &began}, func() error {
			open, begun = append(open, c), append(begun, began)
			return nil
		})
	}
	if err != nil {
		return answered("couldn't see which sessions of the role "+network.Quote(r.name)+" are open", err)
	}
	for i, c := range open {
		if d.EndSessions {
			c.terminate(ctx, conn, blocked)
			continue
		}
		blocked.Left = append(blocked.Left, fmt.Sprintf("pid %d from %s: a session since %s, before the password was changed (option end-sessions would end it)", c.pid, c.from, day(begun[i])))
	}
	if blocked.Closed > 0 {
		blocked.How = append(blocked.How, "terminated-connections")
	}
	return nil
}
