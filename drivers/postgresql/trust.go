// SPDX-License-Identifier: Apache-2.0

package postgresql

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
)

// Trust lets a credential in that has the common name of the one that it comes after. One
// with another common name gets the lines of pg_ident.conf that name the old one. Where its
// CA is not one of the server's, that is added, with its revocation lists where it wants some.
func (d *door) Trust(ctx context.Context, request driver.TrustRequest) (driver.Changed, error) {
	if _, err := request.New.Leaf(); err != nil {
		return driver.Changed{}, err
	}
	now, err := d.settings(ctx, request.Host)
	if err != nil {
		return driver.Changed{}, err
	}
	if !now.ssl || now.ca == "" || !now.byCertificate {
		return driver.Changed{}, fmt.Errorf("%w: PostgreSQL lets nobody in by certificate (pg_hba.conf, ssl_ca_file)", tallystick.ErrNotFound)
	}
	text, err := request.Host.ReadFile(ctx, now.ca, blocking.MaxFile)
	if err != nil {
		return driver.Changed{}, err
	}
	files, err := d.certified(ctx, request, now, text)
	if err != nil {
		return driver.Changed{}, err
	}
	mapping, err := d.mapping(ctx, request, now)
	if err != nil {
		return driver.Changed{}, err
	}
	if mapping != nil {
		files = append(files, *mapping)
	}
	reread := false
	for _, file := range files {
		if path.Dir(file.Path) == now.dir {
			continue // each connection reads those anew
		}
		unread, err := now.unread(ctx, request.Host, file.Path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return driver.Changed{}, err
		}
		reread = reread || unread
	}
	changed, err := d.do(ctx, request.Host, now, change{files: files, journal: installing.JournalFor(now.ca), reread: reread})
	if err != nil || !changed {
		return driver.Changed{}, err
	}
	return driver.Changed{Changed: true, How: []string{"reload"}, Detail: "wrote " + now.ca + ", where needed " + now.ident + ", and pg_reload_conf()"}, nil
}

// certified returns the file of the CAs as it has to be, behind the revocation lists that the
// server wants of a new one.
func (d *door) certified(ctx context.Context, request driver.TrustRequest, now settings, text []byte) ([]installing.File, error) {
	if request.Withdraw {
		return []installing.File{{Path: now.ca, Content: blocking.WithdrawAuthorities(text, request.New), Mode: 0o644}}, nil
	}
	if err := blocking.Trusted(request.Like.Chain, blocking.ReadCertificates(text), request.Now()); err != nil {
		return nil, fmt.Errorf("%w: PostgreSQL does not let in the certificate that the new one shall be like: %w", tallystick.ErrNotFound, err)
	}
	next, err := blocking.Admit(text, request)
	if err != nil {
		return nil, err
	}
	file := installing.File{Path: now.ca, Content: next, Mode: 0o644}
	if now.list == "" && now.dir == "" {
		return []installing.File{file}, nil
	}
	have, err := d.revocations(ctx, request.Host, now)
	if err != nil {
		return nil, err
	}
	lists, err := have.all().Merge(request.CRLs, request.New.Chain, blocking.ReadCertificates(next), request.Now())
	if err != nil {
		return nil, err
	}
	c, _, err := d.listChange(ctx, request.Host, now, have, lists)
	return append(c.files, file), err
}

// mark ends the lines of pg_ident.conf that Trust adds; what follows is for whom.
const mark = " # added by Tallystick for "

// mapping returns what pg_ident.conf has to be, or nil where it says nothing of either.
func (d *door) mapping(ctx context.Context, request driver.TrustRequest, now settings) (*installing.File, error) {
	end := mark + string(tallystick.FingerprintOf(request.New.Chain[0])) + "\n"
	if request.Withdraw {
		text, err := request.Host.ReadFile(ctx, now.ident, blocking.MaxFile)
		if err != nil {
			return nil, err
		}
		lines := slices.DeleteFunc(bytes.SplitAfter(text, []byte("\n")), func(line []byte) bool { return bytes.HasSuffix(line, []byte(end)) })
		return &installing.File{Path: now.ident, Content: bytes.Join(lines, nil), Mode: 0o600}, nil
	}
	next, like, err := commonNames(request.New, request.Like)
	if err != nil || next == like {
		return nil, err
	}
	if next == "" || strings.HasPrefix(next, "/") || strings.ContainsFunc(next, unicode.IsControl) {
		return nil, invalid("pg_ident.conf has no way to write the common name of the new certificate, %q", next)
	}
	lines, err := d.linesOf(ctx, request.Host, like)
	if err != nil {
		return nil, err
	}
	text, err := request.Host.ReadFile(ctx, now.ident, blocking.MaxFile)
	if err != nil {
		return nil, err
	}
	if bytes.Contains(text, []byte(end)) {
		return &installing.File{Path: now.ident, Content: text, Mode: 0o600}, nil
	}
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		text = append(text, '\n')
	}
	for _, line := range lines {
		text = fmt.Appendf(text, "%s %s %s%s", quoted(line[0]), quoted(next), quoted(line[1]), end)
	}
	return &installing.File{Path: now.ident, Content: text, Mode: 0o600}, nil
}

// linesOf returns the map and the role of each line of pg_ident.conf for a name.
func (d *door) linesOf(ctx context.Context, h driver.Host, name string) ([][2]string, error) {
	conn, err := d.connect(ctx, h)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, "SELECT map_name, pg_username FROM pg_ident_file_mappings WHERE sys_name = $1 AND error IS NULL ORDER BY line_number", name)
	if err != nil {
		return nil, answered("couldn't read pg_ident.conf", err)
	}
	defer rows.Close()
	var lines [][2]string
	for rows.Next() {
		var line [2]string
		if err := rows.Scan(&line[0], &line[1]); err != nil {
			return nil, answered("couldn't read pg_ident.conf", err)
		}
		lines = append(lines, line)
	}
	if err := rows.Err(); err != nil {
		return nil, answered("couldn't read pg_ident.conf (its lines are told by PostgreSQL 15 and newer)", err)
	}
	if len(lines) == 0 {
		return nil, invalid("PostgreSQL knows clients by their common name, and no line of pg_ident.conf names %q: issue the new certificate with the same one", name)
	}
	return lines, nil
}

// quoted writes a word of pg_ident.conf.
func quoted(word string) string { return `"` + strings.ReplaceAll(word, `"`, `""`) + `"` }

func commonNames(next, like driver.Public) (string, string, error) {
	a, err := next.Leaf()
	if err != nil {
		return "", "", err
	}
	b, err := like.Leaf()
	if err != nil {
		return "", "", err
	}
	return a.Subject.CommonName, b.Subject.CommonName, nil
}
