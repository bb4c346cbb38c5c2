// SPDX-License-Identifier: Apache-2.0

package renewal

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// patience is how many failures in a row an order of a move may have: an issuer
// that cannot be reached fails its wave within a few minutes.
const patience = 3

// Moves returns the newest moves, without their items.
func (e *Engine) Moves(ctx context.Context, who gate.Actor, limit int) ([]Move, error) {
	if err := e.Gate.Check(ctx, who, gate.ReadInventory, "moves"); err != nil {
		return nil, err
	}
	rows, err := e.DB.Moves(ctx, "", min(max(limit, 1), maxPage))
	if err != nil {
		return nil, err
	}
	list := make([]Move, len(rows))
	for i, m := range rows {
		if list[i], err = e.moveOf(ctx, m, false); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// MoveStatus returns a move with its first thousand items; MoveItems has the rest.
func (e *Engine) MoveStatus(ctx context.Context, who gate.Actor, id int64) (Move, error) {
	if err := e.Gate.Check(ctx, who, gate.ReadInventory, moveName(id)); err != nil {
		return Move{}, err
	}
	m, err := e.DB.Move(ctx, id)
	if err != nil {
		return Move{}, err
	}
	return e.moveOf(ctx, m, true)
}

// MoveItems returns at most limit items of a move, in the order of waves and names,
// from behind one on.
func (e *Engine) MoveItems(ctx context.Context, who gate.Actor, id, wave int64, after string, limit int) ([]Item, error) {
	if err := e.Gate.Check(ctx, who, gate.ReadInventory, moveName(id)); err != nil {
		return nil, err
	}
	items, err := e.DB.MoveItems(ctx, id, wave, after, "", min(max(limit, 1), maxPage))
	return itemsOf(items), err
}

func moveName(id int64) string { return fmt.Sprintf("move %d", id) }

func (e *Engine) moveOf(ctx context.Context, m store.Move, items bool) (Move, error) {
	one := Move{
		ID: m.ID, To: m.Target, State: m.State, Wave: m.Wave, Waves: m.Waves, Error: m.Error, Created: m.Created, CreatedBy: m.CreatedBy, Ended: m.Ended,
		Counts: map[string]int64{}, Unforeseen: !strings.HasPrefix(m.Target, OwnPrefix),
	}
	waves, err := e.DB.CountMoveItems(ctx, m.ID)
	if err != nil {
		return one, err
	}
	for _, states := range waves {
		for state, n := range states {
			one.Counts[state] += n
		}
	}
	if !items {
		return one, nil
	}
	rows, err := e.DB.MoveItems(ctx, m.ID, -1, "", "", maxPage)
	one.Items = itemsOf(rows)
	return one, err
}

// StopMove stops a move that runs. What has its new certificate keeps it; what was
// on its way goes back to the issuer that it had.
func (e *Engine) StopMove(ctx context.Context, who gate.Actor, id int64) error {
	if err := e.Gate.Check(ctx, who, gate.ManageRenewals, "stop "+moveName(id)); err != nil {
		return err
	}
	m, err := e.DB.Move(ctx, id)
	if err != nil {
		return err
	}
	to := m
	to.State, to.Error, to.Ended = store.MoveStopped, "stopped by "+who.Name, e.Now()
	if m.State != store.MoveRunning {
		return problem.With(fmt.Errorf("move %d is %s: %w", id, m.State, tallystick.ErrConflict), "only a move that runs can be stopped")
	}
	if err := e.DB.TurnMove(ctx, m, to); err != nil {
		return err
	}
	running, err := e.DB.RunningItems(ctx, id, m.Wave)
	if err != nil {
		return err
	}
	for _, i := range running {
		if err := e.giveBack(ctx, i.MoveItem, "the move was stopped"); err != nil {
			return err
		}
	}
	return nil
}

// RetryMove lets a move that has stopped go on with what failed or has not begun.
func (e *Engine) RetryMove(ctx context.Context, who gate.Actor, id int64) error {
	if err := e.Gate.Check(ctx, who, gate.ManageRenewals, "retry "+moveName(id)); err != nil {
		return err
	}
	m, err := e.DB.Move(ctx, id)
	if err != nil {
		return err
	}
	if m.State != store.MoveStopped {
		return problem.With(fmt.Errorf("move %d is %s: %w", id, m.State, tallystick.ErrConflict), "only a move that has stopped can go on")
	}
	err = e.DB.RetryMove(ctx, m)
	e.Wake()
	return err
}

// goOnMoving takes every move that runs as far as it goes. Several processes may:
// each change is made under the condition that nobody has made it.
func (c *crew) goOnMoving(ctx context.Context) error {
	if !past(c.moved, c.Now()) {
		return nil
	}
	c.moved = c.Now()
	moves, err := c.DB.Moves(ctx, store.MoveRunning, maxPage)
	if err != nil {
		return err
	}
	for _, m := range moves {
		if err := c.goOn(ctx, m); err != nil && !errors.Is(err, tallystick.ErrConflict) {
			return err
		}
	}
	return nil
}

// goOn takes one move as far as it goes.
func (e *Engine) goOn(ctx context.Context, m store.Move) error {
	if err := e.settleItems(ctx, m); err != nil {
		return err
	}
	waves, err := e.DB.CountMoveItems(ctx, m.ID)
	if err != nil {
		return err
	}
	n := waves[m.Wave]
	if n[store.ItemFailed] == 0 && n[store.ItemWaiting] > 0 {
		return e.beginItems(ctx, m)
	}
	if n[store.ItemRunning] > 0 {
		return nil
	}
	to := m
	switch {
	case n[store.ItemFailed] > 0:
		to.State, to.Ended = store.MoveStopped, e.Now()
		to.Error = fmt.Sprintf("%d of wave %d failed", n[store.ItemFailed], m.Wave)
	case m.Wave >= m.Waves:
		to.State, to.Ended = store.MoveDone, e.Now()
	default:
		to.Wave++
	}
	if err := e.DB.TurnMove(ctx, m, to); err != nil {
		return err
	}
	if to.State == store.MoveRunning {
		return e.beginItems(ctx, to)
	}
	return nil
}

// beginItems gives the renewals of a wave their new issuer.
func (e *Engine) beginItems(ctx context.Context, m store.Move) error {
	items, err := e.DB.MoveItems(ctx, m.ID, m.Wave, "", store.ItemWaiting, maxPage)
	if err != nil {
		return err
	}
	for _, i := range items {
		err := e.DB.BeginItem(ctx, i, e.Now())
		if errors.Is(err, tallystick.ErrConflict) {
			i.State, i.Error = store.ItemFailed, "somebody has changed the renewal since the move was planned"
			err = e.DB.EndItem(ctx, i, time.Time{})
		}
		if err != nil && !errors.Is(err, tallystick.ErrConflict) {
			return err
		}
	}
	e.Wake()
	return nil
}

// settleItems ends the items of a wave whose orders have come to an end, or fail
// again and again.
func (e *Engine) settleItems(ctx context.Context, m store.Move) error {
	running, err := e.DB.RunningItems(ctx, m.ID, m.Wave)
	if err != nil {
		return err
	}
	for _, i := range running {
		var err error
		switch {
		case i.Step == store.StepDone:
			i.State = store.ItemDone
			err = e.DB.EndItem(ctx, i.MoveItem, time.Time{})
		case i.Step == store.StepFailed, i.Failures >= patience:
			err = e.giveBack(ctx, i.MoveItem, i.OrderError)
		}
		if err != nil && !errors.Is(err, tallystick.ErrConflict) {
			return err
		}
	}
	return nil
}

// giveBack ends an item that has failed; its renewal goes back to its old issuer.
func (e *Engine) giveBack(ctx context.Context, i store.MoveItem, why string) error {
	r, err := e.DB.RenewalByID(ctx, i.Renewal)
	if err != nil {
		return ignoreNotFound(err)
	}
	due := planned(r)
	if r.NotAfter.IsZero() {
		due = e.Now()
	}
	i.State, i.Error = store.ItemFailed, why
	return e.DB.EndItem(ctx, i, due)
}
