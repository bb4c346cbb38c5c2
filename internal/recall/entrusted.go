// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/vault"
)

// A Vault knows which entrusted secrets are burnt, and whether holders have new ones: *vault.Vault.
type Vault interface {
	// Burnt returns the secrets that a value of BurntEntrusted names, each as it is now.
	Burnt(ctx context.Context, value string) ([]store.EntrustedSecret, error)
	// BurntUnder returns those that were ever under a wrapping key.
	BurntUnder(ctx context.Context, wrappingKey string) ([]store.EntrustedSecret, error)
	// Reading returns what still opens the new values of what a Burnt is about: wrapping keys in
	// other hands, such as "the host node-3". None is as it should be.
	Reading(ctx context.Context, what tallystick.Burnt) ([]string, error)
	// Replaced says whether the newest value of a secret is another than that of a version.
	Replaced(ctx context.Context, id string, version int64) (bool, error)
	// Taken says whether the holder of a secret has been given a version.
	Taken(ctx context.Context, id string, version int64) (vault.Taken, error)
}

// Accounts says how an account of a door stands that rotates secrets: *doors.Set.
type Accounts interface {
	Account(ctx context.Context, door, account string) (driver.Account, error)
}

// entrustedName is what a secret is called in a recall: the same for all of its versions, so that
// two recalls of it are seen to be about one.
func entrustedName(s store.EntrustedSecret) string {
	return tallystick.EntrustedPrefix + s.ID
}

// ofSecrets says whether entrusted secrets may be among what a recall is about.
func ofSecrets(what tallystick.Burnt) bool {
	return what.Kind == tallystick.BurntEntrusted || what.Kind == tallystick.BurntWrapping
}

// rotations makes groups of the entrusted secrets that are burnt, and tasks for people of
// those that no door can rotate.
func (e *Engine) rotations(ctx context.Context, what tallystick.Burnt, all []*seen) ([]*group, []manual, error) {
	var list []store.EntrustedSecret
	var err error
	switch {
	case e.Vault != nil && what.Kind == tallystick.BurntEntrusted:
		list, err = e.Vault.Burnt(ctx, what.Value)
	case e.Vault != nil && what.Kind == tallystick.BurntWrapping:
		list, err = e.Vault.BurntUnder(ctx, what.Value)
	}
	if err != nil || len(list) == 0 || e.Accounts == nil {
		return nil, nil, err
	}
	rotating := slices.DeleteFunc(slices.Clone(all), func(s *seen) bool { return s.Agent != "" || !s.Rotates() && !s.Supplies() })
	groups, why := make([]*group, len(list)), make([]string, len(list))
	room := make(chan struct{}, looksAtOnce)
	var wg sync.WaitGroup
	for i, s := range list {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			groups[i], why[i] = e.rotation(ctx, s, rotating)
		})
	}
	wg.Wait()
	var people []manual
	for i, s := range list {
		if groups[i] == nil {
			people = append(people, byHandAt(s, why[i]))
		}
	}
	return slices.DeleteFunc(groups, func(g *group) bool { return g == nil }), people, ctx.Err()
}

// rotation makes a group of one secret, or says why no door can rotate it.
func (e *Engine) rotation(ctx context.Context, s store.EntrustedSecret, all []*seen) (*group, string) {
	if s.Stale() {
		return nil, "The value that is here is older than the one that was last entrusted, so that it cannot be tried."
	}
	var at []*seen
	facts := doors.Entrusted{ID: s.ID, Version: s.Version, Customer: s.Customer, System: s.System, Account: s.Account}
	for _, d := range all {
		if !d.Opens(s.Customer, s.System) {
			continue
		}
		if d.Supplies() {
			facts.Suppliers = append(facts.Suppliers, d.Name)
		}
		if d.Rotates() {
			at = append(at, d)
		}
	}
	switch len(at) {
	case 0:
		if slices.ContainsFunc(all, func(d *seen) bool { return d.Rotates() && d.Opens(d.Customer, s.System) }) {
			return nil, fmt.Sprintf("The door of the configuration for %s is for another customer than %s.", s.System, s.Customer)
		}
		return nil, "No door of the configuration rotates secrets of " + s.System + "."
	case 1:
	default:
		return nil, fmt.Sprintf("Several doors are for %s: %s and %s.", s.System, at[0].Name, at[1].Name)
	}
	account, err := e.Accounts.Account(ctx, at[0].Name, s.Account)
	switch {
	case err != nil:
		return nil, "Its account could not be looked at: " + short(err.Error()) + "."
	case account.Barred != "":
		return nil, "Nobody gets in by its account: " + account.Barred + "."
	}
	facts.Overlap, facts.Form, facts.MinLength, facts.MaxLength = account.Overlap, account.Form, account.MinLength, account.MaxLength
	one := *at[0] // with the listeners of this account
	one.view = driver.View{Listeners: account.Listeners, Notes: account.Notes}
	return &group{
		old: driver.Public{Account: entrustedName(s)}, subject: subjectOfSecret(s), relying: []*seen{&one}, secret: &facts, nobodys: s.Holder == "",
	}, ""
}

