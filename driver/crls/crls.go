// SPDX-License-Identifier: Apache-2.0

// Package crls is what the drivers of doors that read revocation lists share: it reads
// the lists that a door has, puts newer ones in their place, and says what is on them.
//
// A list that is taken in is complete, in force, and signed by a CA that the door knows,
// because servers make no good use of others: with GnuTLS the last list of an issuer is
// believed without a look at its signature, and one of several parts hides the others.
package crls

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// maxLists is how many lists of one file are looked at.
const maxLists = 1000

// Extensions that say that a list is not a complete one (RFC 5280 sections 5.2.4 and 5.2.5).
var (
	deltaIndicator    = asn1.ObjectIdentifier{2, 5, 29, 27}
	distributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
)

// Parse reads the lists in a file of PEM; what is no list is passed over, and a list that
// cannot be read is ErrInvalid.
func Parse(text []byte) ([]*x509.RevocationList, error) {
	var lists []*x509.RevocationList
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "X509 CRL" {
			continue
		}
		if len(lists) == maxLists {
			return nil, invalid("there are more than %d revocation lists in it", maxLists)
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, invalid("couldn't read revocation list %d: %v", len(lists)+1, err)
		}
		lists = append(lists, list)
	}
	return lists, nil
}

// PEM writes lists.
func PEM(lists []*x509.RevocationList) []byte {
	var text bytes.Buffer
	for _, list := range lists {
		pem.Encode(&text, &pem.Block{Type: "X509 CRL", Bytes: list.Raw}) // to memory: it cannot fail
	}
	return text.Bytes()
}

// Merge returns the lists of have with each of fresh (DER) in the place of an older one of
// the same CA, or behind the others. Lists of CAs that are not among cas are of no use to the
// door and are left out. What it refuses is ErrInvalid.
func Merge(have []*x509.RevocationList, fresh [][]byte, cas []*x509.Certificate, now time.Time) ([]*x509.RevocationList, error) {
	merged := slices.Clone(have)
	for _, der := range fresh {
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, invalid("couldn't read a revocation list: %v", err)
		}
		if !slices.ContainsFunc(cas, func(ca *x509.Certificate) bool { return Of(list, ca) }) {
			continue
		}
		if err := usable(list, cas, now); err != nil {
			return nil, err
		}
		i := slices.IndexFunc(merged, func(other *x509.RevocationList) bool { return SameIssuer(list, other) })
		switch {
		case i < 0:
			merged = append(merged, list)
		case newer(list, merged[i]):
			merged[i] = list
		}
	}
	return merged, nil
}

func usable(list *x509.RevocationList, cas []*x509.Certificate, now time.Time) error {
	of := network.Quote(list.Issuer.String())
	for _, extension := range list.Extensions {
		if extension.Id.Equal(deltaIndicator) || extension.Id.Equal(distributionPoint) {
			return invalid("the revocation list of %s is only a part of one", of)
		}
	}
	if list.ThisUpdate.After(now) {
		return invalid("the revocation list of %s begins on %s, which is later than now: is a clock wrong?", of, list.ThisUpdate.UTC().Format(time.RFC3339))
	}
	// One without an end is in force until there is another (RFC 5280 section 5.1.2.5 wants one).
	if !list.NextUpdate.IsZero() && !list.NextUpdate.After(now) {
		return invalid("the revocation list of %s ended on %s", of, list.NextUpdate.UTC().Format(time.RFC3339))
	}
	if !slices.ContainsFunc(cas, func(ca *x509.Certificate) bool { return Of(list, ca) && list.CheckSignatureFrom(ca) == nil }) {
		return invalid("the revocation list of %s is not signed by it", of)
	}
	return nil
}

// Of says whether a list is named as one of a CA. It does not check the signature.
func Of(list *x509.RevocationList, ca *x509.Certificate) bool {
	return bytes.Equal(list.RawIssuer, ca.RawSubject) &&
		(len(list.AuthorityKeyId) == 0 || len(ca.SubjectKeyId) == 0 || bytes.Equal(list.AuthorityKeyId, ca.SubjectKeyId))
}

// SameIssuer says whether two lists are of one CA.
func SameIssuer(a, b *x509.RevocationList) bool {
	return bytes.Equal(a.RawIssuer, b.RawIssuer) && bytes.Equal(a.AuthorityKeyId, b.AuthorityKeyId)
}

func newer(a, b *x509.RevocationList) bool {
	if a.Number != nil && b.Number != nil {
		return a.Number.Cmp(b.Number) > 0
	}
	return a.ThisUpdate.After(b.ThisUpdate)
}

// Revoked says whether a certificate is on one of the lists.
func Revoked(lists []*x509.RevocationList, c *x509.Certificate) bool {
	return slices.ContainsFunc(lists, func(list *x509.RevocationList) bool {
		return bytes.Equal(list.RawIssuer, c.RawIssuer) &&
			(len(list.AuthorityKeyId) == 0 || len(c.AuthorityKeyId) == 0 || bytes.Equal(list.AuthorityKeyId, c.AuthorityKeyId)) &&
			slices.ContainsFunc(list.RevokedCertificateEntries, func(e x509.RevocationListEntry) bool { return e.SerialNumber.Cmp(c.SerialNumber) == 0 })
	})
}

// Names returns the names of all that is on the lists, as driver.View.Denies has them.
func Names(lists []*x509.RevocationList) []string {
	var names []string
	for _, list := range lists {
		for _, entry := range list.RevokedCertificateEntries {
			names = append(names, driver.SerialName(list.RawIssuer, entry.SerialNumber))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Without returns those of cas that none of the lists is of.
func Without(lists []*x509.RevocationList, cas []*x509.Certificate) []*x509.Certificate {
	var bare []*x509.Certificate
	for _, ca := range cas {
		if !slices.ContainsFunc(lists, func(list *x509.RevocationList) bool { return Of(list, ca) }) {
			bare = append(bare, ca)
		}
	}
	return bare
}

// Ended returns sentences for people on lists that are no longer, or not yet, in force.
func Ended(lists []*x509.RevocationList, now time.Time) []string {
	var notes []string
	for _, list := range lists {
		if !list.NextUpdate.IsZero() && now.After(list.NextUpdate) {
			notes = append(notes, fmt.Sprintf("the revocation list of %s ended on %s: bring a new one", network.Quote(list.Issuer.String()), list.NextUpdate.UTC().Format(time.RFC3339)))
		}
	}
	return notes
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
