// SPDX-License-Identifier: Apache-2.0

package blocking

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/driver"
)

// What a credential made necessary stands between two lines of its own. That is how it is
// known from what was there before, and from what another credential needs.
const (
	markBegin = "# tallystick: for "
	markEnd   = "# tallystick: end\n"
)

func markOf(p driver.Public) []byte {
	for _, name := range p.Names() {
		if strings.HasPrefix(name, "cert-sha256:") {
			return []byte(markBegin + name + "\n")
		}
	}
	return nil
}

// AddAuthorities adds to a file of CAs (PEM) those that a credential needs and that are
// not in it for good: those that lead up from it, of its own chain and of what is
// offered. With what trusted says no to, nothing comes of it but ErrInvalid. A file that
// has all that is needed is returned as it is.
func AddAuthorities(text []byte, p driver.Public, offered [][]byte, trusted func([]*x509.Certificate) error) ([]byte, error) {
	if mark := markOf(p); mark == nil || bytes.Contains(text, mark) {
		return text, trusted(ReadCertificates(text))
	}
	lasting := ReadCertificates(lasting(text))
	if trusted(lasting) == nil {
		return text, nil
	}
	candidates, err := parseAll(slices.Concat(p.Chain, offered))
	if err != nil {
		return nil, err
	}
	all := slices.Concat(candidates, lasting)
	var added bytes.Buffer
	var known []*x509.Certificate
	below := all[0]
	for range all {
		i := slices.IndexFunc(all, func(c *x509.Certificate) bool {
			return bytes.Equal(c.RawSubject, below.RawIssuer) && below.CheckSignatureFrom(c) == nil
		})
		if i < 0 || all[i].Equal(below) {
			break
		}
		below = all[i]
		if !slices.ContainsFunc(lasting, below.Equal) {
			known = append(known, below)
			pem.Encode(&added, &pem.Block{Type: "CERTIFICATE", Bytes: below.Raw}) // to memory: it cannot fail
		}
	}
	if err := trusted(slices.Concat(lasting, known)); err != nil {
		return nil, invalid("the server would refuse the new certificate, because not all CAs above it are at hand: %v", err)
	}
	if len(text) > 0 && !bytes.HasSuffix(text, []byte("\n")) {
		text = slices.Concat(text, []byte("\n"))
	}
	return slices.Concat(text, markOf(p), added.Bytes(), []byte(markEnd)), nil
}

// WithdrawAuthorities takes away what AddAuthorities added for a credential.
func WithdrawAuthorities(text []byte, p driver.Public) []byte {
	mark := markOf(p)
	if mark == nil {
		return text
	}
	without, _ := cut(text, mark)
	return without
}

// lasting is a file without what was added for any credential.
func lasting(text []byte) []byte {
	for found := true; found; {
		text, found = cut(text, []byte(markBegin))
	}
	return text
}

// cut takes away the first part that begins with mark.
func cut(text, mark []byte) ([]byte, bool) {
	before, rest, found := bytes.Cut(text, mark)
	_, after, ended := bytes.Cut(rest, []byte(markEnd))
	if !found || !ended {
		return text, false
	}
	return slices.Concat(before, after), true
}
