// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// A Publisher publishes revocations. Run keeps everything fresh; the handler answers
// from what there is, whether it runs or not. Its methods are safe to call from several goroutines.
type Publisher struct {
	c    Config
	most int // changes that are merged: maxChanges
	wake chan struct{}

	mu          sync.Mutex // held while lists are made
	authorities map[int64]*published

	shown atomic.Pointer[map[string]*shown] // by name; never changed, only replaced
	ocsp  responder
}

// A published is an authority with the lists that it has. Guarded by Publisher.mu.
type published struct {
	Authority
	revision int64           // every revocation up to it is on the lists
	seen     int64           // the newest revision that is known of
	own      bool            // the lists were made here, so that what is new can be merged into them
	lists    map[int64]*list // by shard

	err      error // of the last attempt
	failures int   // in a row
	since    time.Time
	retry    time.Time
	cost     time.Duration // of the last publication
	done     time.Time     // when that was
}

// New returns a publisher. It does nothing yet.
func New(c Config) *Publisher {
	p := &Publisher{c: c, most: maxChanges, wake: make(chan struct{}, 1), authorities: map[int64]*published{}, ocsp: newResponder()}
	p.shown.Store(&map[string]*shown{})
	return p
}

// Revoked says that something was revoked, so that it is looked at soon. Without it, it is noticed
// within seconds.
func (p *Publisher) Revoked() {
	select {
	case p.wake <- struct{}{}:
	default: // it is awake
	}
}

// How often the store is asked whether another process has revoked something, and how long
// to wait for more when something was, because a new list has a price.
const (
	pollEvery = 2 * time.Second
	settle    = 200 * time.Millisecond
)

// Run keeps the lists fresh until the context ends, and returns why. What goes wrong is in Health.
func (p *Publisher) Run(ctx context.Context) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		_ = p.round(ctx, false) // Health has it
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		case <-p.wake:
			select { // for those who come right behind
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(settle):
			}
		}
	}
}

// Flush waits until everything that was revoked before is on the lists and in the answers of
// OCSP. Where nothing is signed here it waits for the process that signs.
func (p *Publisher) Flush(ctx context.Context) error {
	if p.c.Signer != nil {
		return p.round(ctx, true)
	}
	authorities, err := p.c.Authorities(ctx)
	if err != nil {
		return err
	}
	for _, a := range authorities {
		if a.Offline {
			continue // nobody here publishes for it
		}
		if err := p.await(ctx, a); err != nil {
			return err
		}
	}
	return p.round(ctx, true)
}

// await waits until the lists of an authority have everything that is revoked now.
func (p *Publisher) await(ctx context.Context, a Authority) error {
	want, err := p.c.DB.RevocationRevision(ctx, a.ID)
	if err != nil {
		return err
	}
	for {
		heads, err := p.c.DB.CRLs(ctx, a.ID)
		if err != nil {
			return err
		}
		// The complete list is the last that is written.
		if len(heads) > 0 && heads[0].Shard == store.CompleteList && heads[0].Revision >= want {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the lists of %s are not published yet: %w", a.Name, ctx.Err())
		case <-time.After(settle):
		}
	}
}

