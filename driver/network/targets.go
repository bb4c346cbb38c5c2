// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"math/big"
	"math/bits"
	"net/netip"
	"slices"
	"strings"
)

// Targets are endpoints in a fixed order. Blocks are not written out: memory
// goes with the number of targets (some 24 bytes and the length of the name
// each), not with that of endpoints. Equal targets, and addresses that several
// blocks with the same scheme and ports hold, count once.
//
// The order mixes: neighbours in a block, ports of a host and names that sort
// together stand far apart, so that no host and no network is asked in a burst.
// It depends on the set of the targets alone. Targets do not change and are
// safe for several goroutines.
type Targets struct {
	items []item
	data  []byte
	sets  []set
	size  int64
	step  uint64
	mark  string // of what they are
}

// An item is one name or some addresses in a row, at the ports of a set.
type item struct {
	start  int64 // how many endpoints stand before it
	at     uint32
	length uint8 // of data: a name, or one or two addresses of 4 or 16 bytes
	named  bool
	set    uint32
}

// A set is what many targets have in common.
type set struct {
	scheme, process string
	ports           []uint16
}

const (
	maxData      = 1 << 28 // bytes of names and addresses that targets may take
	maxEndpoints = 1 << 48
)

// Size is how many endpoints there are.
func (t *Targets) Size() int64 { return t.size }

// All yields the endpoints from a position on, each with its position.
func (t *Targets) All(from int64) iter.Seq2[int64, Endpoint] {
	return func(yield func(int64, Endpoint) bool) {
		for position := max(from, 0); position < t.size; position++ {
			if !yield(position, t.at(position)) {
				return
			}
		}
	}
}

// at returns the endpoint of a position below size.
func (t *Targets) at(position int64) Endpoint {
	// A step of about 0.618 of the size lays each position into the largest
	// gap that the ones before have left (Knuth, TAOCP 3, section 6.4).
	high, low := bits.Mul64(uint64(position), t.step)
	_, index := bits.Div64(high, low, uint64(t.size))
	n, found := slices.BinarySearchFunc(t.items, int64(index), func(i item, at int64) int { return cmp.Compare(i.start, at) })
	if !found {
		n--
	}
	i := t.items[n]
	s, offset := t.sets[i.set], int64(index)-i.start
	e := Endpoint{Scheme: s.scheme, Process: s.process}
	if i.named {
		e.Host, e.Port = string(t.bytes(i)), s.ports[offset]
		return e
	}
	first, last := t.ends(i)
	n64, _ := distance(first, last)
	e.Host, e.Port = plus(first, offset%(n64+1)).String(), s.ports[offset/(n64+1)]
	return e
}

func (t *Targets) bytes(i item) []byte { return t.data[i.at : i.at+uint32(i.length)] }

// ends returns the addresses of an item.
func (t *Targets) ends(i item) (first, last netip.Addr) {
	raw := t.bytes(i)
	if len(raw) == 8 || len(raw) == 32 {
		first, _ = netip.AddrFromSlice(raw[:len(raw)/2])
		last, _ = netip.AddrFromSlice(raw[len(raw)/2:])
		return first, last
	}
	first, _ = netip.AddrFromSlice(raw)
	return first, first
}

// Of returns targets of endpoints that a driver knows by itself.
func Of(endpoints []Endpoint) (*Targets, error) {
	var b builder
	for _, e := range endpoints {
		s := span{scheme: e.Scheme, name: e.Host, ports: []uint16{e.Port}}
		if address, ok := e.Addr(); ok {
			s.name, s.first, s.last = "", address, address
		}
		if err := b.add(s, e.Process); err != nil {
			return nil, err
		}
	}
	return b.finish()
}

// A builder gathers targets.
type builder struct {
	t    Targets
	sets map[string]uint32 // by what they hold, to their numbers
	last uint32            // number of the set that was used last
}

func (b *builder) add(s span, process string) error {
	number := b.set(s, process)
	data := []byte(s.name)
	if s.name == "" {
		data = s.first.AsSlice()
		if s.first != s.last {
			data = append(data, s.last.AsSlice()...)
		}
	}
	if len(b.t.data)+len(data) > maxData {
		return invalid("there are more than %d MB of targets: look at them in parts", maxData>>20)
	}
	b.t.items = append(b.t.items, item{at: uint32(len(b.t.data)), length: uint8(len(data)), named: s.name != "", set: number})
	b.t.data = append(b.t.data, data...)
	return nil
}

