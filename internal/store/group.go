// SPDX-License-Identifier: Apache-2.0

package store

import "context"

// A change is one that shares a transaction with others.
type change struct {
	ctx context.Context
	fn  func(*writing) error
}

// grouped runs fn in a writing transaction that it may share with others who come at
// the same time. When it returns nil, what fn did is durable. fn must be fit to run
// twice: when any change of a group fails, all are undone, and each runs in a
// transaction of its own.
func (db *DB) grouped(ctx context.Context, fn func(*writing) error) error {
	return db.group.Do(change{ctx, fn}, db.makeChanges)
}

// makeChanges makes changes together, or else one by one. The context of one must
// not undo those of the others.
func (db *DB) makeChanges(changes []change, errs []error) {
	err := db.tx(context.WithoutCancel(changes[0].ctx), func(tx *writing) error {
		for _, c := range changes {
			if err := c.fn(tx); err != nil {
				return err
			}
		}
		return nil
	})
	for i, c := range changes {
		errs[i] = err
		if err != nil && len(changes) > 1 {
			errs[i] = db.tx(context.WithoutCancel(c.ctx), c.fn)
		}
	}
}
