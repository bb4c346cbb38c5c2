// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/rule"
)

// WrappingPlace is the place of a finding about a wrapping key.
func WrappingPlace(id string) tallystick.Place { return tallystick.Place("wrapping:" + id) }

// JudgeWrappings shows the rules each wrapping key as it is on record, and closes what no longer
// holds: after a rewrap nothing is under the old one.
func (e *Engine) JudgeWrappings(ctx context.Context) error {
	names := e.names(func(r rule.Rule) bool { return r.Wrapping != nil })
	if len(names) == 0 {
		return nil
	}
	subjects, err := e.wrappings(ctx)
	if err != nil {
		return err
	}
	var found []tallystick.Finding
	for _, r := range e.Rules {
		if r.Wrapping == nil {
			continue
		}
		for _, s := range subjects {
			for _, hit := range r.Wrapping(s) {
				hit.Place = WrappingPlace(s.ID)
				found = append(found, findingOf(r, "", hit, e.Now()))
			}
		}
	}
	return e.DB.SettleFindings(ctx, names, found, e.Now())
}

// wrappings returns what the rules are shown.
func (e *Engine) wrappings(ctx context.Context) ([]rule.WrappingSubject, error) {
	keys, err := custody.Keys(ctx, e.DB)
	if err != nil {
		return nil, err
	}
	safer, since := "", time.Time{} // the newest that never leaves what holds it
	for _, key := range keys {
		if !leaves(key.Kind) && key.Retired.IsZero() && !key.Since.Before(since) {
			safer, since = key.ID, key.Since
		}
	}
	list := make([]rule.WrappingSubject, len(keys))
	for i, key := range keys {
		strength := custody.StrengthOf(key.WrappingKey, e.Now())
		list[i] = rule.WrappingSubject{
			ID: key.ID, Origin: strength.Origin, Weak: strength.Weak, Leaves: leaves(key.Kind), Kept: key.Kept(),
		}
		if key.Since.Before(since) {
			list[i].Safer = safer
		}
	}
	return list, nil
}

// leaves says whether a wrapping key of a kind is in a file or in somebody's head.
func leaves(kind string) bool { return kind == custody.KindFile || kind == custody.KindPassphrase }
