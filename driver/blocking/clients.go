// SPDX-License-Identifier: Apache-2.0

package blocking

import (
	"bytes"
	"context"
	"crypto/x509"
	"slices"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// AuthoritiesAt reads the CAs in files of a host.
func AuthoritiesAt(ctx context.Context, h driver.Host, paths ...string) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for _, path := range paths {
		text, err := h.ReadFile(ctx, path, MaxFile)
		if err != nil {
			return nil, err
		}
		all = append(all, ReadCertificates(text)...)
	}
	return all, nil
}

// Show adds to a view the CAs in the files of those whose clients get in, and whom the files
// of revocation lists refuse. It returns the lists that it could show in full, by their file.
func Show(ctx context.Context, h driver.Host, authorities, files []string, view *driver.View) (map[string]Lists, error) {
	cas, err := AuthoritiesAt(ctx, h, authorities...)
	if err != nil {
		return nil, err
	}
	for _, c := range cas {
		view.Authorities = append(view.Authorities, c.Raw)
	}
	whole := map[string]Lists{}
	for _, path := range files {
		lists, err := ListsAt(ctx, h, path)
		if err != nil {
			return nil, err
		}
		names, all := lists.Names()
		if !all {
			view.Notes = append(view.Notes, path+" names more than 100,000 certificates, which are not listed here")
			continue
		}
		view.Denies = append(view.Denies, names...)
		whole[path] = lists
	}
	return whole, nil
}

// ShowTo adds to a view whom a server lets in that trusts the authorities, and whom it refuses
// that has these lists, with a sentence for people on each that has ended.
func (l Lists) ShowTo(view *driver.View, authorities []*x509.Certificate, now time.Time) {
	for _, ca := range authorities {
		view.Authorities = append(view.Authorities, ca.Raw)
	}
	slices.SortFunc(view.Authorities, bytes.Compare)
	var all bool
	if view.Denies, all = l.Names(); !all {
		view.Notes = append(view.Notes, "has more on its revocation lists than is shown")
	}
	view.Notes = append(view.Notes, l.Ended(now)...)
}

// LetsIn says whether a server that trusts the authorities, and reads a file of revocation
// lists unless that is "", lets in a certificate.
func LetsIn(ctx context.Context, h driver.Host, p driver.Public, authorities []*x509.Certificate, file string, now time.Time) (bool, error) {
	if len(p.Chain) == 0 {
		return false, nil
	}
	leaf, err := p.Leaf()
	if err != nil || Trusted(p.Chain, authorities, now) != nil {
		return false, err
	}
	if file == "" {
		return true, nil
	}
	lists, err := ListsAt(ctx, h, file)
	return err == nil && !lists.Has(leaf), err
}

// Admit returns a file of CAs by which a server lets in what a request wants it to.
func Admit(text []byte, r driver.TrustRequest) ([]byte, error) {
	return AddAuthorities(text, r.New, r.Authorities, func(all []*x509.Certificate) error { return Trusted(r.New.Chain, all, r.Now()) })
}

// MergeAt returns a file of lists of a host with newer ones merged into it. One that has them
// is left as it was written.
func MergeAt(ctx context.Context, h driver.Host, path string, ders, chain [][]byte, authorities []*x509.Certificate, now time.Time) (installing.File, error) {
	text, err := h.ReadFile(ctx, path, MaxFile)
	if err != nil {
		return installing.File{}, err
	}
	have, err := ReadLists(text)
	if err != nil {
		return installing.File{}, err
	}
	merged, err := have.Merge(ders, chain, authorities, now)
	if err != nil {
		return installing.File{}, err
	}
	if !slices.EqualFunc(have, merged, func(a, b *x509.RevocationList) bool { return bytes.Equal(a.Raw, b.Raw) }) {
		text = merged.PEM()
	}
	return installing.File{Path: path, Content: text, Mode: 0o644}, nil
}

// Relist adds a line to a list of denied certificates, or takes away all that are of the same
// one, and leaves every other line as it is. A list that is so already is returned as it is.
func Relist(text []byte, line string, same func(line []byte) bool, lift bool) []byte {
	listed := false
	var others []byte
	for one := range bytes.Lines(text) {
		if same(one) {
			listed = true
		} else {
			others = append(others, one...)
		}
	}
	switch {
	case listed != lift:
		return text
	case lift:
		return others
	case len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")):
		return slices.Concat(text, []byte("\n"+line+"\n"))
	}
	return slices.Concat(text, []byte(line+"\n"))
}
