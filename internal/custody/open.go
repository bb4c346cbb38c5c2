// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// ErrWrongKey says that a wrapping key is not the one that the secrets are under.
// Nothing was changed; with the right one everything can be read.
var ErrWrongKey = errors.New("this is not the wrapping key that the secrets are under")

// A Config says what a custody works with.
type Config struct {
	DB      *store.DB
	Wrapper Wrapper          // of new secrets
	Also    []Wrapper        // of others, such as those that were not rewrapped yet
	Maker   KeyMaker         // nil where keys are made in software only
	Now     func() time.Time // never nil
}

// A Custody keeps secrets. Its methods are safe to call from several goroutines,
// and several processes may work on one store.
type Custody struct {
	db    *store.DB
	now   func() time.Time
	cache *cache

	mu      sync.RWMutex // guards what is below
	maker   KeyMaker     // nil where keys are made in software only
	current *wrapping
	held    map[string]*wrapping // by id, with current
}

// A wrapping is a wrapping key that was or was not yet shown to be the right one.
type wrapping struct {
	Wrapper
	ready atomic.Bool   // for what is under it
	inUse atomic.Bool   // for new secrets
	turn  chan struct{} // holds one value while nobody tries
	tried time.Time     // of the turn: when it was last out of reach
	err   error         // of the turn: what it said then
}

func newWrapping(w Wrapper) *wrapping {
	one := &wrapping{Wrapper: w, turn: make(chan struct{}, 1)}
	one.turn <- struct{}{}
	return one
}

// Open opens the custody of a store. A wrapping key that is not the one of the
// secrets is ErrWrongKey. One that is out of reach now is no error: it is looked at
// again when it is needed, and what needs it is ErrUnavailable until then.
// With a new wrapping key nothing is written before there is a secret.
func Open(ctx context.Context, c Config) (*Custody, error) {
	one := &Custody{db: c.DB, maker: c.Maker, now: c.Now, cache: newCache(maxCached), current: newWrapping(c.Wrapper), held: map[string]*wrapping{}}
	one.hold(one.current)
	for _, w := range c.Also {
		one.hold(newWrapping(w))
	}
	if err := one.checkCurrent(ctx); err != nil {
		return nil, err
	}
	return one, nil
}

func (c *Custody) hold(w *wrapping) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[w.Identity().ID] = w
}

// checkCurrent is ErrWrongKey when new secrets would go under another key than
// those that are there.
func (c *Custody) checkCurrent(ctx context.Context) error {
	id := c.current.Identity().ID
	row, err := c.wrappingKey(ctx, id)
	if err == nil && row.Retired.IsZero() {
		if err := c.makeReady(ctx, c.current, false); err != nil && !errors.Is(err, tallystick.ErrUnavailable) {
			return err
		}
		return nil
	}
	if err != nil && !errors.Is(err, tallystick.ErrNotFound) {
		return err
	}
	counts, err := c.db.CountSecrets(ctx)
	if err != nil {
		return err
	}
	for _, n := range counts {
		if n.Kept > 0 && n.WrappingKey != id {
			where, err := c.wrappingKey(ctx, n.WrappingKey)
			if err != nil {
				return err
			}
			return fmt.Errorf("%w: they are under %s (%s), and this is %s (%s)", ErrWrongKey, where.ID, where.About, id, c.current.Identity().About)
		}
	}
	return nil
}

// wrappingKey returns the row of a wrapping key; ErrNotFound before its first secret.
func (c *Custody) wrappingKey(ctx context.Context, id string) (store.WrappingKey, error) {
	all, err := c.db.WrappingKeys(ctx)
	if err != nil {
		return store.WrappingKey{}, err
	}
	for _, k := range all {
		if k.ID == id {
			return k, nil
		}
	}
	return store.WrappingKey{}, fmt.Errorf("%w: there is no wrapping key %s", tallystick.ErrNotFound, id)
}

