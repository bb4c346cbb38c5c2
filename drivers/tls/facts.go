// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	"crypto/x509"
	"errors"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/drivers/tls/hello"
	"github.com/tallystick/tallystick/parse"
)

// facts judges one answer with a chain. What it accepts beside is added later.
func (d *door) facts(ctx context.Context, a *answer, l leaf, t *tail, host string) tallystick.TLSFacts {
	f := tallystick.TLSFacts{
		ServerName: host, Depth: d.depth, Group: a.Group.String(), Evidence: tallystick.EvidenceSeen,
		Chain: append([]tallystick.Fingerprint{l.credential.ID}, t.fingerprints...),
	}
	if !d.direct() {
		f.StartTLS = d.dialogue()
	}
	if a.ALPN != "" {
		f.ALPN = []string{network.Clean(a.ALPN)}
	}
	f.ClientAuth, f.ClientCAs = clientAuth(&a.Answer)
	now := d.now()
	if err := d.known.verify(l, t, host, now); err != nil {
		f.VerifyError = network.Clean(err.Error())
	}
	if d.prove && d.proves(ctx, a, &l.credential) {
		f.Evidence = tallystick.EvidenceProven
		if f.VerifyError == "" {
			f.Evidence = tallystick.EvidenceVerified
		}
	}
	return f
}

// clientAuth says whether client certificates are asked for, and of whom.
func clientAuth(a *hello.Answer) (word string, issuers []string) {
	switch {
	case a.ClientAuth:
		word = "requested"
	case a.ClientAuthTold:
		word = "none"
	}
	for _, der := range a.Issuers {
		name, ok := parse.Name(der)
		if !ok {
			name = "malformed"
		}
		issuers = append(issuers, name)
	}
	return word, issuers
}

// staple says what an OCSP response is worth. Its signature is checked where the
// issuer was served; where not, it is taken for what it says.
func staple(response []byte, leaf, issuer *x509.Certificate, now time.Time) string {
	if response == nil {
		return "none"
	}
	var r *ocsp.Response
	var err error
	if leaf != nil {
		r, err = ocsp.ParseResponseForCert(response, leaf, issuer)
	} else {
		r, err = ocsp.ParseResponse(response, issuer)
	}
	var refused ocsp.ResponseError
	switch {
	case errors.As(err, &refused):
		return "unknown" // the responder itself gave no answer
	case err != nil:
		return "malformed"
	case !r.NextUpdate.IsZero() && r.NextUpdate.Before(now):
		return "expired"
	case r.Status == ocsp.Good:
		return "good"
	case r.Status == ocsp.Revoked:
		return "revoked"
	}
	return "unknown"
}

// describe adds what the endpoint accepts.
func (c *accepted) describe(f *tallystick.TLSFacts) {
	slices.Sort(c.versions)
	for _, v := range c.versions {
		f.Protocols = append(f.Protocols, v.String())
	}
	for _, s := range c.suites {
		f.Suites = append(f.Suites, s.String())
	}
	slices.Sort(f.Suites)
	for _, g := range c.groups {
		f.Groups = append(f.Groups, g.String())
	}
	for v, suites := range c.order {
		if len(suites) == 0 {
			continue
		}
		if f.Order == nil {
			f.Order = map[string][]string{}
		}
		for _, s := range suites {
			f.Order[v.String()] = append(f.Order[v.String()], s.String())
		}
	}
}
