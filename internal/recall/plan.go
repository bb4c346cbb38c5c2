// SPDX-License-Identifier: Apache-2.0

package recall

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/order"
	"github.com/tallystick/tallystick/internal/store"
)

// A Request is what somebody wants recalled. What is zero is as the configuration has it.
type Request struct {
	Name       string            `json:"name,omitempty"` // "" is made from the date and what is burnt
	What       tallystick.Burnt  `json:"what"`
	Why        string            `json:"why,omitempty"`
	Since      time.Time         `json:"since,omitzero"`
	Deadline   time.Time         `json:"deadline,omitzero"`
	AtDeadline string            `json:"at_deadline,omitempty"`
	Quiet      time.Duration     `json:"quiet,omitempty"`
	Waves      *tallystick.Waves `json:"waves,omitempty"`
	Rehearse   time.Duration     `json:"rehearse,omitempty"`
}

// A Plan is what a recall would do.
type Plan struct {
	Recall  tallystick.Recall         `json:"recall"`
	Targets []tallystick.RecallTarget `json:"targets"`
	Waves   []PlannedWave             `json:"waves"`
	Steps   int                       `json:"steps"`
	// People is how many tasks only a person can do.
	People int `json:"people"`
	// Unseen are doors that could not be looked at, with why: what is there is not in the plan.
	Unseen []string `json:"unseen,omitempty"`
	// Warnings say what the plan cannot promise, the gravest first.
	Warnings []string `json:"warnings,omitempty"`
	// Shortest is how long it takes at least: the quiet time, and the work in its waves.
	// What people have to do is not in it.
	Shortest time.Duration `json:"shortest"`
}

// A PlannedWave is one wave of a plan.
type PlannedWave struct {
	Wave    int `json:"wave"`
	Targets int `json:"targets"`
	Steps   int `json:"steps"`
}

// An issueTask says what the issue step of a target asks for.
type issueTask struct {
	Issuer   string        `json:"issuer"`
	Profile  string        `json:"profile,omitempty"`
	Lifetime time.Duration `json:"lifetime,omitempty"`
}

// issueTaskOf says how the holder of a group gets its next certificate: as its
// configuration says, else from the issuer of the old one, for what the old one is for.
// What a CA that is burnt itself has signed needs another issuer.
func issueTaskOf(g *group, issuer string, what tallystick.Burnt) issueTask {
	if g.holder == nil {
		return issueTask{}
	}
	i := g.holder.Issue
	task := issueTask{Issuer: cmp.Or(i.Issuer, issuer), Profile: cmp.Or(i.Profile, profileOf(g.old)), Lifetime: i.Lifetime}
	if g.holder.Agent != "" {
		task.Issuer = cmp.Or(issuer, i.Issuer)
	}
	if what.Kind == tallystick.BurntIssuer && (task.Issuer == what.Value || i.Issuer == "") {
		task.Issuer = ""
	}
	return task
}

