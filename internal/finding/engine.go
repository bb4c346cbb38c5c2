// SPDX-License-Identifier: Apache-2.0

// Package finding runs the rules over the inventory and keeps what they find:
// findings open, stay, close by themselves, are accepted and assigned.
//
// A credential is judged when something about it changes, and again when time
// alone may change the answer; never otherwise, so that the work follows the
// changes and not the size of the estate. Surveys, which compare everything
// with everything, run after a look has ended. Wrapping keys are few and hang on no
// look, so they are judged every minute.
package finding

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

// An Engine judges. Its methods are safe to call from several goroutines, but
// one Run for a store is enough.
type Engine struct {
	DB    *store.DB
	Gate  *gate.Gate
	Rules []rule.Rule
	Now   func() time.Time
	// Recheck says when a subject must be judged again though nothing about
	// it changes; zero is never.
	Recheck func(rule.Subject) time.Time
	// Sample says that a subject is nowhere but in packages that bring it
	// along, and that nothing uses it; nil is never.
	Sample func(rule.Subject) bool
	// Edition names everything else that the judgement hangs on: the version
	// of the program, and the configuration.
	Edition string
	// Annotate says what the configuration knows of a credential at places.
	Annotate func(*tallystick.Credential, []tallystick.Place) tallystick.Annotation

	wake chan bool // true asks for surveys too
}

// New returns an engine over the enabled rules.
func New(e Engine) *Engine {
	e.wake = make(chan bool, 1)
	return &e
}

// Wake asks Run to judge what is due, and to survey if something may have
// changed that surveys compare. It does not wait.
func (e *Engine) Wake(survey bool) {
	for {
		select {
		case e.wake <- survey:
			return
		case before := <-e.wake: // one is waiting: merge the two
			survey = survey || before
		}
	}
}

// Run judges whatever is due, at once, when woken, and every minute for the
// sake of time, until ctx ends. A survey that fails is tried again with the
// next round; one that a killed process owes is made up for by the first.
func (e *Engine) Run(ctx context.Context, failed func(error)) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	survey, keys := true, true
	for {
		err := e.round(ctx, survey)
		if err == nil {
			survey = false // whatever becomes of the keys
			if keys {
				err = e.JudgeWrappings(ctx)
				keys = err != nil
			}
		}
		if err != nil && ctx.Err() == nil {
			failed(err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case wanted := <-e.wake:
			survey = survey || wanted
		case <-tick.C:
			keys = true
		}
	}
}

// round brings everything up to date.
func (e *Engine) round(ctx context.Context, survey bool) error {
	if err := e.Renew(ctx); err != nil {
		return err
	}
	if err := e.JudgeDue(ctx); err != nil || !survey {
		return err
	}
	return e.Survey(ctx)
}

// Renew puts every credential before the rules again when these are not the
// rules, or not the configuration, that judged last; findings of rules that are
// no more are closed. Otherwise it does nothing.
func (e *Engine) Renew(ctx context.Context) error {
	hash := sha256.New()
	fmt.Fprintln(hash, e.Edition)
	for _, r := range e.Rules {
		fmt.Fprintf(hash, "%q %q %q %v %v\n", r.Name, r.Title, r.About, r.Severity, r.Effective)
	}
	all := func(rule.Rule) bool { return true }
	return e.DB.JudgedBy(ctx, hex.EncodeToString(hash.Sum(nil)), e.names(all), e.Now())
}

// judgePage is how many credentials are judged in one transaction.
const judgePage = 500

// JudgeDue judges every credential that is due, and returns when none is left.
func (e *Engine) JudgeDue(ctx context.Context) error {
	cas := newStoredCAs(e.DB)
	names := e.names(func(r rule.Rule) bool { return r.Check != nil })
	for {
		due, err := e.DB.Due(ctx, e.Now(), judgePage)
		if err != nil || len(due) == 0 {
			return err
		}
		judgements := make([]store.Judgement, 0, len(due))
		for _, d := range due {
			j, err := e.judge(ctx, cas, d)
			if err != nil {
				return fmt.Errorf("couldn't judge credential %s: %w", d.Credential.ID.Short(), err)
			}
			judgements = append(judgements, j)
		}
		if err := e.DB.Judge(ctx, names, judgements, e.Now()); err != nil {
			return err
		}
	}
}

// names returns the names of the rules that pick selects.
func (e *Engine) names(pick func(rule.Rule) bool) []string {
	var names []string
	for _, r := range e.Rules {
		if pick(r) {
			names = append(names, r.Name)
		}
	}
	return names
}

