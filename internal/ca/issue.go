// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lint"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// An Admission is a request that may be fulfilled.
type Admission struct {
	Authority Authority
	Profile   Profile
	Names     Names
	Lifetime  time.Duration
	Serial    Serial
	Replaces  Serial // "" when what was said to be replaced cannot be
	Who       gate.Actor
	Via       string
	Now       time.Time

	key     subjectKey
	renewal bool // it is for nothing that the one before it is not for, and that one is valid
}

// Key names the key that is to be certified.
func (a Admission) Key() tallystick.KeyID { return a.key.KeyID() }

// Issue makes a certificate. When it returns without an error the certificate is
// stored; after an error it may be, if the store did not answer: look for the key.
// A *Waiting error means that somebody must approve it: ask for the same again
// later, and it returns what was made.
func (c *CA) Issue(ctx context.Context, who gate.Actor, r Request) (Certificate, error) {
	if p, err := c.profile(r.Profile); err == nil && p.Kind != KindX509 {
		return Certificate{}, problem.With(fmt.Errorf("%w: certificates of profile %s are of SSH", tallystick.ErrInvalid, p.Name), `sign them with "tally ssh sign"`)
	}
	admission, err := c.Admit(ctx, who, r)
	if err != nil {
		waiting, ok := errors.AsType[*Waiting](err)
		if !ok {
			return Certificate{}, err
		}
		return c.collect(ctx, waiting)
	}
	return c.sign(ctx, admission)
}

// Admit decides about a request and records the decision. What is not allowed is
// ErrDenied with the reason of the policy.
func (c *CA) Admit(ctx context.Context, who gate.Actor, r Request) (Admission, error) {
	if !gate.May(who, gate.IssueCertificate) {
		return Admission{}, c.Gate.Check(ctx, who, gate.IssueCertificate, r.Profile)
	}
	admission, err := c.understand(ctx, who, r)
	if err != nil {
		return Admission{}, err
	}
	decision := c.judge(admission, r)
	if err := c.KeyRefused(ctx, admission.Key()); err != nil {
		if !errors.Is(err, ErrBadKey) {
			return Admission{}, err
		}
		return Admission{}, c.Gate.Refuse(ctx, who, gate.IssueCertificate, admission.object(), err)
	}
	if !decision.Allowed {
		err := problem.With(fmt.Errorf("%w: refused because %s", tallystick.ErrDenied, decision.Why), `"tally policy test" tries requests out`)
		return Admission{}, errors.Join(c.Gate.Refuse(ctx, who, gate.IssueCertificate, admission.object(), err), c.refused(ctx, admission, r, decision.Why))
	}
	if decision.Approval || admission.Profile.Approval {
		return Admission{}, c.wait(ctx, admission, r, decision.Why)
	}
	return admission, c.Gate.Check(ctx, who, gate.IssueCertificate, admission.object())
}

// object is what the audit log calls a request.
func (a Admission) object() string {
	names := strings.Join(a.Names.All(), " ")
	if len(names) > 300 {
		names = names[:300] + "…"
	}
	return fmt.Sprintf("%s by %s: profile %s, key %.16s, %s", a.Serial, a.Authority.Name, a.Profile.Name, a.Key(), names)
}

// understand works out what is asked for, and refuses what nobody could have.
func (c *CA) understand(ctx context.Context, who gate.Actor, r Request) (Admission, error) {
	p, err := c.profile(r.Profile)
	if err != nil {
		return Admission{}, err
	}
	name := r.Authority
	if p.Authority != "" && name == "" {
		name = p.Authority
	}
	authority, err := c.Signing(ctx, name, p.Kind)
	if err != nil {
		return Admission{}, err
	}
	key, csr, err := c.keyOf(r)
	if err != nil {
		return Admission{}, err
	}
	if key.KeyID() == authority.Key {
		return Admission{}, fmt.Errorf("%w: it is the CA's own", ErrBadKey)
	}
	var names Names
	switch {
	case r.Names != nil:
		names = *r.Names
	case csr != nil:
		names = namesOf(csr)
	}
	if names, err = names.fit(p); err != nil {
		return Admission{}, err
	}
	lifetime := r.Lifetime
	if lifetime <= 0 {
		lifetime = p.Lifetime
	}
	if lifetime > p.MaxLifetime {
		return Admission{}, problem.With(fmt.Errorf("%w: %s is longer than certificates of profile %s are good for", tallystick.ErrInvalid, lifetime, p.Name), "ask for at most "+p.MaxLifetime.String())
	}
	now := c.Now().UTC()
	if authority.Kind == KindX509 && !now.Before(authority.NotAfter) {
		return Admission{}, problem.With(fmt.Errorf("%w: the CA %s has ended", tallystick.ErrInvalid, authority.Name), `replace it: "tally ca rollover"`)
	}
	a := Admission{Authority: authority, Profile: p, Names: names, Lifetime: lifetime, Serial: newSerialOf(p.Kind, now), Who: who, Via: r.Via, Now: now, key: key}
	if len(p.Keys) > 0 && !slices.Contains(p.Keys, keyType(key.public)) {
		return Admission{}, fmt.Errorf("%w: profile %s takes keys of sort %s, and this is %s", ErrBadKey, p.Name, strings.Join(p.Keys, ", "), keyType(key.public))
	}
	err = c.predecessor(ctx, &a, r)
	return a, err
}

