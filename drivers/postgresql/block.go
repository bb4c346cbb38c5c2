// SPDX-License-Identifier: Apache-2.0

package postgresql

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/network"
)

// BlocksByList says that PostgreSQL has no other way than the list of a CA.
func (d *door) BlocksByList() bool { return true }

// Block brings the server the revocation list that names the credential, and ends the
// connections that were made with it. Nothing is there to lift: what is on a list stays on it.
func (d *door) Block(ctx context.Context, request driver.BlockRequest) (driver.Blocked, error) {
	old, err := request.Old.Leaf()
	if err != nil {
		return driver.Blocked{}, err
	}
	if request.Lift {
		return driver.Blocked{Changed: driver.Changed{Detail: "PostgreSQL refuses by revocation lists alone, and those stay"}}, nil
	}
	now, err := d.settings(ctx, request.Host)
	if err != nil {
		return driver.Blocked{}, err
	}
	if !now.ssl || now.ca == "" {
		return driver.Blocked{Changed: driver.Changed{Detail: "PostgreSQL asks no client for a certificate"}}, nil
	}
	cas, err := blocking.AuthoritiesAt(ctx, request.Host, now.ca)
	if err != nil {
		return driver.Blocked{}, err
	}
	if !ever(request.Old, old, cas, request.Now()) {
		return driver.Blocked{Changed: driver.Changed{Detail: "PostgreSQL lets nobody in by a certificate of this CA"}}, nil
	}
	blocked, err := d.bring(ctx, request, now, old, cas)
	if err != nil {
		return driver.Blocked{}, err
	}
	return blocked, d.end(ctx, request.Host, old, &blocked)
}

// ever says whether the CAs let a certificate in at any time: who has one that has ended
// may still hold a connection open.
func ever(public driver.Public, c *x509.Certificate, cas []*x509.Certificate, now time.Time) bool {
	return slices.ContainsFunc([]time.Time{now, c.NotBefore, c.NotAfter}, func(at time.Time) bool {
		return blocking.Trusted(public.Chain, cas, at) == nil
	})
}

// bring brings the server the lists.
func (d *door) bring(ctx context.Context, request driver.BlockRequest, now settings, old *x509.Certificate, cas []*x509.Certificate) (driver.Blocked, error) {
	have, err := d.revocations(ctx, request.Host, now)
	if err != nil {
		return driver.Blocked{}, err
	}
	lists, err := have.all().Merge(request.CRLs, request.Old.Chain, cas, request.Now())
	if err != nil {
		return driver.Blocked{}, err
	}
	if !lists.Has(old) {
		return driver.Blocked{}, invalid("PostgreSQL refuses one certificate by the revocation list of its CA and in no other way, and no list names this one: revoke it first")
	}
	// With the first list the server begins to want one of every CA, or refuses its clients.
	if bare := lists.Uncovered(cas); len(bare) > 0 && now.list == "" && now.dir == "" {
		return driver.Blocked{}, invalid("the server would refuse every client of %s, of which there is no revocation list: put one into ssl_crl_file or ssl_crl_dir", network.Quote(bare[0].Subject.String()))
	}
	c, detail, err := d.listChange(ctx, request.Host, now, have, lists)
	if err != nil {
		return driver.Blocked{}, err
	}
	c.journal = installing.JournalFor(now.ca)
	changed, err := d.do(ctx, request.Host, now, c)
	if err != nil || !changed {
		return driver.Blocked{}, err
	}
	return driver.Blocked{Changed: driver.Changed{Changed: true, How: []string{"crl"}, Detail: detail}}, nil
}

// listChange says how the lists get to the server: into its directory, which each
// connection reads anew, or into its file.
func (d *door) listChange(ctx context.Context, h driver.Host, now settings, have listFiles, lists blocking.Lists) (change, string, error) {
	if now.list == "" && now.dir != "" {
		files, err := d.hashedFiles(ctx, h, now.dir, have, lists)
		return change{files: files, quick: true}, "wrote into " + now.dir, err
	}
	c, file := change{}, now.list
	if file == "" {
		file = now.at(d.List)
		c.reread = true
		c.list = d.List
	} else {
		unread, err := now.unread(ctx, h, file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return change{}, "", err
		}
		c.reread = unread
	}
	c.files = []installing.File{{Path: file, Content: lists.PEM(), Mode: 0o644}}
	return c, "wrote " + file + ", and pg_reload_conf()", nil
}

