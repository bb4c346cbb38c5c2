// SPDX-License-Identifier: Apache-2.0

package uses

import "strings"

// A template remembers how the objects of one log are written. Programs write
// the same members in the same order, and most of what no reader wants is the
// same text in every record ("riskDetail":"none", ...). So what stands between
// two wanted values is compared, as a whole, with what stood there before: where
// it is equal, byte for byte, it is known to be whole members that nobody wants,
// and is stepped over at once. Where it is not, it is read as usual. The result
// is the same; it takes a fraction of the time.
//
// A template is used by one goroutine.
type template struct {
	first node
	nodes map[string]*node
}

// A node is a wanted member, and what followed its value in earlier records.
type node struct {
	key    string
	gaps   []gap
	misses int
}

// A gap is the text from behind a value to the next wanted value.
type gap struct {
	text string
	to   *node // nil when the object ends
}

const (
	// maxGaps is how many texts are tried. Each costs a comparison that mostly
	// fails in its first bytes.
	maxGaps = 8
	// maxGap bounds their length, so that a template stays small.
	maxGap = 8 << 10
)

func newTemplate() *template { return &template{nodes: map[string]*node{}} }

// object does what cursor.object does, for the members that are wanted.
func (t *template) object(c *cursor, wanted func(string) bool, member func(key string) error) error {
	if c.space() != '{' {
		return c.unexpected("a JSON object")
	}
	c.at++
	for at := &t.first; ; {
		next, known := at.step(c)
		if !known {
			from := c.at
			key, more, err := c.nextWanted(wanted, at == &t.first)
			if err != nil {
				return err
			}
			if more {
				next = t.node(key)
			}
			at.learn(c.text[from:c.at], next)
		}
		if next == nil {
			return nil
		}
		if err := member(next.key); err != nil {
			return err
		}
		at = next
	}
}

// step goes over a gap that is known.
func (n *node) step(c *cursor) (next *node, known bool) {
	rest := c.text[c.at:]
	for i := range n.gaps {
		if g := &n.gaps[i]; strings.HasPrefix(rest, g.text) {
			c.at += len(g.text)
			return g.to, true
		}
	}
	return nil, false
}

// learn remembers a gap. When there are enough of them, one in 64 that were met
// takes the place of an old one.
func (n *node) learn(text string, to *node) {
	if len(text) > maxGap {
		return
	}
	if len(n.gaps) < maxGaps {
		n.gaps = append(n.gaps, gap{strings.Clone(text), to})
		return
	}
	if n.misses++; n.misses%64 == 0 {
		n.gaps[n.misses/64%maxGaps] = gap{strings.Clone(text), to}
	}
}

func (t *template) node(key string) *node {
	n, ok := t.nodes[key]
	if !ok {
		key = strings.Clone(key)
		n = &node{key: key}
		t.nodes[key] = n
	}
	return n
}

// nextWanted steps over members to the value of the next wanted one, or to
// behind the end of the object.
func (c *cursor) nextWanted(wanted func(string) bool, first bool) (key string, more bool, err error) {
	for ; ; first = false {
		b := c.space()
		switch {
		case b == '}':
			c.at++
			return "", false, nil
		case first:
		case b == ',':
			c.at++
		default:
			return "", false, c.unexpected("a comma or the end of the object")
		}
		if c.space() != '"' {
			return "", false, c.unexpected("the name of a member")
		}
		if key, err = c.string(); err != nil {
			return "", false, err
		}
		if c.space() != ':' {
			return "", false, c.unexpected("a colon")
		}
		c.at++
		if wanted(key) {
			return key, true, nil
		}
		if err := c.skip(); err != nil {
			return "", false, err
		}
	}
}

// everything is what a reader wants that keeps all members.
func everything(string) bool { return true }
