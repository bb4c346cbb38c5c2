// SPDX-License-Identifier: Apache-2.0

package sigma

// A node is a part of a detection.
type node interface {
	// holds says whether it is true of an event.
	holds(v *view) bool
	// anchors returns values of which an event that the node is true of has at
	// least one; ok is false when there are none such, and any event may do.
	anchors() (list []anchor, ok bool)
}

// An anchor is a value that a field must have.
type anchor struct {
	field *field
	as    comparison
	value string
}

// anyOf is true when one of its nodes is.
type anyOf []node

func (n anyOf) holds(v *view) bool {
	for _, one := range n {
		if one.holds(v) {
			return true
		}
	}
	return false
}

func (n anyOf) anchors() (list []anchor, ok bool) {
	for _, one := range n {
		more, ok := one.anchors()
		if !ok {
			return nil, false
		}
		list = append(list, more...)
	}
	return list, true
}

// simple returns the one node that n has, or n.
func (n anyOf) simple() node {
	if len(n) == 1 {
		return n[0]
	}
	return n
}

// allOf is true when all of its nodes are.
type allOf []node

func (n allOf) holds(v *view) bool {
	for _, one := range n {
		if !one.holds(v) {
			return false
		}
	}
	return true
}

// anchors returns the fewest that one of its nodes has: fewer values, fewer
// events that have one by chance.
func (n allOf) anchors() (list []anchor, ok bool) {
	for _, one := range n {
		if other, has := one.anchors(); has && (!ok || len(other) < len(list)) {
			list, ok = other, true
		}
	}
	return list, ok
}

func (n allOf) simple() node {
	if len(n) == 1 {
		return n[0]
	}
	return n
}

// not is true when its node is not.
type not struct{ of node }

func (n not) holds(v *view) bool        { return !n.of.holds(v) }
func (n not) anchors() ([]anchor, bool) { return nil, false }

// An item compares one field with the values of a rule.
type item struct {
	field  *field // nil compares all values of the event
	values []matcher
	all    bool // all of the values must fit, not one of them
}

func (n *item) holds(v *view) bool {
	var found *found
	if n.field == nil {
		found = v.everything()
	} else {
		found = v.field(n.field)
	}
	for _, m := range n.values {
		if m.fits(found, v) != n.all {
			return !n.all
		}
	}
	return n.all
}

func (n *item) anchors() (list []anchor, ok bool) {
	if n.field == nil {
		return nil, false
	}
	for _, m := range n.values {
		exact, ok := m.(*textMatcher)
		if !ok {
			return nil, false
		}
		value, ok := exact.pattern.exact()
		if !ok {
			return nil, false
		}
		list = append(list, anchor{field: n.field, as: exact.as, value: value})
	}
	return list, len(list) > 0
}
