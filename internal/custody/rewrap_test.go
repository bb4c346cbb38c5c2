// SPDX-License-Identifier: Apache-2.0

package custody_test

import (
	"errors"
	"fmt"
	"math/big"
	"sync"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
)

func sha256Number() *big.Int { return big.NewInt(4711) }

func putMany(t testing.TB, c *custody.Custody, n int) []string {
	t.Helper()
	ids := make([]string, n)
	const width = 32 // at a time: they share what it costs to be durable
	var workers sync.WaitGroup
	for first := range width {
		workers.Go(func() {
			for i := first; i < n; i += width {
				var err error
				if ids[i], err = c.Put(t.Context(), owner, fmt.Append(nil, "secret ", i)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	workers.Wait()
	return ids
}

func allReadable(t testing.TB, c *custody.Custody, ids []string) {
	t.Helper()
	for i, id := range ids {
		got, err := c.Get(t.Context(), id)
		if err != nil || string(got) != fmt.Sprint("secret ", i) {
			t.Fatalf("secret %d: %q, %v", i, got, err)
		}
	}
}

func TestRewrap(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.DB) {
		from, to := fileKey(t), fileKey(t)
		c := openCustody(t, custody.Config{DB: db, Wrapper: from})
		ids := putMany(t, c, 600) // three pages
		steps := 0
		err := c.Rewrap(t.Context(), to, func(done, total int) {
			steps++
			if total != 600 || done > total {
				t.Errorf("%d of %d", done, total)
			}
			allReadable(t, c, ids) // some are under the old one, some under the new
		})
		if err != nil || steps != 3 {
			t.Fatal(steps, err)
		}
		more, err := c.Put(t.Context(), owner, []byte("secret 600"))
		if err != nil {
			t.Fatal(err)
		}
		fresh := openCustody(t, custody.Config{DB: db, Wrapper: to})
		allReadable(t, fresh, append(ids, more))
		if _, err := custody.Open(t.Context(), custody.Config{DB: db, Wrapper: from, Now: now}); !errors.Is(err, custody.ErrWrongKey) {
			t.Error("the old one still opens it:", err)
		}
		keys, err := db.WrappingKeys(t.Context())
		if err != nil || len(keys) != 2 || keys[0].Retired.IsZero() == keys[1].Retired.IsZero() {
			t.Errorf("%+v, %v", keys, err)
		}
		if err := fresh.Rewrap(t.Context(), to, nil); err != nil {
			t.Error("to where it is already:", err)
		}
	})
}

// A process that does not know of the new wrapping key puts nothing under the old one.
func TestOldKeyIsNoLongerUsed(t *testing.T) {
	db, _ := sqliteStore(t)
	from := fileKey(t)
	other := openCustody(t, custody.Config{DB: db, Wrapper: from})
	ids := putMany(t, other, 1)
	c := openCustody(t, custody.Config{DB: db, Wrapper: from})
	if err := c.Rewrap(t.Context(), fileKey(t), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Put(t.Context(), owner, []byte("x")); !errors.Is(err, tallystick.ErrConflict) {
		t.Error(err)
	}
	if _, err := other.Get(t.Context(), ids[0]); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Error(err)
	}
}

func TestRewrapLeavesWhatIsDamaged(t *testing.T) {
	db, path := sqliteStore(t)
	from, to := fileKey(t), fileKey(t)
	c := openCustody(t, custody.Config{DB: db, Wrapper: from})
	ids := putMany(t, c, 3)
	storetest.Exec(t, path, `UPDATE secrets SET wrapped = x'01' WHERE id = '`+ids[2]+`'`)
	if err := c.Rewrap(t.Context(), to, nil); !errors.Is(err, tallystick.ErrDamaged) {
		t.Error(err)
	}
	allReadable(t, c, ids[:2])
	if err := c.Destroy(t.Context(), ids[2]); err != nil {
		t.Fatal(err)
	}
	if err := c.Rewrap(t.Context(), to, nil); err != nil {
		t.Error(err)
	}
	allReadable(t, openCustody(t, custody.Config{DB: db, Wrapper: to}), ids[:2])
}

func TestRewrapStopsWhenTheNewKeyIsAway(t *testing.T) {
	db, _ := sqliteStore(t)
	from, to := fileKey(t), &switchable{Wrapper: fileKey(t)}
	c := openCustody(t, custody.Config{DB: db, Wrapper: from})
	ids := putMany(t, c, 600)
	err := c.Rewrap(t.Context(), to, func(done, _ int) { to.away.Store(done > 300) })
	if !errors.Is(err, tallystick.ErrUnavailable) {
		t.Fatal(err)
	}
	to.away.Store(false)
	allReadable(t, c, ids)
	c = openCustody(t, custody.Config{DB: db, Wrapper: from, Also: []custody.Wrapper{to}})
	allReadable(t, c, ids)
	if err := c.Rewrap(t.Context(), to, nil); err != nil {
		t.Fatal(err)
	}
	allReadable(t, openCustody(t, custody.Config{DB: db, Wrapper: to}), ids)
}
