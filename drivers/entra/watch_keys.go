// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// Keys and secrets that come and go, by delta queries ("Use delta query to track changes in
// Microsoft Graph data"): for tenants whose audits nobody may read. They tell how an object is now,
// some of it more than once, so that what each had is remembered.

const (
	keysEvery = 5 * time.Minute
	// keysPages is how many pages are read in one round.
	keysPages = 20
)

// keyKinds are what has keys.
var keyKinds = [...]string{"applications", "servicePrincipals"}

// A keysProgress is how far the keys are watched.
type keysProgress struct {
	standing
	Links map[string]string `json:"links,omitempty"` // where it goes on, by kind; "" is from the beginning
	// Anew counts how often all was read again from the beginning.
	Anew int `json:"anew,omitempty"`
	// Known are those kinds that were read to their end once: what comes after that is news.
	Known []string `json:"known,omitempty"`
}

// A deltaObject is an object as a delta query tells it: what is nil has not changed.
type deltaObject struct {
	ID        string                `json:"id"`
	AppID     string                `json:"appId"`
	Name      string                `json:"displayName"`
	Keys      *[]keyCredential      `json:"keyCredentials"`
	Passwords *[]passwordCredential `json:"passwordCredentials"`
	Removed   *struct{}             `json:"@removed"`
}

// A keyring is what is remembered of an object.
type keyring struct {
	AppID   string   `json:"app,omitempty"`
	Name    string   `json:"name,omitempty"`
	Keys    []string `json:"keys,omitempty"` // ids
	Secrets []string `json:"secrets,omitempty"`
}

func (k *keyring) all() []string { return slices.Concat(k.Keys, k.Secrets) }

// A keysRecord is a change of the keys of one object: a record of the format "entra-keys".
type keysRecord struct {
	Type     string    `json:"type"`
	ID       string    `json:"id"`
	Time     time.Time `json:"time"` // when it was noticed
	Tenant   string    `json:"tenantId"`
	Object   string    `json:"object"`
	AppID    string    `json:"appId,omitempty"`
	Name     string    `json:"displayName,omitempty"`
	Added    []anyKey  `json:"added,omitempty"`
	Removed  []anyKey  `json:"removed,omitempty"`
	Existing int       `json:"existing"`
}

// An anyKey is a key or a secret.
type anyKey struct {
	ID   string `json:"keyId"`
	X5T  string `json:"x5t,omitempty"`
	Type string `json:"type,omitempty"`
	Name string `json:"displayName,omitempty"`
}

// keys reads what has changed of the keys of all objects.
func (w *watching) keys(ctx context.Context, p *keysProgress) error {
	if w.memory == nil {
		return &endOfRound{invalid("the log %s needs somebody who remembers what there was", logKeys)}
	}
	if p.Links == nil {
		p.Links = map[string]string{}
	}
	pages := 0
	for _, kind := range keyKinds {
		for ended := false; !ended; pages++ {
			if pages >= keysPages {
				p.Next = w.now()
				return nil
			}
			var err error
			if ended, err = w.keysPage(ctx, p, kind); err != nil {
				return err
			}
		}
	}
	p.Next = w.now().Add(max(w.Every, keysEvery))
	return nil
}

