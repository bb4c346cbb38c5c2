// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"regexp"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lint"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// An InitRequest describes a new authority.
type InitRequest struct {
	Name         string // lower-case letters, digits and hyphens; it is in addresses
	Kind         string // "" is KindX509
	CommonName   string // "" is made from the name
	Organization string
	Parent       string // an authority of ours that signs it; "" for a root
	External     bool   // somebody else signs it: make a key and a request
	Key          custody.KeyType
	Lifetime     time.Duration // 0: ten years for a root, two for others
	// PathLen is how many CAs may stand below it: 1 for a root by default, 0 for others.
	// -1 leaves it unlimited.
	PathLen *int
	// What may be named below it (RFC 5280 section 4.2.1.10); empty: anything.
	PermittedDNS, ExcludedDNS []string
	PermittedIPs, ExcludedIPs []netip.Prefix
	Note                      string
}

// KeyOfCA is the kind of secret that a CA's key is. Where the custody has a device, such
// a key is made there and never leaves it.
const KeyOfCA = "ca-key"

var authorityName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,46}[a-z0-9])?$`)

// Default lifetimes of authorities.
const (
	rootLifetime = 3650 * day
	caLifetime   = 730 * day
)

// Init makes an authority with a key of its own. One that is signed by ourselves
// signs at once; one that waits for somebody else's signature is Pending, with a
// request in its settings.
func (c *CA) Init(ctx context.Context, who gate.Actor, r InitRequest) (Authority, error) {
	if err := c.Gate.Check(ctx, who, gate.ManageAuthorities, "init "+r.Name); err != nil {
		return Authority{}, err
	}
	return c.begin(ctx, who, r, 0, Active)
}

// begin makes an authority that comes into a state when it is signed.
func (c *CA) begin(ctx context.Context, who gate.Actor, r InitRequest, follows int64, state string) (Authority, error) {
	if err := r.complete(); err != nil {
		return Authority{}, err
	}
	if _, err := c.Authority(ctx, r.Name); err == nil {
		return Authority{}, problem.With(fmt.Errorf("%w: there is a CA %s already", tallystick.ErrInvalid, r.Name), "choose another name")
	}
	keyID, signer, err := c.Keys.NewKey(ctx, r.Key, custody.Owner{Kind: KeyOfCA, Name: "ca/" + r.Name})
	if err != nil {
		return Authority{}, fmt.Errorf("couldn't make a key: %w", err)
	}
	row := store.Authority{
		Name: r.Name, Kind: r.Kind, Follows: follows, State: state, Algorithm: string(r.Key), Key: keyID, Created: c.Now(), CreatedBy: who.Name,
	}
	s := Settings{URL: c.URL, Shards: max(1, c.Shards), OCSP: c.OCSP, Note: r.Note, Since: c.Now().UTC()}
	if err := c.certify(ctx, &row, &s, r, signer); err != nil {
		return Authority{}, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return Authority{}, fmt.Errorf("couldn't encode the settings of a CA: %w", err)
	}
	row.Settings = string(text)
	if _, err := c.DB.AddAuthority(ctx, row); err != nil {
		return Authority{}, err
	}
	c.changed()
	return c.Authority(ctx, r.Name)
}

// CheckName refuses what cannot be the name of an authority.
func CheckName(name string) error {
	if !authorityName.MatchString(name) {
		return problem.With(fmt.Errorf("%w: %q cannot be the name of a CA", tallystick.ErrInvalid, name), "use lower-case letters, digits and hyphens, 48 at most")
	}
	return nil
}

// complete fills in defaults and refuses what makes no sense.
func (r *InitRequest) complete() error {
	if err := CheckName(r.Name); err != nil {
		return err
	}
	if r.Kind == "" {
		r.Kind = KindX509
	}
	if r.Kind != KindX509 && r.Kind != KindSSH {
		return fmt.Errorf("%w: a CA is of kind %s or %s, not %q", tallystick.ErrInvalid, KindX509, KindSSH, r.Kind)
	}
	if r.Kind == KindSSH && (r.Parent != "" || r.External) {
		return fmt.Errorf("%w: a CA of kind ssh has no CA above it", tallystick.ErrInvalid)
	}
	if r.Key == "" {
		r.Key = custody.P256
		if r.Kind == KindSSH {
			r.Key = custody.Ed25519
		}
	}
	if r.CommonName == "" {
		r.CommonName = r.Name
	}
	root := r.Parent == "" && !r.External
	if r.Lifetime == 0 {
		r.Lifetime = caLifetime
		if root {
			r.Lifetime = rootLifetime
		}
	}
	if r.Lifetime < time.Hour || r.Lifetime > 30*365*day {
		return fmt.Errorf("%w: a CA cannot live for %s", tallystick.ErrInvalid, r.Lifetime)
	}
	if r.PathLen == nil {
		n := 0
		if root {
			n = 1
		}
		r.PathLen = &n
	}
	return nil
}

// certify gives a new authority its certificate, or a request for one.
func (c *CA) certify(ctx context.Context, row *store.Authority, s *Settings, r InitRequest, signer crypto.Signer) error {
	spki, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return fmt.Errorf("couldn't encode a key: %w", err)
	}
	sum := sha256.Sum256(spki)
	row.SPKI = hex.EncodeToString(sum[:])
	if r.Kind == KindSSH {
		key, err := ssh.NewPublicKey(signer.Public())
		if err != nil {
			return fmt.Errorf("couldn't encode a key: %w", err)
		}
		row.Subject, row.Certificate = r.CommonName, key.Marshal()
		row.NotBefore, row.NotAfter = c.Now(), c.Now().Add(r.Lifetime)
		return nil
	}
	subject := pkix.Name{CommonName: r.CommonName}
	if r.Organization != "" {
		subject.Organization = []string{r.Organization}
	}
	row.Subject = subject.String()
	if r.External {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: subject}, signer)
		if err != nil {
			return fmt.Errorf("couldn't make a request: %w", err)
		}
		s.CSR = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
		row.State = Pending
		return nil
	}
	t := r.template(c.Now(), subject, spki)
	parent, key := t, signer
	if r.Parent != "" {
		above, err := c.Authority(ctx, r.Parent)
		if err != nil {
			return err
		}
		if err := c.mayCertify(above, t); err != nil {
			return err
		}
		if key, err = c.signerOf(ctx, above); err != nil {
			return err
		}
		parent, row.Parent = above.x509, above.ID
		row.Chain = slicesJoin(append([][]byte{above.Certificate}, above.Chain...))
		publish(t, above, whole)
	}
	if row.Certificate, err = x509.CreateCertificate(rand.Reader, t, parent, signer.Public(), lint.Before(key, c.Lint)); err != nil {
		return fmt.Errorf("couldn't sign: %w", err)
	}
	row.NotBefore, row.NotAfter = t.NotBefore, t.NotAfter
	return nil
}

// template makes the certificate of a CA.
func (r InitRequest) template(now time.Time, subject pkix.Name, spki []byte) *x509.Certificate {
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(NewSerial(now).Bytes()), Subject: subject,
		NotBefore: now.UTC().Add(-backdate), NotAfter: now.UTC().Add(r.Lifetime - time.Second),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature,
		IsCA:     true, BasicConstraintsValid: true, MaxPathLen: max(*r.PathLen, -1), MaxPathLenZero: *r.PathLen == 0, SubjectKeyId: keyIdentifier(spki),
		PermittedDNSDomains: r.PermittedDNS, ExcludedDNSDomains: r.ExcludedDNS,
		PermittedIPRanges: networks(r.PermittedIPs), ExcludedIPRanges: networks(r.ExcludedIPs),
	}
	if len(r.PermittedDNS) > 0 {
		// Otherwise names of other sorts would be free (RFC 5280 section 4.2.1.10).
		for _, domain := range r.PermittedDNS {
			t.PermittedEmailAddresses = append(t.PermittedEmailAddresses, domain, "."+domain)
			t.PermittedURIDomains = append(t.PermittedURIDomains, domain, "."+domain)
		}
		if len(r.PermittedIPs) == 0 {
			t.ExcludedIPRanges = networks([]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")})
		}
	}
	t.PermittedDNSDomainsCritical = len(r.PermittedDNS)+len(r.ExcludedDNS)+len(r.PermittedIPs)+len(r.ExcludedIPs) > 0
	return t
}

func networks(prefixes []netip.Prefix) []*net.IPNet {
	var list []*net.IPNet
	for _, p := range prefixes {
		p = p.Masked()
		list = append(list, &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())})
	}
	return list
}

// mayCertify says whether an authority can have a CA below it like the one of a template.
func (c *CA) mayCertify(above Authority, t *x509.Certificate) error {
	if above.x509 == nil || !above.Signs() {
		return problem.With(fmt.Errorf("%w: the CA %s is %s and signs nothing", tallystick.ErrInvalid, above.Name, above.State), `"tally ca list" shows which sign`)
	}
	if above.x509.MaxPathLenZero || above.x509.MaxPathLen == 0 {
		return problem.With(fmt.Errorf("%w: no CA may stand below %s: the length of its path is 0", tallystick.ErrInvalid, above.Name), "choose another parent")
	}
	if t.NotAfter.After(above.NotAfter) {
		t.NotAfter = above.NotAfter
	}
	if t.NotBefore.Before(above.x509.NotBefore) {
		t.NotBefore = above.x509.NotBefore
	}
	return nil
}

// Install gives a Pending authority the certificate that somebody else has signed for
// it, PEM: its own first, then its chain up to and with the root.
func (c *CA) Install(ctx context.Context, who gate.Actor, name string, chain []byte) (Authority, error) {
	if err := c.Gate.Check(ctx, who, gate.ManageAuthorities, "install "+name); err != nil {
		return Authority{}, err
	}
	a, err := c.Authority(ctx, name)
	if err != nil {
		return a, err
	}
	if a.State != Pending {
		return a, fmt.Errorf("%w: the CA %s is %s and waits for no certificate", tallystick.ErrInvalid, name, a.State)
	}
	certificates, err := readChain(chain)
	if err != nil {
		return a, err
	}
	own := certificates[0]
	if sum := sha256.Sum256(own.RawSubjectPublicKeyInfo); tallystick.KeyID(hex.EncodeToString(sum[:])) != a.Key {
		return a, problem.With(fmt.Errorf("%w: the first certificate is for another key than that of %s", tallystick.ErrInvalid, name), `have the request signed that "tally ca csr `+name+`" prints`)
	}
	if !own.IsCA || own.KeyUsage&x509.KeyUsageCertSign == 0 || own.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return a, problem.With(fmt.Errorf("%w: the certificate is not one of a CA that signs certificates and CRLs", tallystick.ErrInvalid), "RFC 5280 section 4.2.1.3 and 4.2.1.9: basicConstraints CA:TRUE, keyUsage keyCertSign and cRLSign")
	}
	row, err := c.row(ctx, a)
	if err != nil {
		return a, err
	}
	row.State, row.Certificate, row.NotBefore, row.NotAfter = Active, own.Raw, own.NotBefore, own.NotAfter
	var above [][]byte
	for _, certificate := range certificates[1:] {
		above = append(above, certificate.Raw)
	}
	row.Chain = slicesJoin(above)
	return c.store(ctx, Pending, row, a.Settings, Active)
}

// readChain reads PEM certificates, each signed by the next, the last by itself.
func readChain(data []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	const most = 10
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != "CERTIFICATE" || len(chain) == most {
			return nil, fmt.Errorf("%w: the file holds something else than a chain of certificates", tallystick.ErrInvalid)
		}
		chain = append(chain, certificate)
	}
	if len(chain) < 2 {
		return nil, problem.With(fmt.Errorf("%w: the file holds no chain", tallystick.ErrInvalid), "give the certificate and all above it, with the root, as PEM")
	}
	for i, certificate := range chain {
		if err := certificate.CheckSignatureFrom(chain[min(i+1, len(chain)-1)]); err != nil {
			return nil, problem.With(fmt.Errorf("%w: certificate %d of the file is not signed by the next one: %w", tallystick.ErrInvalid, i+1, err), "order them from the CA's own to the root")
		}
	}
	return chain, nil
}

// row reads what the store has of an authority.
func (c *CA) row(ctx context.Context, a Authority) (store.Authority, error) {
	rows, err := c.DB.Authorities(ctx)
	if err != nil {
		return store.Authority{}, err
	}
	for _, row := range rows {
		if row.ID == a.ID {
			return row, nil
		}
	}
	return store.Authority{}, fmt.Errorf("the CA %s: %w", a.Name, tallystick.ErrNotFound)
}

// store writes a changed authority.
func (c *CA) store(ctx context.Context, from string, row store.Authority, s Settings, state string) (Authority, error) {
	if state != from {
		s.Since = c.Now().UTC()
	}
	if state == Active {
		s.CSR = ""
	}
	text, err := json.Marshal(s)
	if err != nil {
		return Authority{}, fmt.Errorf("couldn't encode the settings of a CA: %w", err)
	}
	row.State, row.Settings = state, string(text)
	if err := c.DB.ChangeAuthority(ctx, from, row); err != nil {
		return Authority{}, err
	}
	c.changed()
	return c.Authority(ctx, row.Name)
}

func slicesJoin(list [][]byte) []byte {
	var all []byte
	for _, one := range list {
		all = append(all, one...)
	}
	return all
}

// keyType returns the sort of a public key; "unknown" for others.
func keyType(public crypto.PublicKey) string {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return string(custody.P256)
		case elliptic.P384():
			return string(custody.P384)
		case elliptic.P521():
			return "ecdsa-p521"
		}
	case ed25519.PublicKey:
		return string(custody.Ed25519)
	case *rsa.PublicKey:
		return fmt.Sprintf("rsa-%d", key.N.BitLen())
	}
	return "unknown"
}

// prefixes undoes networks.
func prefixes(list []*net.IPNet) []netip.Prefix {
	var out []netip.Prefix
	for _, n := range list {
		if addr, ok := netip.AddrFromSlice(n.IP); ok {
			bits, _ := n.Mask.Size()
			out = append(out, netip.PrefixFrom(addr.Unmap(), bits))
		}
	}
	return out
}
