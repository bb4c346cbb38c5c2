// SPDX-License-Identifier: Apache-2.0

package ca

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lint"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// A rollover replaces a CA in the order that breaks nobody: the new one is made and
// is to be trusted everywhere (Prepare); it signs instead of the old one (Activate);
// everything is renewed; then the old one is distrusted (Distrust). Cross-signing
// lets those who trust only one of the two verify what the other signed meanwhile.

// Prepare makes the next generation of an authority: a new key, the same parent,
// names and constraints, certified by itself or its parent and, when it is a root,
// by the old key too, and the old one by the new key. It signs nothing yet.
func (c *CA) Prepare(ctx context.Context, who gate.Actor, name string, kind custody.KeyType) (Authority, error) {
	if err := c.Gate.Check(ctx, who, gate.ManageAuthorities, "prepare the rollover of "+name); err != nil {
		return Authority{}, err
	}
	old, err := c.Authority(ctx, name)
	if err != nil {
		return Authority{}, err
	}
	if old.State != Active && old.State != Compromised {
		return Authority{}, problem.With(fmt.Errorf("%w: the CA %s is %s", tallystick.ErrInvalid, name, old.State), "roll over the one that signs")
	}
	if next, ok, err := c.next(ctx, old); err != nil || ok {
		if err == nil {
			err = problem.With(fmt.Errorf("%w: %s takes over from %s already", tallystick.ErrInvalid, next.Name, name), `go on with "tally ca rollover activate `+name+`"`)
		}
		return Authority{}, err
	}
	r, err := c.like(ctx, old)
	if err != nil {
		return Authority{}, err
	}
	if kind != "" {
		r.Key = kind
	}
	made, err := c.begin(ctx, who, r, old.ID, Prepared)
	if err != nil || !old.IsRoot() || old.State == Compromised {
		return made, err // nothing is signed by a key that others may have
	}
	if err := c.crossSign(ctx, made, old); err != nil {
		return made, err
	}
	return made, c.crossSign(ctx, old, made)
}

// next returns the authority that follows another.
func (c *CA) next(ctx context.Context, a Authority) (Authority, bool, error) {
	list, err := c.Authorities(ctx)
	if err != nil {
		return Authority{}, false, err
	}
	i := slices.IndexFunc(list, func(b Authority) bool { return b.Follows == a.Name })
	if i < 0 {
		return Authority{}, false, nil
	}
	return list[i], true, nil
}

var generation = regexp.MustCompile(`^(.*)-g([0-9]+)$`)

// like describes the next generation of an authority: lab, lab-g2, lab-g3.
func (c *CA) like(ctx context.Context, old Authority) (InitRequest, error) {
	base, n := old.Name, 2
	if m := generation.FindStringSubmatch(old.Name); m != nil {
		if g, err := strconv.Atoi(m[2]); err == nil {
			base, n = m[1], g+1
		}
	}
	r := InitRequest{
		Name: fmt.Sprintf("%s-g%d", base, n), Kind: old.Kind, Parent: old.Parent, Key: custody.KeyType(old.Algorithm),
		Lifetime: old.NotAfter.Sub(old.NotBefore).Round(time.Hour), Note: old.Settings.Note,
	}
	if old.x509 == nil {
		r.CommonName = old.Subject
		return r, nil
	}
	if old.Parent != "" {
		above, err := c.Signing(ctx, old.Parent, KindX509) // which may have been replaced itself
		if err != nil {
			return r, err
		}
		r.Parent = above.Name
	}
	s := old.x509.Subject
	// A name of its own: some verifiers choose the issuer by name alone.
	r.CommonName = fmt.Sprintf("%s G%d", strings.TrimSuffix(s.CommonName, fmt.Sprintf(" G%d", n-1)), n)
	if len(s.Organization) > 0 {
		r.Organization = s.Organization[0]
	}
	length := old.x509.MaxPathLen
	r.PathLen = &length
	r.PermittedDNS, r.ExcludedDNS = old.x509.PermittedDNSDomains, old.x509.ExcludedDNSDomains
	r.PermittedIPs, r.ExcludedIPs = prefixes(old.x509.PermittedIPRanges), prefixes(old.x509.ExcludedIPRanges)
	r.External = len(old.Chain) > 0 && old.Parent == ""
	return r, nil
}

