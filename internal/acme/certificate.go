// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"bytes"
	"encoding/pem"
	"net/http"
	"slices"
	"strconv"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
)

// certificate sends a certificate with its chain, as PEM (RFC 8555 section 7.4.2).
// Behind its serial may stand the number of another chain, by a cross-signed CA.
func (x *exchange) certificate() error {
	if err := x.onlyGet(); err != nil {
		return err
	}
	if len(x.rest) == 0 || !isID(x.rest[0]) {
		return notFound("certificate")
	}
	serial := ca.Serial(x.rest[0])
	made, ok := x.recent.get(serial)
	if !ok {
		var err error
		if made, err = x.CA.Find(x.ctx, serial); err != nil {
			return certificateNotKnown(err)
		}
	}
	if made.Requester != actorOf(x.account.ID).Name {
		return unauthorized("the certificate is of another account")
	}
	chains, err := x.chains(made)
	if err != nil {
		return err
	}
	return x.sendChain(made, chains)
}

// sendChain sends one of the chains of a certificate, and names the others.
func (x *exchange) sendChain(made ca.Certificate, chains [][][]byte) error {
	names := make([]string, len(chains))
	names[0] = x.url("certificate", string(made.Serial))
	for i := 1; i < len(chains); i++ {
		names[i] = names[0] + "/" + strconv.Itoa(i)
	}
	here := slices.Index(names, x.url(append([]string{"certificate"}, x.rest...)...))
	if here < 0 {
		return notFound("chain")
	}
	for i, name := range names {
		if i != here {
			x.header("Link", "<"+name+`>;rel="alternate"`)
		}
	}
	var text bytes.Buffer
	for _, der := range append([][]byte{made.DER}, chains[here]...) {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
			return err
		}
	}
	return x.send(http.StatusOK, "application/pem-certificate-chain", text.Bytes())
}

// chains returns the chains of a certificate: first that of its issuer, then those by
// cross-signed CAs.
func (x *exchange) chains(made ca.Certificate) ([][][]byte, error) {
	chain := made.Chain
	if len(chain) == 0 {
		// Its issuer is a root. Section 9.1 lets the trust anchor stand there or not;
		// certbot wants two certificates at least.
		issuer, err := x.issuer(made)
		if err != nil {
			return nil, err
		}
		chain = [][]byte{issuer.Certificate}
	}
	more, err := x.alternates(made.Authority)
	return append([][][]byte{chain}, more...), err
}

// alternates returns the other chains of an authority, as they were some seconds ago.
func (x *exchange) alternates(authority string) ([][][]byte, error) {
	now := x.Now()
	if known, ok := x.recent.alternates(authority, now); ok {
		return known, nil
	}
	list, err := x.CA.Alternates(x.ctx, authority)
	if err == nil {
		x.recent.putAlternates(authority, list, now)
	}
	return list, err
}

func (x *exchange) issuer(made ca.Certificate) (ca.Authority, error) {
	list, err := x.CA.Authorities(x.ctx)
	if err != nil {
		return ca.Authority{}, err
	}
	i := slices.IndexFunc(list, func(a ca.Authority) bool { return a.Name == made.Authority })
	if i < 0 {
		return ca.Authority{}, tallystick.ErrNotFound
	}
	return list[i], nil
}
