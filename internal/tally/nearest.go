// SPDX-License-Identifier: Apache-2.0

package tally

// A point is a single use of either side on the line of time.
type point struct {
	at      int64
	i       uint32 // of the record
	holder  bool
	guarded bool // a holder's record with a token id, or a use that was refused: those two never match
}

// A pair is two points that may match. Pairs are in order of nearness: by the
// time between them, then by how many points lie between them, then the earlier
// first. That is an order of all pairs of a list, so there are no ties, and what
// is nearest does not depend on how the points came.
type pair struct {
	apart       int64
	left, right int32
	lane        int8
}

func (p pair) before(q pair) bool {
	if p.apart != q.apart {
		return p.apart < q.apart
	}
	if a, b := p.right-p.left, q.right-q.left; a != b {
		return a < b
	}
	return p.left < q.left
}

// A lane is a doubly linked list through the points that one kind of pair can
// be made of.
type lane struct{ next, prev []int32 }

// nearest matches the points of a list, which is in order of time, one to one
// and the nearest first, as far as they are within the tolerance, and calls
// matched for each pair.
//
// The nearest pair of all always stands side by side: whatever stood between
// its two points would be nearer to one of them. So it is enough to look at
// neighbours, and at new neighbours when a pair is taken out: n log n, where
// comparing all pairs takes n². Where guarded points may not match each other
// there are two lanes: one leaves out the guarded holders, the other the guarded
// uses. Each pair that is allowed is in a lane in which the argument holds.
func nearest(points []point, tolerance int64, matched func(relying, holder uint32)) {
	m := matcher{points: points, tolerance: tolerance, taken: make([]bool, len(points))}
	m.addLane(func(p point) bool { return !(p.guarded && p.holder) })
	m.addLane(func(p point) bool { return !(p.guarded && !p.holder) })
	for len(m.heap) > 0 {
		p := m.pop()
		if m.taken[p.left] || m.taken[p.right] {
			continue
		}
		a, b := points[p.left], points[p.right]
		if a.holder {
			a, b = b, a
		}
		matched(a.i, b.i)
		m.take(p.left)
		m.take(p.right)
	}
}

type matcher struct {
	points    []point
	tolerance int64
	taken     []bool
	lanes     []lane
	heap      []pair
}

// addLane links the points that belong and offers their neighbours.
func (m *matcher) addLane(belongs func(point) bool) {
	n := int32(len(m.points))
	l := lane{next: make([]int32, n), prev: make([]int32, n)}
	last := int32(-1)
	number := int8(len(m.lanes))
	m.lanes = append(m.lanes, l)
	for i := range n {
		l.next[i], l.prev[i] = -1, -1
		if !belongs(m.points[i]) {
			continue
		}
		if last >= 0 {
			l.next[last], l.prev[i] = i, last
			m.offer(last, i, number)
		}
		last = i
	}
}

// offer puts a pair of neighbours on the heap if they may match.
func (m *matcher) offer(left, right int32, lane int8) {
	a, b := m.points[left], m.points[right]
	if a.holder == b.holder || b.at-a.at > m.tolerance || a.guarded && b.guarded {
		return
	}
	m.push(pair{apart: b.at - a.at, left: left, right: right, lane: lane})
}

// take removes a point from the lanes; its neighbours become neighbours.
func (m *matcher) take(i int32) {
	m.taken[i] = true
	for number, l := range m.lanes {
		left, right := l.prev[i], l.next[i]
		if left >= 0 {
			l.next[left] = right
		}
		if right >= 0 {
			l.prev[right] = left
		}
		if left >= 0 && right >= 0 && !m.taken[left] && !m.taken[right] {
			m.offer(left, right, int8(number))
		}
	}
}

func (m *matcher) push(p pair) {
	m.heap = append(m.heap, p)
	for i := len(m.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !m.heap[i].before(m.heap[up]) {
			break
		}
		m.heap[i], m.heap[up] = m.heap[up], m.heap[i]
		i = up
	}
}

func (m *matcher) pop() pair {
	top := m.heap[0]
	last := len(m.heap) - 1
	m.heap[0] = m.heap[last]
	m.heap = m.heap[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if m.heap[child].before(m.heap[least]) {
				least = child
			}
		}
		if least == i {
			return top
		}
		m.heap[i], m.heap[least] = m.heap[least], m.heap[i]
		i = least
	}
}
