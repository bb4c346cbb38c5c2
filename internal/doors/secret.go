// SPDX-License-Identifier: Apache-2.0

package doors

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/problem"
)

// A Vault keeps the values of entrusted secrets. What leaves it for a task is on record
// before it does.
type Vault interface {
	// Take returns the value of a version of a secret, if that is of this customer, system and
	// account: what is authenticated with the value says so.
	Take(ctx context.Context, task string, e Entrusted) (driver.Secret, error)
	// Permit has on record that a value of a secret is about to be set or dropped at a door.
	Permit(ctx context.Context, task, what, id, door string) error
	// Holds is ErrConflict unless the newest value of a secret is one of two: somebody has
	// entrusted another one since, which may be the one that works.
	Holds(ctx context.Context, id string, one, other driver.Secret) error
	// Hand makes to the value that holders are given in place of from, and returns its version. It
	// changes nothing when they are given it already. It is ErrConflict as Holds is.
	Hand(ctx context.Context, task, id string, from, to driver.Secret) (version int64, err error)
	// MarkBurnt says that a version has a value that was to be replaced, and still is.
	MarkBurnt(ctx context.Context, task, id string, version int64) error
}

// An Entrusted is the secret that a task is about, without its value.
type Entrusted struct {
	ID       string `json:"id"`
	Version  int64  `json:"version"` // that is burnt
	Customer string `json:"customer"`
	System   string `json:"system"`
	Account  string `json:"account"`
	// Overlap, Form, MinLength and MaxLength are as the door said (driver.Account).
	Overlap   string `json:"overlap"`
	Form      string `json:"form,omitempty"`
	MinLength int    `json:"min_length,omitempty"`
	MaxLength int    `json:"max_length,omitempty"`
	// Suppliers are doors of programs that sign in with it.
	Suppliers []string `json:"suppliers,omitempty"`
}

// Rotates says whether a door changes secrets of accounts, and Supplies whether it is of a
// program that signs in with one.
func (d Door) Rotates() bool  { return has(d.Verbs, "rotate") }
func (d Door) Supplies() bool { return has(d.Verbs, "supply") }

// Opens says whether a secret of a customer for a system is one of this door.
func (d Door) Opens(customer, system string) bool {
	if d.Customer != "" && d.Customer != customer {
		return false
	}
	if len(d.Systems) == 0 {
		return d.Name == system
	}
	return slices.ContainsFunc(d.Systems, func(name string) bool { return strings.EqualFold(name, system) })
}

