// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/store"
)

// A graph makes targets and steps of groups: the table of docs/design/0007-recall.md.
type graph struct {
	plan   store.RecallPlan
	groups []*laid
	waves  int
	// revokes are the steps that revoke, by issuer.
	revokes map[string]int
	gates   map[gateAt]int
}

type gateAt struct {
	phase tallystick.Phase
	wave  int
}

// A laid is a group with where its targets and steps are in the plan.
type laid struct {
	*group
	targets []laidTarget
	issuer  string // that can revoke the old one; "" where none can
	issue   issueTask
	renews  bool // its holder can be given a new one without a person
	steps   groupSteps
}

// A laidTarget is one target of a group.
type laidTarget struct {
	index   int   // in plan.Targets
	relying *seen // nil: the holder as a place
	wave    int
	latest  int // the step that the next of this target waits for; -1 at first
}

// groupSteps are the steps that all targets of a group share; -1 where there is none.
type groupSteps struct{ gives, install int }

// lay makes the plan of a recall in earnest.
func lay(r tallystick.Recall, groups []*group, manuals []manual, revokers func(*group) string) store.RecallPlan {
	g := &graph{plan: store.RecallPlan{Recall: r}, revokes: map[string]int{}, gates: map[gateAt]int{}}
	g.addTargets(groups, manuals, revokers)
	holdUps := g.addManuals(manuals)
	g.prepare()
	g.activate()
	g.drain()
	g.distrust(manuals)
	g.revoke(holdUps)
	return g.plan
}

// rehearse makes the plan of a rehearsal: blocks that are lifted, and nothing else. It names
// the doors where that cannot be done: a list of a CA does not take back what it names.
func rehearse(r tallystick.Recall, groups []*group) (store.RecallPlan, []string) {
	g := &graph{plan: store.RecallPlan{Recall: r}, revokes: map[string]int{}, gates: map[gateAt]int{}}
	var not []string
	for _, one := range groups {
		one.place = false // there is nothing to block where it is shown only
		if warning := "entrusted secrets are not rehearsed: a system that refuses one takes it back only as a change of it"; one.secret != nil {
			one.relying = nil
			if !slices.Contains(not, warning) {
				not = append(not, warning)
			}
		}
		one.relying = slices.DeleteFunc(one.relying, func(s *seen) bool {
			able := can(s, "block") && !s.Listed
			if warning := "the door " + s.Name + " is not rehearsed: its driver has no block that can be undone"; !able && !slices.Contains(not, warning) {
				not = append(not, warning)
			}
			return !able
		})
	}
	groups = slices.DeleteFunc(slices.Clone(groups), func(one *group) bool { return len(one.relying) == 0 })
	g.addTargets(groups, nil, func(*group) string { return "" })
	for wave := 1; wave <= g.waves; wave++ {
		g.each(wave, func(l *laid, t *laidTarget) {
			block := g.step(l, t, tallystick.ActBlock, tallystick.PhaseRevoke, t.relying, g.before(tallystick.PhaseProve, wave)...)
			g.step(l, t, tallystick.ActLift, tallystick.PhaseProve, t.relying, block)
		})
		g.gate(tallystick.PhaseProve, wave)
	}
	return g.plan, not
}

