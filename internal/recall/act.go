// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/order"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
)

// An outcome is what came of a step. Without an error and without a time to wait for
// it is done.
type outcome struct {
	result any // JSON
	err    error
	final  bool      // trying it again would come to the same
	wait   time.Time // what it waits for has not happened yet: look again then
	why    string    // it waits
	fresh  string    // of issue: the name of the new credential
	said   string    // for the log, in plain words; "" is nothing worth telling
	asks   string    // the door denies it: what its people are to do in our place
	burnt  string    // why the new credential must not be used any more; "" that it may
}

// act does what a step is about, at most as far as ctx allows.
func (e *Engine) act(ctx context.Context, s store.ClaimedStep) outcome {
	if usesNew(s) {
		if why, err := e.burnt(ctx, s); err != nil || why != "" {
			return outcome{err: err, burnt: why}
		}
	}
	switch s.Act {
	case tallystick.ActIssue:
		return e.issue(ctx, s)
	case tallystick.ActDrain:
		return e.drain(ctx, s)
	case tallystick.ActRevoke:
		return e.revoke(ctx, s)
	}
	t, err := e.taskOf(ctx, s)
	if err != nil {
		return outcome{err: err}
	}
	var result doors.Result
	if err = e.mayTry(t); err == nil {
		result, err = e.Doors.Do(ctx, t)
	}
	return e.judge(ctx, s, t, result, err)
}

// mayTry is an error when a task would have us connect to where only an agent says that there
// is a door: an agent in wrong hands would lead us anywhere.
func (e *Engine) mayTry(t doors.Task) error {
	for _, l := range t.Tries() {
		if slices.Contains(t.Told, l.Address) && !e.Connect.May(l.Address) {
			err := fmt.Errorf("couldn't %s at the door %s: %w: the server may not connect to %s, which only an agent has named", t.Act, t.Door, tallystick.ErrDenied, l.Address)
			return problem.With(err, "Add it to connect under recall in the configuration of the server, and start that again.")
		}
	}
	return nil
}

// usesNew says whether a step spreads the new credential, or ends with it.
func usesNew(s store.ClaimedStep) bool {
	switch s.Act {
	case tallystick.ActTrust, tallystick.ActInstall:
		return !takesBack(s)
	}
	return s.Act == tallystick.ActProve && s.Active
}

// burnt says why the new credential of a step must not be used any more.
func (e *Engine) burnt(ctx context.Context, s store.ClaimedStep) (string, error) {
	if e.CA == nil {
		return "", nil
	}
	public, err := newOf(s)
	if err != nil || len(public.Chain) == 0 {
		return "", err
	}
	return e.CA.Burnt(ctx, public)
}

// orderOf names the order of an issue step, the same at every try. Names of recalls have
// no dot.
func orderOf(recall string, s store.ClaimedStep) string {
	return fmt.Sprintf("recall-%s.%d-%d", recall, s.Target, s.Round)
}

// errNoIssuer says that nobody was named who makes the new certificate.
var errNoIssuer = fmt.Errorf("%w: nothing says which issuer makes the new certificate", tallystick.ErrInvalid)

// issue has a certificate made for the key. The order has one name in every try, and
// what the issuer's driver wants to be told again is kept before it goes on.
func (e *Engine) issue(ctx context.Context, s store.ClaimedStep) outcome {
	facts, err := factsOf(s)
	if err != nil {
		return outcome{err: err}
	}
	var wanted issueTask
	if err := json.Unmarshal(s.Task, &wanted); err != nil || wanted.Issuer == "" {
		return outcome{err: problem.With(errNoIssuer, "Name one at the door, in the configuration."), final: true}
	}
	var key doors.Result
	if s.Key == nil || json.Unmarshal(s.Key.Result, &key) != nil {
		return outcome{err: fmt.Errorf("couldn't read the certificate request: %w", tallystick.ErrDamaged)}
	}
	r, err := e.recall(ctx, s.Recall)
	if err != nil {
		return outcome{err: err}
	}
	request := driver.IssueRequest{
		Order: orderOf(r.Name, s), CSR: key.CSR, Profile: wanted.Profile, Lifetime: wanted.Lifetime, State: s.Progress, Now: e.Now,
		Keep: func(state string) error {
			s.Progress = state
			return e.DB.KeepRecallStep(context.WithoutCancel(ctx), s.RecallStepRow, e.Now().Add(leaseTime))
		},
	}
	issuer, err := e.issuer(wanted.Issuer)
	if err == nil && e.Account != nil && !isOwn(wanted.Issuer) {
		request.Account, err = e.Account(ctx, wanted.Issuer)
	}
	if err != nil {
		return outcome{err: err}
	}
	made, err := issuer.Issue(ctx, request)
	switch {
	case err != nil:
		return outcome{err: fmt.Errorf("couldn't have a certificate made by %s: %w", wanted.Issuer, err)}
	case len(made.Chain) == 0:
		return outcome{wait: later(made.Retry, e.Now()), why: wanted.Issuer + " has not decided yet"}
	}
	leaf, _, err := order.Inspect(made.Chain, key.CSR, e.Now())
	if err == nil {
		err = otherKey(leaf, facts.Old)
	}
	if err != nil {
		return outcome{err: fmt.Errorf("%s: %w", wanted.Issuer, err), final: true}
	}
	return outcome{result: issuedResult{made.Chain}, fresh: "cert-sha256:" + string(tallystick.FingerprintOf(leaf.Raw))}
}

