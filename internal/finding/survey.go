// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

// Survey runs every rule that compares credentials with each other, and settles
// its findings: those that no longer hold are closed.
func (e *Engine) Survey(ctx context.Context) error {
	for _, r := range e.Rules {
		if r.Survey == nil {
			continue
		}
		if err := e.survey(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) survey(ctx context.Context, r rule.Rule) error {
	found, err := Surveyed(ctx, r, estate{e.DB}, e.Now())
	if err != nil {
		return err
	}
	open, err := e.DB.OpenSurveyed(ctx, []string{r.Name})
	if err != nil {
		return err
	}
	for _, f := range open {
		if _, ok := found[f]; !ok {
			found[f] = nil // the cause is gone
		}
	}
	return e.settle(ctx, r.Name, found)
}

// Surveyed runs the Survey of a rule over an estate and returns what it finds,
// by credential.
func Surveyed(ctx context.Context, r rule.Rule, over rule.Estate, now time.Time) (map[tallystick.Fingerprint][]tallystick.Finding, error) {
	found := map[tallystick.Fingerprint][]tallystick.Finding{}
	err := r.Survey(ctx, over, func(hit rule.Hit) error {
		found[hit.Credential] = append(found[hit.Credential], findingOf(r, hit.Credential, hit, now))
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("couldn't survey for %s: %w", r.Name, err)
	}
	return found, nil
}

// settle records a survey's findings page by page.
func (e *Engine) settle(ctx context.Context, rule string, found map[tallystick.Fingerprint][]tallystick.Finding) error {
	var page []tallystick.Fingerprint
	flush := func() error {
		ids, err := e.DB.RowIDs(ctx, page)
		if err != nil {
			return err
		}
		var judgements []store.Judgement
		for _, f := range page {
			if id, ok := ids[f]; ok {
				judgements = append(judgements, store.Judgement{RowID: id, Findings: found[f]})
			}
		}
		page = page[:0]
		return e.DB.Judge(ctx, []string{rule}, judgements, e.Now())
	}
	for f := range found {
		if page = append(page, f); len(page) == judgePage {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	return flush()
}

// An estate is rule.Estate over the store.
type estate struct{ db *store.DB }

func (e estate) Certificates(ctx context.Context, prefix string, fn func(*tallystick.Credential) error) error {
	return e.db.EachCertificate(ctx, prefix, fn)
}

func (e estate) Kept(ctx context.Context, name string) ([]byte, error) { return e.db.Kept(ctx, name) }

func (e estate) Keep(ctx context.Context, name string, value []byte) error {
	return e.db.Keep(ctx, name, value)
}

// Keys merges two walks in the order of keys: over the credentials, and over
// the places where their private halves are held or open an account.
func (e estate) Keys(ctx context.Context, family string, fn func(rule.KeyUse) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	places := keyPlaces{}
	places.next, places.stop = iter.Pull2(e.keySightings(ctx, family))
	defer places.stop()
	var use rule.KeyUse
	emit := func() error {
		if len(use.Credentials) == 0 {
			return nil
		}
		if err := places.fill(&use); err != nil {
			return err
		}
		return fn(use)
	}
	err := e.db.EachKey(ctx, family, func(row store.KeyRow) error {
		if row.Key.ID != use.Key.ID {
			if err := emit(); err != nil {
				return err
			}
			use = rule.KeyUse{Key: row.Key}
		}
		use.Credentials = append(use.Credentials, rule.KeyBearer{ID: row.ID, Kind: row.Kind, Owner: row.Owner})
		return nil
	})
	if err != nil {
		return err
	}
	return emit()
}

// A keySighting is one step of the second walk; err ends it.
type keySighting struct {
	store.SightingRow
	err error
}

func (e estate) keySightings(ctx context.Context, family string) iter.Seq2[tallystick.KeyID, keySighting] {
	return func(yield func(tallystick.KeyID, keySighting) bool) {
		wanted := true
		err := e.db.EachKeySighting(ctx, family, func(key tallystick.KeyID, s store.SightingRow) error {
			if wanted = yield(key, keySighting{SightingRow: s}); !wanted {
				return context.Canceled
			}
			return nil
		})
		if err != nil && wanted {
			yield("", keySighting{err: err})
		}
	}
}

// keyPlaces is the second walk, with the one step that was read too far.
type keyPlaces struct {
	next    func() (tallystick.KeyID, keySighting, bool)
	stop    func()
	key     tallystick.KeyID
	pending keySighting
	ok      bool
}

// fill adds to a key's credentials where they are held and what they open.
func (p *keyPlaces) fill(use *rule.KeyUse) error {
	for {
		if !p.ok {
			if p.key, p.pending, p.ok = p.next(); !p.ok {
				return nil
			}
		}
		if p.pending.err != nil {
			return p.pending.err
		}
		if p.key > use.Key.ID {
			return nil
		}
		if p.key == use.Key.ID {
			addPlace(use, p.pending.SightingRow)
		}
		p.ok = false
	}
}

func addPlace(use *rule.KeyUse, s store.SightingRow) {
	for i := range use.Credentials {
		bearer := &use.Credentials[i]
		if bearer.ID != s.Credential {
			continue
		}
		if s.Role == tallystick.RoleHolds {
			bearer.Holds = append(bearer.Holds, s.Place)
		} else if s.SSH != nil && s.SSH.Account != "" {
			bearer.Accounts = append(bearer.Accounts, s.SSH.Account)
		}
	}
}
