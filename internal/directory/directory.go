// SPDX-License-Identifier: Apache-2.0

// Package directory keeps the changes of who gets in, as the logs of directories,
// tenants and hosts tell them, and shows them to the rules: credentials that were
// added, trusts, grants, keys that were read. Whoever plans a change says
// beforehand that it is expected, and the rules leave it alone.
//
// What a rule says of a change hangs on the changes around it and on whether the
// target was used soon after, and either may come late. So a change is judged
// again when another one arrives within the hour before it, and when it is used:
// the findings are those of the set of records, whatever their order.
package directory

import (
	"context"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

const (
	// near is how far before a change others are shown with it.
	near = time.Hour
	// usedWithin is how soon after a change a use counts as its fruit: as long as
	// public hunting queries wait for the sign-in after a new credential.
	usedWithin = 30 * time.Minute
)

// A Directory keeps changes. Its methods are safe to call from several goroutines.
type Directory struct {
	DB    *store.DB
	Gate  *gate.Gate
	Rules []rule.Rule
	Now   func() time.Time
	// Earlier returns the first use under some accounts or of some credentials
	// between two times, for a use that was told before its change; a zero time is
	// none. It may be nil.
	Earlier func(ctx context.Context, accounts, credentials []string, from, to time.Time) (at time.Time, address string, err error)

	recent *recent
}

// New returns a directory over the enabled rules.
func New(d Directory) *Directory {
	d.Rules = slices.DeleteFunc(slices.Clone(d.Rules), func(r rule.Rule) bool { return r.Change == nil })
	d.recent = &recent{byName: map[string][]*remembered{}}
	return &d
}

// Load takes up what a process before this one has left: changes that the rules
// have not seen, and the recent ones, after which uses may still come.
func (d *Directory) Load(ctx context.Context) error {
	page, _, err := d.DB.AccessChanges(ctx, store.AccessFilter{From: d.Now().Add(-2 * near)}, store.PageRequest{Limit: maxRecent})
	if err != nil {
		return err
	}
	slices.Reverse(page.Items)
	d.recent.add(page.Items)
	return d.judgeAll(ctx)
}

// Take keeps changes and judges those that are new. When it returns an error it
// may be called again with the same ones: nothing is kept or found twice.
func (d *Directory) Take(ctx context.Context, changes []tallystick.Change) error {
	if len(changes) == 0 {
		return nil
	}
	fresh, err := d.DB.RecordAccessChanges(ctx, changes)
	if err != nil {
		return err
	}
	d.recent.add(fresh)
	if err := d.earlier(ctx, fresh); err != nil {
		return err
	}
	return d.judgeAll(ctx)
}

// earlier looks for uses that were told before the changes that made them possible.
func (d *Directory) earlier(ctx context.Context, fresh []store.AccessChange) error {
	if d.Earlier == nil {
		return nil
	}
	for _, c := range fresh {
		if !opens(&c.Change) || c.Failed {
			continue
		}
		accounts, credentials := c.Accounts, c.Credential
		if c.Existing != 0 {
			accounts = nil // a use that names no key could be of an older one
		}
		at, address, err := d.Earlier(ctx, accounts, credentials, c.Time, c.Time.Add(usedWithin))
		if err != nil {
			return err
		}
		if !at.IsZero() {
			if _, err := d.DB.UseAccessChange(ctx, c.ID, at, address); err != nil {
				return err
			}
		}
	}
	return nil
}

// judgePage is how many changes are judged before that is recorded.
const judgePage = 2000

// judgeAll shows the rules every change that they have not seen.
func (d *Directory) judgeAll(ctx context.Context) error {
	for {
		list, err := d.DB.UnjudgedAccessChanges(ctx, judgePage)
		if err != nil || len(list) == 0 {
			return err
		}
		if err := d.judge(ctx, list); err != nil {
			return err
		}
		if err := d.DB.AccessChangesJudged(ctx, list); err != nil {
			return err
		}
	}
}
