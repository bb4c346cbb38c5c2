// SPDX-License-Identifier: Apache-2.0

package nginx

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/blocking"
	"github.com/tallystick/tallystick/driver/installing"
)

// Trust adds the CAs of a certificate to the files of CAs whose clients get in, where
// they are not there yet, with their revocation lists where lists are read. nginx lets
// in all that a CA has signed, so that mostly there is nothing to do.
func (d *Door) Trust(ctx context.Context, r driver.TrustRequest) (driver.Changed, error) {
	if _, err := leafOf(r.New); err != nil {
		return driver.Changed{}, err
	}
	s, err := d.load(ctx, r.Host)
	if err != nil {
		return driver.Changed{}, err
	}
	files, err := d.trustFiles(ctx, r, s)
	if err != nil {
		return driver.Changed{}, err
	}
	if len(files) == 0 {
		return driver.Changed{Detail: "there is nothing to do"}, nil
	}
	changed, err := d.apply(ctx, r.Host, s, files, nil)
	if err != nil {
		return driver.Changed{}, err
	}
	if !changed {
		return driver.Changed{Detail: "nginx lets in all that its CA has signed: there is nothing to do"}, nil
	}
	return driver.Changed{Changed: true, How: []string{"client-ca", "reload"}, Detail: "nginx has read " + installing.Paths(files)}, nil
}

// trustFiles are the files as they shall be: those of CAs first, then lists.
func (d *Door) trustFiles(ctx context.Context, r driver.TrustRequest, s *site) ([]installing.File, error) {
	var files, lists []installing.File
	let := 0
	for _, one := range s.servers {
		if !one.verify || len(one.clientCAs) == 0 {
			continue
		}
		path := one.clientCAs[0] // of ssl_client_certificate where there is one
		text, err := r.Host.ReadFile(ctx, path, blocking.MaxFile)
		if err != nil {
			return nil, err
		}
		if r.Withdraw {
			files = append(files, installing.File{Path: path, Content: blocking.WithdrawAuthorities(text, r.New), Mode: 0o644})
			continue
		}
		in, err := d.letsIn(ctx, r, s, one)
		if err != nil {
			return nil, err
		}
		if !in {
			continue
		}
		let++
		added, err := blocking.Admit(text, r)
		if err != nil {
			return nil, err
		}
		files = append(files, installing.File{Path: path, Content: added, Mode: 0o644})
		if one.crl == "" {
			continue
		}
		list, err := blocking.MergeAt(ctx, r.Host, one.crl, r.CRLs, r.New.Chain, blocking.ReadCertificates(added), r.Now())
		if err != nil {
			return nil, err
		}
		lists = append(lists, list)
	}
	if let == 0 && !r.Withdraw {
		return nil, fmt.Errorf("%w: nginx lets nobody in by the certificate that the new one shall be like", tallystick.ErrNotFound)
	}
	slices.SortFunc(files, byPath)
	slices.SortFunc(lists, byPath)
	same := func(a, b installing.File) bool { return a.Path == b.Path }
	return append(slices.CompactFunc(files, same), slices.CompactFunc(lists, same)...), nil
}

func byPath(a, b installing.File) int { return bytes.Compare([]byte(a.Path), []byte(b.Path)) }

// letsIn says whether a server lets in the one that the new one shall be like.
func (d *Door) letsIn(ctx context.Context, r driver.TrustRequest, s *site, one server) (bool, error) {
	authorities, err := blocking.AuthoritiesAt(ctx, r.Host, one.clientCAs...)
	if err != nil {
		return false, err
	}
	in, err := blocking.LetsIn(ctx, r.Host, r.Like, authorities, one.crl, r.Now())
	if err != nil || !in || !one.denies {
		return in, err
	}
	denied, err := d.deniedNow(ctx, r.Host)
	sum := sha1.Sum(r.Like.Chain[0])
	return !slices.Contains(denied, hex.EncodeToString(sum[:])), err
}
