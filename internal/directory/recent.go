// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// maxRecent is how many changes are remembered, some five megabytes.
const maxRecent = 10_000

// recent are the newest changes, by the names under which uses would come.
type recent struct {
	mu     sync.RWMutex
	byName map[string][]*remembered // guarded by mu
	order  []*remembered            // guarded by mu; the oldest first
}

type remembered struct {
	change store.AccessChange
	names  []string
}

// opens says whether somebody may get in by a change who could not before.
func opens(c *tallystick.Change) bool {
	return c.Kind == tallystick.ChangeCredentialAdded || c.Kind == tallystick.ChangeTrustAdded
}

// add remembers changes that let somebody in.
func (r *recent) add(list []store.AccessChange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range list {
		if !opens(&c.Change) || c.Failed || c.Expected != "" {
			continue
		}
		m := &remembered{change: c}
		for _, name := range append(append([]string{}, c.Accounts...), c.Credential...) {
			name = tallystick.NormalName(name)
			m.names = append(m.names, name)
			r.byName[name] = append(r.byName[name], m)
		}
		if len(m.names) > 0 {
			r.order = append(r.order, m)
		}
	}
	for len(r.order) > maxRecent {
		r.forget(r.order[0])
		r.order = r.order[1:]
	}
}

// forget drops the oldest; the caller holds mu. What is oldest in order is the
// first under each of its names.
func (r *recent) forget(m *remembered) {
	for _, name := range m.names {
		if list := r.byName[name]; len(list) > 1 {
			r.byName[name] = list[1:]
		} else {
			delete(r.byName, name)
		}
	}
}

// each calls do with the changes under a name.
func (r *recent) each(name string, do func(*remembered)) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, m := range r.byName[name] {
		do(m)
	}
}

// Used says that something was used: an account, with credentials of which the
// log names some or none, both in the normal form of names. When that is the
// first use within 30 minutes after a change that nobody expected, the rules are
// shown that change again. For all other uses it is a look into a map.
func (d *Directory) Used(ctx context.Context, accounts, credentials []string, at time.Time, address string) error {
	var hit []*remembered
	within := func(m *remembered) bool {
		after := at.Sub(m.change.Time)
		return after >= 0 && after <= usedWithin && (m.change.UsedAt.IsZero() || at.Before(m.change.UsedAt))
	}
	for _, name := range credentials {
		d.recent.each(name, func(m *remembered) {
			if within(m) {
				hit = append(hit, m)
			}
		})
	}
	for _, name := range accounts {
		d.recent.each(name, func(m *remembered) {
			if within(m) && tellsByAccount(&m.change.Change, credentials) {
				hit = append(hit, m)
			}
		})
	}
	var news []store.AccessChange
	for _, m := range hit {
		c, is, err := d.used(ctx, m, at, address)
		if err != nil {
			return errors.Join(err, d.judge(ctx, news)) // what is recorded is no news again
		}
		if is {
			news = append(news, c)
		}
	}
	return d.judge(ctx, news)
}

// tellsByAccount says whether a use of an account shows that what was added is in
// use. A busy account is used all the time, with what it had before; so it must
// be the only credential there is, or a certificate where a key was added that no
// log of uses names.
func tellsByAccount(c *tallystick.Change, credentials []string) bool {
	if c.Existing == 0 && len(credentials) == 0 {
		return true
	}
	if len(c.Credential) == 0 || !strings.HasPrefix(c.Credential[0], "key-credential:") {
		return false
	}
	for _, name := range credentials {
		if strings.HasPrefix(name, "x5t:") || strings.HasPrefix(name, "cert-sha256:") {
			return true
		}
	}
	return false
}

// used records the use of a change, and says whether that is news.
func (d *Directory) used(ctx context.Context, m *remembered, at time.Time, address string) (store.AccessChange, bool, error) {
	news, err := d.DB.UseAccessChange(ctx, m.change.ID, at, address)
	if err != nil {
		return store.AccessChange{}, false, err
	}
	d.recent.mu.Lock()
	defer d.recent.mu.Unlock()
	if m.change.UsedAt.IsZero() || at.Before(m.change.UsedAt) {
		m.change.UsedAt, m.change.UsedFrom = at, address
	}
	return m.change, news, nil
}

// Changed returns when a credential was last added, before a time, to what is
// used under some names, other than by an expected change; zero when none was.
// It is a look into a map.
func (d *Directory) Changed(names []string, before time.Time) time.Time {
	var last time.Time
	for _, name := range names {
		d.recent.each(name, func(m *remembered) {
			if t := m.change.Time; !t.After(before) && t.After(last) {
				last = t
			}
		})
	}
	return last
}