// otherKey is an error when a new certificate is for the burnt key.
func otherKey(leaf *x509.Certificate, old driver.Public) error {
	if len(old.Chain) == 0 {
		return nil
	}
	before, err := x509.ParseCertificate(old.Chain[0])
	if err != nil {
		return fmt.Errorf("couldn't read the old certificate: %w", tallystick.ErrDamaged)
	}
	if tallystick.KeyIDOf(before.RawSubjectPublicKeyInfo) == tallystick.KeyIDOf(leaf.RawSubjectPublicKeyInfo) {
		return fmt.Errorf("%w: the new certificate is for the key that is burnt", tallystick.ErrInvalid)
	}
	return nil
}

// later bounds when something is looked at again.
func later(at, now time.Time) time.Time {
	return now.Add(min(max(at.Sub(now), 5*time.Second), 5*time.Minute))
}

func isOwn(issuer string) bool { return strings.HasPrefix(issuer, order.OwnPrefix) }

func (e *Engine) issuer(name string) (driver.Issuer, error) {
	if e.Issuers == nil {
		return nil, fmt.Errorf("there is no issuer %q: %w", name, tallystick.ErrNotFound)
	}
	return e.Issuers(name)
}

// revoke has the issuer revoke the old ones of all targets of the step.
func (e *Engine) revoke(ctx context.Context, s store.ClaimedStep) outcome {
	var wanted issuerTask
	if err := json.Unmarshal(s.Task, &wanted); err != nil {
		return outcome{err: fmt.Errorf("couldn't read what is to be revoked: %w", tallystick.ErrDamaged)}
	}
	r, err := e.recall(ctx, s.Recall)
	if err != nil {
		return outcome{err: err}
	}
	certificates, skipped, err := e.burntOnes(ctx, s)
	if err != nil {
		return outcome{err: err}
	}
	if isOwn(wanted.Issuer) && e.CA != nil {
		err = e.CA.Revoke(ctx, certificates, r)
	} else {
		err = e.revokeElsewhere(ctx, wanted.Issuer, certificates)
	}
	if err != nil {
		return outcome{err: fmt.Errorf("couldn't have it revoked by %s: %w", wanted.Issuer, err)}
	}
	names := make([]string, len(certificates))
	for i, der := range certificates {
		names[i] = "cert-sha256:" + string(tallystick.FingerprintOf(der))
	}
	said := fmt.Sprintf("%s has revoked %s.", wanted.Issuer, counted(len(names), "certificate"))
	if skipped > 0 {
		said = fmt.Sprintf("%s has revoked %s, and not %s of targets that were skipped.", wanted.Issuer, counted(len(names), "certificate"), counted(skipped, "certificate"))
	}
	return outcome{result: revokedResult{names}, said: said}
}

// revokedResult is what a revoke step keeps as its result.
type revokedResult struct {
	Revoked []string `json:"revoked"`
}