// judge asks the policy.
func (c *CA) judge(a Admission, r Request) Decision {
	ips := make([]string, len(a.Names.IPs))
	for i, ip := range a.Names.IPs {
		ips[i] = ip.String()
	}
	return c.Decide(policy.Request{
		Who: a.Who.Name, Role: a.Who.Role.String(), Via: a.Via, Authority: a.Authority.Name, Profile: a.Profile.Name,
		DNS: a.Names.DNS, IPs: ips, Emails: a.Names.Emails, URIs: a.Names.URIs, Principals: a.Names.Principals, CommonName: a.Names.CommonName,
		Proven: r.Proven, KeyType: keyType(a.key.public), KeyID: string(a.Key()), Lifetime: a.Lifetime, Renewal: a.renewal, Binding: r.Binding, Now: a.Now,
	})
}

// KeyRefused is ErrBadKey for keys that must not be certified, nor let anybody in: those
// that somebody has blocked, and those that the inventory knows to be weak or in other hands.
func (c *CA) KeyRefused(ctx context.Context, key tallystick.KeyID) error {
	id, err := keyBytes(key)
	if err != nil {
		return err
	}
	b, err := c.DB.BlockedKey(ctx, id)
	if err == nil {
		return problem.With(fmt.Errorf("%w: it is blocked since %s: %s", ErrBadKey, b.At.Format(time.DateOnly), b.Reason), "make a new key and ask with that")
	}
	if !errors.Is(err, tallystick.ErrNotFound) {
		return err
	}
	if c.Known == nil {
		return nil
	}
	reason, err := c.Known(ctx, key)
	if err == nil && reason != "" {
		err = problem.With(fmt.Errorf("%w: %s", ErrBadKey, reason), "make a new key and ask with that")
	}
	return err
}

// predecessor notes the certificate that a request takes over from, when it may
// be said to: one of the same requester, or whose key was shown, and with a name or the
// subject in common. Anything else is left out and does not stop the request, because a
// wrong word here must not cost anybody a certificate, nor silence somebody else's.
func (c *CA) predecessor(ctx context.Context, a *Admission, r Request) error {
	if r.Replaces == "" {
		return nil
	}
	before, err := c.Find(ctx, r.Replaces)
	if errors.Is(err, tallystick.ErrNotFound) || errors.Is(err, tallystick.ErrInvalid) {
		return nil
	}
	if err != nil {
		return err
	}
	names := a.Names.All()
	shared := slices.ContainsFunc(before.Names.All(), func(name string) bool { return slices.Contains(names, name) })
	same := before.Subject != "" && before.Subject == subjectOf(a.Names).String()
	if before.Requester != a.Who.Name && !r.Held || !shared && !same {
		return nil
	}
	a.Replaces = r.Replaces
	more := slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(before.Names.All(), name) })
	a.renewal = !more && before.Names.CommonName == a.Names.CommonName && before.Revocation == nil && a.Now.Before(before.NotAfter)
	return nil
}

