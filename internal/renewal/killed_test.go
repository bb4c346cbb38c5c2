// SPDX-License-Identifier: Apache-2.0

package renewal_test

import (
	"context"
	"crypto"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/renewal"
	"github.com/tallystick/tallystick/internal/store"
)

// TestMain lets this program be the child that a test kills.
func TestMain(m *testing.M) {
	var err error
	switch os.Getenv("RENEWAL_TEST_CHILD") {
	case "":
		os.Exit(m.Run())
	case "write":
		err = writeForever(os.Args[len(os.Args)-1])
	case "renew":
		err = renewOnce(os.Args[len(os.Args)-1], os.Getenv("RENEWAL_TEST_POINT"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// writeForever delivers one order after the other.
func writeForever(dir string) error {
	fmt.Println("begun")
	t := &testing.T{}
	for n := time.Now().UnixNano(); ; n = time.Now().UnixNano() {
		key, chain := pair(t, n)
		if err := renewal.WriteFiles(dir, n, key, chain, func() error { return nil }); err != nil {
			return err
		}
	}
}

// points are where a child is killed: before and after each thing that leaves the
// engine, which is what its steps consist of.
var points = []string{
	"before NewKey", "after NewKey", "before FindByKey", "after FindByKey", "before Issue", "after Issue",
	"before Get", "after Get", "in the hook",
}

// reached kills this process where it is to be killed.
func reached(point, at string) {
	if point == at {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // until it is delivered
	}
}

// A deadlyCA kills the process beside its calls.
type deadlyCA struct {
	*ca.CA
	point string
}

func (d deadlyCA) Issue(ctx context.Context, who gate.Actor, r ca.Request) (ca.Certificate, error) {
	reached(d.point, "before Issue")
	defer reached(d.point, "after Issue")
	return d.CA.Issue(ctx, who, r)
}

func (d deadlyCA) FindByKey(ctx context.Context, key [sha256.Size]byte) ([]ca.Certificate, error) {
	reached(d.point, "before FindByKey")
	defer reached(d.point, "after FindByKey")
	return d.CA.FindByKey(ctx, key)
}

// deadlyKeys kill the process beside their calls.
type deadlyKeys struct {
	*custody.Custody
	point string
}

func (d deadlyKeys) NewKey(ctx context.Context, kind custody.KeyType, owner custody.Owner) (string, crypto.Signer, error) {
	reached(d.point, "before NewKey")
	defer reached(d.point, "after NewKey")
	return d.Custody.NewKey(ctx, kind, owner)
}

func (d deadlyKeys) Get(ctx context.Context, id string) ([]byte, error) {
	reached(d.point, "before Get")
	defer reached(d.point, "after Get")
	return d.Custody.Get(ctx, id)
}

// engineIn opens the engine of a directory, with a clock that is ahead by a number
// of leases, and to be killed at a point.
func engineIn(ctx context.Context, dir, point string) (*renewal.Engine, *ca.CA, error) {
	db, err := store.Open(ctx, filepath.Join(dir, "tally.db"))
	if err != nil {
		return nil, nil, err
	}
	w, err := custody.OpenFile(filepath.Join(dir, "wrapping.key"), "", "", true)
	if err != nil {
		return nil, nil, err
	}
	ahead, err := os.ReadFile(filepath.Join(dir, "kills"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	now := func() time.Time { return time.Now().Add(time.Duration(len(ahead)) * (renewal.LeaseTime + time.Second)) }
	keys, err := custody.Open(ctx, custody.Config{DB: db, Wrapper: w, Now: now})
	if err != nil {
		return nil, nil, err
	}
	own := newCA(db, keys, now, func(policy.Request) ca.Decision { return ca.Decision{Allowed: true} })
	e, err := renewal.New(renewal.Config{
		DB: db, Gate: gate.New(silentBook{}, now), Keys: deadlyKeys{keys, point}, Now: now, Node: fmt.Sprint("process ", os.Getpid()), CA: deadlyCA{own, point},
	})
	return e, own, err
}

// renewOnce does what there is to do in a directory.
func renewOnce(dir, point string) error {
	e, _, err := engineIn(context.Background(), dir, point)
	if err != nil {
		return err
	}
	_, err = e.Turn(context.Background())
	return err
}

// Killed at every step and started again, a renewal is finished with one
// certificate, of the first key that anybody has seen.
func TestKilledAtEveryStep(t *testing.T) {
	for _, point := range points {
		t.Run(strings.ReplaceAll(point, " ", "-"), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files := filepath.Join(dir, "files")
			e, own, err := engineIn(t.Context(), dir, "")
			if err != nil {
				t.Fatal(err)
			}
			defer e.DB.Close()
			if _, err := own.Init(t.Context(), admin, ca.InitRequest{Name: "lab"}); err != nil {
				t.Fatal(err)
			}
			hook := script(t, "test -e "+dir+"/told && exit 0; touch "+dir+"/told\n")
			if point == "in the hook" {
				hook = script(t, "test -e "+dir+"/told && exit 0; touch "+dir+"/told; kill -9 $PPID\n")
			}
			_, err = e.Add(t.Context(), admin, renewal.Wanted{Name: "shop", Issuer: "ca/lab", Names: []string{"shop.example.com"}, Directory: files, Hook: &renewal.Hook{Command: []string{hook}}})
			if err != nil {
				t.Fatal(err)
			}
			child := func(point string) (*os.ProcessState, string) {
				cmd := exec.Command(os.Args[0], dir)
				cmd.Env = append(os.Environ(), "RENEWAL_TEST_CHILD=renew", "RENEWAL_TEST_POINT="+point)
				out, _ := cmd.CombinedOutput()
				return cmd.ProcessState, string(out)
			}
			if state, said := child(point); state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
				t.Fatalf("the child was not killed: %s %s", state, said)
			}
			if err := os.WriteFile(filepath.Join(dir, "kills"), []byte("x"), 0o600); err != nil { // the lease has run out
				t.Fatal(err)
			}
			if state, said := child(""); !state.Success() {
				t.Fatalf("the second child: %s %s", state, said)
			}
			if r, err := e.Get(t.Context(), viewer, "shop"); err != nil || r.State != "good" {
				t.Fatalf("it is %s (%s), %v", r.State, r.Error, err)
			}
			delivered(t, files)
			list, err := own.List(t.Context(), admin, ca.Filter{}, "", 10)
			if err != nil || len(list) != 1 {
				t.Errorf("%d certificates were made, %v", len(list), err)
			}
			if _, err := os.Stat(filepath.Join(dir, "told")); err != nil {
				t.Errorf("the hook was not run: %v", err)
			}
		})
	}
}

// A process whose clock was a year ahead, and died, holds nothing up; nor does one
// whose clock is an hour behind deliver anything twice.
func TestWrongClocks(t *testing.T) {
	h := onSQLite(t, nil)
	h.add(renewal.Wanted{Name: "shop", Issuer: "desk"})
	if _, err := h.DB.OpenOrders(t.Context(), "desk", store.Budget{}, h.clock.now(), 10); err != nil {
		t.Fatal(err)
	}
	dead, err := h.DB.ClaimOrders(t.Context(), "dead", h.clock.now().AddDate(1, 0, 0), renewal.LeaseTime, 10)
	if err != nil || len(dead) != 1 {
		t.Fatal(dead, err)
	}
	h.turn()
	h.expect("shop", "good")
	dead[0].KeyID = "another"
	if err := h.DB.KeepOrder(t.Context(), dead[0], time.Now()); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("the dead writes: %v", err)
	}
	for _, off := range []time.Duration{-time.Hour, 2 * time.Hour, -time.Hour} {
		h.clock.pass(off)
		h.turn()
		h.expect("shop", "good")
	}
	if n := h.desk.count(); n != 1 {
		t.Errorf("%d certificates were made", n)
	}
}

// Whatever fails, stalls or is taken over, in whatever order: of one order no two
// certificates are delivered, and none without its key.
func TestNoSequenceOfFailuresDeliversTwo(t *testing.T) {
	h, dir, checks := onSQLite(t, nil), t.TempDir(), 0
	rapid.Check(t, func(rt *rapid.T) {
		checks++
		name := fmt.Sprint("shop-", checks)
		files := filepath.Join(dir, name)
		h.desk.behave(func(d *desk) { d.before, d.after = nil, nil })
		h.add(renewal.Wanted{Name: name, Issuer: "desk", Directory: files})
		seen := map[int64]string{} // certificate delivered, by order
		for step := range rapid.IntRange(3, 8).Draw(rt, "steps") {
			what := rapid.SampledFrom([]string{"work", "fail before", "fail after", "steal", "pending", "ask", "deny"}).Draw(rt, fmt.Sprint("step ", step))
			h.desk.behave(func(d *desk) {
				d.before = func(r driver.IssueRequest) (time.Time, error) {
					switch what {
					case "fail before":
						return time.Time{}, errors.New("reset")
					case "pending":
						return r.Now().Add(time.Minute), nil
					case "deny":
						return time.Time{}, tallystick.ErrDenied
					}
					return time.Time{}, nil
				}
				d.after = func(driver.IssueRequest) error {
					switch what {
					case "fail after":
						return errors.New("reset")
					case "steal": // while it stalls, its lease runs out and another takes the order up
						h.clock.pass(renewal.LeaseTime + time.Second)
						if _, err := h.DB.ClaimOrders(context.Background(), "thief", h.clock.now(), renewal.LeaseTime, 10); err != nil {
							return err
						}
					}
					return nil
				}
			})
			if what == "ask" {
				if err := h.Ask(t.Context(), operator, name); err != nil {
					rt.Fatal(err)
				}
			}
			if _, err := h.Turn(t.Context()); err != nil {
				rt.Fatal(err)
			}
			h.clock.pass(30 * time.Hour)
			h.check(rt, name, files, seen)
		}
		h.desk.behave(func(d *desk) { d.before, d.after = nil, nil })
		h.turn()
		h.check(rt, name, files, seen)
		if r := h.get(name); r.State != "good" {
			rt.Fatalf("in the end it is %s (%s)", r.State, r.Error)
		}
		if err := h.Remove(t.Context(), operator, name); err != nil {
			rt.Fatal(err)
		}
	})
}

// check looks at what was delivered, and at what the store says was.
func (h *house) check(rt *rapid.T, name, files string, seen map[int64]string) {
	row, err := h.DB.Renewal(context.Background(), name)
	if err != nil {
		rt.Fatal(err)
	}
	if len(row.Certificate) == 0 {
		return
	}
	orders, err := h.DB.RenewalOrders(context.Background(), row.ID, 0, 100)
	if err != nil {
		rt.Fatal(err)
	}
	for _, o := range orders {
		if before, ok := seen[o.ID]; ok && before != string(o.Chain) {
			rt.Fatalf("order %d has had two certificates", o.ID)
		}
		if len(o.Chain) > 0 {
			seen[o.ID] = string(o.Chain)
		}
	}
	if _, err := os.Stat(files); err != nil {
		return
	}
	leaf := delivered(h.t, files) // fails when the key is another's
	key, err := h.Keys.Signer(context.Background(), row.KeyID)
	if err != nil {
		rt.Fatal(err)
	}
	if !strings.Contains(fmt.Sprint(leaf.DNSNames), name+".example.com") || key == nil {
		rt.Fatal("it is another's")
	}
}