// addTargets makes the targets and gives them waves: small groups go first, so that
// the canary is whatever can do the least harm.
func (g *graph) addTargets(groups []*group, manuals []manual, revokers func(*group) string) {
	slices.SortStableFunc(groups, func(a, b *group) int { return cmp.Compare(len(a.relying), len(b.relying)) })
	total := 0
	for _, one := range groups {
		l := &laid{group: one, issuer: revokers(one), steps: groupSteps{-1, -1}}
		l.issue = issueTaskOf(one, l.issuer, g.plan.Recall.What)
		l.renews = one.secret != nil || one.holder != nil && can(one.holder, "install") && (len(one.old.Chain) == 0 || l.issue.Issuer != "")
		if one.holder != nil && (one.place || len(one.relying) == 0) {
			l.targets = append(l.targets, laidTarget{latest: -1})
		}
		for _, s := range one.relying {
			l.targets = append(l.targets, laidTarget{relying: s, latest: -1})
		}
		g.groups = append(g.groups, l)
		total += len(l.targets)
	}
	size, left := g.plan.Recall.Waves.Canary, g.plan.Recall.Waves.Canary
	wave := 1
	for _, l := range g.groups {
		for i := range l.targets {
			if left == 0 {
				size *= g.plan.Recall.Waves.Growth
				wave, left = wave+1, size
			}
			left--
			t := &l.targets[i]
			t.wave, t.index = wave, len(g.plan.Targets)
			g.plan.Targets = append(g.plan.Targets, l.target(t))
		}
	}
	if total > 0 {
		g.waves = wave
	}
}

// target describes one target for the store.
func (l *laid) target(t *laidTarget) store.PlannedTarget {
	p := store.PlannedTarget{RecallTarget: tallystick.RecallTarget{Kind: tallystick.TargetPlace, Wave: t.wave, Old: bestName(l.old), Subject: l.subject}}
	facts := doors.Task{Old: l.old, SSH: len(l.old.SSH) > 0, Secret: l.secret}
	if l.holder != nil {
		p.Holder, p.Owner, p.Customer = l.holder.Name, l.holder.Owner, l.holder.Customer
		facts.Algorithm, facts.Names = l.holder.Issue.Algorithm, l.holder.Issue.Names
		facts.Listeners = l.holder.view.Listeners
	}
	if t.relying != nil {
		p.Kind, p.Relying = tallystick.TargetConnection, t.relying.Name
		p.Owner, p.Customer = cmp.Or(t.relying.Owner, p.Owner), cmp.Or(t.relying.Customer, p.Customer)
		p.Grants = grantsOf(l.old, t.relying)
		p.RelyingParty = partyOfDoor(t.relying)
		facts.Like, facts.Listeners, facts.RelyingParty = l.old, listenersFor(p.Grants, t.relying.view.Listeners), p.RelyingParty
		facts.Told = t.relying.told
		facts.RelyingParties = partiesAt(t.relying)
	}
	if l.secret != nil {
		p.Customer, p.RelyingParty = l.secret.Customer, l.secret.System
	}
	p.Facts = encoded(facts)
	return p
}

// listenersFor leaves out the listeners of accounts that a credential does not open:
// there a new one is refused like the old.
func listenersFor(grants []string, all []driver.Listener) []driver.Listener {
	var list []driver.Listener
	for _, one := range all {
		if user := one.Details["user"]; user == "" || len(grants) == 0 || slices.Contains(grants, user) {
			list = append(list, one)
		}
	}
	if len(list) == 0 {
		return all
	}
	return list
}

// partyOfDoor returns what uses call a door.
func partyOfDoor(s *seen) string {
	if len(s.RelyingParties) > 0 {
		return s.RelyingParties[0]
	}
	if len(s.view.Listeners) > 0 {
		return partyOf(s.view.Listeners[0])
	}
	return ""
}

