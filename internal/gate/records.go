// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"

	"github.com/tallystick/tallystick/internal/audit"
)

// Records is the audit log for those who may read it. Each reading is on record.
type Records struct {
	Gate *Gate
	Log  *audit.Log
}

// List returns at most limit records with a number below before, the newest
// first; before 0 is from the newest on.
func (r Records) List(ctx context.Context, actor Actor, f audit.Filter, before int64, limit int) ([]audit.Entry, error) {
	if err := r.Gate.Check(ctx, actor, ReadAudit, "list"); err != nil {
		return nil, err
	}
	return r.Log.List(ctx, f, before, limit)
}

// Verify checks the whole log, and checkpoints of it that were kept elsewhere.
func (r Records) Verify(ctx context.Context, actor Actor, kept ...string) (audit.Report, error) {
	if err := r.Gate.Check(ctx, actor, ReadAudit, "verify"); err != nil {
		return audit.Report{}, err
	}
	return r.Log.Verify(ctx, kept...)
}
