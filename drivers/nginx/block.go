// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/processes"
)

// Block puts a certificate on the list of denied ones, which holds for resumed sessions
// too, and writes the revocation lists; after the reload it ends workers that know of
// neither. Where one of the two is enough, and the other is not there, it does without.
func (d *Door) Block(ctx context.Context, r driver.BlockRequest) (driver.Blocked, error) {
	leaf, err := leafOf(r.Old)
	if err != nil {
		return driver.Blocked{}, err
	}
	s, err := d.load(ctx, r.Host)
	if err != nil {
		return driver.Blocked{}, err
	}
	if !s.verifies() {
		return driver.Blocked{}, invalid("no server of nginx lets clients in by certificate: there is nobody to refuse")
	}
	list, how, err := d.listFile(ctx, r, s, leaf)
	if err != nil {
		return driver.Blocked{}, err
	}
	files := list
	if !r.Lift {
		crls, err := d.crlFiles(ctx, r, s, leaf)
		if err != nil {
			return driver.Blocked{}, err
		}
		if len(crls) > 0 {
			files, how = append(files, crls...), append(how, "crl")
		}
	}
	if len(files) == 0 {
		return driver.Blocked{Changed: driver.Changed{Detail: "there is nothing to lift: nginx has no list of denied certificates"}}, nil
	}
	var blocked driver.Blocked
	ended := 0
	blocked.Changed.Changed, err = d.apply(ctx, r.Host, s, files, func(ctx context.Context) (err error) {
		ended, blocked.Left, err = d.endOldWorkers(ctx, r, s)
		return err
	})
	if err != nil {
		return driver.Blocked{}, err
	}
	blocked.Detail = "nothing was to be done"
	if blocked.Changed.Changed {
		blocked.How = append(how, "reload")
		blocked.Detail = "nginx has read " + installing.Paths(files)
		if !r.Lift {
			blocked.Detail += "; its workers of the time before closed idle connections" + d.ending(ended)
		}
	}
	return blocked, nil
}

func (d *Door) ending(ended int) string {
	if ended == 0 {
		return ", finished the others and ended"
	}
	return fmt.Sprintf(", and %d that had others after %s were ended with them; nginx does not say whose those were", ended, d.options.Grace)
}

// endOldWorkers ends those who do not know what has been read.
func (d *Door) endOldWorkers(ctx context.Context, r driver.BlockRequest, s *site) (int, []string, error) {
	if r.Lift {
		return 0, nil, nil
	}
	master, err := processes.Master(ctx, r.Host, s.pidFile)
	if err != nil {
		return 0, nil, err
	}
	return processes.End(ctx, r.Host, master, d.options.Grace, stale)
}

// listFile returns the list of denied certificates as it shall be, where servers go by
// one. What cannot be done without it is ErrInvalid.
func (d *Door) listFile(ctx context.Context, r driver.BlockRequest, s *site, leaf *x509.Certificate) ([]installing.File, []string, error) {
	listed := false
	for _, one := range s.servers {
		if !one.verify {
			continue
		}
		listed = listed || one.denies
		if one.denies || r.Lift {
			continue
		}
		address := one.listeners[0].Address
		if one.crl == "" || len(r.CRLs) == 0 {
			return nil, nil, invalid("the server at %s reads no revocation list of this CA and has no list of denied certificates: %s", address, d.hint())
		}
		if one.outlives {
			return nil, nil, invalid("the server at %s keeps sessions over a reload, and would let them in in spite of a revocation list: %s", address, d.hint())
		}
	}
	if !listed {
		return nil, nil, nil
	}
	text, err := r.Host.ReadFile(ctx, d.options.Deny, blocking.MaxFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, err
	}
	sum := sha1.Sum(leaf.Raw) // the only one that nginx knows
	return []installing.File{{Path: d.options.Deny, Content: relist(text, hex.EncodeToString(sum[:]), r.Lift), Mode: 0o644}}, []string{"deny-list"}, nil
}

func (d *Door) hint() string {
	return "docs/doors.md has the lines for nginx.conf that include " + d.options.Deny
}

// entry is a line of the list; nginx writes fingerprints so.
var entry = regexp.MustCompile(`(?m)^([0-9a-f]{40}) 1;`)

// entries returns the fingerprints on a list.
func entries(text []byte) []string {
	var all []string
	for _, match := range entry.FindAllSubmatch(text, -1) {
		all = append(all, string(match[1]))
	}
	return all
}

// relist adds a fingerprint to a list or takes it away, and leaves every other line as it is.
func relist(text []byte, fingerprint string, lift bool) []byte {
	return blocking.Relist(text, fingerprint+" 1;", func(line []byte) bool { return bytes.HasPrefix(line, []byte(fingerprint+" 1;")) }, lift)
}

// crlFiles returns the files of revocation lists as they shall be.
func (d *Door) crlFiles(ctx context.Context, r driver.BlockRequest, s *site, leaf *x509.Certificate) ([]installing.File, error) {
	if len(r.CRLs) == 0 {
		return nil, nil
	}
	var files []installing.File
	for _, path := range s.crls() {
		authorities, err := s.authorities(ctx, r.Host, path)
		if err != nil {
			return nil, err
		}
		file, err := blocking.MergeAt(ctx, r.Host, path, r.CRLs, r.Old.Chain, authorities, r.Now())
		if err != nil {
			return nil, err
		}
		merged, err := blocking.ReadLists(file.Content)
		if err != nil {
			return nil, err
		}
		if !merged.Has(leaf) && !s.allDeny() {
			return nil, invalid("the revocation lists do not name the certificate, and not every server has a list of denied ones: %s", d.hint())
		}
		files = append(files, file)
	}
	return files, nil
}

// authorities are the CAs of the servers that read a file of revocation lists.
func (s *site) authorities(ctx context.Context, h driver.Host, crl string) ([]*x509.Certificate, error) {
	var files []string
	for _, one := range s.servers {
		if one.verify && one.crl == crl {
			files = append(files, one.clientCAs...)
		}
	}
	return blocking.AuthoritiesAt(ctx, h, files...)
}

func (s *site) allDeny() bool {
	return !slices.ContainsFunc(s.servers, func(one server) bool { return one.verify && !one.denies })
}

func leafOf(p driver.Public) (*x509.Certificate, error) {
	if len(p.Chain) == 0 {
		return nil, fmt.Errorf("%w: nginx lets nobody in but by certificate", tallystick.ErrNotFound)
	}
	return p.Leaf()
}
