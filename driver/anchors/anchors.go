// SPDX-License-Identifier: Apache-2.0

// Package anchors is what the drivers of doors that let clients in by their CA share: it
// reads the file of the CAs of a door, says whom they let in, and adds a CA to it in such a
// way that it can be told from those of the operator and taken away again.
package anchors

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// maxCAs is how many CAs of one file are looked at.
const maxCAs = 10_000

// mark begins the line before a CA that Add has added; what follows is for whom. Readers of
// PEM pass over such lines (RFC 7468 section 2).
const mark = "# added by Tallystick for "

// Rules are how a TLS library judges clients.
type Rules struct {
	// Partial: a CA in the file ends a chain also where it is not self-signed. GnuTLS does
	// so, and OpenSSL does not as long as nobody asks for X509_V_FLAG_PARTIAL_CHAIN.
	Partial bool
	// Client: a certificate whose extended key usage names others than clients gets in
	// nowhere (RFC 5280 section 4.2.1.12). OpenSSL asks for that of clients; GnuTLS asks nothing.
	Client bool
}

// Parse reads the CAs in a file of PEM. What cannot be read is passed over, as by servers.
func Parse(text []byte) []*x509.Certificate {
	var cas []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil && len(cas) < maxCAs; block, rest = pem.Decode(rest) {
		if c, err := x509.ParseCertificate(block.Bytes); err == nil && strings.HasSuffix(block.Type, "CERTIFICATE") {
			cas = append(cas, c)
		}
	}
	return cas
}

// Raw returns CAs as driver.View.Authorities has them: sorted, each once.
func Raw(cas []*x509.Certificate) [][]byte {
	var ders [][]byte
	for _, ca := range cas {
		ders = append(ders, ca.Raw)
	}
	slices.SortFunc(ders, bytes.Compare)
	return slices.CompactFunc(ders, bytes.Equal)
}

// Lets says whether the CAs let a credential in: whether its chain leads to one of them.
// What it says otherwise is ErrNotFound.
func (r Rules) Lets(public driver.Public, cas []*x509.Certificate, now time.Time) error {
	if len(public.Chain) == 0 {
		return fmt.Errorf("%w: only certificates are let in by CAs", tallystick.ErrNotFound)
	}
	leaf, err := x509.ParseCertificate(public.Chain[0])
	if err != nil {
		return fmt.Errorf("%w: couldn't read the certificate: %w", tallystick.ErrInvalid, err)
	}
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	if r.Client {
		options.KeyUsages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	for _, ca := range cas {
		if r.Partial || bytes.Equal(ca.RawIssuer, ca.RawSubject) {
			options.Roots.AddCert(ca)
		} else {
			options.Intermediates.AddCert(ca)
		}
	}
	for _, der := range public.Chain[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			options.Intermediates.AddCert(c)
		}
	}
	if _, err := leaf.Verify(options); err != nil {
		return fmt.Errorf("%w: the CAs of the door do not let %s in: %w", tallystick.ErrNotFound, network.Quote(leaf.Subject.String()), err)
	}
	return nil
}

// A Change is what Trust does to the file of the CAs.
type Change struct {
	Rules
	Path  string // of the CAs of the door
	Spare string // a file with the CAs that may be added; "" is none
	Now   time.Time
}

// Trust returns the content of the file of CAs that lets public in, or, when withdraw is
// set, without what was added for it. Equal content says that there is nothing to do. A CA
// that is needed and that nobody has agreed to is ErrInvalid.
func (c Change) Trust(ctx context.Context, h driver.Host, text []byte, public driver.Public, withdraw bool) ([]byte, error) {
	if len(public.Chain) == 0 {
		return nil, fmt.Errorf("%w: only certificates are let in by CAs", tallystick.ErrInvalid)
	}
	whom := string(tallystick.FingerprintOf(public.Chain[0]))
	if withdraw {
		return withdrawn(text, whom), nil
	}
	has := Parse(text)
	if c.Lets(public, has, c.Now) == nil {
		return c.shared(text, public, whom), nil
	}
	if c.Spare == "" {
		return nil, fmt.Errorf("%w: the CA of the new certificate is not in %s: add it there, or name a file of CAs that may be added in the option authorities", tallystick.ErrInvalid, c.Path)
	}
	spare, err := h.ReadFile(ctx, c.Spare, 1<<20)
	if err != nil {
		return nil, err
	}
	for _, ca := range Parse(spare) {
		if c.Lets(public, append(slices.Clone(has), ca), c.Now) == nil {
			return added(text, ca, whom), nil
		}
	}
	return nil, fmt.Errorf("%w: neither %s nor %s has the CA of the new certificate: add it to one of them", tallystick.ErrInvalid, c.Path, c.Spare)
}

// added writes a CA behind the others, with a line that says for whom.
func added(text []byte, ca *x509.Certificate, whom string) []byte {
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(slices.Clone(text), '\n')
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	return slices.Concat(text, []byte(mark+whom+"\n"), block)
}

// withdrawn takes away the line of whom, and the CA behind it when no other line is left.
func withdrawn(text []byte, whom string) []byte {
	line := []byte(mark + whom + "\n")
	start := bytes.Index(text, line)
	if start < 0 {
		return text
	}
	before, behind := text[:start], text[start+len(line):]
	previous := before[bytes.LastIndexByte(bytes.TrimSuffix(before, []byte("\n")), '\n')+1:]
	if !bytes.HasPrefix(previous, []byte(mark)) && !bytes.HasPrefix(behind, []byte(mark)) {
		if block, rest := pem.Decode(behind); block != nil {
			behind = rest
		}
	}
	return slices.Concat(before, behind)
}

// shared writes a further line before the CA that was added for somebody else, where it is
// that CA alone that lets public in: it has to stay when the other is withdrawn.
func (c Change) shared(text []byte, public driver.Public, whom string) []byte {
	for at := 0; ; {
		next := bytes.Index(text[at:], []byte(mark))
		if next < 0 || bytes.Contains(text, []byte(mark+whom+"\n")) {
			return text
		}
		start := at + next
		_, rest := pem.Decode(text[start:])
		if c.Lets(public, Parse(slices.Concat(text[:start], rest)), c.Now) != nil {
			return slices.Concat(text[:start], []byte(mark+whom+"\n"), text[start:])
		}
		at = len(text) - len(rest)
	}
}
