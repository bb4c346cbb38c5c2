// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// Rewrap puts all secrets under another wrapping key, which new ones are under from
// then on. Only their data keys are wrapped anew: what is encrypted stays as it is.
// Some are written at a time, and each is either under the old or under the new key;
// both are read here meanwhile. After a kill, the same call goes on where it was.
// progress, which may be nil, is told how many of how many are done.
//
// A secret that is damaged is left as it is and named by the error, ErrDamaged; the
// others are rewrapped. Keys in a device can be under a wrapping key only whose
// Wrapper is a KeyMaker that finds them: else nothing is done, and it is ErrInvalid.
//
// Whoever had the old wrapping key and a copy of the database from before can read
// what was under it: Readable names it.
func (c *Custody) Rewrap(ctx context.Context, to Wrapper, progress func(done, total int)) error {
	if progress == nil {
		progress = func(int, int) {}
	}
	from, total, err := c.others(ctx, to)
	if err != nil {
		return err
	}
	if maker, ok := to.(KeyMaker); ok {
		if err := c.checkDevices(ctx, from, maker); err != nil {
			return err
		}
	}
	next := newWrapping(to)
	if err := c.makeReady(ctx, next, true); err != nil {
		return err
	}
	c.switchTo(next)
	r := rewrap{Custody: c, to: next, total: total, progress: progress}
	// Another process may have put secrets under the old key until it was retired.
	for len(from) > 0 && len(r.damaged) == 0 {
		for _, id := range from {
			if err := r.all(ctx, id); err != nil {
				return err
			}
		}
		if err := c.db.RetireWrappingKeys(ctx, next.Identity().ID, c.now()); err != nil {
			return err
		}
		if from, _, err = c.others(ctx, to); err != nil {
			return err
		}
	}
	if len(r.damaged) > 0 {
		return fmt.Errorf("%w: these secrets could not be read, and stay under their wrapping key: %s", tallystick.ErrDamaged, strings.Join(r.damaged, ", "))
	}
	return nil
}

// others returns the wrapping keys that secrets are under beside one, and how many
// secrets that is.
func (c *Custody) others(ctx context.Context, but Wrapper) (ids []string, total int, err error) {
	counts, err := c.db.CountSecrets(ctx)
	if err != nil {
		return nil, 0, err
	}
	maker, _ := but.(KeyMaker)
	for _, n := range counts {
		if n.Kept == 0 || n.WrappingKey == but.Identity().ID {
			continue
		}
		if n.Devices > 0 && maker == nil {
			return nil, 0, fmt.Errorf("%w: %d keys of kind %s are in a device and cannot leave it: make others in their place, and destroy them, before the custody goes elsewhere",
				tallystick.ErrInvalid, n.Devices, n.Kind)
		}
		total += int(n.Kept)
		if len(ids) == 0 || ids[len(ids)-1] != n.WrappingKey { // they come sorted
			ids = append(ids, n.WrappingKey)
		}
	}
	return ids, total, nil
}

// checkDevices looks whether a device has all keys that are in one, before anything
// is moved.
func (c *Custody) checkDevices(ctx context.Context, ids []string, maker KeyMaker) error {
	for _, id := range ids {
		for after := ""; ; {
			page, err := c.db.SecretsUnder(ctx, id, after, rewrapPage)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].ID
			for _, s := range page {
				if s.Device == "" {
					continue
				}
				signer, err := maker.SignerOf(ctx, s.Device)
				if err == nil {
					err = samePublic(signer, s.Public)
				}
				if err != nil {
					return fmt.Errorf("couldn't find the key %s of %s where the custody is to go: %w", s.ID, s.Owner, err)
				}
			}
		}
	}
	return nil
}

// switchTo makes a wrapping key that of new secrets.
func (c *Custody) switchTo(w *wrapping) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current = w
	c.held[w.Identity().ID] = w
	if maker, ok := w.Wrapper.(KeyMaker); ok {
		c.maker = maker
	}
}

// A rewrap is one that goes on.
type rewrap struct {
	*Custody
	to          *wrapping
	done, total int
	progress    func(done, total int)
	damaged     []string
}

const (
	rewrapPage  = 256 // secrets in a transaction
	rewrapWidth = 8   // at a time: with a wrapping key in a server most of it is waiting
)

// all rewraps what is under a wrapping key.
func (r *rewrap) all(ctx context.Context, id string) error {
	after := ""
	for {
		page, err := r.db.SecretsUnder(ctx, id, after, rewrapPage)
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1].ID
		if err := r.page(ctx, page); err != nil {
			return err
		}
		r.progress(r.done, max(r.total, r.done))
	}
}

// page rewraps some secrets in one transaction.
func (r *rewrap) page(ctx context.Context, page []store.Secret) error {
	wrapped, errs := make([][]byte, len(page)), make([]error, len(page))
	var workers sync.WaitGroup
	for first := range rewrapWidth {
		workers.Go(func() {
			for i := first; i < len(page); i += rewrapWidth {
				wrapped[i], errs[i] = r.one(ctx, page[i])
			}
		})
	}
	workers.Wait()
	readable := page[:0:0]
	var texts [][]byte
	for i, err := range errs {
		switch {
		case err == nil:
			readable, texts = append(readable, page[i]), append(texts, wrapped[i])
		case errors.Is(err, tallystick.ErrDamaged):
			r.damaged = append(r.damaged, page[i].ID)
		default:
			return err
		}
	}
	if err := r.db.RewrapSecrets(ctx, readable, r.to.Identity().ID, texts, r.now()); err != nil {
		return err
	}
	r.done += len(readable)
	return nil
}

// one returns the data key of a secret under the new wrapping key.
func (r *rewrap) one(ctx context.Context, s store.Secret) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	dataKey, err := r.dataKey(ctx, s)
	if err != nil {
		return nil, err
	}
	defer clear(dataKey)
	wrapped, err := r.to.Wrap(ctx, dataKey, aadOf(s))
	if err != nil {
		return nil, fmt.Errorf("couldn't wrap the key of a secret: %w", err)
	}
	return wrapped, nil
}