// round brings every authority up to date. In a hurry nothing is put off.
func (p *Publisher) round(ctx context.Context, hurry bool) error {
	authorities, err := p.c.Authorities(ctx)
	if err != nil {
		return fmt.Errorf("couldn't list the authorities: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	known := map[int64]bool{}
	var all error
	for _, a := range authorities {
		known[a.ID] = true
		s := p.authorities[a.ID]
		if s == nil {
			s = &published{lists: map[int64]*list{}}
			p.authorities[a.ID] = s
		}
		s.Authority = a
		if err := p.refresh(ctx, s, hurry); err != nil {
			all = errors.Join(all, fmt.Errorf("couldn't publish the revocations of %s: %w", a.Name, err))
		}
	}
	maps.DeleteFunc(p.authorities, func(id int64, _ *published) bool { return !known[id] })
	p.show()
	return all
}

// refresh brings one authority up to date, or notes why that failed.
func (p *Publisher) refresh(ctx context.Context, s *published, hurry bool) error {
	now := p.c.Now()
	if err := p.load(ctx, s); err != nil {
		return s.failed(now, err)
	}
	p.show() // what there is, before a new one is made
	revision, err := p.c.DB.RevocationRevision(ctx, s.ID)
	if err != nil {
		return s.failed(now, err)
	}
	if revision != s.seen { // whether a list can be signed or not
		p.ocsp.forget(s.ID)
		s.seen = revision
	}
	if p.c.Signer == nil || s.Offline {
		return nil
	}
	due := p.due(s, now)
	switch {
	case !due && revision == s.revision:
		s.err, s.failures, s.since = nil, 0, time.Time{}
		return nil
	case !hurry && (now.Before(s.retry) && !now.Before(s.since) || !due && s.busy(now)):
		return nil
	}
	began := time.Now() // a duration, and no date
	if due || !s.own {
		err = p.renew(ctx, s, revision)
	} else if err = p.extend(ctx, s, revision); errors.Is(err, errMany) {
		err = p.renew(ctx, s, revision)
	}
	if err != nil {
		_ = s.failed(now, err)
		if revision == s.revision && s.lists[store.CompleteList] != nil {
			return nil // nobody waits for it: what was revoked is published
		}
		return err
	}
	s.err, s.failures, s.since = nil, 0, time.Time{}
	s.cost, s.done = time.Since(began), now
	return nil
}

// share is what part of the time may be spent on new lists while revocations keep coming.
const share = 10

// busy says that so much was just spent on a list that another one has to wait.
func (s *published) busy(now time.Time) bool {
	wait := min(share*s.cost, time.Minute)
	return wait > pollEvery && now.Sub(s.done) < wait && !now.Before(s.done)
}

// How long after a failure the next attempt is made: the first, and at most.
const (
	firstRetry = time.Second
	lastRetry  = time.Minute
)

// failed notes an error and returns it.
func (s *published) failed(now time.Time, err error) error {
	if s.since.IsZero() {
		s.since = now
	}
	s.err = err
	s.retry = now.Add(min(firstRetry<<min(s.failures, 10), lastRetry))
	s.failures++
	return err
}

// load takes over lists that another process, or an earlier one, has made.
func (p *Publisher) load(ctx context.Context, s *published) error {
	heads, err := p.c.DB.CRLs(ctx, s.ID)
	if err != nil {
		return err
	}
	for _, head := range heads {
		if have := s.lists[head.Shard]; have != nil && have.Number >= head.Number {
			continue
		}
		c, err := p.c.DB.CRL(ctx, s.ID, head.Shard)
		if err != nil {
			return err
		}
		read, err := ReadList(c.List)
		if err == nil {
			err = read.Verify(s.Certificate)
		}
		if err != nil {
			// It is not served, and the next one gets a higher number.
			c.List = nil
		}
		s.lists[head.Shard] = &list{CRL: c}
		s.own = false
		if head.Shard == store.CompleteList {
			s.revision = c.Revision
		}
	}
	return nil
}

// due says whether a list is missing, or has been there for a quarter of its lifetime.
func (p *Publisher) due(s *published, now time.Time) bool {
	for _, shard := range p.shardsOf(s) {
		l := s.lists[shard]
		if l == nil || l.List == nil {
			return true
		}
		signed := l.ThisUpdate.Add(Backdate)
		if now.Sub(signed) >= p.c.lifetime()/4 || l.NextUpdate.Sub(now) < p.c.lifetime()/2 {
			return true
		}
	}
	return false
}

// shardsOf returns the shards of an authority, CompleteList last. Those that there once were stay,
// because certificates name them.
func (p *Publisher) shardsOf(s *published) []int64 {
	n := Config{Shards: cmp.Or(s.Shards, p.c.Shards)}.shards()
	for shard := range s.lists {
		n = max(n, shard+1)
	}
	var all []int64
	for shard := range n {
		all = append(all, shard)
	}
	return append(all, store.CompleteList)
}

// renew makes every list anew from the rows of the store.
func (p *Publisher) renew(ctx context.Context, s *published, revision int64) error {
	shards := p.shardsOf(s)
	limit := p.c.Now()
	parts := map[int64]*entries{}
	for _, shard := range shards {
		size := 0
		if l := s.lists[shard]; l == nil {
			limit = time.Time{}
		} else {
			limit = earlier(limit, l.ThisUpdate)
			size = int(l.Size)
		}
		parts[shard] = newEntries(s.Certificate, size)
	}
	signer, err := p.c.Signer(ctx, s.Name)
	if err != nil {
		return err
	}
	err = p.c.DB.EachRevocation(ctx, s.ID, func(r store.Revocation) error {
		if left(r, limit) {
			return nil
		}
		parts[store.CompleteList].add(r)
		if part := parts[r.Shard]; part != nil && r.Shard != store.CompleteList {
			part.add(r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, shard := range shards {
		if err := p.put(ctx, s, shard, parts[shard], revision, signer); err != nil {
			return err
		}
		delete(parts, shard)
	}
	s.own, s.revision = true, revision
	return nil
}

// leaveAfter is how much longer an entry stays than it must, for clocks that differ.
const leaveAfter = time.Hour

// left says whether an entry has been on a list that was signed after the certificate had ended: then
// it need not be on the next (RFC 5280 section 3.3). limit is when the oldest list before this
// one was signed, zero when one is missing.
func left(r store.Revocation, limit time.Time) bool {
	end := r.NotAfter
	if r.At.After(end) {
		end = r.At
	}
	return end.Add(leaveAfter).Before(limit)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// maxChanges bounds how many changes are in memory; beyond that making anew is as good.
const maxChanges = 50_000

var errMany = errors.New("more is new than is worth merging")

// extend merges what is new into the lists that it belongs on.
func (p *Publisher) extend(ctx context.Context, s *published, revision int64) error {
	changes := map[int64][]store.Revocation{}
	err := p.c.DB.RevokedSince(ctx, s.ID, s.revision, func(r store.Revocation) error {
		if len(changes[store.CompleteList]) == p.most {
			return errMany
		}
		r.Serial = slices.Clone(r.Serial)
		changes[store.CompleteList] = append(changes[store.CompleteList], r)
		if r.Shard != store.CompleteList && s.lists[r.Shard] != nil {
			changes[r.Shard] = append(changes[r.Shard], r)
		}
		return nil
	})
	if err != nil {
		return err
	}
	signer, err := p.c.Signer(ctx, s.Name)
	if err != nil {
		return err
	}
	for _, shard := range p.shardsOf(s) {
		if len(changes[shard]) == 0 {
			continue
		}
		old := s.lists[shard]
		merged := merge(s.Certificate, old.entries(), old.Entries, changes[shard])
		if err := p.put(ctx, s, shard, merged, revision, signer); err != nil {
			return err
		}
	}
	s.revision = revision
	return nil
}

// put signs a list and keeps it; from then on it is served.
func (p *Publisher) put(ctx context.Context, s *published, shard int64, e *entries, revision int64, signer crypto.Signer) error {
	f := face{issuer: s.Certificate, number: 1, this: p.c.Now().Add(-Backdate).UTC().Truncate(time.Second)}
	if shard != store.CompleteList {
		f.url = ListURL(cmp.Or(s.URL, p.c.URL), s.Name, shard)
	}
	previous := int64(0)
	if old := s.lists[shard]; old != nil {
		previous = old.Number
		f.number = previous + 1
		// Also when the clock was set back: of two lists the later one is the newer.
		if !f.this.After(old.ThisUpdate) {
			f.this = old.ThisUpdate.Add(time.Second)
		}
	}
	f.next = f.this.Add(Backdate + p.c.lifetime())
	l, err := e.seal(f, signer)
	if err != nil {
		return fmt.Errorf("couldn't sign a list: %w", err)
	}
	l.Authority, l.Shard, l.Revision = s.ID, shard, revision
	err = p.c.DB.PutCRL(ctx, l.CRL, previous)
	if errors.Is(err, tallystick.ErrConflict) {
		s.own = false // another process was faster: its list is loaded, and all is made anew
	}
	if err != nil {
		return err
	}
	s.lists[shard] = l
	return nil
}
