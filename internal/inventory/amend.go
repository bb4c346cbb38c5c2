// SPDX-License-Identifier: Apache-2.0

package inventory

import (
	"context"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// A Change is a part of an annotation that is said anew; what is nil or empty
// stays as it is.
type Change struct {
	Owner       *string
	Environment *string
	Notes       *string
	Tags        *[]string // in place of those there are
	AddTags     []string
	RemoveTags  []string
}

// Amend changes a part of what is said about each of some credentials, in the
// actor's name, and returns what is said about each now. Each is recorded by
// the gate on its own; those before one that fails stay changed.
func (i *Inventory) Amend(ctx context.Context, actor gate.Actor, list []tallystick.Fingerprint, change Change) ([]tallystick.Annotation, error) {
	said := make([]tallystick.Annotation, 0, len(list))
	for _, f := range list {
		if err := i.gate.Check(ctx, actor, gate.Annotate, string(f)); err != nil {
			return said, err
		}
		_, row, err := i.db.Credential(ctx, f)
		if err != nil {
			return said, err
		}
		a := change.apply(row.Annotation)
		if err := checkAnnotation(a); err != nil {
			return said, err
		}
		if err := i.db.Annotate(ctx, f, store.PastAnnotation{Time: i.now(), Author: actor.Name, Annotation: a}); err != nil {
			return said, err
		}
		said = append(said, a)
	}
	return said, nil
}

func (c Change) apply(a tallystick.Annotation) tallystick.Annotation {
	if c.Owner != nil {
		a.Owner = *c.Owner
	}
	if c.Environment != nil {
		a.Environment = *c.Environment
	}
	if c.Notes != nil {
		a.Notes = *c.Notes
	}
	if c.Tags != nil {
		a.Tags = *c.Tags
	}
	tags := slices.Concat(a.Tags, c.AddTags)
	a.Tags = slices.DeleteFunc(tags, func(tag string) bool { return slices.Contains(c.RemoveTags, tag) })
	slices.Sort(a.Tags)
	a.Tags = slices.Compact(a.Tags)
	return a
}