// keysPage reads one page. It says whether it was the last for now.
func (w *watching) keysPage(ctx context.Context, p *keysProgress, kind string) (ended bool, err error) {
	link := cmp.Or(p.Links[kind], w.client.url("/v1.0/"+kind+"/delta", url.Values{"$select": {"id,appId,displayName,keyCredentials,passwordCredentials"}}).String())
	var objects []deltaObject
	read, err := w.client.page(ctx, link, func(element json.RawMessage) error {
		var o deltaObject
		if json.Unmarshal(element, &o) == nil { // what is not as documented tells nothing
			objects = append(objects, o)
		}
		return nil
	})
	if said, ok := errors.AsType[*apiError](err); ok && p.Links[kind] != "" && (said.Status == http.StatusGone || said.Status == http.StatusBadRequest) {
		p.Anew++
		p.Links[kind] = "" // all is read again, and compared with what is remembered
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if read.Next == link || read.Next == "" && read.Delta == "" {
		return false, fmt.Errorf("%w: a delta query of %s leads nowhere", tallystick.ErrUnavailable, w.client.base.Host)
	}
	// The page that is read stays the same when it is read again.
	b, err := w.compare(ctx, objects, slices.Contains(p.Known, kind), strconv.Itoa(p.Anew)+" "+link)
	if err != nil {
		return false, err
	}
	if p.Links[kind] = cmp.Or(read.Next, read.Delta); read.Next == "" && !slices.Contains(p.Known, kind) {
		p.Known = append(p.Known, kind)
	}
	return read.Next == "", w.take(b)
}

// compare makes a batch of what objects of a page have that they had not, and the other way round.
func (w *watching) compare(ctx context.Context, objects []deltaObject, news bool, page string) (driver.WatchBatch, error) {
	b := driver.WatchBatch{Log: logKeys, Format: "entra-keys"}
	objects = slices.DeleteFunc(objects, func(o deltaObject) bool { _, err := guid(o.ID); return err != nil })
	ids := make([]string, len(objects))
	for i, o := range objects {
		ids[i] = o.ID
	}
	had, err := w.memory.Remembered(ctx, ids)
	if err != nil {
		return b, &endOfRound{err}
	}
	now := map[string]keyring{} // of this page, where an object may stand twice
	for i, o := range objects {
		before, seen := now[o.ID]
		if !seen && len(had[i]) > 0 {
			if err := json.Unmarshal(had[i], &before); err != nil {
				return b, &endOfRound{fmt.Errorf("%w: what is remembered of %s cannot be read", tallystick.ErrDamaged, o.ID)}
			}
		}
		after := before.with(o)
		now[o.ID] = after
		if news {
			if record := w.keysRecord(o, &before, &after, page); record != nil {
				b.Records = append(b.Records, record)
			}
		}
	}
	for id, after := range now {
		value, err := json.Marshal(after)
		if err != nil {
			return b, &endOfRound{err}
		}
		if len(after.all()) == 0 {
			value = nil
		}
		b.Remember = append(b.Remember, driver.Remembered{Key: id, Value: value})
	}
	return b, nil
}

// with returns what an object has after it was told.
func (k keyring) with(o deltaObject) keyring {
	k.AppID, k.Name = cmp.Or(o.AppID, k.AppID), cmp.Or(network.Clean(o.Name), k.Name)
	if o.Removed != nil {
		k.Keys, k.Secrets = nil, nil
		return k
	}
	if o.Keys != nil {
		k.Keys = idsOf(*o.Keys, func(c keyCredential) string { return c.KeyID })
	}
	if o.Passwords != nil {
		k.Secrets = idsOf(*o.Passwords, func(c passwordCredential) string { return c.KeyID })
	}
	return k
}

func idsOf[T any](list []T, id func(T) string) []string {
	var ids []string
	for _, one := range list {
		if text, err := guid(id(one)); err == nil {
			ids = append(ids, text)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// keysRecord tells a change; nil is none. The same change has the same id, whenever it is read; a
// key that went and comes again does so on another page.
func (w *watching) keysRecord(o deltaObject, before, after *keyring, page string) []byte {
	had, has := before.all(), after.all()
	r := keysRecord{
		Type: "entra-keys", Time: w.now().UTC().Truncate(time.Second), Tenant: w.Tenant, Object: o.ID, AppID: after.AppID, Name: after.Name, Existing: len(had),
	}
	for _, id := range has {
		if !slices.Contains(had, id) {
			r.Added = append(r.Added, o.describe(id))
		}
	}
	for _, id := range had {
		if !slices.Contains(has, id) {
			r.Removed = append(r.Removed, anyKey{ID: id})
		}
	}
	if len(r.Added)+len(r.Removed) == 0 {
		return nil
	}
	sum := sha256.Sum256([]byte(o.ID + " " + strings.Join(had, ",") + " " + strings.Join(has, ",") + " " + page))
	r.ID = base64.RawURLEncoding.EncodeToString(sum[:15])
	text, err := json.Marshal(r)
	if err != nil {
		return nil // it holds texts and times alone
	}
	return text
}

// describe returns what is told of a key by its id.
func (o deltaObject) describe(id string) anyKey {
	if o.Keys != nil {
		for _, k := range *o.Keys {
			if strings.EqualFold(k.KeyID, id) {
				return anyKey{id, k.x5t(), k.Type, label(k.DisplayName)}
			}
		}
	}
	if o.Passwords != nil {
		for _, k := range *o.Passwords {
			if strings.EqualFold(k.KeyID, id) {
				return anyKey{id, "", "secret", label(k.DisplayName)}
			}
		}
	}
	return anyKey{ID: id}
}