// set returns the number of the set that a target belongs to.
func (b *builder) set(s span, process string) uint32 {
	if len(b.t.sets) > 0 { // a long list is mostly of one kind
		last := b.t.sets[b.last]
		if last.scheme == s.scheme && last.process == process && slices.Equal(last.ports, s.ports) {
			return b.last
		}
	}
	if b.sets == nil {
		b.sets = map[string]uint32{}
	}
	key := fmt.Sprint(s.scheme, "\x00", process, "\x00", s.ports)
	number, ok := b.sets[key]
	if !ok {
		number = uint32(len(b.t.sets))
		b.sets[key] = number
		b.t.sets = append(b.t.sets, set{s.scheme, process, s.ports})
	}
	b.last = number
	return number
}

// finish puts the targets in order.
func (b *builder) finish() (*Targets, error) {
	t := b.t
	// Sets are numbered as they come; the order must not depend on that.
	order := map[uint32]string{}
	for key, number := range b.sets {
		order[number] = key
	}
	slices.SortFunc(t.items, func(x, y item) int {
		if x.set != y.set {
			return strings.Compare(order[x.set], order[y.set])
		}
		if x.named != y.named || x.named {
			return cmp.Or(cmp.Compare(b2i(x.named), b2i(y.named)), bytes.Compare(t.bytes(x), t.bytes(y)))
		}
		xf, xl := t.ends(x)
		yf, yl := t.ends(y)
		return cmp.Or(xf.Compare(yf), xl.Compare(yl))
	})
	t.merge()
	for n := range t.items {
		i := &t.items[n]
		i.start = t.size
		count := int64(1)
		if !i.named {
			first, last := t.ends(*i)
			apart, _ := distance(first, last)
			count += apart
		}
		if t.size += count * int64(len(t.sets[i.set].ports)); t.size > maxEndpoints {
			return nil, invalid("there are more than %d endpoints: look at them in parts", int64(maxEndpoints))
		}
	}
	t.step = stride(t.size)
	t.mark = t.digest(order)
	return &t, nil
}

// digest names the targets by what they are: a list in a file may have changed
// since a position was told.
func (t *Targets) digest(sets map[uint32]string) string {
	h := sha256.New()
	for _, i := range t.items {
		fmt.Fprintf(h, "%s\x00%v %x\n", sets[i.set], i.named, t.bytes(i))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// merge makes one of equal names and of addresses that overlap.
func (t *Targets) merge() {
	kept := t.items[:0]
	for _, i := range t.items {
		if len(kept) == 0 || !t.join(&kept[len(kept)-1], i) {
			kept = append(kept, i)
		}
	}
	t.items = kept
}

// join takes next into i where both are one; next does not sort before i.
func (t *Targets) join(i *item, next item) bool {
	if i.set != next.set || i.named != next.named {
		return false
	}
	if i.named {
		return bytes.Equal(t.bytes(*i), t.bytes(next))
	}
	first, last := t.ends(*i)
	from, to := t.ends(next)
	if last.Less(from) || first.Is4() != from.Is4() {
		return false
	}
	if !last.Less(to) {
		return true
	}
	if n, ok := distance(first, to); !ok || n >= maxEndpoints {
		return false
	}
	i.at = uint32(len(t.data))
	t.data = append(append(t.data, first.AsSlice()...), to.AsSlice()...)
	i.length = uint8(uint32(len(t.data)) - i.at)
	return true
}

// stride returns the step for a size: the number next to 0.618 of it that has
// no factor in common with it, so that every position is reached once.
func stride(size int64) uint64 {
	if size < 3 {
		return 1
	}
	step := new(big.Int)
	n := big.NewInt(size)
	for s := int64(float64(size) * 0.6180339887498949); ; s++ {
		if step.GCD(nil, nil, big.NewInt(s), n).Cmp(big.NewInt(1)) == 0 {
			return uint64(s)
		}
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}
