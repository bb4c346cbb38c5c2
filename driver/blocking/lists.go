// SPDX-License-Identifier: Apache-2.0

// Package blocking is what drivers of doors share that decide about clients by files: those
// of revocation lists, and those of the CAs whose clients get in.
package blocking

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/network"
)

// MaxFile bounds the files of lists and of certificates that are read, in bytes.
const MaxFile = installing.MaxFile

// Lists are the revocation lists in one file of a server, in their order.
type Lists []*x509.RevocationList

// ReadLists reads a file of lists (PEM). Its errors are ErrInvalid.
func ReadLists(text []byte) (Lists, error) {
	var lists Lists
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, invalid("couldn't read revocation list %d: %v", len(lists)+1, err)
		}
		lists = append(lists, list)
	}
	return lists, nil
}

// ListsAt reads the lists in a file of a host.
func ListsAt(ctx context.Context, h driver.Host, path string) (Lists, error) {
	text, err := h.ReadFile(ctx, path, MaxFile)
	if err != nil {
		return nil, err
	}
	return ReadLists(text)
}

// PEM writes the lists as servers read them.
func (l Lists) PEM() []byte {
	var text bytes.Buffer
	for _, list := range l {
		pem.Encode(&text, &pem.Block{Type: "X509 CRL", Bytes: list.Raw}) // to memory: it cannot fail
	}
	return text.Bytes()
}

// Has says whether a certificate is on one of the lists.
func (l Lists) Has(leaf *x509.Certificate) bool {
	return slices.ContainsFunc(l, func(list *x509.RevocationList) bool {
		return bytes.Equal(list.RawIssuer, leaf.RawIssuer) &&
			slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(leaf.SerialNumber) == 0 })
	})
}

// maxNames is how many entries of lists Names returns.
const maxNames = 100_000

// Names returns driver.SerialName of every entry, sorted, and whether that is all: more
// than 100,000 are none, because nobody looks through them in a View.
func (l Lists) Names() (names []string, all bool) {
	count := 0
	for _, list := range l {
		count += len(list.RevokedCertificateEntries)
	}
	if count > maxNames {
		return nil, false
	}
	for _, list := range l {
		for _, entry := range list.RevokedCertificateEntries {
			names = append(names, driver.SerialName(list.RawIssuer, entry.SerialNumber))
		}
	}
	slices.Sort(names)
	return slices.Compact(names), true
}

// Merge puts newer lists in the place of older ones of the same CA, and the rest behind
// them. It takes only what a server can rely on: whole lists (RFC 5280 sections 5.2.4
// and 5.2.5: neither a delta nor of a part of the certificates) that have not ended at
// now, signed by a CA of the authorities or by one of the chain above old.
//
// Servers that read lists want one of every CA in a client's chain, or refuse all
// clients of it: where the outcome lacks one that old needs, nothing comes of it but
// ErrInvalid.
func (l Lists) Merge(ders [][]byte, chain [][]byte, authorities []*x509.Certificate, now time.Time) (Lists, error) {
	certificates, err := parseAll(chain)
	if err != nil {
		return nil, err
	}
	merged := slices.Clone(l)
	for _, der := range ders {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, invalid("couldn't read a revocation list: %v", err)
		}
		if err := usable(list, slices.Concat(certificates[min(1, len(certificates)):], authorities), now); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(merged, func(have *x509.RevocationList) bool { return SameCA(have, list) })
		switch {
		case i < 0:
			merged = append(merged, list)
		case newer(list, merged[i]):
			merged[i] = list
		}
	}
	for _, c := range certificates {
		if !merged.reach(c, slices.Concat(certificates, authorities)) {
			return nil, invalid("there is no revocation list of %s, without which the server would refuse every client below it: hand over one of each CA of the chain",
				network.Quote(c.Issuer.String()))
		}
	}
	return merged, nil
}

// reach says whether there is a list of the CA that signed a certificate. CAs of one name
// are told apart by their keys, where the CA is at hand.
func (l Lists) reach(c *x509.Certificate, authorities []*x509.Certificate) bool {
	i := slices.IndexFunc(authorities, func(a *x509.Certificate) bool {
		return bytes.Equal(a.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(a) == nil
	})
	return slices.ContainsFunc(l, func(list *x509.RevocationList) bool {
		return bytes.Equal(list.RawIssuer, c.RawIssuer) && (i < 0 || list.CheckSignatureFrom(authorities[i]) == nil)
	})
}

// usable says whether a server can rely on a list.
func usable(list *x509.RevocationList, authorities []*x509.Certificate, now time.Time) error {
	name := network.Quote(list.Issuer.String())
	for _, e := range list.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 27}) || e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 28}) {
			return invalid("the revocation list of %s is not a whole one: servers want one that names all that are revoked", name)
		}
	}
	if !list.NextUpdate.IsZero() && now.After(list.NextUpdate) {
		return invalid("the revocation list of %s ended on %s: a server that reads it refuses every client", name, list.NextUpdate.UTC().Format(time.RFC3339))
	}
	if now.Before(list.ThisUpdate) {
		return invalid("the revocation list of %s begins on %s, which is later than now: is a clock wrong?", name, list.ThisUpdate.UTC().Format(time.RFC3339))
	}
	if !slices.ContainsFunc(authorities, func(c *x509.Certificate) bool {
		return bytes.Equal(c.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(c) == nil
	}) {
		return invalid("the revocation list of %s is signed by no CA that the server trusts for clients", name)
	}
	return nil
}

// SameCA says whether two lists are of one key of one CA.
func SameCA(a, b *x509.RevocationList) bool {
	return bytes.Equal(a.RawIssuer, b.RawIssuer) && bytes.Equal(a.AuthorityKeyId, b.AuthorityKeyId)
}

// newer goes by the number (RFC 5280 section 5.2.3), and where one is missing by the time.
func newer(a, b *x509.RevocationList) bool {
	if a.Number != nil && b.Number != nil {
		return a.Number.Cmp(b.Number) > 0
	}
	return a.ThisUpdate.After(b.ThisUpdate)
}

// ReadCertificates reads the certificates of a file of CAs, PEM; what else is in it, or
// cannot be read, it leaves out, as servers do.
func ReadCertificates(text []byte) []*x509.Certificate {
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && block.Type != "X509 CRL" {
			all = append(all, c)
		}
	}
	return all
}

// Trusted says whether a server that trusts the authorities lets a client in by a chain: it
// leads to one of them that signed itself, as OpenSSL wants it, is for clients, and
// nothing of it has ended.
func Trusted(chain [][]byte, authorities []*x509.Certificate, now time.Time) error {
	certificates, err := parseAll(chain)
	if err != nil {
		return err
	}
	if len(certificates) == 0 {
		return invalid("there is no certificate")
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, c := range authorities {
		if bytes.Equal(c.RawSubject, c.RawIssuer) {
			options.Roots.AddCert(c)
		} else {
			options.Intermediates.AddCert(c)
		}
	}
	for _, c := range certificates[1:] {
		options.Intermediates.AddCert(c)
	}
	_, err = certificates[0].Verify(options)
	return err
}

func parseAll(ders [][]byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for i, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, invalid("couldn't read certificate %d of the chain: %v", i+1, err)
		}
		all = append(all, c)
	}
	return all, nil
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
