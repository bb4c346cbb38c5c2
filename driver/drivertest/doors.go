// SPDX-License-Identifier: Apache-2.0

package drivertest

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/probing"
)

// A DoorSuite is what the driver of a door brings to the tests.
type DoorSuite struct {
	// Start starts a fresh real server whose configuration the driver can be opened for.
	// It is called for each verb that the driver has, and again for the faults of each. Servers of
	// several calls run at the same time.
	Start func(t *testing.T) Door
	// Lanes is among how many servers the faults of one verb are shared out, where most of the
	// time is spent on waiting; 0 is one.
	Lanes int
	// Shared says that Start brings one server back to how it was, in place of a fresh one, because
	// to start one takes long. Then nothing is done at the same time.
	Shared bool
	// Reads says which commands of the driver change nothing, such as checks and queries.
	// All others are made to fail, one after the other.
	Reads func(driver.Command) bool
	// Asks is set where a verb runs a command that finds out itself that nothing is to be
	// done, so that one is also run when a verb is repeated.
	Asks bool
	// Verbs are those that are tried; nil: all that the door has.
	Verbs []string
}

// A Door is one real server, in good order.
type Door struct {
	Opened any         // the driver's value
	Host   driver.Host // where it is; nil is an error
	// Shown is what it shows, and Next what Install puts in its place. Empty where it
	// has no Install.
	Shown, Next driver.Material
	// Client gets in, NextClient does not yet, and gets the rights of Client by Trust.
	// Empty where the door has neither Trust nor Block. A door that lets in all that a CA
	// has signed may have the same for both.
	Client, NextClient driver.Material
	// CRLs are complete lists that name Client, DER, for doors that read lists. They want Reset.
	CRLs [][]byte
	// Listeners are where Client can be tried by package driver/probing. Empty where it cannot.
	Listeners []driver.Listener
	// Good says whether the server serves legitimate clients now: it makes a new connection
	// as a client that trusts both Shown and Next, and signs in as somebody who is neither
	// Client nor NextClient. A server that is reloading may be given a few seconds.
	Good func() error
	// Reset brings the server back to how Start left it, more quickly than Start. nil: the
	// verb that undoes does: Install of Shown, Withdraw, Lift.
	Reset func(t *testing.T)
}

// Doors runs what all doors have in common, for each verb that the driver has.
func Doors(t *testing.T, s DoorSuite) {
	door := s.begin(t)
	if _, ok := door.Opened.(driver.Looker); !ok {
		t.Fatal("a driver of a door looks: every write has a look")
	}
	t.Run("look", func(t *testing.T) { door.looks(t) })
	has := func(verb string) bool {
		return (s.Verbs == nil || slices.Contains(s.Verbs, verb)) && driver.Offers(door.Opened, verb)
	}
	t.Run("verbs", func(t *testing.T) { door.keepsToVerbs(t) })
	if _, ok := door.Opened.(driver.Installer); ok && has("install") {
		t.Run("install", func(t *testing.T) { s.aside(t); s.installs(t) })
	}
	if _, ok := door.Opened.(driver.Truster); ok && has("trust") {
		t.Run("trust", func(t *testing.T) { s.aside(t); s.trusts(t) })
	}
	if _, ok := door.Opened.(driver.Blocker); ok && has("block") {
		t.Run("block", func(t *testing.T) { s.aside(t); s.blocks(t) })
	}
}

// aside lets a test run beside others.
func (s DoorSuite) aside(t *testing.T) {
	if !s.Shared {
		t.Parallel()
	}
}

// keepsToVerbs looks that what options have taken away is refused, and nothing written.
func (r *running) keepsToVerbs(t *testing.T) {
	refused := func(verb string, err error) {
		if !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("the door does not offer %s, and says %v to it; want ErrInvalid", verb, err)
		}
	}
	r.host.Fail(0, Never, nil)
	if d, ok := r.Opened.(driver.Installer); ok && !driver.Offers(d, "install") {
		_, err := d.Install(t.Context(), driver.InstallRequest{Host: r.host, New: r.Next, Now: time.Now})
		refused("install", err)
	}
	if d, ok := r.Opened.(driver.Truster); ok && !driver.Offers(d, "trust") {
		_, err := d.Trust(t.Context(), driver.TrustRequest{Host: r.host, New: r.NextClient.Public, Like: r.Client.Public, Now: time.Now})
		refused("trust", err)
	}
	if d, ok := r.Opened.(driver.Blocker); ok && !driver.Offers(d, "block") {
		_, err := d.Block(t.Context(), driver.BlockRequest{Host: r.host, Old: r.Client.Public, CRLs: r.CRLs, Now: time.Now})
		refused("block", err)
	}
	if writes := r.host.Writes(); len(writes) > 0 {
		t.Errorf("what it does not offer led to %q", writes)
	}
}