// CrossSign has one authority certify the key and the name of another, so that who
// trusts the first verifies what the second signed.
func (c *CA) CrossSign(ctx context.Context, who gate.Actor, of, by string) error {
	if err := c.Gate.Check(ctx, who, gate.ManageAuthorities, "cross-sign "+of+" by "+by); err != nil {
		return err
	}
	subject, err := c.Authority(ctx, of)
	if err != nil {
		return err
	}
	issuer, err := c.Authority(ctx, by)
	if err != nil {
		return err
	}
	if of == by || subject.x509 == nil || issuer.x509 == nil {
		return fmt.Errorf("%w: %s and %s are not two CAs with certificates", tallystick.ErrInvalid, of, by)
	}
	if issuer.State == Compromised || issuer.State == Distrusted || subject.State == Compromised || subject.State == Distrusted {
		return fmt.Errorf("%w: a CA that is not to be trusted neither signs nor is signed", tallystick.ErrInvalid)
	}
	return c.crossSign(ctx, subject, issuer)
}

func (c *CA) crossSign(ctx context.Context, of, by Authority) error {
	signer, err := c.signerOf(ctx, by)
	if err != nil {
		return err
	}
	now := c.Now().UTC()
	t := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(NewSerial(now).Bytes()), RawSubject: of.x509.RawSubject, NotBefore: now.Add(-backdate), NotAfter: of.NotAfter,
		KeyUsage: of.x509.KeyUsage, IsCA: true, BasicConstraintsValid: true, MaxPathLen: of.x509.MaxPathLen, MaxPathLenZero: of.x509.MaxPathLenZero, SubjectKeyId: of.x509.SubjectKeyId,
		PermittedDNSDomainsCritical: of.x509.PermittedDNSDomainsCritical, PermittedDNSDomains: of.x509.PermittedDNSDomains, ExcludedDNSDomains: of.x509.ExcludedDNSDomains,
		PermittedIPRanges: of.x509.PermittedIPRanges, ExcludedIPRanges: of.x509.ExcludedIPRanges,
	}
	if t.NotAfter.After(by.NotAfter) {
		t.NotAfter = by.NotAfter
	}
	publish(t, by, whole)
	der, err := x509.CreateCertificate(rand.Reader, t, by.x509, of.x509.PublicKey, lint.Before(signer, c.Lint))
	if err != nil {
		return fmt.Errorf("couldn't cross-sign %s by %s: %w", of.Name, by.Name, err)
	}
	sum := sha256.Sum256(der)
	return c.DB.AddCrossCertificate(ctx, store.CrossCertificate{
		SHA256: hex.EncodeToString(sum[:]), Authority: of.ID, Issuer: by.ID, Certificate: der, NotAfter: t.NotAfter, Created: now,
	})
}

// Alternates returns other chains for what an authority signs, each from its issuer
// on: for clients that trust another root (RFC 8555 section 7.4.2).
func (c *CA) Alternates(ctx context.Context, name string) ([][][]byte, error) {
	list, err := c.Authorities(ctx)
	if err != nil {
		return nil, err
	}
	crosses, err := c.DB.CrossCertificates(ctx)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(list, func(a Authority) bool { return a.Name == name })
	if i < 0 {
		return nil, noSuchAuthority(name, list)
	}
	path := []Authority{list[i]}
	if parent := slices.IndexFunc(list, func(a Authority) bool { return a.Name == list[i].Parent }); parent >= 0 {
		path = append(path, list[parent])
	}
	var chains [][][]byte
	for _, x := range crosses {
		if !c.Now().Before(x.NotAfter) || !trusted(list, x.Authority) || !trusted(list, x.Issuer) {
			continue
		}
		for depth, a := range path {
			if a.ID != x.Authority {
				continue
			}
			var chain [][]byte
			for _, below := range path[:depth] {
				chain = append(chain, below.Certificate)
			}
			chains = append(chains, append(chain, x.Certificate))
		}
	}
	return chains, nil
}

