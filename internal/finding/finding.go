// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/rule"
)

// A Group is a cause: a rule with how many findings it has.
type Group struct {
	store.FindingGroup
	Rule rule.Rule
}

// List returns a page of findings and how many there are, up to store.CountCap.
func (e *Engine) List(ctx context.Context, actor gate.Actor, f store.FindingFilter, page store.PageRequest) (store.Page[store.FindingRow], int64, error) {
	if err := e.Gate.Check(ctx, actor, gate.ReadInventory, "findings"); err != nil {
		return store.Page[store.FindingRow]{}, 0, err
	}
	f.Now = e.Now()
	list, err := e.DB.Findings(ctx, f, page)
	if err != nil {
		return list, 0, err
	}
	n, err := e.DB.CountFindings(ctx, f)
	return list, n, err
}

// Groups returns the causes of open findings, the worst first.
func (e *Engine) Groups(ctx context.Context, actor gate.Actor) ([]Group, error) {
	if err := e.Gate.Check(ctx, actor, gate.ReadInventory, "findings"); err != nil {
		return nil, err
	}
	counts, err := e.DB.FindingGroups(ctx, e.Now())
	groups := make([]Group, 0, len(counts))
	for _, c := range counts {
		groups = append(groups, Group{FindingGroup: c, Rule: e.Rule(c.Rule)})
	}
	return groups, err
}

// Rule returns the rule of a name. A finding may outlive its rule; then only
// the name is filled.
func (e *Engine) Rule(name string) rule.Rule {
	i := slices.IndexFunc(e.Rules, func(r rule.Rule) bool { return r.Name == name })
	if i < 0 {
		return rule.Rule{Name: name, Title: name}
	}
	return e.Rules[i]
}

// maxAcceptance bounds how long a finding may be left standing, so that what
// was accepted is looked at again.
const maxAcceptance = 366 * 24 * time.Hour

// Accept lets a finding stand until a day, in the actor's name and for a reason.
func (e *Engine) Accept(ctx context.Context, actor gate.Actor, id int64, reason string, until time.Time) error {
	reason = strings.TrimSpace(reason)
	now := e.Now()
	switch {
	case reason == "":
		return fmt.Errorf("%w: say why the finding is accepted", tallystick.ErrInvalid)
	case !until.After(now):
		return fmt.Errorf("%w: the acceptance must end on a day to come", tallystick.ErrInvalid)
	case until.Sub(now) > maxAcceptance:
		return fmt.Errorf("%w: an acceptance lasts a year at most", tallystick.ErrInvalid)
	}
	if err := e.Gate.Check(ctx, actor, gate.AcceptFinding, objectOf(id)+" until "+until.UTC().Format(time.DateOnly)); err != nil {
		return err
	}
	err := e.DB.AcceptFinding(ctx, id, tallystick.Acceptance{By: actor.Name, Reason: reason, Until: until}, now)
	e.Wake(false)
	return err
}

// Reopen takes an acceptance back.
func (e *Engine) Reopen(ctx context.Context, actor gate.Actor, id int64) error {
	if err := e.Gate.Check(ctx, actor, gate.AcceptFinding, objectOf(id)+" no longer"); err != nil {
		return err
	}
	err := e.DB.AcceptFinding(ctx, id, tallystick.Acceptance{}, e.Now())
	e.Wake(false)
	return err
}

// Assign says who is to see to a finding; "" is nobody.
func (e *Engine) Assign(ctx context.Context, actor gate.Actor, id int64, assignee string) error {
	assignee = strings.TrimSpace(assignee)
	if err := e.Gate.Check(ctx, actor, gate.AssignFinding, objectOf(id)+" to "+assignee); err != nil {
		return err
	}
	return e.DB.AssignFinding(ctx, id, assignee, e.Now())
}

func objectOf(id int64) string { return "finding " + strconv.FormatInt(id, 10) }