// sign makes the certificate that was admitted, looks at it, and keeps it.
func (c *CA) sign(ctx context.Context, a Admission) (Certificate, error) {
	signer, err := c.signerOf(ctx, a.Authority)
	if err != nil {
		return Certificate{}, err
	}
	t, err := template(a.Authority, a.Profile, a.Names, a.key, a.Serial, a.Now, a.Lifetime)
	if err != nil {
		return Certificate{}, err
	}
	// The certificate is looked at before it is signed.
	der, err := x509.CreateCertificate(rand.Reader, t, a.Authority.x509, a.key.public, lint.Before(signer, func(der []byte) error { return c.look(der, a, t) }))
	if errors.Is(err, lint.ErrRefused) {
		return Certificate{}, fmt.Errorf("%w: the certificate would break a rule: %w", tallystick.ErrInvalid, err)
	}
	if err != nil {
		return Certificate{}, fmt.Errorf("couldn't sign: %w", err)
	}
	if err := a.Authority.permits(der, a.Now); err != nil {
		return Certificate{}, err
	}
	sum := sha256.Sum256(der)
	made := Certificate{
		Serial: a.Serial, Authority: a.Authority.Name, Profile: a.Profile.Name, Via: a.Via, Requester: a.Who.Name, Subject: t.Subject.String(), Names: a.Names,
		Key: a.Key(), SHA256: hex.EncodeToString(sum[:]), DER: der, Chain: chainOf(a.Authority), Issued: a.Now, NotBefore: t.NotBefore, NotAfter: t.NotAfter, Replaces: a.Replaces,
	}
	return made, c.Keep(ctx, made)
}

// look holds a certificate that is to be signed against the rules of the standards, and
// against what it should be.
func (c *CA) look(der []byte, a Admission, t *x509.Certificate) error {
	if err := c.Lint(der); err != nil {
		return err
	}
	_, err := lint.Check(der, lint.Expect{
		Issuer: a.Authority.x509, Usage: t.KeyUsage, Purposes: a.Profile.Purposes, MorePurpose: a.Profile.MorePurpose, MaxLifetime: a.Profile.MaxLifetime + backdate,
	})
	return err
}

// permits says whether the constraints of an authority and of those above it let a
// certificate stand. Clients would refuse it otherwise (RFC 5280 section 4.2.1.10).
func (a Authority) permits(der []byte, now time.Time) error {
	chain := []*x509.Certificate{a.x509}
	for _, above := range a.Chain {
		certificate, err := x509.ParseCertificate(above)
		if err != nil {
			return fmt.Errorf("the chain of the CA %s: %w: %w", a.Name, tallystick.ErrDamaged, err)
		}
		chain = append(chain, certificate)
	}
	if !slices.ContainsFunc(chain, constrained) {
		return nil
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("couldn't read what was signed: %w", err)
	}
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	for _, above := range chain[:len(chain)-1] {
		between.AddCert(above)
	}
	roots.AddCert(chain[len(chain)-1])
	_, err = made.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return fmt.Errorf("%w: a constraint of the CA %s: %w", ErrBadName, a.Name, err)
	}
	return nil
}

// constrained says whether a CA may not certify every name.
func constrained(c *x509.Certificate) bool {
	return len(c.PermittedDNSDomains)+len(c.ExcludedDNSDomains)+len(c.PermittedIPRanges)+len(c.ExcludedIPRanges)+
		len(c.PermittedEmailAddresses)+len(c.ExcludedEmailAddresses)+len(c.PermittedURIDomains)+len(c.ExcludedURIDomains) > 0
}

// chainOf returns the certificates between one that an authority signed and the root.
func chainOf(a Authority) [][]byte {
	if a.IsRoot() || a.Kind != KindX509 {
		return nil
	}
	return append([][]byte{a.Certificate}, a.Chain[:len(a.Chain)-1]...)
}

// Keep stores a certificate that was made after Admit, before anybody gets it. If
// the key was blocked or the authority stopped meanwhile, it is ErrDenied and the
// certificate must be thrown away.
func (c *CA) Keep(ctx context.Context, made Certificate) error {
	authority, err := c.Authority(ctx, made.Authority)
	if err != nil {
		return err
	}
	names, err := json.Marshal(made.Names)
	if err != nil {
		return fmt.Errorf("couldn't encode names: %w", err)
	}
	key, err := keyBytes(made.Key)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(made.DER)
	err = c.DB.AddIssued(ctx, store.Issued{
		Serial: made.Serial.Bytes(), Authority: authority.ID, Profile: made.Profile, Via: made.Via, Requester: made.Requester, Subject: made.Subject,
		Names: string(names), Search: made.Names.All(), SPKI: key, SHA256: sum[:], Certificate: made.DER,
		IssuedAt: made.Issued, NotBefore: made.NotBefore, NotAfter: made.NotAfter, Replaces: made.Replaces.Bytes(),
	}, Active)
	if err == nil && made.Replaces != "" {
		c.windows.forget(made.Replaces)
	}
	return err
}

