// SPDX-License-Identifier: Apache-2.0

// Package inventory answers what there is, where it is, who owns it and what it
// opens. Pages, API and commands call the same functions; each asks the gate
// first.
package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// An Inventory reads and annotates. Make one with New.
type Inventory struct {
	db       *store.DB
	gate     *gate.Gate
	now      func() time.Time
	summary  summaryCache
	networks networkCache
}

// New returns an inventory over a store.
func New(db *store.DB, g *gate.Gate, now func() time.Time) *Inventory {
	return &Inventory{
		db: db, gate: g, now: now, summary: summaryCache{wanted: make(chan struct{}, 1)},
		networks: networkCache{wanted: make(chan string, mostRows), known: map[string]countedNetwork{}},
	}
}

// Credentials returns a page of credentials and how many the filter lets
// through, up to store.CountCap.
func (i *Inventory) Credentials(ctx context.Context, actor gate.Actor, f store.CredentialFilter, page store.PageRequest) (store.Page[store.CredentialRow], int64, error) {
	if err := i.gate.Check(ctx, actor, gate.ReadInventory, "credentials"); err != nil {
		return store.Page[store.CredentialRow]{}, 0, err
	}
	list, err := i.db.Credentials(ctx, f, page)
	if err != nil {
		return list, 0, err
	}
	n, err := i.db.CountCredentials(ctx, f)
	return list, n, err
}

// Places returns a page of places and how many the filter lets through, up to
// store.CountCap.
func (i *Inventory) Places(ctx context.Context, actor gate.Actor, f store.PlaceFilter, page store.PageRequest) (store.Page[store.PlaceRow], int64, error) {
	if err := i.gate.Check(ctx, actor, gate.ReadInventory, "places"); err != nil {
		return store.Page[store.PlaceRow]{}, 0, err
	}
	list, err := i.db.Places(ctx, f, page)
	if err != nil {
		return list, 0, err
	}
	n, err := i.db.CountPlaces(ctx, f)
	return list, n, err
}

// PlaceDetail is what is and was at one place, the current first.
func (i *Inventory) PlaceDetail(ctx context.Context, actor gate.Actor, place tallystick.Place) ([]store.SightingRow, error) {
	if err := i.gate.Check(ctx, actor, gate.ReadInventory, string(place)); err != nil {
		return nil, err
	}
	list, err := i.db.SightingsAt(ctx, place, detailRows)
	if err == nil && len(list) == 0 {
		return nil, fmt.Errorf("place %s: %w", place, tallystick.ErrNotFound)
	}
	return list, err
}

// detailRows is how many sightings or records of history a detail shows.
const detailRows = 500

// A Detail is everything about one credential.
type Detail struct {
	Credential  *tallystick.Credential
	Row         store.CredentialRow
	Sightings   []store.SightingRow // its periods at places, the current first
	Holders     []store.SightingRow // where the private half of its key is, by any credential
	Opens       []store.SightingRow // where its key is accepted
	SameKey     []store.CredentialRow
	Issuers     []*tallystick.Credential // who may have issued it
	Findings    []store.FindingRow       // open, accepted or not
	Past        []store.FindingRow       // closed ones
	Annotations []store.PastAnnotation   // newest first
}

// Credential returns one credential, named by its fingerprint or by the
// beginning of one that is unique.
func (i *Inventory) Credential(ctx context.Context, actor gate.Actor, name string) (*Detail, error) {
	fingerprint, err := i.resolve(ctx, actor, name)
	if err != nil {
		return nil, err
	}
	if err := i.gate.Check(ctx, actor, gate.ReadCredential, string(fingerprint)); err != nil {
		return nil, err
	}
	d := &Detail{}
	if d.Credential, d.Row, err = i.db.Credential(ctx, fingerprint); err != nil {
		return nil, err
	}
	return d, i.fill(ctx, d)
}

// resolve returns which credential a name means, see store.DB.Resolve.
func (i *Inventory) resolve(ctx context.Context, actor gate.Actor, name string) (tallystick.Fingerprint, error) {
	if err := i.gate.Check(ctx, actor, gate.ReadInventory, name); err != nil {
		return "", err
	}
	return i.db.Resolve(ctx, name)
}

// fill reads the rest of a detail.
func (i *Inventory) fill(ctx context.Context, d *Detail) error {
	c := d.Credential
	var err error
	if d.Sightings, err = i.db.SightingsOf(ctx, c.ID, detailRows); err != nil {
		return err
	}
	if d.Annotations, err = i.db.Annotations(ctx, c.ID, detailRows); err != nil {
		return err
	}
	if c.Kind == tallystick.KindCertificate && !c.SelfIssued {
		if d.Issuers, err = i.db.Issuers(ctx, c); err != nil {
			return err
		}
	}
	for _, list := range []struct {
		into   *[]store.FindingRow
		filter store.FindingFilter
	}{
		{&d.Findings, store.FindingFilter{Credential: c.ID, All: true}},
		{&d.Past, store.FindingFilter{Credential: c.ID, Closed: true}},
	} {
		page, err := i.db.Findings(ctx, list.filter, store.PageRequest{Limit: detailRows})
		if err != nil {
			return err
		}
		*list.into = page.Items
	}
	return i.fillKey(ctx, d)
}

// fillKey reads what the credential's key is elsewhere.
func (i *Inventory) fillKey(ctx context.Context, d *Detail) error {
	key := d.Credential.Key.ID
	if key == "" {
		return nil
	}
	var err error
	if d.Holders, err = i.db.SightingsOfKey(ctx, key, tallystick.RoleHolds, detailRows); err != nil {
		return err
	}
	if d.Opens, err = i.db.SightingsOfKey(ctx, key, tallystick.RoleAccepts, detailRows); err != nil {
		return err
	}
	page, err := i.db.Credentials(ctx, store.CredentialFilter{KeyID: string(key)}, store.PageRequest{Limit: detailRows})
	d.SameKey = slices.DeleteFunc(page.Items, func(r store.CredentialRow) bool { return r.ID == d.Credential.ID })
	return err
}

// Annotate says something about credentials, in the actor's name. Each is
// recorded by the gate on its own.
func (i *Inventory) Annotate(ctx context.Context, actor gate.Actor, list []tallystick.Fingerprint, a tallystick.Annotation) error {
	if err := checkAnnotation(a); err != nil {
		return err
	}
	for _, f := range list {
		if err := i.gate.Check(ctx, actor, gate.Annotate, string(f)); err != nil {
			return err
		}
		said := store.PastAnnotation{Time: i.now(), Author: actor.Name, Annotation: a}
		if err := i.db.Annotate(ctx, f, said); err != nil {
			return err
		}
	}
	return nil
}

// checkAnnotation bounds what people write.
func checkAnnotation(a tallystick.Annotation) error {
	if len(a.Owner) > 200 || len(a.Environment) > 100 || len(a.Notes) > 10_000 || len(a.Tags) > 50 {
		return fmt.Errorf("%w: an owner has at most 200 characters, an environment 100, notes 10,000, and there are at most 50 tags", tallystick.ErrInvalid)
	}
	for _, tag := range a.Tags {
		if tag == "" || len(tag) > 100 || strings.ContainsAny(tag, " ,\t\n") {
			return fmt.Errorf("%w: a tag is a word of at most 100 characters without spaces or commas: %q", tallystick.ErrInvalid, tag)
		}
	}
	return nil
}
