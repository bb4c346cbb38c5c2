// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

// nameAll gives credentials entries in the inventory that have none.
func (w *Watch) nameAll(ctx context.Context, list []*used) error {
	w.mu.Lock()
	var wanted []*used
	var names []store.Name
	for _, one := range list {
		if one = one.now(); one.fingerprint != "" {
			continue
		}
		first := one.profile.First
		if first.IsZero() {
			first = w.Now()
		}
		wanted, names = append(wanted, one), append(names, store.Name{Name: one.names[0], Seen: first})
	}
	w.mu.Unlock()
	found, err := w.DB.NameCredentials(ctx, names)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, one := range wanted {
		one.fingerprint, one.named = found[i], false
	}
	return nil
}

// writeNames writes down which credentials there are: what is said of uses names
// them.
func (w *Watch) writeNames(ctx context.Context) error {
	w.mu.Lock()
	var list []store.Used
	var named []*used
	for _, one := range w.used {
		if !one.named {
			list = append(list, store.Used{ID: one.id, Credential: one.fingerprint, Names: slices.Clone(one.names)})
			named = append(named, one)
			one.named = true
		}
	}
	merged := w.merged
	w.merged = nil
	w.mu.Unlock()
	if len(list) == 0 && len(merged) == 0 {
		return nil
	}
	err := w.DB.SaveUsed(ctx, list, merged)
	if err == nil {
		err = w.foundAgain(ctx, merged)
	}
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.merged = append(merged, w.merged...)
		for _, one := range named {
			one.named = false
		}
	}
	return err
}

// foundAgain shows the rules the foreign uses of credentials that turned out to be
// others: their findings were about those.
func (w *Watch) foundAgain(ctx context.Context, merged [][2]int64) error {
	for _, pair := range merged {
		list, err := w.DB.ForeignUsesOf(ctx, pair[1])
		if err != nil {
			return err
		}
		w.mu.Lock()
		if one, ok := w.used[pair[1]]; ok {
			for i := range list {
				w.judge(one, &list[i].Use, tallystick.VerdictForeign, list[i].Reason)
			}
		}
		w.mu.Unlock()
	}
	return nil
}

// resolve asks the inventory about credentials that nobody has asked about, and
// shows the rules what came of them meanwhile.
func (w *Watch) resolve(ctx context.Context) error {
	w.mu.Lock()
	var list []*used
	for _, one := range w.used {
		if one.asked.IsZero() {
			list = append(list, one)
		}
	}
	w.mu.Unlock()
	return w.ask(ctx, list)
}

// refresh asks again about those that are used.
func (w *Watch) refresh(ctx context.Context) error {
	w.mu.Lock()
	var list []*used
	for _, one := range w.used {
		if one.dirty || len(one.open) > 0 {
			list = append(list, one)
		}
	}
	w.mu.Unlock()
	return w.ask(ctx, list)
}

// ask asks the inventory about credentials.
func (w *Watch) ask(ctx context.Context, list []*used) error {
	for len(list) > 0 {
		page := list[:min(len(list), 500)]
		list = list[len(page):]
		for _, one := range page {
			w.mu.Lock()
			names := slices.Clone(one.names)
			w.mu.Unlock()
			f, err := w.DB.ResolveUsed(ctx, names)
			if err != nil {
				return err
			}
			w.mu.Lock()
			if f != "" && one.fingerprint != f {
				one.fingerprint, one.named = f, false
			}
			w.mu.Unlock()
		}
		if err := w.nameAll(ctx, page); err != nil {
			return err
		}
		var known []tallystick.Fingerprint
		w.mu.Lock()
		for _, one := range page {
			known = append(known, one.fingerprint)
		}
		w.mu.Unlock()
		found, err := w.DB.SightedOf(ctx, known)
		if err != nil {
			return err
		}
		w.mu.Lock()
		for _, one := range page {
			w.learnInventory(one, found[one.fingerprint])
		}
		w.mu.Unlock()
	}
	return nil
}

// learnInventory takes what the inventory says, and judges what waited for it.
func (w *Watch) learnInventory(one *used, s store.Sighted) {
	one.sighted, one.asked = s, w.Now()
	var err error
	if one.blocked, one.networks, err = rule.Declared(s.Annotation); err == nil {
		one.complained = ""
	} else if one.complained != err.Error() { // it is asked again and again
		one.complained = err.Error()
		w.Log.Warn("a tag of a credential can't be read", "credential", one.fingerprint.Short(), "error", err)
	}
	waiting := one.unjudged
	one.unjudged = nil
	for _, u := range waiting {
		w.judgeNew(one.now(), u)
	}
}
