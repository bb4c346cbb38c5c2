// SPDX-License-Identifier: Apache-2.0

package recall_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/store/storetest"
	"github.com/tallystick/tallystick/internal/vault"
	"github.com/tallystick/tallystick/internal/vault/vaulttest"
)

// A bank is a system with accounts and passwords, in this process. It is there for faults that
// no real server can be made to have at will; drivers are tested with their servers.
type bank struct {
	overlap string
	makes   bool // it makes the secrets itself, one for each order

	mu       sync.Mutex
	orders   map[string]string                       // guarded by mu; what was made last, by order
	accounts map[string][]string                     // guarded by mu; who gets in by what
	wrong    map[string]int                          // guarded by mu; tries in a row
	worst    int                                     // guarded by mu; the most of wrong that ever was
	refuses  func(password string) bool              // guarded by mu; policy
	fault    func(act, account string, a bool) error // guarded by mu; a: it was done before
}

var bankAt = driver.Listener{Address: "127.0.0.1:7", Protocol: "bank"}

func (b *bank) LookAccount(_ context.Context, r driver.AccountRequest) (driver.Account, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.accounts[r.Account]) == 0 {
		return driver.Account{}, tallystick.ErrNotFound
	}
	account := driver.Account{Name: r.Account, Overlap: b.overlap, MayTry: 1, Listeners: []driver.Listener{bankAt}}
	if b.makes {
		account.Form = driver.FormMade
	}
	return account, nil
}

// faulty calls fn between the two times at which it may fail.
func (b *bank) faulty(act, account string, fn func() error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fault != nil {
		if err := b.fault(act, account, false); err != nil {
			return err
		}
	}
	if err := fn(); err != nil {
		return err
	}
	if b.fault != nil {
		return b.fault(act, account, true)
	}
	return nil
}

func (b *bank) SetSecret(_ context.Context, r driver.SecretRequest) (driver.SecretSet, error) {
	next, before := r.New.Reveal(), r.Old.Reveal()
	if r.Withdraw {
		next, before = before, next
	}
	var set driver.SecretSet
	err := b.faulty("set", r.Account, func() error {
		if b.makes {
			set.Made = b.make(r)
			return nil
		}
		if b.refuses != nil && b.refuses(next) {
			return fmt.Errorf("%w: it is too easy", tallystick.ErrInvalid)
		}
		lets := []string{next}
		if b.overlap == driver.OverlapTwo && !r.Withdraw {
			lets = slices.Clone(b.accounts[r.Account])
			if !slices.Contains(lets, next) {
				lets = append(lets, next)
			}
		}
		set.Changed.Changed = !slices.Equal(b.accounts[r.Account], lets)
		b.accounts[r.Account] = lets
		return nil
	})
	return set, err
}

// make makes a secret for an order, or takes back what was made for it. What was made before is gone
// then. The caller holds mu.
func (b *bank) make(r driver.SecretRequest) driver.Secret {
	if !r.Withdraw && slices.Contains(b.accounts[r.Account], r.New.Reveal()) {
		return r.New
	}
	b.accounts[r.Account] = slices.DeleteFunc(slices.Clone(b.accounts[r.Account]), func(one string) bool { return one == b.orders[r.Order] })
	if r.Withdraw {
		return driver.Secret{}
	}
	made := fmt.Sprintf("made %d for %s", len(b.orders), r.Account)
	if b.orders[r.Order] != "" {
		made = b.orders[r.Order] + " again"
	}
	b.orders[r.Order] = made
	b.accounts[r.Account] = append(b.accounts[r.Account], made)
	return driver.NewSecret(made)
}

func (b *bank) DropSecret(_ context.Context, r driver.SecretRequest) (driver.Blocked, error) {
	return driver.Blocked{}, b.faulty("drop", r.Account, func() error {
		b.accounts[r.Account] = []string{r.New.Reveal()}
		return nil
	})
}

func (b *bank) TestSecret(_ context.Context, r driver.SecretRequest) (driver.Tested, error) {
	var t driver.Tested
	err := b.faulty("test", r.Account, func() error {
		if r.TryOld {
			t.Old = append(t.Old, b.try(r.Account, r.Old.Reveal()))
		}
		t.New = append(t.New, b.try(r.Account, r.New.Reveal()))
		return nil
	})
	return t, err
}

