// SPDX-License-Identifier: Apache-2.0

package sigma

import "fmt"

// A relation is a correlation of a set.
type relation struct {
	rule   *Rule
	inputs []input
	above  []above // what relates its hits in turn
	quiet  bool    // only there for another one
	groups map[string]*group
	loss   Loss
	last   uint64 // the number of the event that it counted last
}

// An input is what a relation looks up in the events of one of its rules.
type input struct {
	groupBy []*field // nil for a hit of another correlation, whose group has it
	fields  []*field
}

// above says that something is an input of a relation.
type above struct {
	relation *relation
	input    int
}

// correlate resolves the correlations of the set.
func (s *Set) correlate(options SetOptions) Refusals {
	r := resolver{set: s, byName: map[string][]int{}, done: map[int]*relation{}, why: map[int]string{}, busy: map[int]bool{}}
	for i, rule := range s.rules {
		for _, name := range []string{rule.ID, rule.Name} {
			if name != "" {
				r.byName[name] = append(r.byName[name], i)
			}
		}
	}
	s.stream = newStream(options, len(s.rules))
	var refused Refusals
	for i, rule := range s.rules {
		if rule.Correlation == nil {
			continue
		}
		if _, reason := r.resolve(i); reason != "" {
			refused = append(refused, &Refusal{Rule: rule.Label(), ID: rule.ID, Place: rule.Correlation.place, Reason: reason})
		}
	}
	r.connect()
	return refused
}

// A resolver finds the rules of correlations.
type resolver struct {
	set    *Set
	byName map[string][]int
	done   map[int]*relation // nil for one that was refused
	why    map[int]string
	busy   map[int]bool
}

// resolve returns the relation of a correlation rule, and those below it first.
func (r *resolver) resolve(i int) (*relation, string) {
	if known, ok := r.done[i]; ok {
		return known, r.why[i]
	}
	if r.busy[i] {
		return nil, "it relates itself"
	}
	r.busy[i] = true
	rule := r.set.rules[i]
	rel := &relation{rule: rule, groups: map[string]*group{}, loss: Loss{Rule: rule}}
	reason := ""
	for _, name := range rule.Correlation.Rules {
		var in input
		if in, reason = r.input(rule, name); reason != "" {
			rel = nil
			break
		}
		rel.inputs = append(rel.inputs, in)
	}
	r.done[i], r.why[i] = rel, reason
	return rel, reason
}

// input looks up one of the rules of a correlation.
func (r *resolver) input(rule *Rule, name string) (in input, reason string) {
	c := rule.Correlation
	switch found := r.byName[name]; {
	case len(found) == 0:
		return in, fmt.Sprintf("there is no rule with name or id %q, or it was refused", name)
	case len(found) > 1:
		return in, fmt.Sprintf("more than one rule has the name or id %q", name)
	}
	below := r.set.rules[r.byName[name][0]]
	if below.Correlation == nil {
		lookUp := func(names []string) (fields []*field) {
			for _, f := range names {
				if own := c.Aliases[f]; own != nil {
					if f = own[below.Name]; f == "" {
						f = own[below.ID]
					}
					if f == "" {
						reason = fmt.Sprintf("an alias has no field for rule %q", name)
						return nil
					}
				}
				at, mapped := below.fieldMap.field(f)
				if !mapped && below.mappedOnly {
					reason = fmt.Sprintf("field %q is no member of the records kept", f)
				}
				fields = append(fields, at)
			}
			return fields
		}
		in.groupBy, in.fields = lookUp(c.GroupBy), lookUp(c.Fields)
		return in, reason
	}
	if _, reason := r.resolve(r.byName[name][0]); reason != "" {
		return in, fmt.Sprintf("rule %q: %s", name, reason)
	}
	if len(c.Fields) > 0 {
		return in, fmt.Sprintf("values of rule %q, which is a correlation, are not supported", name)
	}
	have := map[string]bool{}
	for _, f := range below.Correlation.GroupBy {
		have[f] = true
	}
	for _, f := range c.GroupBy {
		if c.Aliases[f] != nil || !have[f] {
			return in, fmt.Sprintf("field %q is not in the group-by of rule %q, which is a correlation", f, name)
		}
	}
	return in, ""
}

// connect ties rules to the relations that they are inputs of.
func (r *resolver) connect() {
	s := r.set
	loud := make([]bool, len(s.rules))
	for i := range s.rules { // in their order, so that hits have one
		rel := r.done[i]
		if rel == nil {
			continue
		}
		s.stream.relations = append(s.stream.relations, rel)
		for n, name := range rel.rule.Correlation.Rules {
			below := r.byName[name][0]
			if own := r.done[below]; own != nil {
				own.above = append(own.above, above{rel, n})
				own.quiet = true
			} else {
				s.stream.above[below] = append(s.stream.above[below], above{rel, n})
			}
			s.quiet[below] = true
			loud[below] = loud[below] || rel.rule.Correlation.Generate
		}
	}
	for i := range loud {
		if loud[i] {
			s.quiet[i] = false
			if own := r.done[i]; own != nil {
				own.quiet = false
			}
		}
	}
}
