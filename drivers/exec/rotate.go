// SPDX-License-Identifier: Apache-2.0

package exec

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/trying"
)

// An account is a driver.Account in the words of the protocol.
type account struct {
	Name      string            `json:"name,omitempty"`
	Overlap   string            `json:"overlap"`
	Seconds   int64             `json:"overlap_seconds,omitempty"`
	Form      string            `json:"form,omitempty"`
	MinLength int               `json:"min_length,omitempty"`
	MaxLength int               `json:"max_length,omitempty"`
	MayTry    *int              `json:"may_try"`
	Barred    string            `json:"barred,omitempty"`
	Changed   time.Time         `json:"changed,omitzero"`
	Listeners []driver.Listener `json:"listeners"`
	Notes     []string          `json:"notes,omitempty"`
}

// A trial is one sign-in with a secret.
type trial struct {
	Listener driver.Listener `json:"listener"`
	Address  string          `json:"address,omitempty"`
	Outcome  string          `json:"outcome"`
	Answer   string          `json:"answer,omitempty"`
	Served   string          `json:"served,omitempty"`
}

// LookAccount asks the program how an account stands.
func (d *Door) LookAccount(ctx context.Context, r driver.AccountRequest) (driver.Account, error) {
	if err := d.does("rotate"); err != nil {
		return driver.Account{}, err
	}
	a, err := d.ask(ctx, r.Host, request{Verb: "look-account", Account: r.Account}, r.Now)
	if err != nil {
		return driver.Account{}, err
	}
	if a.Account == nil {
		return driver.Account{}, invalid("the answer of the program to look-account has no account")
	}
	return a.Account.read(r.Account)
}

// read checks an account.
func (a *account) read(name string) (driver.Account, error) {
	timed := a.Overlap == driver.OverlapTimed
	switch {
	case !slices.Contains([]string{driver.OverlapTwo, driver.OverlapTimed, driver.OverlapNone}, a.Overlap):
		return driver.Account{}, invalid("the overlap of the account is none of two, timed and none")
	case timed != (a.Seconds > 0) || a.Seconds > int64(maxOverlap/time.Second):
		return driver.Account{}, invalid("the account has overlap_seconds, of a year at most, where its overlap is timed, and only there")
	case !slices.Contains([]string{driver.FormText, driver.FormSSH, driver.FormMade}, a.Form):
		return driver.Account{}, invalid("the form of the account is none of ssh and made; text has none")
	case a.MayTry == nil || *a.MayTry < -1:
		return driver.Account{}, invalid("the account has no may_try: how many wrong secrets may be tried, or -1")
	case a.MinLength < 0 || a.MaxLength < 0 || a.MaxLength > 0 && a.MaxLength < a.MinLength:
		return driver.Account{}, invalid("min_length and max_length of the account do not fit each other")
	case len(a.Listeners) == 0 || max(len(a.Listeners), len(a.Notes)) > maxItems:
		return driver.Account{}, invalid("the account has 1 to %d listeners, and as many notes at most", maxItems)
	}
	if a.Name != "" {
		name = a.Name
	}
	read := driver.Account{
		Name: clean(name), Overlap: a.Overlap, OverlapTime: time.Duration(a.Seconds) * time.Second, Form: a.Form, MinLength: a.MinLength, MaxLength: a.MaxLength,
		MayTry: *a.MayTry, Barred: clean(a.Barred), Changed: a.Changed, Notes: cleaned(a.Notes),
	}
	for _, l := range a.Listeners {
		if l.Address == "" || l.Protocol == "" {
			return driver.Account{}, invalid("a listener of the account lacks its address or its protocol")
		}
		read.Listeners = append(read.Listeners, edited(l, clean))
	}
	return read, nil
}

// maxOverlap is more than anybody waits for an old secret to end.
const maxOverlap = 366 * 24 * time.Hour

// about makes a request about the secrets of an account.
func about(verb string, r driver.SecretRequest) request {
	return request{Verb: verb, Account: r.Account, OldSecret: tell(r.Old), NewSecret: tell(r.New), Order: r.Order}
}

