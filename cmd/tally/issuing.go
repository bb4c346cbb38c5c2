// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/issuing"
	"github.com/tallystick/tallystick/internal/lint"
	"github.com/tallystick/tallystick/internal/revocation"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rules"
)

// heldCA is the CA of a house, which is put together when it is first needed.
type heldCA struct {
	mu  sync.Mutex
	one *ca.CA // guarded by mu
	// revoked and recalled are called after certificates were; nil without a server.
	revoked, recalled func()
}

// openCA returns the CA. It asks for no key until something is signed.
func (h *house) openCA() (*ca.CA, error) {
	h.ca.mu.Lock()
	defer h.ca.mu.Unlock()
	if h.ca.one != nil {
		return h.ca.one, nil
	}
	rulesOfUsers, err := policyOf(h.config)
	if err != nil {
		return nil, err
	}
	profiles, err := profilesOf(h.config)
	if err != nil {
		return nil, err
	}
	linter, err := lint.New()
	if err != nil {
		return nil, err
	}
	h.ca.one = ca.New(ca.Config{
		DB: h.db, Gate: h.gate, Keys: lateKeys{h}, Now: h.now, Profiles: profiles, URL: publishedURL(h.config),
		Shards: h.config.Issuing.Revocation.Shards, OCSP: h.config.Issuing.Revocation.OCSP,
		CheckKey: lint.CheckKey, Known: h.knownKey,
		Revoked: func() { callIf(h.ca.revoked) }, Recalled: func() { callIf(h.ca.recalled) },
		Decide: issuing.Decide(rulesOfUsers),
		Lint:   func(der []byte) error { _, err := linter.Lints(der); return err },
	})
	return h.ca.one, nil
}

func callIf(fn func()) {
	if fn != nil {
		fn()
	}
}

// knownKey says what the inventory knows against a key.
func (h *house) knownKey(ctx context.Context, key tallystick.KeyID) (string, error) {
	rule, evidence, err := h.db.KeyFinding(ctx, key, rules.UnfitKey(), rules.StolenKey())
	if errors.Is(err, tallystick.ErrNotFound) {
		return "", nil
	}
	return fmt.Sprintf("the inventory says %s of it: %s", rule, evidence), err
}

// lateKeys opens the custody when something in it is first needed, so that a wrapping key that is
// not there keeps nobody from anything else.
type lateKeys struct{ h *house }

func (k lateKeys) NewKey(ctx context.Context, kind custody.KeyType, owner custody.Owner) (string, crypto.Signer, error) {
	kept, err := k.h.openCustody(ctx)
	if err != nil {
		return "", nil, err
	}
	if owner.Kind == ca.KeyOfCA && kept.HasDevice() {
		return kept.NewDeviceKey(ctx, kind, owner)
	}
	return kept.NewKey(ctx, kind, owner)
}

func (k lateKeys) Signer(ctx context.Context, id string) (crypto.Signer, error) {
	kept, err := k.h.openCustody(ctx)
	if err != nil {
		return nil, err
	}
	return kept.Signer(ctx, id)
}

func (k lateKeys) Put(ctx context.Context, owner custody.Owner, secret []byte) (string, error) {
	kept, err := k.h.openCustody(ctx)
	if err != nil {
		return "", err
	}
	return kept.Put(ctx, owner, secret)
}

func (k lateKeys) Get(ctx context.Context, id string) ([]byte, error) {
	kept, err := k.h.openCustody(ctx)
	if err != nil {
		return nil, err
	}
	return kept.Get(ctx, id)
}

func (k lateKeys) Destroy(ctx context.Context, id string) error {
	kept, err := k.h.openCustody(ctx)
	if err != nil {
		return err
	}
	return kept.Destroy(ctx, id)
}

// profilesOf returns what certificates may be for.
func profilesOf(c *config.Config) ([]ca.Profile, error) {
	var changes []ca.ProfileChange
	for _, p := range c.Issuing.Profiles {
		changes = append(changes, ca.ProfileChange{
			Name: p.Name, Like: p.Like, Authority: p.Authority, Lifetime: p.Lifetime, MaxLifetime: p.MaxLifetime, Keys: p.Keys, Approval: p.Approval,
		})
	}
	return ca.Extended(changes)
}

// publishedURL is where others reach what is published of CAs.
func publishedURL(c *config.Config) string {
	if c.Issuing.URL != "" {
		return c.Issuing.URL
	}
	return "https://" + c.Listen
}

// newPublisher publishes revocations. Without signs, another process signs the lists.
func (p *program) newPublisher(h *house, authorities *ca.CA, signs bool) *revocation.Publisher {
	c := revocation.Config{
		DB: h.db, Now: p.now, URL: publishedURL(h.config), Lifetime: h.config.Issuing.Revocation.Lifetime, OCSP: h.config.Issuing.Revocation.OCSP,
		Issued: authorities.Issued,
		Authorities: func(ctx context.Context) ([]revocation.Authority, error) {
			list, err := authorities.Authorities(ctx)
			var published []revocation.Authority
			for _, a := range list {
				if a.X509() != nil {
					published = append(published, revocation.Authority{ID: a.ID, Name: a.Name, Certificate: a.X509(), Offline: a.Offline(), URL: a.Settings.URL, Shards: a.Settings.Shards})
				}
			}
			return published, err
		},
		Keep: func(ctx context.Context, authority int64, certificate *x509.Certificate) error {
			return authorities.KeepResponder(ctx, authority, certificate)
		},
	}
	if signs {
		c.Signer = func(ctx context.Context, name string) (crypto.Signer, error) {
			_, signer, err := authorities.Signer(ctx, name)
			return signer, err
		}
	}
	return revocation.New(c)
}

// publishWait is how long a command waits for a running server to publish.
const publishWait = time.Minute

// published waits until what was revoked is on the lists: they are signed here, or by
// the server that is running.
func (p *program) published(ctx context.Context, h *house) error {
	authorities, err := h.openCA()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, publishWait)
	defer cancel()
	if err := p.newPublisher(h, authorities, h.unattended() != nil).Flush(ctx); err != nil {
		return fmt.Errorf("it is revoked, but the lists are not published yet: %w", err)
	}
	p.say("the lists are published")
	return nil
}

// listOf returns the list of a CA's revoked certificates, DER.
func (p *program) listOf(ctx context.Context, h *house, c *ca.CA, name string) ([]byte, error) {
	a, err := c.Authority(ctx, name)
	if err != nil {
		return nil, err
	}
	if err := p.newPublisher(h, c, h.unattended() != nil).Flush(ctx); err != nil {
		return nil, err
	}
	list, err := h.db.CRL(ctx, a.ID, store.CompleteList)
	return list.List, err
}

// founded runs fn over data that is made when it is missing.
func (p *program) founded(ctx context.Context, flags dataFlags, fn func(context.Context, *house) error) error {
	c, err := p.load(flags)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Data, 0o700); err != nil {
		return fmt.Errorf("couldn't make the data directory: %w", err)
	}
	if err := checkData(c.Data); err != nil {
		return err
	}
	h, err := p.open(ctx, c)
	if err != nil {
		return err
	}
	return errors.Join(fn(ctx, h), h.close())
}