func (b *bank) try(account, password string) driver.Attempt {
	a := driver.Attempt{Listener: bankAt, Address: bankAt.Address, Way: driver.WayFresh, Outcome: driver.OutcomeAccepted, At: time.Now()}
	if !slices.Contains(b.accounts[account], password) {
		a.Outcome = driver.OutcomeRefused
		b.wrong[account]++
		b.worst = max(b.worst, b.wrong[account])
		return a
	}
	b.wrong[account] = 0
	return a
}

// lets says whether a password gets in.
func (b *bank) lets(account, password string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Contains(b.accounts[account], password)
}

// A safe is a house whose doors rotate what its vault keeps.
type safe struct {
	*house
	bank  *bank
	vault *vault.Vault
	ids   map[string]string // of secrets, by account
}

const accounts = 5

var mailSync = gate.Actor{Name: "mail-sync", Role: gate.Client, Via: "token 7"}

func newSafe(t testing.TB, db *store.DB, overlap string) *safe {
	t.Helper()
	return newSafeWith(t, db, overlap, false)
}

// newSafeWith is newSafe, with a program that is supplied, if that is wanted, and cannot be.
func newSafeWith(t testing.TB, db *store.DB, overlap string, supplied bool) *safe {
	t.Helper()
	settings := []config.Door{{Name: "bank", Driver: "bank", Systems: []string{"bank.acme.example"}}}
	if supplied {
		settings = append(settings, config.Door{Name: "relay", Driver: "relay", Systems: []string{"bank.acme.example"}})
	}
	s := &safe{bank: &bank{overlap: overlap, accounts: map[string][]string{}, wrong: map[string]int{}, orders: map[string]string{}}, ids: map[string]string{}}
	s.house = newHouse(t, db, func(c *recall.Config) {
		s.vault = vaulttest.New(t, db, c.Gate, c.Now)
		keys, err := doors.OpenFileKeys(filepath.Join(t.TempDir(), "keys"))
		if err != nil {
			t.Fatal(err)
		}
		set, err := doors.Open(doors.Config{
			Doors: settings,
			Drivers: []driver.Driver{
				driver.New("bank", "a bank", func(struct{}) (*bank, error) { return s.bank, nil }), driver.New("relay", "a relay", func(struct{}) (relay, error) { return relay{}, nil }),
			},
			Keys: keys, Now: c.Now, Vault: s.vault,
		})
		if err != nil {
			t.Fatal(err)
		}
		c.Doors, c.Accounts, c.Vault = set, set, s.vault
	})
	for i := range accounts {
		account := fmt.Sprint("svc", i)
		s.bank.accounts[account] = []string{old(account)}
		made, err := s.vault.Entrust(t.Context(), olga, vault.Entrust{
			Name:   vault.Name{Customer: "acme", System: "bank.acme.example", Account: account, Kind: vault.Password},
			Holder: "token:7", Value: driver.NewSecret(old(account)),
		})
		s.must(err)
		s.ids[account] = made.ID
	}
	return s
}

func old(account string) string { return "old \x00 of " + account }

// begin opens a recall of all that the vault's host could read.
func (s *safe) begin() tallystick.Recall {
	s.t.Helper()
	return s.open(func(r *recall.Request) { r.What = tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: "host/hub"} })
}

// fetch has the holder ask for all values, which must get in.
func (s *safe) fetch() {
	s.t.Helper()
	for account, id := range s.ids {
		value, _, err := s.vault.Reveal(s.t.Context(), mailSync, id, 0)
		s.must(err)
		if !s.bank.lets(account, value.Reveal()) {
			s.t.Errorf("the holder of %s is given a value that does not get in", account)
		}
	}
}

// done works until the recall is over, and the holder goes on asking.
func (s *safe) done(id int64) recall.Status {
	s.t.Helper()
	for range 60 {
		s.turn()
		if status := s.status(id); status.State.Over() || status.State == tallystick.RecallStopped {
			return status
		}
		s.fetch()
		s.clock.pass(6 * second)
	}
	s.tell(id)
	s.t.Fatal("the recall does not come to an end")
	return recall.Status{}
}

