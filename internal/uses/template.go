// SPDX-License-Identifier: Apache-2.0

package uses

import "strings"

// members are the members of an object that a reader wants, by name.
type members map[string]want

// A want is a member that is wanted, and which of the values it is.
type want struct {
	value  int
	raw    bool    // its text as it stands there; otherwise that of a scalar, see cursor.scalar
	inside members // what is wanted of it, when it is an object
}

// A template reads the objects of one log. Programs write the same members in
// the same order, and most of what no reader wants is the same text in every
// record ("riskDetail":"none", ...). So what stands between two wanted values is
// compared, as a whole, with what stood there before: where it is equal, byte
// for byte, it is known to be whole members that nobody wants, and is stepped
// over at once. Where it is not, it is read as usual. The result is the same; it
// takes a fraction of the time.
//
// Wanted values are often the same in every record, too ("appId"). One that was
// for a while counts as part of the text around it, until it proves to vary.
//
// A template is used by one goroutine.
type template struct {
	first node
	nodes []*node // all but the first
	other func(in int, key, raw string) error
}

// A level is an object whose members are wanted: the record, or one inside it.
type level struct {
	nodes map[string]*node
	up    *level
	value int // that is "{" when there is any wanted member
}

// A node is a wanted member, and what followed its value in earlier records.
type node struct {
	in     *level
	key    string
	value  int
	raw    bool
	other  bool
	inside *level
	gaps   []gap
	misses int

	last          string // the value, as it is written
	same, changes int    // how often it was, and how often it was another
}

// steady says whether the value has been the same for a while.
func (n *node) steady() bool { return n.same >= minSame && n.changes <= maxChanges }

// A gap is the text from behind a value to the next wanted value, or over steady
// ones to the next that is not.
type gap struct {
	text string
	to   *node // nil when the record ends
	over []steady
}

// A steady is a value in the text of a gap.
type steady struct {
	of    *node
	value string
}

const (
	// maxGaps is how many texts are tried. Each costs a comparison that mostly
	// fails in its first bytes.
	maxGaps = 8
	// maxGap bounds their length, and maxNodes the members that nobody named, so
	// that a template stays small.
	maxGap   = 8 << 10
	maxNodes = 256
	// minSame is how often a value must be the same to be steady, maxChanges how
	// often it may change in all.
	minSame    = 16
	maxChanges = 8
)

// newTemplate returns a template for the members that are wanted. Where other is
// given, it takes all that are not named: in is the value of the object that they
// are in, or 0.
func newTemplate(wanted members, other func(in int, key, raw string) error) *template {
	t := &template{other: other}
	t.first.in = t.level(wanted, nil, 0)
	return t
}

func (t *template) level(wanted members, up *level, value int) *level {
	l := &level{nodes: map[string]*node{}, up: up, value: value}
	for key, w := range wanted {
		n := &node{in: l, key: key, value: w.value, raw: w.raw}
		if w.inside != nil {
			n.inside = t.level(w.inside, l, w.value)
		}
		l.nodes[key] = n
		t.nodes = append(t.nodes, n)
	}
	return l
}

// read reads an object into values. Those of members that are not there stay as
// they are; of a member that is there twice it is the last.
func (t *template) read(c *cursor, values []string) (err error) {
	if c.space() != '{' {
		return c.unexpected("a JSON object")
	}
	c.at++
	for at := &t.first; at != nil; {
		next, known := at.step(c, values)
		if !known {
			if next, err = t.walk(c, at, values); err != nil {
				return err
			}
		}
		if next != nil {
			if err := t.take(c, next, values); err != nil {
				return err
			}
		}
		at = next
	}
	return nil
}

// step goes over a gap that is known.
func (n *node) step(c *cursor, values []string) (next *node, known bool) {
	rest := c.text[c.at:]
	for i := range n.gaps {
		if g := &n.gaps[i]; strings.HasPrefix(rest, g.text) {
			c.at += len(g.text)
			for j := range g.over {
				g.over[j].of.put(g.over[j].value, values)
			}
			return g.to, true
		}
	}
	return nil, false
}

