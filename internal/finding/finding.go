// SPDX-License-Identifier: Apache-2.0

package finding

import (
	"context"
	"slices"

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
	f, err := e.narrow(ctx, f)
	if err != nil {
		return store.Page[store.FindingRow]{}, 0, err
	}
	list, err := e.DB.Findings(ctx, f, page)
	if err != nil {
		return list, 0, err
	}
	n, err := e.DB.CountFindings(ctx, f)
	return list, n, err
}

// narrow returns a filter as the store takes it: as of now, and with the whole
// fingerprint of the credential.
func (e *Engine) narrow(ctx context.Context, f store.FindingFilter) (store.FindingFilter, error) {
	f.Now = e.Now()
	if f.Credential == "" {
		return f, nil
	}
	var err error
	f.Credential, err = e.DB.Resolve(ctx, string(f.Credential))
	return f, err
}

// Finding returns one finding.
func (e *Engine) Finding(ctx context.Context, actor gate.Actor, id int64) (store.FindingRow, error) {
	if err := e.Gate.Check(ctx, actor, gate.ReadInventory, objectOf(id)); err != nil {
		return store.FindingRow{}, err
	}
	return e.DB.Finding(ctx, id)
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

// RuleNames are the rules that judge here.
func (e *Engine) RuleNames() []string { return e.names(func(rule.Rule) bool { return true }) }
