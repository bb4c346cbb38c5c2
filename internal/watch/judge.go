// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/profile"
	"github.com/tallystick/tallystick/rule"
)

type raisedKey struct {
	used  int64
	rule  string
	place tallystick.Place
}

// An unjudged is a use that the rules were not shown yet.
type unjudged struct {
	use *tallystick.Use
	own bool // this program made it
	// before is the profile, encoded, as it was before a use that is unusual: it is learned from at
	// once, and would then be what is usual. Nil is as it is when it is judged.
	before []byte
}

// arrived shows the rules a use that has just come. Where nobody has asked the
// inventory about its credential yet, they wait for that.
func (w *Watch) arrived(one *used, u *tallystick.Use, own bool) {
	const most = 10_000
	if !one.asked.IsZero() {
		w.judgeNew(one, unjudged{use: u, own: own})
	} else if len(one.unjudged) < most {
		waits := unjudged{use: u, own: own}
		if !own && isUnusual(one, u) {
			waits.before = profile.Encode(nil, &one.profile)
		}
		one.unjudged = append(one.unjudged, waits)
	}
}

// judgeNew shows the rules a use for the first time. One of our own says nothing of how its holder
// uses it: without a profile and declared networks, no rule speaks of a change of habit. Rules over what is
// blocked or gone are told so only of one that came from this machine: they are the last to hear of a thief,
// and a try of ours that no log has would explain a stranger's.
func (w *Watch) judgeNew(one *used, u unjudged) {
	if u.own {
		own := u.use.Side == tallystick.SideHolder || w.isFromHere(u.use)
		w.show(one, rule.UseSubject{Use: u.use, Own: own})
		return
	}
	usual := &one.profile
	if u.before != nil {
		if p, err := profile.Decode(u.before); err == nil { // as it was encoded here
			usual = &p
		}
	}
	w.show(one, rule.UseSubject{Use: u.use, Profile: usual, Networks: one.networks})
}

// judge shows the rules a use. w.mu is held.
func (w *Watch) judge(one *used, u *tallystick.Use, verdict tallystick.Verdict, reason string) {
	w.show(one, rule.UseSubject{Use: u, Verdict: verdict, Reason: reason, Profile: &one.profile, Networks: one.networks})
}

// show fills in what is known whoever made a use, and shows it to the rules.
func (w *Watch) show(one *used, subject rule.UseSubject) {
	subject.Credential, subject.Annotation = one.sighted.Credential, one.sighted.Annotation
	subject.Gone, subject.Blocked, subject.Network = one.sighted.Gone, one.blocked, w.Network
	u, verdict := subject.Use, subject.Verdict
	if w.Directory != nil && verdict == "" && u.Side == tallystick.SideRelying {
		subject.ChangedAt = w.changedBefore(one, u)
	}
	for i := range w.useful {
		r := &w.useful[i]
		for _, hit := range r.Use(subject) {
			w.hit(one, r, hit)
		}
	}
}

// soonAfter is how long after a change of who gets in a use is told to who keeps
// the changes.
const soonAfter = 30 * time.Minute

// changedBefore returns when what a use signs in as was last given a credential.
func (w *Watch) changedBefore(one *used, u *tallystick.Use) time.Time {
	at := w.Directory.Changed(one.names, u.Time)
	if !at.IsZero() && u.Time.Sub(at) <= soonAfter && u.Outcome == tallystick.OutcomeSuccess {
		const most = 10_000
		if len(w.outbox.soon) < most {
			w.outbox.soon = append(w.outbox.soon, soon{one, u.Time, u.Address})
		}
	}
	return at
}

// A soon is a use soon after a change.
type soon struct {
	one     *used
	at      time.Time
	address string
}

// tellDirectory tells of uses soon after changes.
func (w *Watch) tellDirectory(ctx context.Context, list []soon) error {
	for _, s := range list {
		w.mu.Lock()
		var accounts, credentials []string
		for _, name := range s.one.now().names {
			if strings.HasPrefix(name, "account:") {
				accounts = append(accounts, name)
			} else {
				credentials = append(credentials, name)
			}
		}
		w.mu.Unlock()
		if err := w.Directory.Used(ctx, accounts, credentials, s.at, s.address); err != nil {
			return err
		}
	}
	return nil
}

// hit keeps a finding to be written, unless the same was.
func (w *Watch) hit(one *used, r *rule.Rule, hit rule.Hit) {
	const most = 100_000
	key := raisedKey{one.id, r.Name, hit.Place}
	if w.raised[key] == hit.Evidence {
		return
	}
	if len(w.raised) >= most {
		clear(w.raised) // they are written once more, which changes nothing
	}
	w.raised[key] = hit.Evidence
	severity := r.Severity
	if hit.Severity != 0 {
		severity = hit.Severity
	}
	w.outbox.raise = append(w.outbox.raise, finding{one, tallystick.Finding{Rule: r.Name, Severity: severity, Place: hit.Place, Evidence: hit.Evidence}})
}
