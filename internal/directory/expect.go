// SPDX-License-Identifier: Apache-2.0

package directory

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// Kinds returns the kinds of changes, in the order in which people are told them.
func Kinds() []tallystick.ChangeKind {
	return []tallystick.ChangeKind{
		tallystick.ChangeCredentialAdded, tallystick.ChangeCredentialAltered, tallystick.ChangeCredentialRemoved,
		tallystick.ChangeTrustAdded, tallystick.ChangeTrustRemoved, tallystick.ChangeGrantAdded, tallystick.ChangeGrantRemoved,
		tallystick.ChangeKeyRead, tallystick.ChangeKeyExported, tallystick.ChangeSetting, tallystick.ChangeSuspected,
	}
}

// MaxExpectation is the longest that an expectation can hold.
const MaxExpectation = 366 * 24 * time.Hour

// Expect says that a change is expected: from now on until a time, a change of the
// target is nobody's alarm. It holds for what comes after it only, so that nobody can excuse
// afterwards what has happened; that is what accepting a finding is for.
func (d *Directory) Expect(ctx context.Context, actor gate.Actor, e store.AccessExpectation) (store.AccessExpectation, error) {
	now := d.Now()
	e.Target, e.Actor = strings.ToLower(strings.TrimSpace(e.Target)), strings.TrimSpace(e.Actor)
	e.Reason = strings.TrimSpace(e.Reason)
	switch {
	case !strings.Contains(e.Target, ":"):
		return e, problem.With(fmt.Errorf("%w: %q is not a target", tallystick.ErrInvalid, e.Target),
			`write it as "tally directory changes" shows it, such as entra-app:<tenant>/<object>`)
	case e.Kind != "" && !slices.Contains(Kinds(), e.Kind):
		return e, problem.With(fmt.Errorf("%w: unknown kind of change %q", tallystick.ErrInvalid, e.Kind), "it is one of "+kindWords())
	case e.Reason == "":
		return e, problem.With(fmt.Errorf("%w: an expected change needs a reason", tallystick.ErrInvalid), "say what it is for; whoever sees the change reads it")
	case !e.Until.After(now) || e.Until.Sub(now) > MaxExpectation:
		return e, problem.With(fmt.Errorf("%w: the end must be after now and within a year", tallystick.ErrInvalid), "the shorter, the less an intruder can hide in it")
	}
	if err := d.Gate.Check(ctx, actor, gate.ExpectChange, e.Target); err != nil {
		return e, err
	}
	e.Since, e.By = now, actor.Name
	return d.DB.ExpectAccessChange(ctx, e)
}

func kindWords() string { return strings.Join(KindWords(), ", ") }

// KindWords returns Kinds as words.
func KindWords() []string {
	var words []string
	for _, k := range Kinds() {
		words = append(words, string(k))
	}
	return words
}

// Expected lists the expectations that have not ended.
func (d *Directory) Expected(ctx context.Context, actor gate.Actor) ([]store.AccessExpectation, error) {
	if err := d.Gate.Check(ctx, actor, gate.ReadInventory, "expected changes"); err != nil {
		return nil, err
	}
	return d.DB.AccessExpectations(ctx, d.Now())
}