// Issued says whether an authority has signed a serial: for whoever asked, or for a CA.
func (c *CA) Issued(ctx context.Context, authority int64, serial []byte) (bool, error) {
	if found, err := c.DB.IsIssued(ctx, authority, serial); err != nil || found {
		return found, err
	}
	list, err := c.Authorities(ctx)
	if err != nil {
		return false, err
	}
	number := new(big.Int).SetBytes(serial)
	i := slices.IndexFunc(list, func(a Authority) bool { return a.ID == authority })
	for _, a := range list {
		if i >= 0 && a.x509 != nil && (a.Parent == list[i].Name || a.ID == authority && a.IsRoot()) && a.x509.SerialNumber.Cmp(number) == 0 {
			return true, nil
		}
	}
	crosses, err := c.DB.CrossCertificates(ctx)
	if err != nil {
		return false, err
	}
	for _, x := range crosses {
		certificate, err := x509.ParseCertificate(x.Certificate)
		if err == nil && x.Issuer == authority && certificate.SerialNumber.Cmp(number) == 0 {
			return true, nil
		}
	}
	return false, nil
}

// Find returns a certificate by its serial.
func (c *CA) Find(ctx context.Context, serial Serial) (Certificate, error) {
	b := serial.Bytes()
	if len(b) != 16 && len(b) != 8 {
		return Certificate{}, fmt.Errorf("%w: %.80q is not a serial of ours", tallystick.ErrInvalid, string(serial))
	}
	row, err := c.DB.IssuedBySerial(ctx, b)
	if err != nil {
		return Certificate{}, err
	}
	return c.certificateOf(ctx, row)
}

// FindByKey returns every certificate for a key, the newest first.
func (c *CA) FindByKey(ctx context.Context, key [sha256.Size]byte) ([]Certificate, error) {
	rows, err := c.DB.ListIssued(ctx, store.IssuedFilter{SPKI: key[:]}, nil, 1000)
	if err != nil {
		return nil, err
	}
	return c.certificatesOf(ctx, rows)
}

func (c *CA) certificatesOf(ctx context.Context, rows []store.Issued) ([]Certificate, error) {
	list := make([]Certificate, 0, len(rows))
	for _, row := range rows {
		one, err := c.certificateOf(ctx, row)
		if err != nil {
			return nil, err
		}
		list = append(list, one)
	}
	return list, nil
}

func (c *CA) certificateOf(ctx context.Context, row store.Issued) (Certificate, error) {
	list, err := c.Authorities(ctx)
	if err != nil {
		return Certificate{}, err
	}
	made := Certificate{
		Serial: Serial(hex.EncodeToString(row.Serial)), Profile: row.Profile, Via: row.Via, Requester: row.Requester, Subject: row.Subject,
		Key: tallystick.KeyID(hex.EncodeToString(row.SPKI)), SHA256: hex.EncodeToString(row.SHA256), DER: row.Certificate,
		Issued: row.IssuedAt, NotBefore: row.NotBefore, NotAfter: row.NotAfter, Replaces: Serial(hex.EncodeToString(row.Replaces)),
		Replaced: row.Replaced, Recalled: row.Recalled, RecallURL: row.RecallURL, Asked: row.Asked,
	}
	if i := slices.IndexFunc(list, func(a Authority) bool { return a.ID == row.Authority }); i >= 0 {
		made.Authority, made.Chain = list[i].Name, chainOf(list[i])
	}
	if err := json.Unmarshal([]byte(row.Names), &made.Names); err != nil {
		return made, fmt.Errorf("the names of certificate %s: %w: %w", made.Serial, tallystick.ErrDamaged, err)
	}
	if !row.Revoked.IsZero() {
		made.Revocation = &Revocation{At: row.Revoked, Reason: Reason(row.Reason), InvalidSince: row.InvalidSince, By: row.RevokedBy, Note: row.Note}
	}
	return made, nil
}