// trusted says whether an authority is one that anybody should trust.
func trusted(list []Authority, id int64) bool {
	return slices.ContainsFunc(list, func(a Authority) bool { return a.ID == id && a.State != Compromised && a.State != Distrusted })
}

// Activate lets the next generation sign in place of an authority, which goes on
// signing its list of revoked certificates. Names that led to the old one lead to the
// new one from now on.
func (c *CA) Activate(ctx context.Context, who gate.Actor, name string) (Authority, error) {
	if err := c.Gate.Check(ctx, who, gate.ManageAuthorities, "activate the CA after "+name); err != nil {
		return Authority{}, err
	}
	old, err := c.Authority(ctx, name)
	if err != nil {
		return old, err
	}
	next, ok, err := c.next(ctx, old)
	if err != nil {
		return next, err
	}
	if !ok {
		return next, problem.With(fmt.Errorf("%w: nothing takes over from %s", tallystick.ErrInvalid, name), `begin with "tally ca rollover prepare `+name+`"`)
	}
	if next.State == Prepared {
		row, err := c.row(ctx, next)
		if err != nil {
			return next, err
		}
		if next, err = c.store(ctx, Prepared, row, next.Settings, Active); err != nil {
			return next, err
		}
	}
	if !next.Signs() {
		return next, fmt.Errorf("%w: %s is %s and cannot sign", tallystick.ErrInvalid, next.Name, next.State)
	}
	if old.State != Active {
		return next, nil
	}
	row, err := c.row(ctx, old)
	if err != nil {
		return next, err
	}
	_, err = c.store(ctx, Active, row, old.Settings, Retired)
	return next, err
}

// Distrust ends an authority. While certificates that it signed are valid, not
// revoked and not replaced, that is refused unless force says otherwise.
func (c *CA) Distrust(ctx context.Context, who gate.Actor, name string, force bool) (Authority, error) {
	if err := c.Gate.Check(ctx, who, gate.ManageAuthorities, "distrust "+name); err != nil {
		return Authority{}, err
	}
	a, err := c.Authority(ctx, name)
	if err != nil {
		return a, err
	}
	if a.State == Distrusted {
		return a, nil
	}
	if a.State == Active && !force {
		return a, problem.With(fmt.Errorf("%w: the CA %s still signs", tallystick.ErrInvalid, name), `first let another one take over: "tally ca rollover prepare `+name+`", then activate`)
	}
	list, err := c.Authorities(ctx)
	if err != nil {
		return a, err
	}
	below := slices.IndexFunc(list, func(b Authority) bool { return b.Parent == name && (b.State == Active || b.State == Prepared) })
	if below >= 0 && !force {
		return a, problem.With(fmt.Errorf("%w: the CA %s stands below %s and signs", tallystick.ErrInvalid, list[below].Name, name), `replace it first: "tally ca rollover prepare `+list[below].Name+`" puts the next one below the CA that signs now`)
	}
	left, err := c.DB.ListIssued(ctx, store.IssuedFilter{Authority: a.ID, State: "valid", Answered: "no", Now: c.Now()}, nil, 5)
	if err != nil {
		return a, err
	}
	if len(left) > 0 && !force {
		return a, problem.With(fmt.Errorf("%w: certificates by %s are still in use, such as %s", tallystick.ErrInvalid, name, examples(left)), `"tally ca issued --ca `+name+`" lists them; --force distrusts it all the same`)
	}
	row, err := c.row(ctx, a)
	if err != nil {
		return a, err
	}
	ended, err := c.store(ctx, a.State, row, a.Settings, Distrusted)
	if err != nil {
		return ended, err
	}
	return ended, c.revokeAuthority(ctx, who, a, CessationOfOperation, time.Time{})
}

