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
	AddTags     []string
	RemoveTags  []string
}

// Amend changes a part of what is said about each of some credentials, in the
// actor's name. Each is recorded by the gate on its own.
func (i *Inventory) Amend(ctx context.Context, actor gate.Actor, list []tallystick.Fingerprint, change Change) error {
	for _, f := range list {
		if err := i.gate.Check(ctx, actor, gate.Annotate, string(f)); err != nil {
			return err
		}
		_, row, err := i.db.Credential(ctx, f)
		if err != nil {
			return err
		}
		a := change.apply(row.Annotation)
		if err := checkAnnotation(a); err != nil {
			return err
		}
		said := store.PastAnnotation{Time: i.now(), Author: actor.Name, Annotation: a}
		if err := i.db.Annotate(ctx, f, said); err != nil {
			return err
		}
	}
	return nil
}

func (c Change) apply(a tallystick.Annotation) tallystick.Annotation {
	if c.Owner != nil {
		a.Owner = *c.Owner
	}
	if c.Environment != nil {
		a.Environment = *c.Environment
	}
	tags := slices.Concat(a.Tags, c.AddTags)
	a.Tags = slices.DeleteFunc(tags, func(tag string) bool { return slices.Contains(c.RemoveTags, tag) })
	slices.Sort(a.Tags)
	a.Tags = slices.Compact(a.Tags)
	return a
}