// walk goes over a gap that is not known, and learns it.
func (t *template) walk(c *cursor, from *node, values []string) (*node, error) {
	begin := c.at
	next, err := t.next(c, from)
	var over []steady
	for err == nil && next != nil && next.steady() {
		c.space()
		at := c.at
		var value string
		if value, err = next.text(c); err != nil {
			break
		}
		if c.text[at:c.at] != next.last {
			c.at = at
			break
		}
		next.put(value, values)
		over = append(over, steady{next, value})
		next, err = t.next(c, next)
	}
	if err == nil {
		from.learn(c.text[begin:c.at], next, over)
	}
	return next, err
}

// learn remembers a gap. When there are enough of them, one in 64 that were met
// takes the place of an old one.
func (n *node) learn(text string, to *node, over []steady) {
	if len(text) > maxGap || to != nil && to.in.nodes[to.key] != to {
		return
	}
	if len(n.gaps) == maxGaps {
		if n.misses++; n.misses%64 != 0 {
			return
		}
	}
	for i := range over {
		over[i].value = strings.Clone(over[i].value)
	}
	g := gap{strings.Clone(text), to, over}
	if len(n.gaps) < maxGaps {
		n.gaps = append(n.gaps, g)
	} else {
		n.gaps[n.misses/64%maxGaps] = g
	}
}

// take takes a value.
func (t *template) take(c *cursor, n *node, values []string) error {
	c.space()
	at := c.at
	value, err := n.text(c)
	if err != nil {
		return err
	}
	if n.other {
		if n.in.up != nil {
			values[n.in.value] = "{"
		}
		return t.other(n.in.value, n.key, value)
	}
	if n.changes <= maxChanges {
		t.watch(n, c.text[at:c.at])
	}
	n.put(value, values)
	return nil
}

// text returns the text of a value.
func (n *node) text(c *cursor) (string, error) {
	if n.raw {
		return c.raw()
	}
	return c.scalar()
}

func (n *node) put(value string, values []string) {
	if n.in.up != nil {
		values[n.in.value] = "{"
	}
	values[n.value] = value
}

// watch takes note of whether a value stays the same. When that is found out, the
// gaps around it are learned anew.
func (t *template) watch(n *node, value string) {
	if value == n.last {
		n.same++
	} else {
		n.changes++
		n.last = strings.Clone(value[:min(len(value), maxGap)])
	}
	if n.same == minSame || n.changes == maxChanges+1 {
		t.first.gaps = nil
		for _, n := range t.nodes {
			n.gaps = nil
		}
	}
}

// next steps from behind the value of a node to the next wanted value, or to
// behind the end of the record, and returns nil then.
func (t *template) next(c *cursor, at *node) (*node, error) {
	in, first := at.in, at == &t.first
	for {
		b := c.space()
		switch {
		case b == '}':
			c.at++
			if in.up == nil {
				return nil, nil
			}
			in, first = in.up, false
			continue
		case first:
			first = false
		case b == ',':
			c.at++
		default:
			return nil, c.unexpected("a comma or the end of the object")
		}
		key, err := c.key()
		if err != nil {
			return nil, err
		}
		n := t.node(in, key)
		switch {
		case n == nil:
			err = c.skip()
		case n.inside == nil:
			return n, nil
		case c.space() == '{':
			c.at++
			in, first = n.inside, true
		case t.other != nil && c.space() != 'n':
			err = c.unexpected("a JSON object")
		default:
			err = c.skip()
		}
		if err != nil {
			return nil, err
		}
	}
}

// node returns the node of a member, or nil when it is not wanted.
func (t *template) node(in *level, key string) *node {
	if n, ok := in.nodes[key]; ok || t.other == nil {
		return n
	}
	n := &node{in: in, key: strings.Clone(key), raw: true, other: true}
	if len(t.nodes) < maxNodes {
		in.nodes[n.key] = n
		t.nodes = append(t.nodes, n)
	}
	return n
}