// judge runs every Check over one credential.
func (e *Engine) judge(ctx context.Context, cas *storedCAs, d store.DueCredential) (store.Judgement, error) {
	if err := e.annotate(ctx, &d); err != nil {
		return store.Judgement{}, err
	}
	if err := e.fillChains(ctx, &d); err != nil {
		return store.Judgement{}, err
	}
	j := store.Judgement{RowID: d.RowID, Version: d.Version, Whole: true}
	if len(d.Sightings) == 0 {
		return j, nil // it is nowhere any more: nothing is wrong with it
	}
	subject, err := NewSubject(ctx, cas, d.Credential, d.Sightings, d.Annotation, e.Now())
	if err != nil {
		return j, err
	}
	j.Findings = Check(e.Rules, subject)
	j.Sample = e.Sample != nil && e.Sample(subject)
	j.Recheck = e.Recheck(subject)
	if soonest := subject.Now.Add(time.Minute); !j.Recheck.IsZero() && j.Recheck.Before(soonest) {
		j.Recheck = soonest // a date that has passed would be due for ever
	}
	return j, nil
}

// NewSubject puts together what the rules are shown of a credential.
func NewSubject(ctx context.Context, cas CASource, c *tallystick.Credential, sightings []tallystick.Sighting,
	a tallystick.Annotation, now time.Time,
) (rule.Subject, error) {
	issuers, public, err := chainOf(ctx, cas, c)
	return rule.Subject{Credential: c, Sightings: sightings, Annotation: a, Issuers: issuers, Public: public, Now: now}, err
}

// Check runs the rules' Checks over a subject. Of a rule that hits twice at
// one place the first hit stands.
func Check(rules []rule.Rule, subject rule.Subject) []tallystick.Finding {
	var found []tallystick.Finding
	for _, r := range rules {
		if r.Check == nil {
			continue
		}
		hits := r.Check(subject)
		seen := make(map[tallystick.Place]bool, len(hits))
		for _, hit := range hits {
			if !seen[hit.Place] {
				seen[hit.Place] = true
				found = append(found, findingOf(r, subject.Credential.ID, hit, subject.Now))
			}
		}
	}
	return found
}

func findingOf(r rule.Rule, credential tallystick.Fingerprint, hit rule.Hit, now time.Time) tallystick.Finding {
	f := tallystick.Finding{
		Rule: r.Name, Severity: r.Severity, Credential: credential, Place: hit.Place, Evidence: hit.Evidence, Opened: now,
	}
	if hit.Severity != 0 {
		f.Severity = hit.Severity
	}
	return f
}

// annotate applies the configuration's rules to a credential that no person
// has spoken about.
func (e *Engine) annotate(ctx context.Context, d *store.DueCredential) error {
	if e.Annotate == nil || d.AnnotatedByHand {
		return nil
	}
	places := make([]tallystick.Place, 0, len(d.Sightings))
	for _, s := range d.Sightings {
		places = append(places, s.Place)
	}
	a := e.Annotate(d.Credential, places)
	if a.Owner == d.Annotation.Owner && a.Environment == d.Annotation.Environment && a.Notes == d.Annotation.Notes && sameTags(a.Tags, d.Annotation.Tags) {
		return nil
	}
	d.Annotation = a
	said := store.PastAnnotation{Time: e.Now(), Author: ByConfiguration, Annotation: a}
	err := e.DB.Annotate(ctx, d.Credential.ID, said)
	if errors.Is(err, tallystick.ErrNotFound) {
		return nil
	}
	return err
}

// ByConfiguration is the author of annotations that the configuration makes.
const ByConfiguration = "configuration"

func sameTags(a, b []string) bool {
	set := map[string]bool{}
	for _, tag := range a {
		set[tag] = true
	}
	for _, tag := range b {
		if !set[tag] {
			return false
		}
		delete(set, tag)
	}
	return len(set) == 0
}

// fillChains gives the endpoints at which the credential is the leaf the
// certificates that are served with it.
func (e *Engine) fillChains(ctx context.Context, d *store.DueCredential) error {
	var wanted []tallystick.Fingerprint
	for _, s := range d.Sightings {
		if s.TLS != nil && s.TLS.Position == 0 && len(s.TLS.Chain) > 1 {
			wanted = append(wanted, s.TLS.Chain[1:]...)
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	known, err := e.DB.CredentialsByFingerprint(ctx, wanted)
	if err != nil {
		return err
	}
	for i, s := range d.Sightings {
		if s.TLS == nil || s.TLS.Position != 0 {
			continue
		}
		for n, f := range s.TLS.Chain {
			if c := known[f]; n > 0 && c != nil {
				d.Sightings[i].Chain = append(d.Sightings[i].Chain, *c)
			}
		}
	}
	return nil
}
