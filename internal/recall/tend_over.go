// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// keptGap is how long it is waited when secrets could not be destroyed.
const keptGap = time.Minute

// tendOver destroys the secrets of recalls that are over, once nothing needs them any
// more: what rolls a target back goes on after the end, with the old key.
func (e *Engine) tendOver(ctx context.Context) error {
	now := e.Now()
	e.mu.Lock()
	due := past(e.kept, now, keptGap)
	e.mu.Unlock()
	if !due {
		return nil
	}
	ids, err := e.DB.KeptRecalls(ctx)
	errs := []error{err}
	for _, id := range ids {
		errs = append(errs, e.forget(ctx, id))
	}
	if err = errors.Join(errs...); err != nil {
		e.mu.Lock()
		e.kept = now
		e.mu.Unlock()
	}
	return err
}

// forget destroys the secrets of a recall of which nothing more will happen.
func (e *Engine) forget(ctx context.Context, recall int64) error {
	over, err := e.DB.RecallOver(ctx, recall)
	if err != nil || !over {
		return err
	}
	if err := e.Doors.Forget(ctx, nameOf(recall)); err != nil {
		return fmt.Errorf("couldn't destroy the secrets of %s; it is tried again: %w", nameOf(recall), err)
	}
	return e.DB.ForgotRecall(ctx, recall, e.Now())
}
