// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"time"

	"github.com/tallystick/tallystick"
)

// RaiseFindings opens findings about what has happened, and renews the words of
// those that are open, unless what they say is worse. What is new about one that
// was accepted has not been accepted: it stands open again. None is closed: what
// has happened does not end by itself.
// A finding without a credential is about its place alone, a source or an account
// of a directory. Those about a credential that is not known are left out.
func (db *DB) RaiseFindings(ctx context.Context, list []tallystick.Finding, now time.Time) error {
	return db.raise(ctx, list, nil, now)
}

// SettleFindings does so for findings that hold as long as their cause does, and
// closes the open findings of the rules that are about no credential and are not
// among them.
func (db *DB) SettleFindings(ctx context.Context, rules []string, list []tallystick.Finding, now time.Time) error {
	return db.raise(ctx, list, rules, now)
}

// CloseFindings closes the open findings of some rules about a credential.
func (db *DB) CloseFindings(ctx context.Context, credential tallystick.Fingerprint, rules []string, now time.Time) error {
	ids, err := db.RowIDs(ctx, []tallystick.Fingerprint{credential})
	if err != nil {
		return err
	}
	id, ok := ids[credential]
	if !ok {
		return nil
	}
	return db.Judge(ctx, rules, []Judgement{{RowID: id}}, now)
}

func (db *DB) raise(ctx context.Context, list []tallystick.Finding, settled []string, now time.Time) error {
	if len(list) == 0 && len(settled) == 0 {
		return nil
	}
	var named []tallystick.Fingerprint
	about := map[tallystick.Fingerprint][]tallystick.Finding{}
	for _, f := range list {
		f.Place = tallystick.Place(IndexText(string(f.Place)))
		if _, ok := about[f.Credential]; !ok && f.Credential != "" {
			named = append(named, f.Credential)
		}
		about[f.Credential] = append(about[f.Credential], f)
	}
	ids, err := db.RowIDs(ctx, named)
	if err != nil {
		return err
	}
	next, err := db.newIDs(ctx, int64(max(len(list), 1)))
	if err != nil {
		return err
	}
	ids[""] = 0
	return db.wrap("couldn't record findings", db.tx(ctx, func(tx *writing) error {
		w := judging{tx: tx, rules: map[string]bool{}, next: next, now: now}
		for _, rule := range settled {
			w.rules[rule] = true
		}
		if len(settled) > 0 {
			if err := w.judge(ctx, Judgement{Findings: about[""]}); err != nil {
				return err
			}
			delete(about, "")
		}
		for credential, list := range about {
			if id, ok := ids[credential]; ok {
				if err := w.add(ctx, id, list); err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

// add opens findings of a credential, or renews their words.
func (w *judging) add(ctx context.Context, credential int64, list []tallystick.Finding) error {
	open, err := w.open(ctx, credential)
	if err != nil {
		return err
	}
	kept := map[findingKey]openFinding{}
	var news []tallystick.Finding
	for _, f := range list {
		k := findingKey{f.Rule, string(f.Place)}
		old, ok := open[k]
		switch {
		case !ok:
		case old.severity > f.Severity || old.evidence == cleanText(f.Evidence):
			continue
		default:
			kept[k] = old
			const again = `UPDATE findings SET accepted_by = '', accepted_reason = '', accepted_until = 0, accepted_within = '' WHERE id = $1 AND accepted_until > 0`
			if _, err := w.tx.ExecContext(ctx, again, old.id); err != nil {
				return err
			}
		}
		news = append(news, f)
		open[k] = openFinding{severity: f.Severity, evidence: cleanText(f.Evidence), id: old.id}
	}
	if _, err := w.replace(ctx, Judgement{RowID: credential, Findings: news}, kept); err != nil {
		return err
	}
	return countFindings(ctx, w.tx, credential, w.now)
}