// partiesAt returns all names that uses may have for a door: those of the configuration,
// and its addresses by each of the schemes that readers of logs write.
func partiesAt(s *seen) []string {
	list := slices.Clone(s.RelyingParties)
	for _, one := range s.view.Listeners {
		host, port, err := net.SplitHostPort(one.Address)
		if err != nil {
			continue
		}
		for _, scheme := range []string{one.Protocol, strings.TrimSuffix(one.Protocol, "s")} {
			for _, name := range []string{host, one.ServerName} {
				if name != "" {
					list = append(list, scheme+":"+net.JoinHostPort(name, port))
				}
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// grantsOf says as whom a credential gets in.
func grantsOf(p driver.Public, s *seen) []string {
	var list []string
	names := p.Names()
	for _, a := range s.view.Accepts {
		if a.As != "" && slices.Contains(names, tallystick.NormalName(a.Name)) {
			list = append(list, a.As)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// addManuals makes the tasks for people. It returns the steps that must be done before
// anything is revoked.
func (g *graph) addManuals(manuals []manual) []int {
	var holdUps []int
	for _, m := range manuals {
		if m.distrusts != nil {
			continue
		}
		m.Wave = 1
		g.plan.Targets = append(g.plan.Targets, m.PlannedTarget)
		step := g.add(store.PlannedStep{Act: tallystick.ActPerson, Phase: tallystick.PhaseActivate, Targets: []int{len(g.plan.Targets) - 1}, From: -1})
		if m.holdsUp {
			holdUps = append(holdUps, step)
		}
	}
	return holdUps
}

// distrust has people take CAs that are burnt out of what doors trust, once nobody signs in
// there with what these have signed.
func (g *graph) distrust(manuals []manual) {
	for _, m := range manuals {
		if m.distrusts == nil {
			continue
		}
		var after []int
		for _, l := range g.groups {
			for _, t := range l.targets {
				if t.relying == m.distrusts {
					after = behind(after, t.latest)
				}
			}
		}
		m.Wave = 1
		g.plan.Targets = append(g.plan.Targets, m.PlannedTarget)
		g.add(store.PlannedStep{Act: tallystick.ActPerson, Phase: tallystick.PhaseRevoke, Targets: []int{len(g.plan.Targets) - 1}, From: -1, After: unique(after)})
	}
}

// prepare has new keys and certificates made, and trusted.
func (g *graph) prepare() {
	for wave := 1; wave <= g.waves; wave++ {
		before := g.before(tallystick.PhasePrepare, wave)
		g.each(wave, func(l *laid, t *laidTarget) {
			if !l.renews {
				return
			}
			if l.steps.gives < 0 {
				l.steps.gives = g.shared(l, tallystick.ActKey, tallystick.PhasePrepare, wave, l.gives(t), -1, before...)
				if len(l.old.Chain) > 0 {
					l.steps.gives = g.shared(l, tallystick.ActIssue, tallystick.PhasePrepare, wave, nil, l.steps.gives, l.steps.gives)
				}
			}
			t.latest = l.steps.gives
			if t.relying != nil && l.secret == nil && can(t.relying, "trust") {
				t.latest = g.step(l, t, tallystick.ActTrust, tallystick.PhasePrepare, t.relying, append(before, l.steps.gives)...)
			}
		})
		g.gate(tallystick.PhasePrepare, wave)
	}
}

// activate has the new ones used, and tries them.
func (g *graph) activate() {
	for wave := 1; wave <= g.waves; wave++ {
		before := g.before(tallystick.PhaseActivate, wave)
		g.each(wave, func(l *laid, t *laidTarget) {
			if l.steps.gives < 0 {
				g.byHand(l, t, tallystick.PhaseActivate, before)
				return
			}
			if l.steps.install < 0 {
				after := slices.Clone(before)
				for _, one := range l.targets {
					after = append(after, one.latest)
				}
				l.steps.install = g.shared(l, tallystick.ActInstall, tallystick.PhaseActivate, wave, l.gives(t), l.steps.gives, unique(after)...)
			}
			t.latest = l.steps.install
			if t.relying != nil && len(t.relying.view.Listeners) > 0 {
				t.latest = g.step(l, t, tallystick.ActProbe, tallystick.PhaseActivate, l.gives(t), unique(append(slices.Clone(before), l.steps.install))...)
			}
		})
		g.gate(tallystick.PhaseActivate, wave)
	}
}

// gives returns the door at which a target's new one is made, given to its holder and tried:
// that of the holder, or of an entrusted secret the one that lets it in.
func (l *laid) gives(t *laidTarget) *seen {
	if l.secret != nil {
		return t.relying
	}
	return l.holder
}

// byHand asks a person where the holder has no driver that installs. A group without
// any holder has a task of its own.
func (g *graph) byHand(l *laid, t *laidTarget, phase tallystick.Phase, after []int) {
	if l.holder == nil {
		return
	}
	why := "No issuer is named for the door " + l.holder.Name
	if !can(l.holder, "install") {
		why = "No driver can put another credential into the door " + l.holder.Name
	}
	g.plan.Targets[t.index].Instructions = why + ". Have a new one made, trusted and put there, and say that it is done."
	t.latest = g.step(l, t, tallystick.ActPerson, phase, nil, after...)
}

// drain waits until holders are quiet.
func (g *graph) drain() {
	for wave := 1; wave <= g.waves; wave++ {
		before := g.before(tallystick.PhaseDrain, wave)
		g.each(wave, func(l *laid, t *laidTarget) {
			if t.relying != nil {
				t.latest = g.step(l, t, tallystick.ActDrain, tallystick.PhaseDrain, nil, unique(behind(before, t.latest))...)
			}
		})
		g.gate(tallystick.PhaseDrain, wave)
	}
}

// revoke has the issuers revoke, each once and when nobody needs the old ones any
// more; then the doors refuse, wave by wave, and each wave is proven before the next.
func (g *graph) revoke(holdUps []int) {
	for _, l := range g.groups {
		if _, there := g.revokes[l.issuer]; there || l.issuer == "" {
			continue
		}
		g.revokes[l.issuer] = g.revokeStep(l.issuer, holdUps)
	}
	for wave := 1; wave <= g.waves; wave++ {
		before := g.before(tallystick.PhaseProve, wave)
		g.each(wave, func(l *laid, t *laidTarget) {
			after := behind(append(slices.Clone(before), holdUps...), t.latest)
			if step, revoked := g.revokes[l.issuer]; revoked && !letsInByName(t.relying, l.old) {
				after = append(after, step)
			}
			g.refuse(l, t, unique(after))
		})
		g.gate(tallystick.PhaseProve, wave)
	}
}

// letsInByName says whether a door lets a credential in one by one. It refuses it without
// a word of its issuer, and need not wait until everybody else is ready for that.
func letsInByName(s *seen, p driver.Public) bool {
	if s == nil {
		return false
	}
	names := p.Names()
	return slices.ContainsFunc(s.view.Accepts, func(a driver.Accepted) bool { return slices.Contains(names, tallystick.NormalName(a.Name)) })
}

// revokeStep makes the step that has one issuer revoke all of the groups' old ones.
func (g *graph) revokeStep(issuer string, holdUps []int) int {
	after := slices.Clone(holdUps)
	var targets []int
	for _, l := range g.groups {
		if l.issuer != issuer {
			continue
		}
		for _, t := range l.targets {
			targets = append(targets, t.index)
			after = behind(after, t.latest)
		}
	}
	return g.add(store.PlannedStep{
		Act: tallystick.ActRevoke, Phase: tallystick.PhaseRevoke, Targets: targets, From: -1, Limit: "issuer/" + issuer,
		Task: encoded(issuerTask{Issuer: issuer}), After: unique(after),
	})
}

// refuse makes one door refuse the old one, and has that tried.
func (g *graph) refuse(l *laid, t *laidTarget, after []int) {
	if t.relying == nil {
		g.step(l, t, tallystick.ActProve, tallystick.PhaseProve, l.holder, after...)
		return
	}
	if why := l.byHand(t.relying); why != "" {
		g.plan.Targets[t.index].Instructions = why
		after = []int{g.step(l, t, tallystick.ActPerson, tallystick.PhaseRevoke, nil, after...)}
	} else {
		if l.holder != nil && len(t.relying.view.Listeners) > 0 {
			after = append(after, g.step(l, t, tallystick.ActHold, tallystick.PhaseRevoke, l.holder, after...))
		}
		after = []int{g.step(l, t, tallystick.ActBlock, tallystick.PhaseRevoke, t.relying, after...)}
	}
	prover := t.relying // without the old key all that can be done is to look
	if l.holder != nil && l.secret == nil {
		prover = l.holder
	}
	g.step(l, t, tallystick.ActProve, tallystick.PhaseProve, prover, after...)
}

// byHand says what a person has to do to make a door refuse the old one; "" where its driver
// can.
func (l *laid) byHand(s *seen) string {
	switch {
	case l.secret != nil:
		return ""
	case !can(s, "block"):
		return "No driver can make the door " + s.Name + " refuse a credential. Do it there, and say that it is done."
	case s.Listed && !l.listed:
		return fmt.Sprintf("The door %s refuses one credential by the revocation list of its CA and in no other way, and the list of %s is not to be had here. "+
			"Have that CA revoke the old one, give its list to the door, and say that it is done.", s.Name, cmp.Or(issuerName(l.old), "its issuer"))
	}
	return ""
}

// each calls fn for the targets of a wave that have doors.
func (g *graph) each(wave int, fn func(*laid, *laidTarget)) {
	for _, l := range g.groups {
		for i := range l.targets {
			if l.targets[i].wave == wave {
				fn(l, &l.targets[i])
			}
		}
	}
}

// before returns what the first steps of a phase wait for in a wave: the gate of the
// wave before it.
func (g *graph) before(phase tallystick.Phase, wave int) []int {
	if step, there := g.gates[gateAt{phase, wave - 1}]; there {
		return []int{step}
	}
	return nil
}

// gate makes the gate of a wave, for the next one.
func (g *graph) gate(phase tallystick.Phase, wave int) {
	if wave < g.waves {
		g.gates[gateAt{phase, wave}] = g.add(store.PlannedStep{Act: tallystick.ActGate, Phase: phase, Wave: wave, From: -1, After: g.before(phase, wave)})
	}
}

// step adds a step of one target, at a door or, with nil, at the server.
func (g *graph) step(l *laid, t *laidTarget, act tallystick.Act, phase tallystick.Phase, at *seen, after ...int) int {
	return g.add(l.planned(act, phase, t.wave, at, l.steps.gives, []int{t.index}, after))
}

// shared adds a step of all targets of a group.
func (g *graph) shared(l *laid, act tallystick.Act, phase tallystick.Phase, wave int, at *seen, from int, after ...int) int {
	var targets []int
	for _, t := range l.targets {
		targets = append(targets, t.index)
	}
	p := l.planned(act, phase, wave, at, from, targets, after)
	if act == tallystick.ActIssue {
		p.Task, p.Limit = encoded(l.issue), "issuer/"+l.issue.Issuer
	}
	return g.add(p)
}

func (l *laid) planned(act tallystick.Act, phase tallystick.Phase, wave int, at *seen, from int, targets, after []int) store.PlannedStep {
	p := store.PlannedStep{Act: act, Phase: phase, Wave: wave, Targets: targets, From: from, After: unique(after)}
	if at != nil {
		p.Door, p.Agent, p.Limit, p.Beside = at.Name, at.Agent, at.Driver, l.secret != nil
	}
	return p
}

func (g *graph) add(s store.PlannedStep) int {
	g.plan.Steps = append(g.plan.Steps, s)
	return len(g.plan.Steps) - 1
}

func can(s *seen, verb string) bool { return slices.Contains(s.Verbs, verb) }

// behind adds a step to wait for; -1 is none.
func behind(after []int, step int) []int {
	if step < 0 {
		return after
	}
	return append(after, step)
}

func unique(list []int) []int {
	list = slices.DeleteFunc(slices.Clone(list), func(i int) bool { return i < 0 })
	slices.Sort(list)
	return slices.Compact(list)
}

// encoded writes what can always be written.
func encoded(v any) json.RawMessage {
	text, err := json.Marshal(v)
	if err != nil {
		return nil
	}
	return text
}
