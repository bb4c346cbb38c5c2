// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/order"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// A burnt is what a recall is about, as a condition on credentials: doors show what
// the inventory may never have seen.
type burnt struct {
	names   map[string]bool     // any name of driver.Public.Names that is burnt
	issuers []*x509.Certificate // whatever these signed is burnt
	known   []known             // credentials that are, as far as anybody knows
	warn    []string            // what could not be found out
}

// A known is a burnt credential of the inventory or of the private CA.
type known struct {
	driver.Public
	Fingerprint tallystick.Fingerprint
	Key         tallystick.KeyID
	Subject     string
}

// has says whether a credential is burnt.
func (b *burnt) has(p driver.Public) bool {
	for _, name := range p.Names() {
		if b.names[name] {
			return true
		}
	}
	if len(p.Chain) == 0 || len(b.issuers) == 0 {
		return false
	}
	c, err := x509.ParseCertificate(p.Chain[0])
	return err == nil && slices.ContainsFunc(b.issuers, func(issuer *x509.Certificate) bool { return signed(issuer, c) })
}

// signed says whether an issuer signed a certificate. Names are compared first: a
// signature costs more.
func signed(issuer, c *x509.Certificate) bool {
	return slices.Equal(issuer.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(issuer) == nil
}

// add takes in a credential that is burnt, and with it its names; of a key that is
// burnt the caller has put the key among them.
func (b *burnt) add(k known) {
	if slices.ContainsFunc(b.known, func(other known) bool { return other.Public.Is(k.Public) }) {
		return
	}
	b.known = append(b.known, k)
}

// mostKnown bounds how many credentials a plan reads from the inventory and the CA.
const mostKnown = 200_000

// resolve finds out what is burnt.
func (e *Engine) resolve(ctx context.Context, what tallystick.Burnt, all []*seen) (*burnt, error) {
	b := &burnt{names: map[string]bool{}}
	var err error
	switch what.Kind {
	case tallystick.BurntCredential:
		err = e.burntCredential(ctx, b, what.Value, all)
	case tallystick.BurntKey:
		err = e.burntKey(ctx, b, tallystick.KeyID(strings.ToLower(what.Value)))
	case tallystick.BurntIssuer:
		err = e.burntIssuer(ctx, b, what.Value)
	case tallystick.BurntPlace:
		err = e.burntPlace(ctx, b, tallystick.Place(what.Value))
	case tallystick.BurntWrapping:
		err = e.burntWrapping(ctx, b, what.Value)
	case tallystick.BurntEntrusted:
		if e.Vault == nil { // the vault finds them: see rotations
			err = fmt.Errorf("%w: nothing was entrusted here", tallystick.ErrNotFound)
		}
	default:
		err = problem.With(fmt.Errorf("%w: %q cannot be recalled", tallystick.ErrInvalid, what.Kind),
			"say credential:FINGERPRINT, key:ID, issuer:ca/NAME, place:PLACE, wrapping:NAME, or entrusted:ID, entrusted:host/NAME or entrusted:due")
	}
	if err == nil && len(b.known) > mostKnown {
		err = fmt.Errorf("%w: that is more than %d credentials; recall it in parts", tallystick.ErrInvalid, mostKnown)
	}
	return b, err
}

// burntCredential takes one credential: by its fingerprint, the beginning of it, or
// any name that uses have of it.
func (e *Engine) burntCredential(ctx context.Context, b *burnt, value string, all []*seen) error {
	name := tallystick.NormalName(value)
	digits, isDigest := strings.CutPrefix(name, "cert-sha256:")
	if strings.Contains(value, ":") && !isDigest && strings.Trim(strings.ToLower(value), "0123456789abcdef:") != "" {
		b.names[name] = true
		f, err := e.DB.ResolveUsed(ctx, []string{name})
		if err != nil || f == "" {
			return err
		}
		digits = string(f)
	} else if !isDigest {
		digits = value
	}
	f, err := e.DB.Resolve(ctx, digits)
	if errors.Is(err, tallystick.ErrNotFound) {
		return atDoors(b, strings.ToLower(strings.ReplaceAll(digits, ":", "")), all, err)
	}
	if err != nil {
		return err
	}
	k, err := e.fromInventory(ctx, f)
	if err != nil {
		return err
	}
	names := k.Names()
	if len(names) == 0 { // a bare key: it is burnt in whatever it stands
		return e.burntKey(ctx, b, k.Key)
	}
	for _, name := range names {
		// Its key is not: that would be a recall of the key, and of all its certificates.
		if !strings.HasPrefix(name, "spki-sha256:") || len(k.Chain) == 0 {
			b.names[name] = true
		}
	}
	b.add(k)
	return nil
}

// atDoors takes a certificate that the inventory does not know, by the beginning of its
// fingerprint, if doors show one such alone. A whole fingerprint need not be shown: its
// doors may be out of reach.
func atDoors(b *burnt, digits string, all []*seen, unknown error) error {
	found := map[string]known{}
	for _, s := range all {
		for _, shown := range s.view.Shown {
			name, is := strings.CutPrefix(bestName(shown.Public), "cert-sha256:")
			if is && strings.HasPrefix(name, digits) {
				found[name] = known{Public: shown.Public, Fingerprint: tallystick.Fingerprint(name), Subject: subjectOf(shown.Public)}
			}
		}
	}
	switch {
	case len(found) == 1:
		for name, k := range found {
			b.names["cert-sha256:"+name] = true
			b.add(k)
		}
		return nil
	case len(found) > 1:
		return fmt.Errorf("%w: several certificates at doors begin with %q: give more digits", tallystick.ErrInvalid, digits)
	case len(digits) == 2*sha256.Size:
		b.names["cert-sha256:"+digits] = true
		b.warn = append(b.warn, "neither the inventory nor any door knows cert-sha256:"+digits)
		return nil
	}
	return problem.With(unknown, "neither the inventory nor a door has it; give the whole fingerprint of what nobody here has seen")
}

// fromInventory returns a credential of the inventory.
func (e *Engine) fromInventory(ctx context.Context, f tallystick.Fingerprint) (known, error) {
	c, _, err := e.DB.Credential(ctx, f)
	if err != nil {
		return known{}, err
	}
	k := known{Fingerprint: f, Key: c.Key.ID, Subject: c.Subject}
	switch c.Kind {
	case tallystick.KindCertificate:
		k.Chain = [][]byte{c.Raw}
	case tallystick.KindSSHCertificate:
		k.SSH = c.Raw
	case tallystick.KindKey:
		if public, err := x509.ParsePKIXPublicKey(c.Raw); err == nil {
			if key, err := ssh.NewPublicKey(public); err == nil {
				k.SSH = key.Marshal()
			}
		}
	case tallystick.KindNamed:
		k.Account = string(c.Raw)
	}
	return k, nil
}

// burntKey takes everything that has a key.
func (e *Engine) burntKey(ctx context.Context, b *burnt, key tallystick.KeyID) error {
	raw, err := hex.DecodeString(string(key))
	if err != nil || len(raw) != sha256.Size {
		return fmt.Errorf("%w: %.80q is not the id of a key, which has 64 hexadecimal digits", tallystick.ErrInvalid, key)
	}
	b.names["spki-sha256:"+string(key)] = true
	rows, err := e.DB.SightingsOfKey(ctx, key, "", mostKnown)
	if err != nil {
		return err
	}
	for _, row := range rows {
		k, err := e.fromInventory(ctx, row.Credential)
		if err != nil {
			return err
		}
		b.add(k)
	}
	issued, err := e.DB.ListIssued(ctx, store.IssuedFilter{SPKI: raw, Now: e.Now()}, nil, mostKnown)
	for _, c := range issued {
		b.add(fromCA(c))
	}
	return err
}

func fromCA(c store.Issued) known {
	return known{
		Public: driver.Public{Chain: [][]byte{c.Certificate}}, Fingerprint: tallystick.Fingerprint(hex.EncodeToString(c.SHA256)),
		Key: tallystick.KeyID(hex.EncodeToString(c.SPKI)), Subject: c.Subject,
	}
}

// burntIssuer takes all that a CA has signed: one of ours by its name, or any of the
// inventory by its fingerprint.
func (e *Engine) burntIssuer(ctx context.Context, b *burnt, value string) error {
	name, ours := strings.CutPrefix(value, order.OwnPrefix)
	if !ours {
		f, err := e.DB.Resolve(ctx, value)
		if err != nil {
			return err
		}
		c, _, err := e.DB.Credential(ctx, f)
		if err != nil {
			return err
		}
		issuer, err := x509.ParseCertificate(c.Raw)
		if err != nil || !issuer.IsCA {
			return fmt.Errorf("%w: %s is not the certificate of a CA", tallystick.ErrInvalid, f.Short())
		}
		b.issuers = append(b.issuers, issuer)
		b.warn = append(b.warn, "only what doors show is found of a CA that is not ours: its own list of what it signed is not here")
		return nil
	}
	all, err := e.DB.Authorities(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(a store.Authority) bool { return a.Name == name })
	if at < 0 {
		return problem.With(fmt.Errorf("%w: there is no CA %q here", tallystick.ErrNotFound, name), `"tally ca list" shows them`)
	}
	a := all[at]
	if a.Kind == ca.KindX509 {
		issuer, err := x509.ParseCertificate(a.Certificate)
		if err != nil {
			return fmt.Errorf("couldn't read the certificate of %s: %w", value, tallystick.ErrDamaged)
		}
		b.issuers = append(b.issuers, issuer)
	}
	return e.DB.EachIssued(ctx, store.IssuedFilter{Authority: a.ID, State: "good", Now: e.Now()}, func(c store.Issued) error {
		if len(b.known) > mostKnown {
			return nil
		}
		k := fromCA(c) // its serial is unique: no need to look for it among the others
		b.known = append(b.known, k)
		b.names["cert-sha256:"+string(k.Fingerprint)] = true
		return nil
	})
}

// burntPlace takes all keys whose private half was seen at a place or beneath it.
func (e *Engine) burntPlace(ctx context.Context, b *burnt, place tallystick.Place) error {
	if place.Scheme() == string(place) {
		return fmt.Errorf("%w: %.80q is not a place such as file:///etc/nginx", tallystick.ErrInvalid, place)
	}
	keys := map[tallystick.KeyID]bool{}
	page := store.PageRequest{Limit: 500}
	for {
		list, err := e.DB.Places(ctx, store.PlaceFilter{Prefix: string(place)}, page)
		if err != nil {
			return err
		}
		for _, p := range list.Items {
			if p.Place.Within(place) {
				if err := e.keysAt(ctx, keys, p.Place); err != nil {
					return err
				}
			}
		}
		if page.After = list.Next; page.After == "" || len(keys) > mostKnown {
			break
		}
	}
	if len(keys) == 0 {
		return problem.With(fmt.Errorf("%w: no private key was seen at %s", tallystick.ErrNotFound, place), "look there first: tally run")
	}
	for key := range keys {
		if err := e.burntKey(ctx, b, key); err != nil {
			return err
		}
	}
	return nil
}

// keysAt adds the keys whose private half is or was at one place.
func (e *Engine) keysAt(ctx context.Context, keys map[tallystick.KeyID]bool, place tallystick.Place) error {
	rows, err := e.DB.SightingsAt(ctx, place, mostKnown)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Role != tallystick.RoleHolds {
			continue
		}
		k, err := e.fromInventory(ctx, row.Credential)
		if err != nil {
			return err
		}
		if k.Key != "" {
			keys[k.Key] = true
		}
	}
	return nil
}

// burntWrapping takes all keys that a wrapping key of custody could ever open.
func (e *Engine) burntWrapping(ctx context.Context, b *burnt, name string) error {
	found, after := false, ""
	for {
		list, err := e.DB.Wrappings(ctx, name, after, 500)
		if err != nil {
			return err
		}
		for _, w := range list {
			found = true
			s, err := e.DB.Secret(ctx, w.Secret)
			if errors.Is(err, tallystick.ErrNotFound) {
				continue // destroyed, and its certificate with it
			} else if err != nil {
				return err
			}
			if len(s.Public) > 0 {
				if err := e.burntKey(ctx, b, tallystick.KeyIDOf(s.Public)); err != nil {
					return err
				}
			}
		}
		if len(list) == 0 {
			break
		}
		after = list[len(list)-1].Secret
	}
	if !found {
		return problem.With(fmt.Errorf("%w: nothing was ever under the wrapping key %q", tallystick.ErrNotFound, name), `"tally custody" shows the wrapping keys`)
	}
	return nil
}