// A running door is one whose writes can fail.
type running struct {
	Door
	host *FaultyHost
	asks bool
}

func (s DoorSuite) begin(t *testing.T) *running {
	t.Helper()
	door := s.Start(t)
	r := &running{Door: door, host: Faulty(door.Host), asks: s.Asks}
	r.host.Reads = s.Reads
	if err := r.Good(); err != nil {
		t.Fatalf("at first the server does not serve: %v", err)
	}
	return r
}

func (r *running) look(t *testing.T) driver.View {
	t.Helper()
	view, err := r.Opened.(driver.Looker).Look(t.Context(), driver.LookRequest{Host: r.host, Now: time.Now})
	if err != nil {
		t.Fatalf("look: %v", err)
	}
	public(t, view)
	return view
}

func (r *running) looks(t *testing.T) {
	first := r.look(t)
	if d := cmp.Diff(first, r.look(t)); d != "" {
		t.Errorf("two looks at one door differ:\n%s", d)
	}
	if n := r.host.Writes(); len(n) > 0 {
		t.Errorf("a look writes: %q", n)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Opened.(driver.Looker).Look(ended, driver.LookRequest{Host: r.host, Now: time.Now}); err == nil {
		t.Error("a look that was cancelled succeeds")
	}
}

// public fails when something that is printed or kept holds a private key.
func public(t *testing.T, what any) {
	t.Helper()
	if text := fmt.Sprintf("%+v", what); strings.Contains(text, "PRIVATE KEY") {
		t.Errorf("a private key is in %T", what)
	}
}

// A verb is one of those that write, with what undoes it.
type verb struct {
	do   func(context.Context) (driver.Changed, error)
	undo func(context.Context) (driver.Changed, error)
	done func(t *testing.T) // checks that it is so
	// mirrored says that undo is the same act the other way round.
	mirrored bool
}

// reset undoes a verb.
func (r *running) reset(t *testing.T, v verb) {
	t.Helper()
	r.host.Fail(0, Never, nil)
	if r.Reset != nil {
		r.Reset(t)
	} else if _, err := v.undo(t.Context()); err != nil {
		t.Fatalf("undoing: %v", err)
	}
	if err := r.Good(); err != nil {
		t.Fatalf("after undoing the server does not serve: %v", err)
	}
	r.host.Fail(0, Never, nil)
}

// repeatable does a verb twice, and undoes it. It returns how the door stands then.
func (r *running) repeatable(t *testing.T, v verb) driver.View {
	t.Helper()
	before := r.look(t)
	r.host.Fail(0, Never, nil)
	changed, err := v.do(t.Context())
	if err != nil || !changed.Changed || len(changed.How) == 0 {
		t.Fatalf("for the first time: %+v, %v; want a change that says how", changed, err)
	}
	public(t, changed)
	if r.host.Count() == 0 {
		t.Error("something was changed without a write: the driver goes past its Host")
	}
	v.done(t)
	want := r.look(t)
	if d := cmp.Diff(before, want); d == "" {
		t.Error("a look does not see what was changed")
	}
	r.host.Fail(0, Never, nil)
	changed, err = v.do(t.Context())
	if err != nil || changed.Changed || len(changed.How) > 0 {
		t.Errorf("for the second time: %+v, %v; want no change", changed, err)
	}
	for _, write := range r.host.Writes() {
		if !r.asks || !strings.HasPrefix(write, "run ") {
			t.Errorf("for the second time: %s", write)
		}
	}
	if d := cmp.Diff(want, r.look(t)); d != "" {
		t.Errorf("the second time changes how the door stands:\n%s", d)
	}
	if err := r.Good(); err != nil {
		t.Errorf("after it the server does not serve: %v", err)
	}
	return want
}

type installFunc = func(context.Context, driver.Material, func(driver.Material) error) (driver.Installed, error)

// install installs at the door.
func (r *running) install(ctx context.Context, m driver.Material, keep func(driver.Material) error) (driver.Installed, error) {
	return r.Opened.(driver.Installer).Install(ctx, driver.InstallRequest{Host: r.host, New: m, Keep: keep, Now: time.Now})
}

// installing puts Next in the place of Shown.
func (r *running) installing() verb {
	forget := func(driver.Material) error { return nil }
	act := func(m driver.Material) func(context.Context) (driver.Changed, error) {
		return func(ctx context.Context) (driver.Changed, error) {
			installed, err := r.install(ctx, m, forget)
			return installed.Changed, err
		}
	}
	return verb{do: act(r.Next), undo: act(r.Shown), done: func(t *testing.T) { r.shows(t, r.Next, r.Shown) }, mirrored: true}
}

func (s DoorSuite) installs(t *testing.T) {
	r := s.begin(t)
	v := r.installing()
	r.shows(t, r.Shown, r.Next)
	t.Run("refused", func(t *testing.T) { r.refuses(t, r.install) })
	r.repeatable(t, v)
	r.reset(t, v)
	t.Run("keep", func(t *testing.T) { r.keeps(t, r.install) })
	t.Run("cut off", func(t *testing.T) { s.cutOff(t, (*running).installing) })
}

// shows looks that a door shows one credential and not the other.
func (r *running) shows(t *testing.T, one, other driver.Material) {
	t.Helper()
	seen := false
	for _, s := range r.look(t).Shown {
		seen = seen || s.Is(one.Public)
		if s.Is(other.Public) {
			t.Errorf("%s still shows %s", s.At, other)
		}
	}
	if !seen {
		t.Errorf("%s is not shown", one)
	}
}

// refuses looks that what cannot be installed changes nothing, and is not tried.
func (r *running) refuses(t *testing.T, install installFunc) {
	before := r.look(t)
	r.host.Fail(0, Never, nil)
	mixed := driver.Material{Public: r.Next.Public, Key: r.Shown.Key}
	bad := map[string]driver.Material{"another key": mixed, "no key": {Public: r.Next.Public}, "nothing": {}}
	if len(r.Shown.Chain) > 0 {
		bad["an SSH key"] = sshKey(t)
	}
	for what, m := range bad {
		if _, err := install(t.Context(), m, nil); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s gives %v, want ErrInvalid", what, err)
		}
	}
	full := errors.New("the disk is full")
	if _, err := install(t.Context(), r.Next, func(driver.Material) error { return full }); !errors.Is(err, full) {
		t.Errorf("where nothing can be kept Install gives %v", err)
	}
	for _, write := range r.host.Writes() {
		if !strings.HasPrefix(write, "run ") {
			t.Errorf("what was refused led to %s", write)
		}
	}
	if d := cmp.Diff(before, r.look(t)); d != "" {
		t.Errorf("what was refused changed the door:\n%s", d)
	}
	if err := r.Good(); err != nil {
		t.Error(err)
	}
}

