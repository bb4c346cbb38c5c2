// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

var revokedAt = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// revoked makes the nth revocation of an authority; serials are not in the order of n.
func revoked(authority int64, n, reason int) store.Revocation {
	serial := make([]byte, 16)
	binary.BigEndian.PutUint64(serial, uint64(n)*0x9e3779b97f4a7c15)
	return store.Revocation{Authority: authority, Serial: serial, Shard: int64(n % 4), At: revokedAt, Reason: reason,
		NotAfter: revokedAt.AddDate(1, 0, 0), By: "alice", Note: "lost"}
}

func revocationsOf(t *testing.T, db *store.DB, authority, since int64) []store.Revocation {
	t.Helper()
	var list []store.Revocation
	keep := func(r store.Revocation) error {
		r.Serial = bytes.Clone(r.Serial)
		list = append(list, r)
		return nil
	}
	var err error
	if since < 0 {
		err = db.EachRevocation(t.Context(), authority, keep)
	} else {
		err = db.RevokedSince(t.Context(), authority, since, keep)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestRevokeIsIdempotent(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		var all []store.Revocation
		for n := range 300 {
			all = append(all, revoked(1+int64(n%2), n, 4))
		}
		fresh, err := db.Revoke(t.Context(), all)
		if err != nil || len(fresh) != 300 {
			t.Fatalf("%d fresh, %v", len(fresh), err)
		}
		later := slices.Clone(all[:10])
		for i := range later {
			later[i].At, later[i].Reason, later[i].By = revokedAt.Add(time.Hour), 9, "bob"
		}
		later = append(later, revoked(1, 500, 0), revoked(1, 500, 0))
		fresh, err = db.Revoke(t.Context(), later)
		if err != nil || len(fresh) != 1 || !bytes.Equal(fresh[0].Serial, later[10].Serial) {
			t.Fatalf("%+v, %v; want the one that was not revoked before", fresh, err)
		}
		before, err := db.RevocationRevision(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if fresh, err := db.Revoke(t.Context(), later); err != nil || len(fresh) != 0 {
			t.Errorf("a third time: %d fresh, %v", len(fresh), err)
		}
		if after, err := db.RevocationRevision(t.Context(), 1); err != nil || after != before {
			t.Errorf("revision %d became %d, %v: whoever waits for a list that has it waits for ever", before, after, err)
		}
		got, err := db.RevocationOf(t.Context(), all[0].Serial)
		if d := cmp.Diff(all[0], got); d != "" || err != nil {
			t.Errorf("the first revocation changed, %v:\n%s", err, d)
		}
		if _, err := db.RevocationOf(t.Context(), []byte{1}); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("a serial that is not revoked: %v", err)
		}
		if _, err := db.Revoke(t.Context(), []store.Revocation{{Authority: 1, Serial: make([]byte, 21)}}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("a serial of 21 octets: %v", err)
		}
	})
}

func TestRevokeRaisesTheReasonToACompromise(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		stolen := revoked(1, 7, 1)
		stolen.At, stolen.InvalidSince, stolen.By, stolen.Note = revokedAt.Add(time.Hour), revokedAt.Add(-time.Hour), "bob", "stolen"
		first := revoked(1, 7, 4)
		if fresh, err := db.Revoke(t.Context(), []store.Revocation{first}); err != nil || len(fresh) != 1 {
			t.Fatalf("%d fresh, %v", len(fresh), err)
		}
		fresh, err := db.Revoke(t.Context(), []store.Revocation{first, stolen})
		if err != nil || len(fresh) != 1 || !fresh[0].At.Equal(revokedAt) || fresh[0].Reason != 1 {
			t.Fatalf("%+v, %v; want it raised, with its first date", fresh, err)
		}
		want := first
		want.Reason, want.InvalidSince, want.Note = 1, stolen.InvalidSince, "stolen"
		got, err := db.RevocationOf(t.Context(), first.Serial)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("%v\n%s", err, d)
		}
		if fresh, err := db.Revoke(t.Context(), []store.Revocation{first}); err != nil || len(fresh) != 0 {
			t.Errorf("a compromise was taken back: %+v, %v", fresh, err)
		}
	})
}

func TestRevisionsAppearInTheirOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		const writers, each = 4, 25
		var stop atomic.Bool
		var wait sync.WaitGroup
		for w := range writers {
			wait.Go(func() {
				for n := range each {
					if _, err := db.Revoke(t.Context(), []store.Revocation{revoked(1, w*each+n, 0)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		go func() { wait.Wait(); stop.Store(true) }()
		seen := map[string]bool{}
		for revision := int64(0); ; {
			last := stop.Load()
			next, err := db.RevocationRevision(t.Context(), 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range revocationsOf(t, db, 1, revision) {
				seen[string(r.Serial)] = true
			}
			if revision = next; last {
				break
			}
		}
		if len(seen) != writers*each {
			t.Errorf("who follows the revisions has seen %d revocations of %d", len(seen), writers*each)
		}
		all := revocationsOf(t, db, 1, -1)
		if len(all) != writers*each || !slices.IsSortedFunc(all, func(a, b store.Revocation) int { return bytes.Compare(a.Serial, b.Serial) }) {
			t.Errorf("%d revocations, or not in the order of serials", len(all))
		}
	})
}

func TestPutCRLNeverUsesANumberTwice(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		one, two := storetest.Open(t, url), storetest.Open(t, url) // two processes
		list := func(number int64, content byte) store.CRL {
			return store.CRL{Authority: 3, Shard: store.CompleteList, Number: number, ThisUpdate: revokedAt, NextUpdate: revokedAt.Add(time.Hour),
				Entries: 9, Revision: 4, SHA256: "ab", List: bytes.Repeat([]byte{content}, 5<<19)}
		}
		if err := one.PutCRL(t.Context(), list(1, 'a'), 0); err != nil {
			t.Fatal(err)
		}
		for _, previous := range []int64{0, 3} {
			if err := two.PutCRL(t.Context(), list(9, 'b'), previous); !errors.Is(err, tallystick.ErrConflict) {
				t.Errorf("in place of %d: %v", previous, err)
			}
		}
		if err := two.PutCRL(t.Context(), list(1, 'b'), 1); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("the same number: %v", err)
		}
		var won atomic.Int32
		var wait sync.WaitGroup
		for i, db := range []*store.DB{one, two, one, two} {
			wait.Go(func() {
				err := db.PutCRL(context.WithoutCancel(t.Context()), list(2, byte(i)), 1)
				if err == nil {
					won.Add(1)
				} else if !errors.Is(err, tallystick.ErrConflict) {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		got, err := one.CRL(t.Context(), 3, store.CompleteList)
		if err != nil || won.Load() != 1 || got.Number != 2 || !bytes.Equal(got.List, bytes.Repeat(got.List[:1], 5<<19)) {
			t.Errorf("%d won; number %d, %d bytes, %v", won.Load(), got.Number, len(got.List), err)
		}
		heads, err := two.CRLs(t.Context(), 3)
		got.List = nil
		if d := cmp.Diff([]store.CRL{got}, heads); d != "" || err != nil {
			t.Errorf("%v\n%s", err, d)
		}
		if _, err := one.CRL(t.Context(), 3, 0); !errors.Is(err, tallystick.ErrNotFound) {
			t.Errorf("a list that is not there: %v", err)
		}
	})
}