// alter changes a setting of the server in postgresql.auto.conf.
func (d *door) alter(ctx context.Context, h driver.Host, what string) error {
	conn, err := d.connect(ctx, h)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "ALTER SYSTEM "+what); err != nil {
		return answered("couldn't set ssl_crl_file", err)
	}
	return nil
}

// literal writes a string of SQL; ALTER SYSTEM takes no parameters.
func literal(text string) string {
	return "E'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}

// hashedFiles returns each list as a file of a directory: in the place of an older one of
// its CA, or under the next name that is free.
func (d *door) hashedFiles(ctx context.Context, h driver.Host, dir string, have listFiles, lists blocking.Lists) ([]installing.File, error) {
	taken := map[string]bool{}
	for _, file := range have {
		taken[file.path] = true
	}
	var files []installing.File
	for _, list := range lists {
		content := blocking.Lists{list}.PEM()
		i := slices.IndexFunc(have, func(f listFile) bool { return len(f.lists) > 0 && blocking.SameCA(f.lists[0], list) })
		if i >= 0 {
			files = append(files, installing.File{Path: have[i].path, Content: content, Mode: 0o644})
			continue
		}
		hash, err := hashOf(ctx, h, content)
		if err != nil {
			return nil, err
		}
		n := 0
		for taken[path.Join(dir, fmt.Sprintf("%s.r%d", hash, n))] {
			n++
		}
		file := path.Join(dir, fmt.Sprintf("%s.r%d", hash, n))
		taken[file] = true
		files = append(files, installing.File{Path: file, Content: content, Mode: 0o644})
	}
	return files, nil
}

// hashOf asks OpenSSL for the name by which it finds a list (X509_NAME_hash).
func hashOf(ctx context.Context, h driver.Host, list []byte) (string, error) {
	output, err := h.Run(ctx, driver.Command{Args: []string{"openssl", "crl", "-hash", "-noout"}, Stdin: list})
	if err != nil {
		return "", err
	}
	hash := strings.TrimSpace(string(output.Stdout))
	if output.Exit != 0 || !hashed.MatchString(hash+".r0") {
		return "", fmt.Errorf("%w: openssl could not name a revocation list: %s", tallystick.ErrUnavailable, installing.Said(output))
	}
	return hash, nil
}

const (
	// Serial numbers are told in decimal.
	openQuery = `SELECT a.pid, coalesce(host(a.client_addr), 'the socket') || ':' || a.client_port, coalesce(s.issuer_dn, '')
	FROM pg_stat_ssl s JOIN pg_stat_activity a USING (pid) WHERE s.client_serial = $1::numeric AND a.pid <> pg_backend_pid()`
	endWithin = 5 * time.Second
)

// A connection is one that was made with a serial number.
type connection struct {
	pid          int
	from, issuer string
}

// end ends the connections of a certificate.
func (d *door) end(ctx context.Context, h driver.Host, old *x509.Certificate, blocked *driver.Blocked) error {
	conn, err := d.connect(ctx, h)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, openQuery, old.SerialNumber.String())
	if err != nil {
		return answered("couldn't see which connections are open", err)
	}
	open, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c connection, err error) {
		return c, row.Scan(&c.pid, &c.from, &c.issuer)
	})
	if err != nil {
		return answered("couldn't see which connections are open", err)
	}
	issuer := oneLine(old.Issuer)
	for _, c := range open {
		if !strings.HasPrefix(c.issuer, issuer) {
			blocked.Left = append(blocked.Left, fmt.Sprintf("pid %d from %s: it has the serial number, and its issuer is %q and not %q", c.pid, c.from, c.issuer, issuer))
			continue
		}
		c.terminate(ctx, conn, blocked)
	}
	if blocked.Closed > 0 {
		blocked.How = append(blocked.How, "terminated-connections")
	}
	return nil
}

// terminate ends one, and says what came of it.
func (c connection) terminate(ctx context.Context, conn *pgx.Conn, blocked *driver.Blocked) {
	var ended bool
	err := conn.QueryRow(ctx, "SELECT pg_terminate_backend($1, $2)", c.pid, endWithin.Milliseconds()).Scan(&ended)
	if err != nil || !ended {
		blocked.Left = append(blocked.Left, fmt.Sprintf("pid %d from %s: it has been told to end and has not yet", c.pid, c.from))
		return
	}
	blocked.Closed++
	blocked.Changed.Changed = true
}
