// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// badProof is the code with which Graph refuses a proof.
const badProof = "Authentication_MissingOrMalformed"

// unsettledTries is how often more something is tried that a new key may be too new for.
const unsettledTries = 3

// A change is what one call does to the keys of an object: it adds one, or takes some away.
type change struct {
	add  *keyCredential
	drop []keyCredential
}

// drops says whether a key is one of those that are taken away.
func (c change) drops(k keyCredential) bool {
	return slices.ContainsFunc(c.drop, func(d keyCredential) bool { return d.KeyID == k.KeyID })
}

// do makes a change. By addKey and removeKey nobody else's key can be lost, and an application
// needs no permission to use them on itself, so they come first: where one of the keys of the
// object signs in, and is believed. All else is a PATCH of the whole list.
func (r *ring) do(ctx context.Context, o *keyOwner, c change) (how string, err error) {
	for try := 0; r.proves(o); try++ {
		err := r.byProof(ctx, o, c)
		if err == nil || !errors.Is(err, tallystick.ErrDenied) {
			return "proof", err
		}
		// A key that was added a moment ago is not known everywhere yet.
		if said, ok := errors.AsType[*apiError](err); try == unsettledTries || !ok || said.Code != badProof || r.wait(ctx, 0, try) != nil {
			break
		}
	}
	err = r.byPatch(ctx, c)
	if said, ok := errors.AsType[*apiError](err); ok && said.Status == http.StatusForbidden {
		err = fmt.Errorf("%w; the tenant %s does not let the application %s change these keys: grant it Application.ReadWrite.OwnedBy, "+
			"or have an administrator there change them under App registrations, Certificates & secrets", err, r.tenant, r.application)
	}
	return "patch", err
}

// proves says whether what signs in here is a key of the object.
func (r *ring) proves(o *keyOwner) bool {
	return slices.ContainsFunc(o.Keys, func(k keyCredential) bool { return k.is(r.material.Public) && k.lets(r.now()) }) && r.material.Key != nil
}

// byProof makes a change key by key ("application: addKey", "application: removeKey").
func (r *ring) byProof(ctx context.Context, o *keyOwner, c change) error {
	if c.add != nil {
		proof, err := r.proof(o.ID)
		if err != nil {
			return err
		}
		err = r.send(ctx, http.MethodPost, r.path+"/addKey", map[string]any{"keyCredential": c.add, "passwordCredential": nil, "proof": proof}, nil)
		if err != nil {
			return fmt.Errorf("couldn't add the key: %w", err)
		}
	}
	for _, k := range c.drop {
		proof, err := r.proof(o.ID)
		if err != nil {
			return err
		}
		err = r.send(ctx, http.MethodPost, r.path+"/removeKey", map[string]any{"keyId": k.KeyID, "proof": proof}, nil)
		if said, ok := errors.AsType[*apiError](err); ok && said.Status == http.StatusNotFound {
			continue // it is gone, and the look was older
		}
		if err != nil {
			return fmt.Errorf("couldn't remove the key %s: %w", k.KeyID, err)
		}
	}
	return nil
}

// byPatch sends the whole list. What is not in it is lost, so the list must be complete: it is
// read until two looks agree, and no key that an earlier look showed is missing.
func (r *ring) byPatch(ctx context.Context, c change) error {
	o, err := r.settled(ctx)
	if err != nil {
		return err
	}
	keys := []keyCredential{}
	for _, k := range o.Keys {
		if c.drops(k) {
			continue
		}
		if k.der() == nil {
			return fmt.Errorf("%w: the key %s cannot be read, and changing the list would lose it: nothing was changed; have an administrator of the tenant %s change the keys",
				tallystick.ErrDenied, k.KeyID, r.tenant)
		}
		keys = append(keys, k)
	}
	if c.add != nil {
		keys = append(keys, *c.add)
	}
	if err := r.send(ctx, http.MethodPatch, r.path, map[string]any{"keyCredentials": keys}, nil); err != nil {
		return fmt.Errorf("couldn't change the list of keys: %w", err)
	}
	return r.nothingLost(ctx, o, c)
}

// steps are the pauses between looks at what takes its time to show.
const (
	firstLook = 250 * time.Millisecond
	mostLook  = 8 * time.Second
)

// settled looks until two looks in a row show the same keys, and all that any of them showed.
// Answers of Graph may be older than one before, and a list that is sent from such an answer
// loses keys.
func (r *ring) settled(ctx context.Context) (*keyOwner, error) {
	known := map[string]bool{}
	var before []string
	for pause := firstLook; ; pause = min(2*pause, mostLook) {
		o, err := r.look(ctx)
		if err != nil {
			return nil, err
		}
		ids := o.ids()
		for _, id := range ids {
			known[id] = true
		}
		if before != nil && slices.Equal(ids, before) && len(ids) == len(known) {
			return o, nil
		}
		before = ids
		if err := r.wait(ctx, pause, 0); err != nil {
			return nil, fmt.Errorf("%w: somebody else changes the keys of %s in the tenant %s, or answers are old: nothing was changed", errors.Join(tallystick.ErrUnavailable, err), o.ID, r.tenant)
		}
	}
}

// ids returns the ids of the keys, sorted.
func (o *keyOwner) ids() []string {
	ids := []string{}
	for _, k := range o.Keys {
		ids = append(ids, k.KeyID)
	}
	slices.Sort(ids)
	return ids
}

// nothingLost looks after a PATCH that the keys of others are still there. Microsoft has no
// condition for it ("If-Match"), so that a key of somebody who wrote between our look and our
// PATCH is lost; what shows of it is told loudly, because only its owner can put it back.
func (r *ring) nothingLost(ctx context.Context, sent *keyOwner, c change) error {
	o, err := r.until(ctx, c.shows)
	if err != nil {
		return err
	}
	var lost []string
	for _, k := range sent.Keys {
		if !c.drops(k) && !slices.ContainsFunc(o.Keys, func(there keyCredential) bool { return there.KeyID == k.KeyID || there.is(k.public()) }) {
			lost = append(lost, k.KeyID)
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("%w: while the keys of %s in the tenant %s were changed, others were lost: %s; ask who changes them, and put back what is missing",
			tallystick.ErrConflict, o.ID, r.tenant, strings.Join(lost, ", "))
	}
	return nil
}

// shows says whether an object stands as the change wants it.
func (c change) shows(o *keyOwner) bool {
	if slices.ContainsFunc(o.Keys, c.drops) {
		return false
	}
	return c.add == nil || len(o.keysOf(c.add.public())) > 0
}

// until looks until what was changed shows: a read may be older than a write before it.
func (r *ring) until(ctx context.Context, shows func(*keyOwner) bool) (*keyOwner, error) {
	var o *keyOwner
	err := r.patiently(ctx, r.path, func() (done bool, err error) {
		if o, err = r.look(ctx); err != nil {
			return false, err
		}
		return shows(o), nil
	})
	return o, err
}

// patiently looks again and again until a change of something shows.
func (r *ring) patiently(ctx context.Context, what string, shows func() (bool, error)) error {
	for pause := firstLook; ; pause = min(2*pause, mostLook) {
		done, err := shows()
		if err != nil || done {
			return err
		}
		if err := r.wait(ctx, pause, 0); err != nil {
			return fmt.Errorf("the change of %s in the tenant %s does not show yet: %w", path.Base(what), r.tenant, err)
		}
	}
}