// proven looks that all old values are dead and the newest of the vault get in, and that no
// account was ever close to being locked out.
func (s *safe) proven(id int64) {
	s.t.Helper()
	if status := s.status(id); status.State != tallystick.RecallDone || status.Done != status.Total {
		s.tell(id)
		s.t.Fatalf("it is %s (%s) with %d of %d", status.State, status.Reason, status.Done, status.Total)
	}
	s.fetch()
	for account := range s.ids {
		if s.bank.lets(account, old(account)) {
			s.t.Errorf("the old one of %s gets in", account)
		}
	}
	if s.bank.worst > 1 {
		s.t.Errorf("%d wrong tries in a row", s.bank.worst)
	}
	for _, one := range s.log.list {
		if strings.Contains(fmt.Sprint(one), "old \x00") {
			s.t.Errorf("a value is in the audit log: %+v", one)
		}
	}
}

func TestEntrustedSecretsAreRotated(t *testing.T) {
	for _, overlap := range []string{driver.OverlapTwo, driver.OverlapTimed, driver.OverlapNone} {
		t.Run(overlap, func(t *testing.T) {
			storetest.Each(t, func(t *testing.T, db *store.DB) {
				s := newSafe(t, db, overlap)
				r := s.begin()
				s.done(r.ID)
				s.proven(r.ID)
				plan, err := s.Plan(t.Context(), olga, recall.Request{What: tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: s.ids["svc1"]}})
				s.must(err)
				if len(plan.Targets) != 1 || plan.Targets[0].Old != "entrusted:"+s.ids["svc1"] {
					t.Errorf("the next one would be about %+v", plan.Targets)
				}
			})
		})
	}
}

// While the holder has not asked for the new one the old one is not dropped; the deadline
// waits for nobody.
func TestAHolderThatDoesNotAsk(t *testing.T) {
	s := newSafe(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), driver.OverlapTwo)
	r := s.begin()
	for range 10 {
		s.turn()
		s.clock.pass(time.Minute)
	}
	if !s.bank.lets("svc0", old("svc0")) {
		t.Error("it was dropped")
	}
	s.clock.pass(s.Defaults.Deadline + time.Hour)
	s.finish(r.ID)
	s.proven(r.ID)
}

// Whatever is done at the system once and not answered is done again, and changes nothing.
func TestAnswersThatAreLost(t *testing.T) {
	s := newSafe(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), driver.OverlapNone)
	lost := map[string]int{}
	s.bank.fault = func(act, account string, after bool) error {
		key := fmt.Sprint(act, account, after)
		if lost[key]++; lost[key] == 1 {
			return fmt.Errorf("%w: no answer", tallystick.ErrUnavailable)
		}
		return nil
	}
	r := s.begin()
	for range 60 { // the holder cannot get in between the change and the answer: nobody asks it to
		s.turn()
		if s.status(r.ID).State.Over() {
			break
		}
		for _, id := range s.ids {
			_, _, err := s.vault.Reveal(t.Context(), mailSync, id, 0)
			s.must(err)
		}
		s.clock.pass(6 * second)
	}
	s.proven(r.ID)
}

// A policy that refuses the value changes nothing. The target fails, and may be tried again.
func TestAPolicyRefuses(t *testing.T) {
	s := newSafe(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), driver.OverlapNone)
	tries := 0
	s.bank.refuses = func(string) bool { tries++; return tries == 1 }
	r := s.begin()
	s.turn()
	list, err := s.Targets(t.Context(), vera, r.ID, recall.Filter{}, 0, 100)
	s.must(err)
	for _, target := range list {
		if target.State == tallystick.TargetFailed {
			s.must(s.Retry(t.Context(), olga, target.ID, "it may be another value"))
		}
	}
	if state := s.status(r.ID).State; state == tallystick.RecallStopped {
		s.must(s.Resume(t.Context(), olga, r.ID))
	}
	s.done(r.ID)
	s.proven(r.ID)
}