// Account returns how an account of a door stands.
func (s *Set) Account(ctx context.Context, name, account string) (driver.Account, error) {
	d, err := s.find(name)
	if err != nil {
		return driver.Account{}, err
	}
	rotator, is := d.verbs.(driver.Rotator)
	if !is || !d.Rotates() {
		return driver.Account{}, fmt.Errorf("%w: the door %s rotates no secrets", tallystick.ErrInvalid, name)
	}
	leave, err := d.enter(ctx, false)
	if err != nil {
		return driver.Account{}, err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	host, err := s.hosts.get(ctx, d.Host)
	if err != nil {
		return driver.Account{}, err
	}
	one, err := rotator.LookAccount(ctx, driver.AccountRequest{Host: host, Account: account, Now: s.Now, Used: s.usedBy(d, driver.Public{})})
	if err != nil {
		return one, fmt.Errorf("couldn't look at the account %s of the door %s: %w", account, name, err)
	}
	return one, nil
}

// secretActs are the acts of tasks about an entrusted secret.
var secretActs = map[tallystick.Act]func(*Set, context.Context, rotation) (Result, error){
	tallystick.ActKey:     (*Set).prepareSecret,
	tallystick.ActInstall: (*Set).installSecret,
	tallystick.ActProbe:   (*Set).probeSecret,
	tallystick.ActBlock:   (*Set).blockSecret,
	tallystick.ActProve:   (*Set).proveSecret,
}

// A rotation is a job about an entrusted secret, with its values.
type rotation struct {
	job
	driver.Rotator
	old, new driver.Secret
}

// rotate does a task about an entrusted secret. Both values are there and durable before anything is
// changed. Only a new one that the system makes itself (FormMade) is not: the name of its order is,
// by which what was made for it is taken away, and made again, when the answer was lost.
func (s *Set) rotate(ctx context.Context, j job) (Result, error) {
	do, known := secretActs[j.Act]
	rotator, is := j.at.verbs.(driver.Rotator)
	if !known || !is || s.Vault == nil {
		return Result{}, fmt.Errorf("%w: %s is not done for a secret here", tallystick.ErrInvalid, j.Act)
	}
	// Plans are in the database, and doors in the configuration: who changes a plan must not have
	// a value sent to a system that it is not for.
	if !j.at.Opens(j.Secret.Customer, j.Secret.System) {
		return Result{}, fmt.Errorf("%w: the door %s is not for %s of %s", tallystick.ErrDenied, j.Door, j.Secret.System, j.Secret.Customer)
	}
	leave, err := s.turns.Take(ctx, j.Secret.ID)
	if err != nil {
		return Result{}, err
	}
	defer leave()
	r := rotation{job: j, Rotator: rotator}
	if r.old, err = s.oldSecret(ctx, j); err == nil {
		r.new, err = s.newSecret(ctx, j)
	}
	if err != nil {
		return Result{}, err
	}
	return do(s, ctx, r)
}

// prepareSecret looks, before anything is changed, whether the value that is about to be replaced is
// the account's: whoever may entrust a value could name any account otherwise, and be given its next
// one.
func (s *Set) prepareSecret(ctx context.Context, r rotation) (Result, error) {
	attempts, err := s.checkOld(ctx, r)
	return Result{Attempts: attempts}, err
}

// checkOld is an error unless the old value gets in everywhere, or did so before. It returns what was
// tried, also beside an error.
func (s *Set) checkOld(ctx context.Context, r rotation) ([]driver.Attempt, error) {
	name := r.OldKeyName + "/right"
	if _, err := s.keptSecret(ctx, r.job, name); !errors.Is(err, tallystick.ErrNotFound) {
		return nil, err
	}
	if r.old.IsZero() {
		return nil, fmt.Errorf("%w: the value that is kept is empty, so that nobody can show that it is the account's", tallystick.ErrInvalid)
	}
	request := s.secretRequest(r)
	request.New = r.old
	tested, err := r.TestSecret(ctx, request)
	if err == nil {
		err = getsIn(tested.New)
	}
	if err == nil {
		err = s.keepSecret(ctx, r.job, name, r.old)
	}
	return tested.New, err
}

// getsIn is an error unless the old value was let in wherever it was tried.
func getsIn(attempts []driver.Attempt) error {
	for _, a := range attempts {
		switch a.Outcome {
		case driver.OutcomeAccepted:
		case driver.OutcomeRefused:
			return problem.With(fmt.Errorf("%w: the value that is kept does not get in at %s, and nothing was changed: %s", tallystick.ErrInvalid, a.Address, a.Answer),
				"skip the target with a reason, entrust the value that does get in, and recall it anew; or replace it by hand")
		default:
			return fmt.Errorf("%w: the value that is kept could not be tried at %s: %s", tallystick.ErrUnavailable, a.Address, a.Answer)
		}
	}
	if len(attempts) == 0 {
		return fmt.Errorf("%w: the value that is kept could be tried nowhere", tallystick.ErrInvalid)
	}
	return nil
}

func (s *Set) secretRequest(r rotation) driver.SecretRequest {
	return driver.SecretRequest{
		Host: r.host, Account: r.Secret.Account, Old: r.old, New: r.new, Again: r.Again, Now: s.Now, Used: s.usedBy(r.at, r.Old),
	}
}

// A setting is a new value that gets in.
type setting struct {
	value   driver.Secret
	changed driver.Changed
	// failed is what failed after the value was set, which must not keep it from its holder; nil is nothing.
	failed error
}

// set makes the new value get in at the door. An error says that it does not, as far as is known.
func (s *Set) set(ctx context.Context, r rotation) (setting, error) {
	if _, err := s.checkOld(ctx, r); err != nil {
		return setting{}, err
	}
	if err := s.Vault.Holds(ctx, r.Secret.ID, r.old, r.newest()); err != nil {
		return setting{}, err
	}
	request := s.secretRequest(r)
	var err error
	if request.Order, err = s.orderOf(ctx, r.job); err != nil {
		return setting{}, err
	}
	if err := s.Vault.Permit(ctx, r.Name, "set the new value of", r.Secret.ID, r.Door); err != nil {
		return setting{}, err
	}
	done, err := r.SetSecret(ctx, request)
	switch {
	case err == nil && !done.Made.IsZero():
		if err := s.keepMade(ctx, r, done.Made); err != nil {
			return setting{}, err
		}
		return setting{value: done.Made, changed: done.Changed}, nil
	case err == nil && !r.new.IsZero():
		return setting{value: r.new, changed: done.Changed}, nil
	case err == nil:
		return setting{}, fmt.Errorf("%w: the door made a secret and does not say which", tallystick.ErrInvalid)
	case passes(err) || r.new.IsZero():
		return setting{}, err
	}
	tested, tryErr := r.TestSecret(ctx, s.secretRequest(r))
	if tryErr != nil || !cameAll(tested.New, driver.OutcomeAccepted) {
		return setting{}, err
	}
	return setting{value: r.new, changed: done.Changed, failed: err}, nil
}

// keepMade keeps a value that the system made: what nobody keeps is given to nobody. When it is another
// one than before, that one gets in no more, and the vault must not have it any longer: it would be
// taken for what somebody has entrusted meanwhile.
func (s *Set) keepMade(ctx context.Context, r rotation, made driver.Secret) error {
	if !r.new.IsZero() && r.new.Reveal() != made.Reveal() {
		if _, err := s.Vault.Hand(ctx, r.Name, r.Secret.ID, r.new, r.old); err != nil {
			return err
		}
	}
	return s.keepSecret(ctx, r.job, r.KeyName, made)
}

// newest is what the vault may have beside the old value: the new one, once there is any.
func (r rotation) newest() driver.Secret {
	if r.new.IsZero() {
		return r.old
	}
	return r.new
}

// passes says that an error will pass: the same is done again then.
func passes(err error) bool {
	return errors.Is(err, tallystick.ErrUnavailable) || errors.Is(err, tallystick.ErrBusy) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// installSecret sets the new value at the door, and gives it to holders just after that: where
// the door takes one value only, the time between is as short as it can be.
func (s *Set) installSecret(ctx context.Context, r rotation) (Result, error) {
	if r.Undo {
		return s.uninstallSecret(ctx, r)
	}
	set, err := s.set(ctx, r)
	if err != nil {
		return Result{}, err
	}
	version, err := s.Vault.Hand(ctx, r.Name, r.Secret.ID, r.old, set.value)
	if err == nil {
		err = s.supplyAll(ctx, r, r.old, set.value)
	}
	if err = errors.Join(set.failed, err); err != nil {
		return Result{}, err
	}
	return Result{Changed: &set.changed, Version: version}, nil
}

// uninstallSecret makes the door take the old value again, and gives that to holders.
func (s *Set) uninstallSecret(ctx context.Context, r rotation) (Result, error) {
	if r.old.IsZero() {
		return Result{}, fmt.Errorf("%w: the old value is empty, and is not set again", tallystick.ErrInvalid)
	}
	if err := s.Vault.Holds(ctx, r.Secret.ID, r.old, r.newest()); err != nil {
		return Result{}, err
	}
	request := s.secretRequest(r)
	request.Withdraw = true
	var err error
	if request.Order, err = s.orderOf(ctx, r.job); err != nil {
		return Result{}, err
	}
	if err := s.Vault.Permit(ctx, r.Name, "set the old value again of", r.Secret.ID, r.Door); err != nil {
		return Result{}, err
	}
	done, err := r.SetSecret(ctx, request)
	if err != nil {
		return Result{}, err
	}
	version, err := s.Vault.Hand(ctx, r.Name, r.Secret.ID, r.newest(), r.old)
	if err == nil {
		err = s.Vault.MarkBurnt(ctx, r.Name, r.Secret.ID, version)
	}
	if err == nil {
		err = s.supplyAll(ctx, r, r.newest(), r.old)
	}
	if err == nil && r.Secret.Form == driver.FormMade { // another try has another one made
		err = s.Keys.Forget(ctx, r.KeyName)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{Changed: &done.Changed, Version: version}, nil
}

// supplyAll gives a value to the programs that a driver can give it to.
func (s *Set) supplyAll(ctx context.Context, r rotation, from, to driver.Secret) error {
	for _, name := range r.Secret.Suppliers {
		if err := s.supply(ctx, name, r, from, to); err != nil {
			return fmt.Errorf("couldn't give it to the door %s: %w", name, err)
		}
	}
	return nil
}

func (s *Set) supply(ctx context.Context, name string, r rotation, from, to driver.Secret) error {
	d, err := s.find(name)
	if err != nil {
		return err
	}
	supplier, is := d.verbs.(driver.Supplier)
	if !is || !d.Opens(r.Secret.Customer, r.Secret.System) {
		return fmt.Errorf("%w: its driver cannot be given one", tallystick.ErrInvalid)
	}
	leave, err := d.enter(ctx, true)
	if err != nil {
		return err
	}
	defer leave()
	host, err := s.hosts.get(ctx, d.Host)
	if err != nil {
		return err
	}
	if err := s.Vault.Permit(ctx, r.Name, "give out", r.Secret.ID, name); err != nil {
		return err
	}
	_, err = supplier.SupplySecret(ctx, driver.SupplyRequest{Host: host, System: r.Secret.System, Account: r.Secret.Account, Old: from, New: to, Now: s.Now})
	return err
}

// probeSecret tries the new value.
func (s *Set) probeSecret(ctx context.Context, r rotation) (Result, error) {
	tested, err := r.TestSecret(ctx, s.secretRequest(r))
	return Result{Attempts: tested.New}, err
}

// blockSecret makes the door refuse the old value. When the deadline came before the new
// one was given to holders, that is done first: without any they could not go on.
func (s *Set) blockSecret(ctx context.Context, r rotation) (Result, error) {
	var left []string
	if !r.Active {
		r.Again = true
		set, err := s.set(ctx, r)
		if err != nil {
			return Result{}, err
		}
		if _, err := s.Vault.Hand(ctx, r.Name, r.Secret.ID, r.old, set.value); err != nil {
			return Result{}, err
		}
		r.new = set.value
		// A program that is away keeps no stolen value alive.
		if err := s.supplyAll(ctx, r, r.old, r.new); err != nil {
			left = append(left, err.Error())
		}
	}
	if err := s.Vault.Permit(ctx, r.Name, "drop the old value of", r.Secret.ID, r.Door); err != nil {
		return Result{}, err
	}
	blocked, err := r.DropSecret(ctx, s.secretRequest(r))
	if err != nil {
		return Result{}, err
	}
	blocked.Left = append(blocked.Left, left...)
	return Result{Blocked: &blocked}, nil
}

// proveSecret tries both. An empty value cannot be tried: many a protocol lets anybody in
// with none, as nobody.
func (s *Set) proveSecret(ctx context.Context, r rotation) (Result, error) {
	request := s.secretRequest(r)
	request.TryOld = !r.old.IsZero()
	names := named{list: mailNames(r.Secret.Account), tell: request.Used}
	request.Used = names.used
	tested, err := r.TestSecret(ctx, request)
	if err == nil { // what holders are given must be what was tried
		err = s.Vault.Holds(ctx, r.Secret.ID, r.new, r.new)
	}
	result := Result{Attempts: tested.Old, NewAttempts: tested.New, OldEmpty: r.old.IsZero()}
	if err == nil && r.Secret.Form == driver.FormText && cameAll(tested.Old, driver.OutcomeRefused) {
		result.OldMark, result.OldNames = markOf(r.old), names.all()
	}
	return result, err
}

// cameAll says whether something was tried, and came out the same everywhere.
func cameAll(attempts []driver.Attempt, outcome string) bool {
	others := slices.ContainsFunc(attempts, func(a driver.Attempt) bool { return a.Outcome != outcome })
	return len(attempts) > 0 && !others
}