func examples(rows []store.Issued) string {
	var names []string
	for _, row := range rows {
		if len(row.Search) > 0 {
			names = append(names, row.Search[0])
		} else if row.Subject != "" {
			names = append(names, row.Subject)
		} else {
			names = append(names, row.Names)
		}
	}
	return strings.Join(names, ", ")
}

// Compromise says that an authority's key is in other hands: it signs nothing more,
// its key is blocked, every client of what it signed is told to renew now, and its own
// certificate is revoked where its parent is ours. It returns how many certificates
// have to be replaced.
func (c *CA) Compromise(ctx context.Context, who gate.Actor, name, url string, since time.Time) (int64, error) {
	if err := c.Gate.Check(ctx, who, gate.ManageAuthorities, "the key of "+name+" is compromised"); err != nil {
		return 0, err
	}
	a, err := c.Authority(ctx, name)
	if err != nil {
		return 0, err
	}
	if err := checkLink(url); err != nil {
		return 0, err
	}
	if a.State != Compromised {
		row, err := c.row(ctx, a)
		if err != nil {
			return 0, err
		}
		if _, err := c.store(ctx, a.State, row, a.Settings, Compromised); err != nil {
			return 0, err
		}
	}
	key, err := keyBytes(a.Key)
	if err != nil {
		return 0, err
	}
	if _, err := c.DB.BlockKeys(ctx, [][]byte{key}, "the key of the CA "+name+" is compromised", who.Name, c.Now()); err != nil {
		return 0, err
	}
	if err := c.revokeAuthority(ctx, who, a, CACompromise, since); err != nil {
		return 0, err
	}
	n, err := c.DB.RecallAuthority(ctx, a.ID, profileResponder, url, c.Now())
	c.windows.clear()
	c.recalled()
	return n, err
}

// revokeAuthority puts the certificate of a CA on its parent's list, and those by
// which others of ours have cross-signed it on theirs.
func (c *CA) revokeAuthority(ctx context.Context, who gate.Actor, a Authority, why Reason, since time.Time) error {
	var list []store.Revocation
	if a.Parent != "" && a.x509 != nil {
		parent, err := c.Authority(ctx, a.Parent)
		if err != nil {
			return err
		}
		list = append(list, c.dead(who, parent, a.x509, why, since))
	}
	crosses, err := c.DB.CrossCertificates(ctx)
	if err != nil {
		return err
	}
	all, err := c.Authorities(ctx)
	if err != nil {
		return err
	}
	for _, x := range crosses {
		i := slices.IndexFunc(all, func(b Authority) bool { return b.ID == x.Issuer })
		certificate, err := x509.ParseCertificate(x.Certificate)
		if x.Authority == a.ID && i >= 0 && err == nil {
			list = append(list, c.dead(who, all[i], certificate, why, since))
		}
	}
	if len(list) == 0 {
		return nil
	}
	_, err = c.DB.Revoke(ctx, list)
	if err == nil && c.Revoked != nil {
		c.Revoked()
	}
	return err
}

func (c *CA) dead(who gate.Actor, issuer Authority, certificate *x509.Certificate, why Reason, since time.Time) store.Revocation {
	serial := certificate.SerialNumber.FillBytes(make([]byte, 16))
	return store.Revocation{
		Authority: issuer.ID, Serial: serial, Shard: whole, At: c.Now(), Reason: int(why),
		InvalidSince: since, NotAfter: certificate.NotAfter, By: who.Name, Note: "the CA " + certificate.Subject.CommonName + ": " + why.String(),
	}
}