// SetSecret asks the program to set a secret, or to have the system make one.
func (d *Door) SetSecret(ctx context.Context, r driver.SecretRequest) (driver.SecretSet, error) {
	if err := d.does("rotate"); err != nil {
		return driver.SecretSet{}, err
	}
	q := about("set-secret", r)
	q.Again, q.Withdraw = r.Again, r.Withdraw
	a, err := d.ask(ctx, r.Host, q, r.Now)
	if err != nil {
		return driver.SecretSet{}, err
	}
	set := driver.SecretSet{Changed: a.changed()}
	switch {
	case r.Withdraw && a.Made != nil:
		return driver.SecretSet{}, q.unknown(invalid("its answer has made, and it was to withdraw"))
	case !r.Withdraw && r.New.IsZero() && a.Made == nil:
		return driver.SecretSet{}, q.unknown(invalid("its answer has nothing made, and no new_secret was given"))
	case a.Made != nil: // also where it was made before, and is new_secret since
		set.Made, err = a.Made.read()
	}
	return set, err
}

// DropSecret asks the program to have the old secret refused.
func (d *Door) DropSecret(ctx context.Context, r driver.SecretRequest) (driver.Blocked, error) {
	if err := d.does("rotate"); err != nil {
		return driver.Blocked{}, err
	}
	a, err := d.ask(ctx, r.Host, about("drop-secret", r), r.Now)
	if err != nil {
		return driver.Blocked{}, err
	}
	return driver.Blocked{Changed: a.changed(), Closed: max(0, a.Closed), Left: cleaned(a.Left)}, nil
}

// TestSecret asks the program to try secrets, where the account has room for a wrong one.
func (d *Door) TestSecret(ctx context.Context, r driver.SecretRequest) (driver.Tested, error) {
	standing, err := d.LookAccount(ctx, driver.AccountRequest{Host: r.Host, Account: r.Account, Now: r.Now})
	if err != nil {
		return driver.Tested{}, err
	}
	if standing.MayTry == 0 {
		return driver.Tested{}, fmt.Errorf("%w: one more wrong secret would lock the account %s out: try again when its count has gone back", tallystick.ErrDenied, standing.Name)
	}
	q := about("test-secret", r)
	if q.TryOld = r.TryOld; !r.TryOld {
		q.OldSecret = nil
	}
	var known []string
	for _, l := range standing.Listeners {
		edited(l, func(text string) string {
			known = append(known, text)
			return text
		})
	}
	a, err := d.ask(ctx, r.Host, q, r.Now, known...)
	if err != nil {
		return driver.Tested{}, err
	}
	if len(a.New) == 0 || r.TryOld != (len(a.Old) > 0) {
		return driver.Tested{}, invalid("the answer of the program to test-secret has new_attempts, and old_attempts where try_old is set, and only there")
	}
	var tested driver.Tested
	if tested.Old, err = attempts(a.Old, r.Now); err == nil {
		tested.New, err = attempts(a.New, r.Now)
	}
	for _, attempt := range slices.Concat(tested.Old, tested.New) {
		trying.Tell(r, nil, "", attempt) // the program does not say how the log of its system names the account
	}
	return tested, err
}

// attempts checks those of an answer.
func attempts(trials []trial, now func() time.Time) ([]driver.Attempt, error) {
	if len(trials) > maxItems {
		return nil, invalid("the answer of the program has more than %d attempts", maxItems)
	}
	var all []driver.Attempt
	for _, try := range trials {
		if !slices.Contains(outcomes(), try.Outcome) || try.Outcome == driver.OutcomeNotResumed || try.Listener.Address == "" || try.Listener.Protocol == "" {
			return nil, invalid("an attempt of the answer lacks its listener, or its outcome is none of accepted, refused and failed")
		}
		address := clean(try.Address)
		if address == "" {
			address = clean(try.Listener.Address)
		}
		all = append(all, driver.Attempt{
			Listener: edited(try.Listener, clean), Address: address, Way: driver.WayFresh, Outcome: try.Outcome, Answer: clean(try.Answer), Served: clean(try.Served), At: now().UTC(),
		})
	}
	return all, nil
}

// SupplySecret asks the program to give a secret to what signs in with it.
func (d *Door) SupplySecret(ctx context.Context, r driver.SupplyRequest) (driver.Changed, error) {
	if err := d.does("supply"); err != nil {
		return driver.Changed{}, err
	}
	q := request{Verb: "supply-secret", System: r.System, Account: r.Account, OldSecret: tell(r.Old), NewSecret: tell(r.New)}
	a, err := d.ask(ctx, r.Host, q, r.Now)
	return a.changed(), err
}
