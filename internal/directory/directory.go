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
const judgePage = 500

// judgeAll shows the rules every change that they have not seen.
func (d *Directory) judgeAll(ctx context.Context) error {
	for {
		list, err := d.DB.UnjudgedAccessChanges(ctx, judgePage)
		if err != nil || len(list) == 0 {
			return err
		}
		for _, c := range list {
			if err := d.judge(ctx, c); err != nil {
				return err
			}
		}
		if err := d.DB.AccessChangesJudged(ctx, list); err != nil {
			return err
		}
	}
}

// judge shows the rules a change, and those after it that have it near.
func (d *Directory) judge(ctx context.Context, c store.AccessChange) error {
	if len(d.Rules) == 0 {
		return nil
	}
	around, err := d.DB.AccessChangesAround(ctx, c.Target, firstOf(c.Accounts), c.Time.Add(-near), c.Time.Add(near))
	if err != nil {
		return err
	}
	var found []tallystick.Finding
	for i, other := range around { // the newest first
		if !other.Time.Before(c.Time) {
			found = append(found, d.hits(other, around[i+1:])...)
		}
	}
	slices.Reverse(found) // of two about one thing the words of the newest stand
	return d.DB.RaiseFindings(ctx, lastOfEach(found), d.Now())
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// hits returns what the rules say of a change; before are those before it, the
// newest first.
func (d *Directory) hits(c store.AccessChange, before []store.AccessChange) (found []tallystick.Finding) {
	subject := rule.ChangeSubject{
		Change: &c.Change, Expected: c.Expected != "", First: c.Existing == 0, UsedAt: c.UsedAt, UsedFrom: c.UsedFrom,
	}
	for _, other := range before {
		if c.Time.Sub(other.Time) <= near && other.Expected == "" {
			subject.Near = append(subject.Near, other.Change)
		}
	}
	for _, r := range d.Rules {
		for _, hit := range r.Change(subject) {
			f := tallystick.Finding{Rule: r.Name, Severity: r.Severity, Credential: hit.Credential, Place: hit.Place, Evidence: hit.Evidence}
			if f.Place == "" {
				f.Place = tallystick.Place(c.Target)
			}
			if hit.Severity != 0 {
				f.Severity = hit.Severity
			}
			found = append(found, f)
		}
	}
	return found
}

// lastOfEach keeps the last finding of each rule and place.
func lastOfEach(list []tallystick.Finding) (kept []tallystick.Finding) {
	type about struct {
		rule  string
		place tallystick.Place
	}
	at := map[about]int{}
	for _, f := range list {
		key := about{f.Rule, f.Place}
		if i, ok := at[key]; ok {
			kept[i] = f
			continue
		}
		at[key] = len(kept)
		kept = append(kept, f)
	}
	return kept
}
