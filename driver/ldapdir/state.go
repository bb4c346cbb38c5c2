// SPDX-License-Identifier: Apache-2.0

package ldapdir

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"maps"
	"slices"
)

// A state is what is remembered of an object: the values of its watched attributes.
type state struct {
	DN       string              `json:"d,omitempty"`
	Name     string              `json:"n,omitempty"`
	Kind     string              `json:"k,omitempty"`
	Accounts []string            `json:"a,omitempty"`
	Values   map[string][][]byte `json:"v,omitempty"`
	// Hashes are of values that are too many to be kept, in the order of bytes.
	Hashes map[string][][]byte `json:"h,omitempty"`
}

const (
	// maxKept is how many bytes of values of one attribute are kept; of more, a hash each.
	maxKept = 128 << 10
	// maxHashes is how many values an attribute may have; behind them nothing is compared.
	maxHashes = 500_000
	hashSize  = 12
)

func decodeState(text []byte) *state {
	if len(text) == 0 {
		return nil
	}
	var s state
	if json.Unmarshal(text, &s) != nil {
		return nil // as if nothing were remembered: all that is there is told
	}
	return &s
}

func (s *state) empty() bool { return s == nil || len(s.Values)+len(s.Hashes) == 0 }

func (s *state) encode() ([]byte, error) {
	if s.empty() {
		return nil, nil
	}
	return json.Marshal(s)
}

func (s *state) equal(other *state) bool {
	if s == nil || other == nil {
		return s == other
	}
	same := func(a, b map[string][][]byte) bool {
		return maps.EqualFunc(a, b, func(x, y [][]byte) bool { return slices.EqualFunc(x, y, bytes.Equal) })
	}
	return s.DN == other.DN && s.Name == other.Name && s.Kind == other.Kind && slices.Equal(s.Accounts, other.Accounts) &&
		same(s.Values, other.Values) && same(s.Hashes, other.Hashes)
}

// A difference is what became of one attribute.
type difference struct {
	attribute      string
	added, removed [][]byte
	existing       int
	lost           int // values that went, and of which only hashes were kept
}

// compare returns what is to be remembered of an object, and what is different from before.
func compare(object *Object, before *state, links map[string]bool) (*state, []difference) {
	after := &state{DN: object.DN, Name: object.Name, Kind: object.Kind, Accounts: object.Accounts, Values: map[string][][]byte{}, Hashes: map[string][][]byte{}}
	if before != nil {
		after.DN, after.Name, after.Kind = cmp.Or(object.DN, before.DN), cmp.Or(object.Name, before.Name), cmp.Or(object.Kind, before.Kind)
		if len(object.Accounts) == 0 {
			after.Accounts = before.Accounts
		}
		maps.Copy(after.Values, before.Values)
		maps.Copy(after.Hashes, before.Hashes)
	}
	var all []difference
	note := func(attribute string, d difference) {
		if d.attribute = attribute; len(d.added)+len(d.removed)+d.lost > 0 {
			all = append(all, d)
		}
	}
	for _, attribute := range slices.Sorted(maps.Keys(object.Values)) {
		now := object.Values[attribute]
		note(attribute, differ(before, attribute, now))
		after.keep(attribute, now)
	}
	for _, attribute := range sortedKeys(object.Added, object.Removed) {
		added, removed := object.Added[attribute], object.Removed[attribute]
		if links[attribute] {
			note(attribute, difference{added: added, removed: removed, existing: -1})
			continue
		}
		now := without(after.Values[attribute], removed)
		now = append(now, without(added, now)...)
		note(attribute, differ(before, attribute, now))
		after.keep(attribute, now)
	}
	if object.Gone {
		for _, attribute := range sortedKeys(after.Values, after.Hashes) {
			note(attribute, differ(before, attribute, nil))
		}
		return nil, all
	}
	return after, all
}

func sortedKeys(a, b map[string][][]byte) []string {
	keys := slices.Collect(maps.Keys(a))
	for key := range b {
		if _, ok := a[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// without returns the values that are not among others.
func without(values, others [][]byte) [][]byte {
	had := setOf(others)
	var left [][]byte
	for _, value := range values {
		if !had[hashOf(value)] {
			left = append(left, value)
		}
	}
	return left
}

// keep remembers the values of an attribute.
func (s *state) keep(attribute string, values [][]byte) {
	delete(s.Values, attribute)
	delete(s.Hashes, attribute)
	size := 0
	for _, value := range values {
		size += len(value)
	}
	switch {
	case len(values) == 0 || len(values) > maxHashes:
	case size <= maxKept:
		values = slices.Clone(values)
		slices.SortFunc(values, bytes.Compare)
		s.Values[attribute] = values
	default:
		for hash := range setOf(values) {
			s.Hashes[attribute] = append(s.Hashes[attribute], []byte(hash[:]))
		}
		slices.SortFunc(s.Hashes[attribute], bytes.Compare)
	}
}

type hash [hashSize]byte

func hashOf(value []byte) hash {
	sum := sha256.Sum256(value)
	return hash(sum[:hashSize])
}

func setOf(values [][]byte) map[hash]bool {
	set := make(map[hash]bool, len(values))
	for _, value := range values {
		set[hashOf(value)] = true
	}
	return set
}

// differ compares the values of an attribute with those that are remembered.
func differ(before *state, attribute string, now [][]byte) difference {
	if before == nil {
		return difference{added: now}
	}
	d := difference{removed: without(before.Values[attribute], now), existing: len(before.Values[attribute]) + len(before.Hashes[attribute])}
	had := setOf(before.Values[attribute])
	for _, old := range before.Hashes[attribute] {
		if len(old) == hashSize {
			had[hash(old)] = true
		}
	}
	has := setOf(now)
	for _, value := range now {
		if h := hashOf(value); !had[h] {
			had[h] = true
			d.added = append(d.added, value)
		}
	}
	for _, old := range before.Hashes[attribute] {
		if len(old) == hashSize && !has[hash(old)] {
			d.lost++
		}
	}
	return d
}