// stillReads warns when who could read the old values can read the new ones too.
func (e *Engine) stillReads(ctx context.Context, what tallystick.Burnt, groups []*group) ([]string, error) {
	if e.Vault == nil || !slices.ContainsFunc(groups, func(g *group) bool { return g.secret != nil }) {
		return nil, nil
	}
	reading, err := e.Vault.Reading(ctx, what)
	if err != nil || len(reading) == 0 {
		return nil, err
	}
	return []string{strings.Join(reading, " and ") + " can open what is entrusted from now on too, also the new values: first put the vault under another wrapping key that is not there (tally vault rewrap, while no server runs), and say that it reads no more (tally vault hosts --end)"}, nil
}

// nobodys warns of secrets without a holder: nobody is given their new values.
func nobodys(groups []*group) []string {
	n := 0
	for _, g := range groups {
		if g.secret != nil && g.nobodys && len(g.secret.Suppliers) == 0 {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s without a holder: nobody is given the new value. Who needs it must be named as the holder before (tally vault entrust --holder)", counted(n, "secret"))}
}

// oneAtATime warns of accounts that have no value that works until their holder asks again.
func oneAtATime(groups []*group) []string {
	n := 0
	for _, g := range groups {
		if g.secret != nil && g.secret.Overlap == driver.OverlapNone {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s of one value at a time: the old one is refused as soon as the new one is set, and a holder must ask the vault again when that happens", counted(n, "account"))}
}

func subjectOfSecret(s store.EntrustedSecret) string {
	return fmt.Sprintf("%s of %s at %s", s.Account, s.Customer, s.System)
}

// byHandAt has people replace a secret.
func byHandAt(s store.EntrustedSecret, why string) manual {
	facts := encoded(doors.Task{Secret: &doors.Entrusted{ID: s.ID, Version: s.Version, Customer: s.Customer, System: s.System, Account: s.Account}})
	return manual{PlannedTarget: store.PlannedTarget{Facts: facts, RecallTarget: tallystick.RecallTarget{
		Kind: tallystick.TargetPerson, Customer: s.Customer, RelyingParty: s.System, Old: entrustedName(s), Subject: subjectOfSecret(s),
		Instructions: why + fmt.Sprintf(" Set another %s there for %s, entrust it (tally vault entrust), see that the old one is refused, and say that it is done.", cmp.Or(s.Kind, "secret"), s.Account),
	}}}
}

// drainSecret waits until the holder has been given the new value, and the quiet time after that.
// It is the version that the install made: one that somebody entrusted before or after may be the
// old value again.
func (e *Engine) drainSecret(ctx context.Context, s store.ClaimedStep, t doors.Task, quiet time.Duration) outcome {
	if e.Vault == nil {
		return outcome{err: fmt.Errorf("%w: the vault is not open here", tallystick.ErrUnavailable)}
	}
	version, err := e.handedVersion(ctx, s)
	if err != nil {
		return outcome{err: err}
	}
	taken, err := e.Vault.Taken(ctx, t.Secret.ID, version)
	if err != nil {
		return outcome{err: fmt.Errorf("couldn't look whether its holder has the new value: %w", err)}
	}
	if taken.Version != version {
		// Whoever names another holder entrusts the same value again.
		other, err := e.Vault.Replaced(ctx, t.Secret.ID, version)
		if err == nil && !other {
			version = taken.Version
			taken, err = e.Vault.Taken(ctx, t.Secret.ID, version)
		}
		if err != nil {
			return outcome{err: fmt.Errorf("couldn't look whether its holder has the new value: %w", err)}
		}
	}
	if taken.Version != version {
		err := fmt.Errorf("%w: somebody has entrusted version %d since version %d was set at the system", tallystick.ErrConflict, taken.Version, version)
		return outcome{err: problem.With(err, "See which of them gets in. When it is the later one, skip the target; otherwise roll it back."), final: true}
	}
	now := e.Now()
	from := s.Began // programs that are supplied had it before this began
	switch {
	case taken.Holder == "" && len(t.Secret.Suppliers) == 0:
		return outcome{result: taken, said: "Nobody is its holder, so that nobody was given the old value either, and nobody is waited for."}
	case taken.Holder != "" && taken.Given.IsZero():
		rest := min(max(now.Sub(s.Began)/4, lookGap), time.Minute)
		return outcome{result: taken, wait: now.Add(rest), why: fmt.Sprintf("%s has not asked the vault for version %d yet", taken.Holder, version)}
	case taken.Given.After(from):
		from = taken.Given
	}
	if left := from.Add(quiet).Sub(now); left > 0 {
		return outcome{result: taken, wait: now.Add(min(left, time.Minute)), why: "the holder has the new value, and the quiet time is not over"}
	}
	return outcome{result: taken}
}

// handedVersion is the version that holders are given since the install of a target.
func (e *Engine) handedVersion(ctx context.Context, s store.ClaimedStep) (int64, error) {
	steps, err := e.DB.RecallSteps(ctx, s.Recall, store.StepFilter{Target: s.Target, Act: tallystick.ActInstall}, 0, 100)
	if err != nil {
		return 0, err
	}
	for _, install := range steps {
		var made doors.Result
		if install.Phase == tallystick.PhaseActivate && json.Unmarshal(install.Result, &made) == nil && made.Version > 0 {
			return made.Version, nil
		}
	}
	return 0, fmt.Errorf("couldn't find which version the holder is given: %w", tallystick.ErrDamaged)
}

// installedSecretWords says who is given what now.
func installedSecretWords(s store.ClaimedStep) string {
	which := "new"
	if takesBack(s) {
		which = "old"
	}
	return fmt.Sprintf("The vault gives out the %s one.", which)
}

// provenSecret is an error unless the old value was refused and the new one accepted at every
// address of the account.
func provenSecret(t doors.Task, r doors.Result) error {
	if !r.OldEmpty {
		for _, a := range r.Attempts {
			if a.Outcome != driver.OutcomeRefused {
				return fmt.Errorf("%w: %s", notRefused(a), describe(a))
			}
		}
		if l, all := triedEverywhere(t.Listeners, r.Attempts, driver.OutcomeRefused); !all || len(r.Attempts) == 0 {
			return fmt.Errorf("%w: the old one was not tried at %s", tallystick.ErrUnavailable, l.Address)
		}
	}
	return allAccepted(t.Listeners, r.NewAttempts)
}

var errOldLetIn = errors.New("the old one still gets in")

func notRefused(a driver.Attempt) error {
	if a.Outcome == driver.OutcomeAccepted {
		return errOldLetIn
	}
	return fmt.Errorf("%w: the old one could not be tried", tallystick.ErrUnavailable)
}

// spent says whether the new value of a secret was refused: to try it again would count as one more wrong
// try. Where tokens are asked for nobody counts, and some servers know a new secret later than others.
func spent(t doors.Task, r doors.Result) bool {
	tries := r.NewAttempts
	if t.Act == tallystick.ActProbe {
		tries = r.Attempts
	}
	return t.Secret != nil && slices.ContainsFunc(tries, func(a driver.Attempt) bool {
		return a.Outcome == driver.OutcomeRefused && a.Listener.Protocol != "oauth"
	})
}

// rotationTask completes a task about an entrusted secret. Its values are named by its target,
// the same for every act.
func rotationTask(t doors.Task, s store.ClaimedStep) doors.Task {
	t.KeyName = fmt.Sprintf("%s/new/%d", nameOf(s.Recall), s.Target)
	t.OldKeyName = fmt.Sprintf("%s/old/%d", nameOf(s.Recall), s.Target)
	t.Again, t.Active = s.Fence > 1, s.Active
	return t
}
