// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

// A saying is what is to be written down after a set was settled.
type saying struct {
	verdicts []store.Verdict
	matched  []string // records of which nothing is said any more
	entries  []*entry // of verdicts
	news     []*entry // foreign uses that were not before
}

// changed compares what the entries of a set come to with what is written down.
func (w *Watch) changed(s *set) saying {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out saying
	for _, e := range s.entries {
		if !e.aside && !e.paired {
			w.compare(e, &out)
		}
	}
	return out
}

// compare adds to what is to be written down.
func (w *Watch) compare(e *entry, out *saying) {
	want := e.verdict
	switch want {
	case tallystick.VerdictForeign, tallystick.VerdictAttempt:
	case tallystick.VerdictUnconfirmed:
		if !w.confirmable(e) {
			want = ""
		}
	default:
		want = ""
	}
	switch {
	case want == e.said:
	case want == "":
		out.matched = append(out.matched, e.name())
	default:
		out.verdicts, out.entries = append(out.verdicts, w.verdictOf(e)), append(out.entries, e)
		if want == tallystick.VerdictForeign {
			out.news = append(out.news, e)
		}
	}
	if want != e.said {
		e.saying = want
	}
}

// confirmable says whether the relying party of a holder's use would have told of
// it by now.
func (w *Watch) confirmable(e *entry) bool {
	one := e.owner.now()
	closed := min(closedBy(w, tallystick.SideRelying, one.relying), w.holdersClosed(one))
	since, ok := one.parties[partyHash(e.use.RelyingParty)]
	return ok && since <= micro(e.use.Time) && closed > until(e.use)+w.Tolerance.Microseconds()
}

// say shows the rules what turned out to be foreign, and writes all of it down. The
// findings come first: a process that is killed between the two finds the same
// again, and with the verdicts first it would not look.
func (w *Watch) say(ctx context.Context, out saying) error {
	if len(out.verdicts) == 0 && len(out.matched) == 0 {
		return nil
	}
	w.mu.Lock()
	for _, e := range out.news {
		w.judge(e.owner.now(), e.use, tallystick.VerdictForeign, e.reason)
	}
	w.mu.Unlock()
	if err := w.writeFindings(ctx); err != nil {
		return err
	}
	if _, err := w.DB.SaveVerdicts(ctx, out.verdicts, out.matched); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range out.entries {
		if e.said = e.saying; e.paired {
			w.outbox.unsaid = append(w.outbox.unsaid, e.name())
		}
		w.counts.Said[e.said]++
	}
	if len(out.matched) > 0 {
		w.outbox.takenBack = true
	}
	return nil
}

type raisedKey struct {
	used  int64
	rule  string
	place tallystick.Place
}

// arrived shows the rules a use that has just come. Where nobody has asked the
// inventory about its credential yet, they wait for that.
func (w *Watch) arrived(one *used, u *tallystick.Use) {
	const most = 64
	if !one.asked.IsZero() {
		w.judge(one, u, "", "")
	} else if len(one.unjudged) < most {
		one.unjudged = append(one.unjudged, u)
	}
}

// judge shows the rules a use. w.mu is held.
func (w *Watch) judge(one *used, u *tallystick.Use, verdict tallystick.Verdict, reason string) {
	subject := rule.UseSubject{
		Use: u, Verdict: verdict, Reason: reason, Profile: &one.profile, Credential: one.sighted.Credential, Annotation: one.sighted.Annotation,
		Gone: one.sighted.Gone, Blocked: one.blocked, Networks: one.networks, Network: w.Network,
	}
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

// A finding waits until its credential has a name in the inventory.
type finding struct {
	one *used
	tallystick.Finding
}

// An outbox is what is to be written at the end of a round.
type outbox struct {
	raise  []finding       // findings
	said   []store.Verdict // attempts
	unsaid []string        // records of which nothing is said any more
	soon   []soon          // uses soon after changes
	// takenBack says that a use is no longer foreign, so that findings may close.
	takenBack bool
}

// write writes down what the outbox has. What could not be written stays there.
func (w *Watch) write(ctx context.Context) error {
	if err := w.writeFindings(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	out := w.outbox
	w.outbox = outbox{}
	w.mu.Unlock()
	err := w.writeRest(ctx, out)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.outbox.said, w.outbox.unsaid = append(out.said, w.outbox.said...), append(out.unsaid, w.outbox.unsaid...)
		w.outbox.soon, w.outbox.raise = append(out.soon, w.outbox.soon...), append(out.raise, w.outbox.raise...)
		w.outbox.takenBack = w.outbox.takenBack || out.takenBack
	}
	return err
}

func (w *Watch) writeRest(ctx context.Context, out outbox) error {
	if _, err := w.DB.SaveVerdicts(ctx, out.said, out.unsaid); err != nil {
		return err
	}
	if err := w.tellDirectory(ctx, out.soon); err != nil {
		return err
	}
	if !out.takenBack && len(out.unsaid) == 0 {
		return nil
	}
	return w.closeCleared(ctx)
}

// writeFindings writes down findings.
func (w *Watch) writeFindings(ctx context.Context) error {
	w.mu.Lock()
	raise := w.outbox.raise
	w.outbox.raise = nil
	w.mu.Unlock()
	err := w.raiseAll(ctx, raise)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.outbox.raise = append(raise, w.outbox.raise...)
	}
	return err
}