// When somebody entrusts a value meanwhile it is not written over.
func TestSomebodyEntrustsMeanwhile(t *testing.T) {
	for _, overlap := range []string{driver.OverlapTwo, driver.OverlapNone} {
		t.Run(overlap, func(t *testing.T) { entrustsMeanwhile(t, overlap) })
	}
}

func entrustsMeanwhile(t *testing.T, overlap string) {
	s := newSafe(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), overlap)
	r := s.begin()
	_, err := s.vault.Entrust(t.Context(), olga, vault.Entrust{
		Name:   vault.Name{Customer: "acme", System: "bank.acme.example", Account: "svc0", Kind: vault.Password},
		Holder: "token:7", Value: driver.NewSecret("by hand"),
	})
	s.must(err)
	for range 20 {
		s.turn()
		s.clock.pass(6 * second)
	}
	s.clock.pass(s.Defaults.Deadline + time.Hour) // also then
	for range 20 {
		s.turn()
		s.clock.pass(6 * second)
	}
	value, _, err := s.vault.Reveal(t.Context(), mailSync, s.ids["svc0"], 0)
	s.must(err)
	if value.Reveal() != "by hand" {
		t.Error("it was written over")
	}
	if !s.bank.lets("svc0", old("svc0")) {
		t.Error("the system was changed, though nobody knows whether the value that was entrusted works")
	}
	if state := s.status(r.ID).State; state.Over() {
		t.Errorf("the recall is %s", state)
	}
	list, err := s.Targets(t.Context(), vera, r.ID, recall.Filter{State: tallystick.TargetFailed}, 0, 100)
	s.must(err)
	if len(list) != 1 || !strings.Contains(list[0].Error, ". See which value the system takes: skip the target when that one is right, or entrust the right one. Then retry the target") {
		t.Errorf("it says %+v", list)
	}
}

// What is taken back gives the holder the old value again, which gets in alone.
func TestARotationIsTakenBack(t *testing.T) {
	for _, overlap := range []string{driver.OverlapTwo, driver.OverlapNone} {
		t.Run(overlap, func(t *testing.T) {
			s := newSafe(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), overlap)
			r := s.begin()
			s.turn()
			list, err := s.Targets(t.Context(), vera, r.ID, recall.Filter{}, 0, 100)
			s.must(err)
			if len(list) != accounts {
				t.Fatalf("%d targets", len(list))
			}
			s.must(s.Undo(t.Context(), olga, list[0].ID, "the customer asks for it"))
			s.turn()
			for account, id := range s.ids {
				if !strings.HasPrefix(list[0].Subject, account+" ") {
					continue
				}
				value, _, err := s.vault.Reveal(t.Context(), mailSync, id, 0)
				s.must(err)
				if value.Reveal() != old(account) || !s.bank.lets(account, old(account)) || len(s.bank.accounts[account]) != 1 {
					s.tell(r.ID)
					t.Errorf("%s is not as it was", account)
				}
			}
		})
	}
}

// What no door rotates is for people, who are told what to do.
func TestSecretsThatNoDoorRotates(t *testing.T) {
	s := newSafe(t, storetest.Open(t, filepath.Join(t.TempDir(), "tally.db")), driver.OverlapTwo)
	made, err := s.vault.Entrust(t.Context(), olga, vault.Entrust{
		Name: vault.Name{Customer: "acme", System: "pop3.acme.example", Account: "journal", Kind: vault.Password}, Value: driver.NewSecret("x"),
	})
	s.must(err)
	p, err := s.Plan(t.Context(), olga, recall.Request{What: tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: made.ID}})
	s.must(err)
	if p.People != 1 || len(p.Targets) != 1 || !strings.Contains(p.Targets[0].Instructions, "No door of the configuration rotates secrets of pop3.acme.example.") {
		t.Errorf("%+v", p)
	}
	_, err = s.Plan(t.Context(), olga, recall.Request{What: tallystick.Burnt{Kind: tallystick.BurntEntrusted, Value: "nobody"}})
	if !errors.Is(err, tallystick.ErrNotFound) {
		t.Errorf("a secret that is not there: %v", err)
	}
}