func sshKey(t *testing.T) driver.Material {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return driver.Material{Public: driver.Public{SSH: signer.PublicKey().Marshal()}, Key: key}
}

// keeps looks that Keep is told once what is replaced, with its key, before it is.
func (r *running) keeps(t *testing.T, install installFunc) {
	calls := 0
	keep := func(m driver.Material) error {
		calls++
		if !m.Is(r.Shown.Public) || m.Key == nil {
			t.Errorf("Keep is told of %v, with a key: %v; want %v", m, m.Key != nil, r.Shown)
		}
		r.shows(t, r.Shown, r.Next)
		return nil
	}
	for range 2 {
		if _, err := install(t.Context(), r.Next, keep); err != nil {
			t.Fatal(err)
		}
	}
	if calls != 1 {
		t.Errorf("Keep was called %d times", calls)
	}
}

// trust lets NextClient in, or withdraws that.
func (r *running) trust(ctx context.Context, withdraw bool, like driver.Public) (driver.Changed, error) {
	return r.Opened.(driver.Truster).Trust(ctx, driver.TrustRequest{
		Host: r.host, New: r.NextClient.Public, Like: like, Withdraw: withdraw, Now: time.Now,
	})
}

// trusting lets NextClient in.
func (r *running) trusting() verb {
	return verb{
		do:   func(ctx context.Context) (driver.Changed, error) { return r.trust(ctx, false, r.Client.Public) },
		undo: func(ctx context.Context) (driver.Changed, error) { return r.trust(ctx, true, r.Client.Public) },
		done: func(t *testing.T) {
			r.try(t, r.NextClient, driver.OutcomeAccepted)
			r.try(t, r.Client, driver.OutcomeAccepted)
		},
	}
}

