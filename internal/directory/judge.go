// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

// maxNear is how many changes are shown with one at most, the newest of the hour
// before it: whoever makes thousands must not make every look at them dear.
const maxNear = 50

// A spell is changes of one target of which none is more than an hour behind the
// one before it.
type spell struct {
	target, account string
	from, to        time.Time
}

// spells parts changes into spells.
func spells(list []store.AccessChange) (all []spell) {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b store.AccessChange) int {
		return cmp.Or(cmp.Compare(a.Target, b.Target), cmp.Compare(firstOf(a.Accounts), firstOf(b.Accounts)), a.Time.Compare(b.Time))
	})
	for _, c := range list {
		account := firstOf(c.Accounts)
		if n := len(all); n > 0 && all[n-1].target == c.Target && all[n-1].account == account && c.Time.Sub(all[n-1].to) <= near {
			all[n-1].to = c.Time
			continue
		}
		all = append(all, spell{target: c.Target, account: account, from: c.Time, to: c.Time})
	}
	return all
}

func firstOf(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}

// judge shows the rules changes, and those after them that have them near.
func (d *Directory) judge(ctx context.Context, list []store.AccessChange) error {
	if len(d.Rules) == 0 || len(list) == 0 {
		return nil
	}
	found := verdicts{at: map[about]int{}}
	for _, s := range spells(list) {
		if err := d.judgeSpell(ctx, s, &found); err != nil {
			return err
		}
	}
	return d.DB.RaiseFindings(ctx, found.list, d.Now())
}

// judgeSpell goes through a spell and the hour after it, in the order of time.
func (d *Directory) judgeSpell(ctx context.Context, s spell, found *verdicts) error {
	before, err := d.DB.AccessChangesAround(ctx, s.target, s.account, s.from.Add(-near), s.from.Add(-time.Microsecond), maxNear)
	if err != nil {
		return err
	}
	var window []store.AccessChange // the newest that nobody expected
	keep := func(c store.AccessChange) {
		if c.Expected == "" {
			window = append(window[max(0, len(window)+1-maxNear):], c)
		}
	}
	for _, c := range slices.Backward(before) {
		keep(c)
	}
	for at := (store.AccessChange{Change: tallystick.Change{Time: s.from}}); ; {
		page, err := d.DB.AccessChangesAfter(ctx, s.target, s.account, at, s.to.Add(near), judgePage)
		if err != nil {
			return err
		}
		for _, c := range page {
			c, err := d.witnessed(ctx, c)
			if err != nil {
				return err
			}
			for _, f := range d.hits(c, window) {
				found.add(c.Time, f)
			}
			keep(c)
		}
		if len(page) < judgePage {
			return nil
		}
		at = page[len(page)-1]
	}
}

// verdicts are findings: of two about one thing the words of the newest change stand.
type verdicts struct {
	list  []tallystick.Finding
	times []time.Time // of list
	at    map[about]int
}

type about struct {
	rule  string
	place tallystick.Place
}

func (v *verdicts) add(at time.Time, f tallystick.Finding) {
	key := about{f.Rule, f.Place}
	i, ok := v.at[key]
	switch {
	case !ok:
		v.at[key] = len(v.list)
		v.list, v.times = append(v.list, f), append(v.times, at)
	case !at.Before(v.times[i]):
		v.list[i], v.times[i] = f, at
	}
}

// hits returns what the rules say of a change; before are those before it that
// nobody expected, the oldest first.
func (d *Directory) hits(c store.AccessChange, before []store.AccessChange) (found []tallystick.Finding) {
	subject := rule.ChangeSubject{
		Change: &c.Change, Expected: c.Expected != "", First: c.Existing == 0, UsedAt: c.UsedAt, UsedFrom: c.UsedFrom,
	}
	for _, other := range slices.Backward(before) {
		if c.Time.Sub(other.Time) > near {
			break
		}
		subject.Near = append(subject.Near, other.Change)
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