// profileOf returns the profile that fits what a certificate is for.
func profileOf(p driver.Public) string {
	chain := parseChain(p.Chain)
	if len(chain) == 0 {
		return ""
	}
	server, client := slices.Contains(chain[0].ExtKeyUsage, x509.ExtKeyUsageServerAuth), slices.Contains(chain[0].ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	switch {
	case server && client:
		return "mutual"
	case client:
		return "client"
	}
	return "server"
}

// Plan says what a recall would do, and does nothing: it looks at every door.
func (e *Engine) Plan(ctx context.Context, who gate.Actor, r Request) (Plan, error) {
	if err := e.Gate.Check(ctx, who, gate.PlanRecall, r.What.String()); err != nil {
		return Plan{}, err
	}
	p, _, err := e.plan(ctx, who, r)
	return p, err
}

// plan makes a plan, for people and for the store.
func (e *Engine) plan(ctx context.Context, who gate.Actor, r Request) (Plan, store.RecallPlan, error) {
	recall, err := e.recallOf(who, r)
	if err != nil {
		return Plan{}, store.RecallPlan{}, err
	}
	look := e.lookAtAll
	if recall.What.Kind == tallystick.BurntEntrusted {
		look = e.allDoors // its accounts are looked at, and nothing that doors show
	}
	all, err := look(ctx)
	if err != nil {
		return Plan{}, store.RecallPlan{}, err
	}
	b, err := e.resolve(ctx, r.What, all)
	if err != nil {
		return Plan{}, store.RecallPlan{}, fmt.Errorf("couldn't find out what is burnt: %w", err)
	}
	groups, manuals, err := e.reach(ctx, recall.What, b, all)
	if err != nil {
		return Plan{}, store.RecallPlan{}, err
	}
	revokers, err := e.revokers(ctx)
	if err != nil {
		return Plan{}, store.RecallPlan{}, err
	}
	var laid store.RecallPlan
	var not []string
	if recall.Rehearse > 0 {
		laid, not = rehearse(recall, groups)
	} else {
		laid = lay(recall, groups, manuals, revokers)
	}
	p := planFor(laid, b, all)
	p.Warnings = append(p.Warnings, not...)
	reading, err := e.stillReads(ctx, recall.What, groups)
	if err != nil {
		return Plan{}, store.RecallPlan{}, err
	}
	p.Warnings = append(append(reading, p.Warnings...), append(nobodys(groups), oneAtATime(groups)...)...)
	p.Warnings = append(append(p.Warnings, doubts(groups, revokers)...), append(quietDoors(groups), e.outOfReach(groups, all)...)...)
	if recall.Deadline.Before(e.Now().Add(p.Shortest)) && recall.Rehearse == 0 {
		p.Warnings = append([]string{fmt.Sprintf("the deadline is in %s, and it takes %s at least: what is not ready by then is %s",
			recall.Deadline.Sub(e.Now()).Round(time.Minute), p.Shortest.Round(time.Minute), map[bool]string{true: "blocked all the same", false: "left"}[recall.AtDeadline == tallystick.AtDeadlineBlock])}, p.Warnings...)
	}
	return p, laid, nil
}

// reach finds out where what is burnt is: groups that doors can work at, and what is left
// to people.
func (e *Engine) reach(ctx context.Context, what tallystick.Burnt, b *burnt, all []*seen) ([]*group, []manual, error) {
	groups := blast(b, all)
	manuals, err := e.manuals(ctx, b, all, groups)
	if err == nil {
		err = e.markListed(ctx, groups)
	}
	if err != nil {
		return nil, nil, err
	}
	rotated, people, err := e.rotations(ctx, what, all)
	return append(groups, rotated...), append(manuals, people...), err
}

// markListed notes of which credentials the list of the CA is to be had here, where a door
// needs it.
func (e *Engine) markListed(ctx context.Context, groups []*group) error {
	for _, g := range groups {
		if e.CA == nil || !slices.ContainsFunc(g.relying, func(s *seen) bool { return s.Listed }) {
			continue
		}
		lists, err := e.CA.Lists(ctx, g.old)
		if err != nil {
			return fmt.Errorf("couldn't look for the revocation list of %s: %w", issuerName(g.old), err)
		}
		g.listed = len(lists) > 0
	}
	return nil
}

// planFor describes a plan for people.
func planFor(laid store.RecallPlan, b *burnt, all []*seen) Plan {
	p := Plan{Recall: laid.Recall, Targets: []tallystick.RecallTarget{}, Steps: len(laid.Steps), Warnings: slices.Clone(b.warn)}
	waves := map[int]*PlannedWave{}
	wave := func(n int) *PlannedWave {
		if waves[n] == nil {
			waves[n] = &PlannedWave{Wave: n}
		}
		return waves[n]
	}
	for _, t := range laid.Targets {
		p.Targets = append(p.Targets, t.RecallTarget)
		wave(t.Wave).Targets++
	}
	for _, s := range laid.Steps {
		if s.Act == tallystick.ActPerson {
			p.People++
		}
		if s.Wave > 0 {
			wave(s.Wave).Steps++
		}
	}
	for _, w := range waves {
		p.Waves = append(p.Waves, *w)
	}
	slices.SortFunc(p.Waves, func(a, b PlannedWave) int { return cmp.Compare(a.Wave, b.Wave) })
	for _, s := range all {
		if s.err != nil {
			p.Unseen = append(p.Unseen, s.Name+": "+s.err.Error())
		}
	}
	if len(laid.Targets) == 0 && laid.Recall.What.Kind == tallystick.BurntEntrusted {
		p.Warnings = append(p.Warnings, "it means no entrusted secret: there is none, or the vault has a newer value of each")
	} else if len(laid.Targets) == 0 {
		p.Warnings = append(p.Warnings, "nothing holds it and nothing lets it in, as far as doors, inventory and uses show")
	}
	p.Shortest = shortest(laid)
	return p
}

// doubts says what a plan cannot promise.
func doubts(groups []*group, revokers func(*group) string) []string {
	var list []string
	noIssuer, noKey := map[string]bool{}, map[string]bool{}
	for _, g := range groups {
		if len(g.old.Chain) > 0 && revokers(g) == "" {
			noIssuer[issuerName(g.old)] = true
		}
		if g.holder == nil && g.secret == nil {
			noKey[g.subject] = true
		}
	}
	for name := range noIssuer {
		list = append(list, "no issuer of the configuration can revoke what "+name+" signed: ask its CA, and see that doors which only read its lists get one")
	}
	for subject := range noKey {
		list = append(list, "no door has the private key of "+subject+", so that it is refused can be looked at and not be tried")
	}
	slices.Sort(list)
	return list
}

// quietDoors names those that let something in and showed nothing at any address: their
// servers may be down, and nothing can be tried there.
func quietDoors(groups []*group) []string {
	var list []string
	for _, g := range groups {
		if g.secret != nil {
			continue // its account was looked at
		}
		for _, s := range g.relying {
			shows := slices.ContainsFunc(s.view.Shown, func(one driver.Shown) bool { return one.Live })
			showing := slices.ContainsFunc(s.view.Listeners, func(l driver.Listener) bool { return l.Protocol != "oauth" }) // which has a certificate of its operator's
			if warning := "the door " + s.Name + " answers at none of its addresses now"; !shows && showing && !slices.Contains(list, warning) {
				list = append(list, warning)
			}
		}
	}
	return list
}

func issuerName(p driver.Public) string {
	if chain := parseChain(p.Chain); len(chain) > 0 {
		return chain[0].Issuer.String()
	}
	return ""
}

// revokers returns what finds the issuer that can revoke a certificate: "ca/NAME" of a
// CA of ours that signed it, or an issuer of the configuration that says so.
func (e *Engine) revokers(ctx context.Context) (func(*group) string, error) {
	all, err := e.DB.Authorities(ctx)
	if err != nil {
		return nil, err
	}
	bySubject := map[string][]store.Authority{}
	for _, a := range all {
		if chain := parseChain([][]byte{a.Certificate}); len(chain) > 0 {
			bySubject[string(chain[0].RawSubject)] = append(bySubject[string(chain[0].RawSubject)], a)
		}
	}
	return func(g *group) string {
		chain := parseChain(g.old.Chain)
		if len(chain) == 0 {
			return ""
		}
		for _, a := range bySubject[string(chain[0].RawIssuer)] {
			if signed(parseChain([][]byte{a.Certificate})[0], chain[0]) {
				return order.OwnPrefix + a.Name
			}
		}
		return e.foreignRevoker(g)
	}, nil
}

// foreignRevoker returns the issuer of the configuration that a group's holder has its
// certificates from, when that can revoke.
func (e *Engine) foreignRevoker(g *group) string {
	if g.holder == nil || g.holder.Issue.Issuer == "" || strings.HasPrefix(g.holder.Issue.Issuer, order.OwnPrefix) || e.Issuers == nil {
		return ""
	}
	issuer, err := e.Issuers(g.holder.Issue.Issuer)
	if _, revokes := issuer.(driver.Revoker); err != nil || !revokes {
		return ""
	}
	return g.holder.Issue.Issuer
}

// stepTime is how long one step takes at a door, for estimates: what was measured at
// real servers (docs/benchmarks.md) is 0.1 to 2 s.
const stepTime = 2 * time.Second

// shortest estimates how long a plan takes: the work of each wave on as many workers as
// there are, the phases of a wave one after the other, and the quiet time once.
func shortest(laid store.RecallPlan) time.Duration {
	work := map[[2]int]int{}
	drains := false
	for _, s := range laid.Steps {
		if s.Door != "" {
			work[[2]int{s.Wave, phaseIndex(s.Phase)}]++
		}
		drains = drains || s.Act == tallystick.ActDrain
	}
	var total time.Duration
	for _, n := range work {
		total += time.Duration((n+defaultWorkers-1)/defaultWorkers) * stepTime
	}
	if drains {
		total += laid.Recall.Quiet
	}
	return total + laid.Recall.Rehearse
}

func phaseIndex(p tallystick.Phase) int { return slices.Index(tallystick.Phases(), p) }

// allDoors returns the doors of this server and of all agents, by name.
func (e *Engine) allDoors(ctx context.Context) ([]*seen, error) {
	var list []*seen
	for _, d := range e.Doors.Doors() {
		list = append(list, &seen{Door: d})
	}
	if e.Agents != nil {
		theirs, err := e.Agents.Doors(ctx)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the doors of agents: %w", err)
		}
		for _, d := range theirs {
			s := &seen{Door: d.Door, view: d.View, looked: d.Looked}
			// An agent may be in wrong hands: what it gets is what the old one is for, from the
			// issuer of that, whatever it would like.
			s.Issue = doors.Issue{Issuer: d.Issue.Issuer}
			if d.Error != "" {
				s.err = fmt.Errorf("%w: %s", tallystick.ErrUnavailable, d.Error)
			}
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b *seen) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// recallOf completes a request. Its deadline is kept to the second, so that what is
// approved is what is written.
func (e *Engine) recallOf(who gate.Actor, r Request) (tallystick.Recall, error) {
	now := e.Now().UTC()
	one := tallystick.Recall{
		Name: r.Name, What: r.What, Why: strings.TrimSpace(r.Why), Since: r.Since.UTC(), Deadline: r.Deadline.UTC().Truncate(time.Second),
		AtDeadline: cmp.Or(r.AtDeadline, e.Defaults.AtDeadline), Quiet: cmp.Or(r.Quiet, e.Defaults.Quiet), Waves: e.Defaults.Waves,
		Rehearse: r.Rehearse, State: tallystick.RecallWaiting, OpenedBy: who.Name, Opened: now,
	}
	if r.Deadline.IsZero() {
		one.Deadline = now.Add(e.Defaults.Deadline).Truncate(time.Second)
	}
	if r.Waves != nil {
		one.Waves = *r.Waves
	}
	if one.Name == "" {
		one.Name = defaultName(one, now)
	}
	wrong := func(format string, args ...any) (tallystick.Recall, error) {
		return tallystick.Recall{}, fmt.Errorf("%w: "+format, append([]any{tallystick.ErrInvalid}, args...)...)
	}
	switch {
	case !goodName.MatchString(one.Name) || len(one.Name) > 64 || one.Name == "new":
		return wrong("%.80q cannot be the name of a recall: it is of lower-case letters, digits and hyphens, 64 at most", one.Name)
	case one.AtDeadline != tallystick.AtDeadlineBlock && one.AtDeadline != tallystick.AtDeadlineHold:
		return wrong("%.80q is not what can happen at the deadline: it is block or hold", one.AtDeadline)
	case !one.Deadline.After(now):
		return wrong("the deadline %s has passed", one.Deadline.Format(time.RFC3339))
	case !one.Since.IsZero() && one.Since.After(now):
		return wrong("it cannot be burnt since %s, which is to come", one.Since.Format(time.RFC3339))
	case one.Quiet < 0 || one.Rehearse < 0:
		return wrong("a time cannot be less than nothing")
	case one.Rehearse > 0 && one.What.Kind == tallystick.BurntEntrusted:
		return wrong("entrusted secrets are not rehearsed: a system that refuses one takes it back only as a change of it")
	case one.Rehearse > longestRehearsal:
		return wrong("a rehearsal of more than %s is an outage", longestRehearsal)
	case one.Waves.Canary < 1 || one.Waves.Growth < 1 || one.Waves.Errors < 0 || one.Waves.Errors > 1000:
		return wrong("waves begin with 1 target or more, grow by a factor of 1 or more, and bear errors from 0 to 1000 thousandths")
	}
	return one, nil
}

// longestRehearsal bounds for how long doors refuse what should get in.
const longestRehearsal = time.Hour

var goodName = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// defaultName makes a name that tells of the day and of what is burnt.
func defaultName(r tallystick.Recall, now time.Time) string {
	tail := strings.Trim(notInName.ReplaceAllString(strings.ToLower(r.What.Value), "-"), "-")
	return strings.Trim(fmt.Sprintf("%s-%s-%.24s", now.Format("2006-01-02"), r.What.Kind, tail), "-")
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// An issuerTask says who revokes.
type issuerTask struct {
	Issuer string `json:"issuer"`
}
