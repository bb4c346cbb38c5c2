// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/order"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/recall/recalltest"
	"github.com/tallystick/tallystick/internal/store"
)

// TestMain lets this program be the child that a test kills.
func TestMain(m *testing.M) {
	if os.Getenv("RECALL_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	if err := recallOnce(os.Args[len(os.Args)-1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// points are where a child is killed: before and after each thing that leaves the
// engine, once each. The directory remembers where one was.
type points struct{ dir string }

func (p points) reached(at string) {
	path := filepath.Join(p.dir, "kills")
	before, err := os.ReadFile(path)
	if err == nil && slices.Contains(strings.Split(string(before), "\n"), at) {
		return
	}
	if err := os.WriteFile(path, append(before, at+"\n"...), 0o600); err != nil {
		panic(err)
	}
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // until it is delivered
}

type deadlyDoors struct {
	*recalltest.Estate
	points
}

func (d deadlyDoors) Do(ctx context.Context, t doors.Task) (doors.Result, error) {
	d.reached(fmt.Sprint("before ", t.Act, " ", t.Name))
	defer d.reached(fmt.Sprint("after ", t.Act, " ", t.Name))
	return d.Estate.Do(ctx, t)
}

type deadlyCA struct {
	*ca.CA
	points
}

func (d deadlyCA) Issue(ctx context.Context, who gate.Actor, r ca.Request) (ca.Certificate, error) {
	d.reached("before issue for " + who.Name)
	defer d.reached("after issue for " + who.Name)
	return d.CA.Issue(ctx, who, r)
}

type deadlyRevoker struct {
	recall.OwnCA
	points
}

func (d deadlyRevoker) Revoke(ctx context.Context, certificates [][]byte, r tallystick.Recall) error {
	d.reached("before revoke")
	defer d.reached("after revoke")
	return d.OwnCA.Revoke(ctx, certificates, r)
}

type deadlyLog struct {
	*audit.Log
	points
}

func (d deadlyLog) Append(ctx context.Context, r audit.Record) error {
	if r.Action != "recall-step" {
		return d.Log.Append(ctx, r)
	}
	d.reached("before the record of " + r.Object)
	defer d.reached("after the record of " + r.Object)
	return d.Log.Append(ctx, r)
}

// A cellar is what an engine works with, in a directory.
type cellar struct {
	*recall.Engine
	estate *recalltest.Estate
	ca     *ca.CA
	ahead  time.Duration
}

// openCellar opens the engine of a directory. Its clock is ahead by a lease for every
// process that was killed.
func openCellar(ctx context.Context, dir string, deadly bool) (*cellar, error) {
	killed, err := os.ReadFile(filepath.Join(dir, "kills"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	c := &cellar{ahead: time.Duration(strings.Count(string(killed), "\n")) * (recall.LeaseTime + time.Second)}
	now := func() time.Time { return time.Now().Add(c.ahead) }
	db, err := store.Open(ctx, filepath.Join(dir, "tally.db"))
	if err != nil {
		return nil, err
	}
	log, err := audit.Open(ctx, db, filepath.Join(dir, "audit.key"))
	if err != nil {
		return nil, err
	}
	w, err := custody.OpenFile(filepath.Join(dir, "wrapping.key"), "", "", true)
	if err != nil {
		return nil, err
	}
	keys, err := custody.Open(ctx, custody.Config{DB: db, Wrapper: w, Now: now})
	if err != nil {
		return nil, err
	}
	c.ca = ca.New(ca.Config{
		DB: db, Gate: gate.New(log, now), Keys: keys, Now: now, Decide: func(policy.Request) ca.Decision { return ca.Decision{Allowed: true} },
		CheckKey: func(crypto.PublicKey) error { return nil }, Lint: func([]byte) error { return nil }, Profiles: ca.BuiltInProfiles(), URL: "http://pki.example.com",
	})
	if c.estate, err = recalltest.Open(filepath.Join(dir, "doors"), "ca/lab", now); err != nil {
		return nil, err
	}
	own := recall.OwnCA{CA: c.ca, DB: db, Now: now}
	config := recall.Config{
		DB: db, Gate: gate.New(log, now), Log: log, Doors: c.estate, Now: now, Node: fmt.Sprint("process ", os.Getpid()), CA: own,
		Issuers:  func(string) (driver.Issuer, error) { return own.Issuer("lab"), nil },
		Defaults: recall.Defaults{Approvals: -1, Quiet: time.Millisecond},
	}
	if deadly {
		p := points{dir}
		config.Doors, config.Log, config.CA = deadlyDoors{c.estate, p}, deadlyLog{log, p}, deadlyRevoker{own, p}
		config.Issuers = func(string) (driver.Issuer, error) {
			issuer := own.Issuer("lab").(*order.Own)
			issuer.CA = deadlyCA{c.ca, p}
			return issuer, nil
		}
	}
	c.Engine, err = recall.New(config)
	return c, err
}

// recallOnce works in a directory until nothing is left to do, or it is killed.
func recallOnce(dir string) error {
	c, err := openCellar(context.Background(), dir, true)
	if err != nil {
		return err
	}
	for range 1000 {
		n, err := c.Turn(context.Background())
		if err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		list, err := c.List(context.Background(), vera, 0, 1)
		if err != nil || list[0].State.Over() {
			return err
		}
		time.Sleep(2 * time.Millisecond)
	}
	return errors.New("the recall does not come to an end")
}

// furnish makes the CA, a place, and a holder that signs in at two doors, and begins the
// recall of the key that they share.
func (c *cellar) furnish(t *testing.T) map[string]driver.Public {
	admin := gate.Actor{Name: "ada", Role: gate.Admin, Via: "local"}
	if _, err := c.ca.Init(t.Context(), admin, ca.InitRequest{Name: "lab"}); err != nil {
		t.Fatal(err)
	}
	key, err := recalltest.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	olds := map[string]driver.Public{}
	for _, name := range []string{"web", "app"} {
		olds[name] = certify(t, c.ca, admin, key, name)
	}
	c.estate.AddPlace("web", olds["web"])
	c.estate.AddHolder("app", olds["app"])
	for _, c2 := range between {
		c.estate.AddRelying(c2.Relying, olds["app"])
	}
	if err := c.estate.Save(); err != nil {
		t.Fatal(err)
	}
	id := tallystick.KeyID("")
	for _, name := range olds["app"].Names() {
		if key, is := strings.CutPrefix(name, "spki-sha256:"); is {
			id = tallystick.KeyID(key)
		}
	}
	r, err := c.Open(t.Context(), olga, recall.Request{Name: "killed", What: tallystick.Burnt{Kind: tallystick.BurntKey, Value: string(id)}, Deadline: time.Now().Add(1000 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context(), olga, r.ID); err != nil {
		t.Fatal(err)
	}
	return olds
}

var between = []recalltest.Connection{{Holder: "app", Relying: "mail"}, {Holder: "app", Relying: "ldap"}}

// certify has a certificate made by the CA.
func certify(t *testing.T, c *ca.CA, who gate.Actor, key *ecdsa.PrivateKey, name string) driver.Public {
	t.Helper()
	csr, err := x509.CreateCertificateRequest(nil, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	made, err := c.Issue(t.Context(), who, ca.Request{Authority: "lab", Profile: "client", CSR: csr, Via: ca.ViaLocal})
	if err != nil {
		t.Fatal(err)
	}
	return driver.Public{Chain: append([][]byte{made.DER}, made.Chain...)}
}

// Killed before and after everything that it does, once each, and started again after
// each time, a recall comes to its end: each new certificate was made once, nothing was
// ever without one that works, and nothing was blocked too soon.
func TestKilledAtEveryStep(t *testing.T) {
	dir := t.TempDir()
	c, err := openCellar(t.Context(), dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.DB.Close()
	olds := c.furnish(t)
	kills := 0
	for ; ; kills++ {
		cmd := exec.Command(os.Args[0], dir)
		cmd.Env = append(os.Environ(), "RECALL_TEST_CHILD=1")
		out, _ := cmd.CombinedOutput()
		c.looksRight(t, dir, olds, 4)
		if cmd.ProcessState.Success() {
			break
		}
		if cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL || kills > 300 {
			t.Fatalf("the child was not killed: %s %s", cmd.ProcessState, out)
		}
	}
	if kills < 60 {
		t.Errorf("it was killed %d times only", kills)
	}
	c.ended(t, dir, olds)
}

// looksRight looks at the doors and at the CA after a process has ended.
func (c *cellar) looksRight(t *testing.T, dir string, olds map[string]driver.Public, most int) *recalltest.Estate {
	t.Helper()
	now, err := recalltest.Open(filepath.Join(dir, "doors"), "ca/lab", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	if without := now.Without(between); len(without) > 0 {
		t.Fatalf("without a credential that works: %v", without)
	}
	for _, one := range between {
		if now.Denies(one.Relying, olds["app"]) && now.Shown("app").Is(olds["app"]) {
			t.Fatalf("it is blocked at %s too soon", one.Relying)
		}
	}
	list, err := c.ca.List(t.Context(), gate.Actor{Name: "ada", Role: gate.Admin, Via: "local"}, ca.Filter{}, "", 100)
	if err != nil || len(list) > most {
		t.Fatalf("%d certificates were made, %v", len(list), err)
	}
	for _, made := range list {
		if made.Revocation != nil && (now.Shown("app").Is(driver.Public{Chain: [][]byte{made.DER}}) || now.Shown("web").Is(driver.Public{Chain: [][]byte{made.DER}})) {
			t.Fatal("what is used is revoked")
		}
	}
	return now
}

// ended looks that the recall came to the end that it would have come to undisturbed.
func (c *cellar) ended(t *testing.T, dir string, olds map[string]driver.Public) {
	t.Helper()
	now := c.looksRight(t, dir, olds, 4)
	for name, old := range olds {
		if now.Shown(name).Is(old) {
			t.Errorf("%s has the old one", name)
		}
	}
	for _, one := range between {
		if !now.Denies(one.Relying, olds["app"]) || now.Trusted(one.Relying) != 1 {
			t.Errorf("%s does not let in one credential, and the right one", one.Relying)
		}
	}
	if now.Keys() != 0 {
		t.Errorf("%d keys are left behind", now.Keys())
	}
	list, err := c.List(t.Context(), vera, 0, 2)
	if err != nil || len(list) != 1 || list[0].State != tallystick.RecallDone {
		t.Errorf("the recall is %+v, %v", list, err)
	}
	s, err := c.Status(t.Context(), vera, list[0].ID)
	if err != nil || s.Done != s.Total || s.Total != 3 {
		t.Errorf("%d of %d are proven, %v", s.Done, s.Total, err)
	}
}
