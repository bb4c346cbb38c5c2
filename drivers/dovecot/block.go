// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
)

// BlocksByList says that Dovecot has no other way than the list of a CA.
func (d *door) BlocksByList() bool { return true }

// Block puts the lists into the files of ssl_ca that trust the certificate, has Dovecot
// read them, and ends the sessions of the certificate's user: those that the new one of
// that user has begun, too, because Dovecot does not tell them apart.
//
// A session of TLS is never a way past it: processes of Dovecot that take one client each
// know no session of another, those that take many refuse to resume one that has a
// certificate, and a reload replaces the keys of tickets of all of them.
func (d *door) Block(ctx context.Context, request driver.BlockRequest) (driver.Blocked, error) {
	h := request.Host
	leaf, err := request.Old.Leaf()
	if err != nil {
		return driver.Blocked{}, err
	}
	c, err := d.read(ctx, h)
	if err != nil || request.Lift || !verifies(c) {
		return driver.Blocked{}, err // lists stay
	}
	files, err := d.listed(ctx, h, c, leaf, request)
	if err != nil {
		return driver.Blocked{}, err
	}
	var blocked driver.Blocked
	how, err := d.reread(ctx, h, c, files, request.Now, func(ctx context.Context) (err error) {
		blocked, err = d.kick(ctx, h, c, leaf)
		return err
	})
	if err != nil || how == nil {
		return driver.Blocked{}, err
	}
	var paths []string
	for _, f := range files {
		paths = append(paths, f.Path)
	}
	blocked.Changed = driver.Changed{Changed: true, How: append([]string{"crl"}, slices.DeleteFunc(how, func(s string) bool { return s == "files" })...)}
	blocked.Detail = "lists in " + strings.Join(paths, ", ") + "; doveadm reload"
	if blocked.Closed > 0 {
		blocked.How = append(blocked.How, "kick")
		blocked.Detail += "; doveadm kick " + userOf(c, leaf)
	}
	return blocked, nil
}

// listed returns the files that have to refuse the certificate, as they shall be.
func (d *door) listed(ctx context.Context, h driver.Host, c *block, leaf *x509.Certificate, request driver.BlockRequest) ([]installing.File, error) {
	var files []installing.File
	for _, path := range d.authorityFiles(c) {
		text, err := h.ReadFile(ctx, path, blocking.MaxFile)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the CAs of Dovecot: %w", err)
		}
		authorities := blocking.ReadCertificates(text)
		if !slices.ContainsFunc(authorities, func(ca *x509.Certificate) bool { return above(ca, request.Old.Chain) }) {
			continue // it gets in by none of these
		}
		if !wantsLists(c) {
			return nil, invalid("Dovecot refuses one certificate of a user by a revocation list alone, and ssl_require_crl is no: put a list of each CA into %s and set ssl_require_crl = yes", path)
		}
		lists, err := blocking.ReadLists(text)
		if err != nil {
			return nil, fmt.Errorf("couldn't read %s: %w", path, err)
		}
		if lists.Has(leaf) {
			files = append(files, installing.File{Path: path, Content: text, Mode: 0o644})
			continue
		}
		merged, err := lists.Merge(request.CRLs, request.Old.Chain, authorities, request.Now())
		if err != nil {
			return nil, err
		}
		if !merged.Has(leaf) {
			return nil, invalid("no revocation list names the certificate: revoke it first, and hand over the list of its CA")
		}
		files = append(files, installing.File{Path: path, Content: withLists(text, merged), Mode: 0o644})
	}
	return files, nil
}

// above says whether a CA signed a certificate of a chain.
func above(ca *x509.Certificate, chain [][]byte) bool {
	return slices.ContainsFunc(chain, func(der []byte) bool {
		c, err := x509.ParseCertificate(der)
		return err == nil && bytes.Equal(c.RawIssuer, ca.RawSubject) && c.CheckSignatureFrom(ca) == nil
	})
}

// withLists returns a file of CAs with these lists in the place of those in it.
func withLists(text []byte, lists blocking.Lists) []byte {
	const begin, end = "-----BEGIN X509 CRL-----", "-----END X509 CRL-----"
	var kept []string
	inside := false
	for line := range strings.Lines(string(text)) {
		inside = inside || strings.HasPrefix(line, begin)
		if !inside {
			kept = append(kept, line)
		}
		inside = inside && !strings.HasPrefix(line, end)
	}
	without := strings.Join(kept, "")
	if without != "" && !strings.HasSuffix(without, "\n") {
		without += "\n"
	}
	return append([]byte(without), lists.PEM()...)
}