// pause is how long a wrapping key that did not answer is left alone: of a thousand
// who need it, one finds out that it is still away.
const pause = time.Second

// makeReady sees to it that a wrapping key is on record and is the one on record.
// With record, one that is not is put there, and is in use from now on beside those
// that secrets are under.
func (c *Custody) makeReady(ctx context.Context, w *wrapping, record bool) error {
	done := &w.ready
	if record {
		done = &w.inUse
	}
	if done.Load() {
		return nil
	}
	select {
	case <-w.turn:
		defer func() { w.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if done.Load() {
		return nil
	}
	if since := time.Since(w.tried); w.err != nil && since < pause {
		return w.err
	}
	err := c.prove(ctx, w, record)
	w.err = nil
	if errors.Is(err, tallystick.ErrUnavailable) {
		w.tried, w.err = time.Now(), err // the machine's clock: Now may stand still
	}
	if err == nil {
		w.ready.Store(true)
		done.Store(true)
	}
	return err
}

// prove compares a wrapping key with what is on record of it.
func (c *Custody) prove(ctx context.Context, w *wrapping, record bool) error {
	id := w.Identity().ID
	row, err := c.wrappingKey(ctx, id)
	if errors.Is(err, tallystick.ErrNotFound) && record {
		if err := c.record(ctx, w); err != nil {
			return err
		}
		row, err = c.wrappingKey(ctx, id) // somebody may have been faster
	}
	if err != nil {
		return err
	}
	if err := fits(ctx, w, row); err != nil || !record {
		return err
	}
	return c.db.RetireWrappingKeys(ctx, id, c.now())
}

// fits is ErrWrongKey when a wrapping key is not the one of a row.
func fits(ctx context.Context, w Wrapper, row store.WrappingKey) error {
	text, err := w.Unwrap(ctx, row.Proof, proofAAD(row.ID))
	if err == nil && subtle.ConstantTimeCompare(text, []byte(proofText)) != 1 {
		err = fmt.Errorf("%w: it decrypts to something else", tallystick.ErrDamaged)
	}
	if errors.Is(err, tallystick.ErrDamaged) {
		// What is damaged is what was asked, and not what is kept.
		return fmt.Errorf("%w: they are under %s (%s): %v", ErrWrongKey, row.ID, row.About, err)
	}
	return err
}

// record puts a wrapping key on record.
func (c *Custody) record(ctx context.Context, w *wrapping) error {
	proof, err := w.Wrap(ctx, []byte(proofText), proofAAD(w.Identity().ID))
	if err != nil {
		return fmt.Errorf("couldn't use the wrapping key: %w", err)
	}
	is := w.Identity() // with the parameters that the first use gave it
	row := store.WrappingKey{ID: is.ID, Kind: is.Kind, About: is.About, Parameters: is.Parameters, Proof: proof, Since: c.now()}
	if row.Parameters == "" {
		row.Parameters = "{}"
	}
	return c.db.AddWrappingKey(ctx, row)
}

// forNew returns the wrapping key of new secrets.
func (c *Custody) forNew(ctx context.Context) (*wrapping, error) {
	c.mu.RLock()
	w := c.current
	c.mu.RUnlock()
	return w, c.makeReady(ctx, w, true)
}

// of returns the wrapping key that a secret is under.
func (c *Custody) of(ctx context.Context, s store.Secret) (*wrapping, error) {
	c.mu.RLock()
	w, ok := c.held[s.WrappingKey]
	c.mu.RUnlock()
	if ok {
		return w, c.makeReady(ctx, w, false)
	}
	about := s.WrappingKey
	if row, err := c.wrappingKey(ctx, s.WrappingKey); err == nil {
		about += " (" + row.About + ")"
	}
	return nil, fmt.Errorf("%w: the secret %s is under the wrapping key %s, which is not open here", tallystick.ErrUnavailable, s.ID, about)
}