func (w *Watch) raiseAll(ctx context.Context, raise []finding) error {
	about := make([]*used, 0, len(raise))
	for i := range raise {
		about = append(about, raise[i].one)
	}
	if err := w.nameAll(ctx, about); err != nil {
		return err
	}
	list := make([]tallystick.Finding, 0, len(raise))
	w.mu.Lock()
	for i := range raise {
		f := raise[i].Finding
		f.Credential = raise[i].one.now().fingerprint
		list = append(list, f)
	}
	w.mu.Unlock()
	return w.DB.RaiseFindings(ctx, list, w.Now())
}

// verdictRules are the rules that speak of foreign uses: what they found is
// closed when all of it was taken back.
func verdictRules() []string { return []string{"foreign-use", "replayed-request", "stolen-token"} }

// closeCleared closes findings of credentials that have no foreign use any more.
func (w *Watch) closeCleared(ctx context.Context) error {
	cleared, err := w.DB.ClearedOfForeign(ctx, verdictRules())
	if err != nil {
		return err
	}
	for _, credential := range cleared {
		if err := w.DB.CloseFindings(ctx, credential, verdictRules(), nil, w.Now()); err != nil {
			return err
		}
	}
	w.mu.Lock()
	clear(w.raised)
	w.mu.Unlock()
	return nil
}

// nameAll gives credentials entries in the inventory that have none.
func (w *Watch) nameAll(ctx context.Context, list []*used) error {
	w.mu.Lock()
	var wanted []*used
	var names []store.Name
	for _, one := range list {
		if one = one.now(); one.fingerprint != "" {
			continue
		}
		first := one.profile.First
		if first.IsZero() {
			first = w.Now()
		}
		wanted, names = append(wanted, one), append(names, store.Name{Name: one.names[0], Seen: first})
	}
	w.mu.Unlock()
	found, err := w.DB.NameCredentials(ctx, names)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, one := range wanted {
		one.fingerprint, one.named = found[i], false
	}
	return nil
}

// writeNames writes down which credentials there are: what is said of uses names
// them.
func (w *Watch) writeNames(ctx context.Context) error {
	w.mu.Lock()
	var list []store.Used
	var named []*used
	for _, one := range w.used {
		if !one.named {
			list = append(list, store.Used{ID: one.id, Credential: one.fingerprint, Names: slices.Clone(one.names)})
			named = append(named, one)
			one.named = true
		}
	}
	merged := w.merged
	w.merged = nil
	w.mu.Unlock()
	if len(list) == 0 && len(merged) == 0 {
		return nil
	}
	err := w.DB.SaveUsed(ctx, list, merged)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.merged = append(merged, w.merged...)
		for _, one := range named {
			one.named = false
		}
	}
	return err
}

// resolve asks the inventory about credentials that nobody has asked about, and
// shows the rules what came of them meanwhile.
func (w *Watch) resolve(ctx context.Context) error {
	w.mu.Lock()
	var list []*used
	for _, one := range w.used {
		if one.asked.IsZero() {
			list = append(list, one)
		}
	}
	w.mu.Unlock()
	return w.ask(ctx, list)
}

// refresh asks again about those that are used.
func (w *Watch) refresh(ctx context.Context) error {
	w.mu.Lock()
	var list []*used
	for _, one := range w.used {
		if one.dirty || len(one.open) > 0 {
			list = append(list, one)
		}
	}
	w.mu.Unlock()
	return w.ask(ctx, list)
}

// ask asks the inventory about credentials.
func (w *Watch) ask(ctx context.Context, list []*used) error {
	for len(list) > 0 {
		page := list[:min(len(list), 500)]
		list = list[len(page):]
		for _, one := range page {
			w.mu.Lock()
			names := slices.Clone(one.names)
			w.mu.Unlock()
			f, err := w.DB.ResolveUsed(ctx, names)
			if err != nil {
				return err
			}
			w.mu.Lock()
			if f != "" && one.fingerprint != f {
				one.fingerprint, one.named = f, false
			}
			w.mu.Unlock()
		}
		if err := w.nameAll(ctx, page); err != nil {
			return err
		}
		var known []tallystick.Fingerprint
		w.mu.Lock()
		for _, one := range page {
			known = append(known, one.fingerprint)
		}
		w.mu.Unlock()
		found, err := w.DB.SightedOf(ctx, known)
		if err != nil {
			return err
		}
		w.mu.Lock()
		for _, one := range page {
			w.learnInventory(one, found[one.fingerprint])
		}
		w.mu.Unlock()
	}
	return nil
}

// learnInventory takes what the inventory says, and judges what waited for it.
func (w *Watch) learnInventory(one *used, s store.Sighted) {
	one.sighted, one.asked = s, w.Now()
	var err error
	if one.blocked, one.networks, err = rule.Declared(s.Annotation); err != nil {
		w.Log.Warn("a tag of a credential can't be read", "credential", one.fingerprint.Short(), "error", err)
	}
	waiting := one.unjudged
	one.unjudged = nil
	for _, u := range waiting {
		w.judge(one.now(), u, "", "")
	}
}