func (s DoorSuite) trusts(t *testing.T) {
	r := s.begin(t)
	v := r.trusting()
	if r.NextClient.Is(r.Client.Public) {
		t.Fatal("bring a NextClient of its own")
	}
	before := r.look(t)
	if _, err := r.trust(t.Context(), false, r.Shown.Public); !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("like somebody who does not get in gives %v, want ErrNotFound", err)
	}
	r.try(t, r.NextClient, driver.OutcomeRefused)
	r.repeatable(t, v)
	for range 2 { // withdrawing twice, too
		if _, err := v.undo(t.Context()); err != nil {
			t.Fatalf("withdraw: %v", err)
		}
		if d := cmp.Diff(before, r.look(t)); d != "" {
			t.Errorf("withdrawn, the door stands otherwise than before:\n%s", d)
		}
	}
	r.try(t, r.NextClient, driver.OutcomeRefused)
	r.try(t, r.Client, driver.OutcomeAccepted)
	t.Run("cut off", func(t *testing.T) { s.cutOff(t, (*running).trusting) })
}

// block refuses Client, or lifts that.
func (r *running) block(ctx context.Context, lift bool) (driver.Blocked, error) {
	return r.Opened.(driver.Blocker).Block(ctx, driver.BlockRequest{
		Host: r.host, Old: r.Client.Public, CRLs: r.CRLs, Lift: lift, Now: time.Now,
	})
}

// blocking refuses Client.
func (r *running) blocking() verb {
	act := func(lift bool) func(context.Context) (driver.Changed, error) {
		return func(ctx context.Context) (driver.Changed, error) {
			blocked, err := r.block(ctx, lift)
			return blocked.Changed, err
		}
	}
	return verb{do: act(false), undo: act(true), done: func(t *testing.T) { r.try(t, r.Client, driver.OutcomeRefused) }}
}

func (s DoorSuite) blocks(t *testing.T) {
	r := s.begin(t)
	v := r.blocking()
	if len(r.CRLs) > 0 && r.Reset == nil {
		t.Fatal("bring Reset, or no CRLs: a list that names Client stays, so that Lift alone does not let it in again")
	}
	r.try(t, r.Client, driver.OutcomeAccepted)
	held := r.hold(t)
	blocked, err := r.block(t.Context(), false)
	if err != nil || !blocked.Changed.Changed {
		t.Fatalf("block: %+v, %v", blocked.Changed, err)
	}
	r.shut(t, held, blocked)
	r.reset(t, v)
	r.try(t, r.Client, driver.OutcomeAccepted)
	r.repeatable(t, v)
	t.Run("cut off", func(t *testing.T) { s.cutOff(t, (*running).blocking) })
}

// probe tries a credential at the listeners.
func (r *running) probe(t *testing.T, request driver.ProbeRequest) driver.Probed {
	t.Helper()
	request.Host, request.Now, request.Listeners = r.Host, time.Now, r.Listeners
	probed, err := probing.Probe(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	return probed
}

// try looks that every fresh try of a credential has one outcome.
func (r *running) try(t *testing.T, m driver.Material, outcome string) {
	t.Helper()
	if len(r.Listeners) == 0 {
		return
	}
	probed := r.probe(t, driver.ProbeRequest{Credential: m})
	fresh := 0
	for _, a := range probed.Attempts {
		if a.Outcome != outcome {
			t.Errorf("%s at %s, %s: %s (%s), want %s", m, a.Address, a.Way, a.Outcome, a.Answer, outcome)
		}
		fresh++
	}
	if fresh == 0 {
		t.Errorf("%s was tried nowhere", m)
	}
}

// hold has sessions and open connections of Client.
func (r *running) hold(t *testing.T) driver.Probed {
	t.Helper()
	if len(r.Listeners) == 0 {
		return driver.Probed{}
	}
	probed := r.probe(t, driver.ProbeRequest{Credential: r.Client, Hold: true})
	t.Cleanup(func() {
		for _, open := range probed.Open {
			open.Close()
		}
	})
	return probed
}

// shut looks that nothing of Client gets in any more: fresh, resumed, or open and not named in Left.
func (r *running) shut(t *testing.T, held driver.Probed, blocked driver.Blocked) {
	t.Helper()
	if len(r.Listeners) == 0 {
		return
	}
	Refused(t, r.probe(t, driver.ProbeRequest{Credential: r.Client, Sessions: held.Sessions}).Attempts)
	open := 0
	for _, connection := range held.Open {
		if a := connection.Try(t.Context()); a.Outcome == driver.OutcomeAccepted {
			open++
		}
	}
	if open > 0 && len(blocked.Left) == 0 {
		t.Errorf("%d connections are open, and Left names %q", open, blocked.Left)
	}
}