// burntOnes returns the certificates of the targets of a step, each once, and how many
// more there are that only targets have which were skipped: those are left as they are.
func (e *Engine) burntOnes(ctx context.Context, s store.ClaimedStep) (list [][]byte, skipped int, err error) {
	seen, left := map[tallystick.Fingerprint]bool{}, map[tallystick.Fingerprint]bool{}
	err = e.DB.StepFacts(ctx, s.RecallStepRow, func(text json.RawMessage, skip bool) error {
		var t struct{ Old driver.Public }
		if err := json.Unmarshal(text, &t); err != nil {
			return fmt.Errorf("%w: %w", tallystick.ErrDamaged, err)
		}
		if len(t.Old.Chain) == 0 {
			return nil
		}
		switch f := tallystick.FingerprintOf(t.Old.Chain[0]); {
		case skip:
			left[f] = true
		case !seen[f]:
			seen[f], list = true, append(list, t.Old.Chain[0])
		}
		return nil
	})
	for f := range left {
		if !seen[f] {
			skipped++
		}
	}
	return list, skipped, err
}

// keyCompromise is the reason for which all is revoked here (RFC 5280 section 5.3.1).
const keyCompromise = 1

func (e *Engine) revokeElsewhere(ctx context.Context, name string, certificates [][]byte) error {
	issuer, err := e.issuer(name)
	if err != nil {
		return err
	}
	revoker, can := issuer.(driver.Revoker)
	if !can {
		return problem.With(fmt.Errorf("%w: its driver cannot revoke", tallystick.ErrInvalid), "Have it done there, and say that it is done.")
	}
	request := driver.RevokeRequest{Reason: keyCompromise, Now: e.Now}
	if e.Account != nil {
		if request.Account, err = e.Account(ctx, name); err != nil {
			return err
		}
	}
	for _, der := range certificates {
		request.Certificate = der
		if err := revoker.Revoke(ctx, request); err != nil {
			return err
		}
	}
	return nil
}

// drain looks into the books until the holder has been quiet long enough.
func (e *Engine) drain(ctx context.Context, s store.ClaimedStep) outcome {
	facts, err := factsOf(s)
	if err != nil {
		return outcome{err: err}
	}
	r, err := e.recall(ctx, s.Recall)
	if err != nil {
		return outcome{err: err}
	}
	if facts.Secret != nil {
		return e.drainSecret(ctx, s, facts, r.Quiet)
	}
	var answer DrainAnswer
	if e.Uses != nil {
		q := DrainQuestion{Credential: facts.Old.Names(), RelyingParties: partiesOf(facts), Since: s.Began}
		if answer, err = e.Uses.Quiet(ctx, q); err != nil {
			return outcome{err: fmt.Errorf("couldn't look into the books: %w", err)}
		}
	}
	return drained(answer, s.Began, r.Quiet, e.Now())
}

// partiesOf returns all names that uses may have for the relying party of a task.
func partiesOf(t doors.Task) []string {
	list := slices.Clone(t.RelyingParties)
	if t.RelyingParty != "" {
		list = append(list, t.RelyingParty)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// drained judges what the books say. They must be closed: that nothing was heard says
// nothing.
func drained(a DrainAnswer, began time.Time, quiet time.Duration, now time.Time) outcome {
	from := began
	if a.Last.After(from) {
		from = a.Last
	}
	known := a.Closed
	if a.Books == 0 {
		known = now // nobody keeps any: all that can be done is to wait
	}
	if known.Sub(from) >= quiet {
		o := outcome{result: a}
		if a.Books == 0 {
			o.said = fmt.Sprintf("No book tells of the holder's uses, so that it was waited for %s, and nothing is known.", quiet)
		}
		if a.Others > 0 {
			o.said = fmt.Sprintf("The holder no longer uses the old one. Somebody else does: %d times, last at %s.", a.Others, a.OthersLast.UTC().Format(time.DateTime))
		}
		return o
	}
	why := fmt.Sprintf("the books are closed up to %s, and must be up to %s", a.Closed.UTC().Format(time.DateTime), from.Add(quiet).UTC().Format(time.DateTime))
	if a.Uses > 0 {
		why = fmt.Sprintf("the holder used the old one %d times, last at %s; %s", a.Uses, a.Last.UTC().Format(time.DateTime), why)
	}
	rest := from.Add(quiet).Sub(now)
	if rest <= 0 { // what is missing is that the books are closed
		rest = lookGap
	}
	return outcome{result: a, wait: now.Add(min(rest, time.Minute)), why: why}
}