// reread writes files of ssl_ca and makes Dovecot read them, or puts back what was there.
// then is called when no process of before takes clients any more. What it says is nil when
// there was nothing to do.
func (d *door) reread(ctx context.Context, h driver.Host, c *block, files []installing.File, now func() time.Time, then func(context.Context) error) ([]string, error) {
	change := installing.Change{Host: h, Files: files, Journal: installing.JournalFor(d.Config), Patience: d.Patience}
	if differs, err := change.Differs(ctx); err != nil || !differs {
		return nil, err
	}
	s, err := d.slot(ctx, h, c)
	if err != nil || s == nil {
		return nil, fmt.Errorf("couldn't tell whether Dovecot serves after a reload: %w", err)
	}
	shown, err := s.Read(ctx, h)
	if err != nil {
		return nil, err
	}
	var unheeded error
	serves := func(ctx context.Context) error {
		_, err := installing.ServedEverywhere(ctx, h, s.listeners, shown.Public, d.Patience, now)
		return errors.Join(unheeded, err)
	}
	change.Check = func(ctx context.Context) error { return d.check(ctx, h) }
	change.Reload = func(ctx context.Context) error {
		unheeded = d.reload(ctx, h, c)
		return unheeded
	}
	change.Arrived = func(ctx context.Context) error {
		if err := serves(ctx); err != nil {
			return err
		}
		return then(ctx)
	}
	change.Returned = serves // which shows no lists: what tells is whether the reload was heeded
	return change.Do(ctx)
}

// kick ends the sessions of the user whom a certificate names.
func (d *door) kick(ctx context.Context, h driver.Host, c *block, leaf *x509.Certificate) (driver.Blocked, error) {
	user := userOf(c, leaf)
	if user == "" {
		return driver.Blocked{Left: []string{"sessions of the certificate that were open: Dovecot does not tell whose they are (auth_ssl_username_from_cert, ssl_cert_username_field); end them with doveadm kick"}}, nil
	}
	return d.end(ctx, h, user)
}

// end ends the sessions of a user.
func (d *door) end(ctx context.Context, h driver.Host, user string) (driver.Blocked, error) {
	if isPattern(user) {
		return driver.Blocked{Left: []string{"sessions of " + strconv.Quote(user) + " that are open: doveadm would read the name as a pattern or an option; end them by restarting Dovecot"}}, nil
	}
	open, err := d.sessions(ctx, h, user)
	if err != nil || open == 0 {
		return driver.Blocked{}, err
	}
	// 68 says that nobody was there any more.
	output, err := h.Run(ctx, driver.Command{Args: []string{"doveadm", "-c", d.Config, "kick", user}})
	if err != nil {
		return driver.Blocked{}, fmt.Errorf("couldn't end the sessions of %s: %w", user, err)
	}
	if output.Exit != 0 && output.Exit != 68 {
		return driver.Blocked{}, fmt.Errorf("couldn't end the sessions of %s: exit status %d: %s", user, output.Exit, installing.Said(output))
	}
	for began := time.Now(); ; time.Sleep(50 * time.Millisecond) {
		left, err := d.sessions(ctx, h, user)
		if err != nil {
			return driver.Blocked{}, err
		}
		if left == 0 {
			return driver.Blocked{Closed: open}, nil
		}
		if time.Since(began) > dying || ctx.Err() != nil {
			return driver.Blocked{Closed: max(0, open-left), Left: []string{strconv.Itoa(left) + " sessions of " + user + ": doveadm kick did not end them, or they began after it"}}, ctx.Err()
		}
	}
}

// dying is the time that a session has to end after it was told to.
const dying = 2 * time.Second

// countSessions counts the lines of doveadm who, without its heading.
func countSessions(text string) int { return max(0, strings.Count(strings.TrimSpace(text), "\n")) }

// userOf returns the user whom Dovecot takes from a certificate; "" where it takes none
// from it, or one that doveadm would read as a pattern or an option.
func userOf(c *block, leaf *x509.Certificate) string {
	if c.values["auth_ssl_username_from_cert"] != "yes" {
		return ""
	}
	field, user := c.values["ssl_cert_username_field"], ""
	for _, name := range leaf.Subject.Names {
		if text, ok := name.Value.(string); ok && user == "" && fieldNames[name.Type.String()] == field {
			user = text
		}
	}
	if strings.Contains(c.values["auth_username_format"], "%L") {
		user = strings.ToLower(user)
	}
	if user == "" || isPattern(user) {
		return ""
	}
	return user
}

// isPattern says whether doveadm would read a name as more than that: a pattern, or an option.
func isPattern(user string) bool {
	return user[0] == '-' || strings.ContainsFunc(user, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune(`*?\`, r) })
}

// fieldNames are what ssl_cert_username_field calls parts of a subject (those of OpenSSL).
var fieldNames = map[string]string{
	"2.5.4.3": "commonName", "2.5.4.45": "x500UniqueIdentifier", "0.9.2342.19200300.100.1.1": "userId", "1.2.840.113549.1.9.1": "emailAddress",
}
