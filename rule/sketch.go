// SPDX-License-Identifier: Apache-2.0

package rule

import (
	"math"
	"math/bits"
)

// A Sketch counts how many different names there were, without keeping any:
// exactly as a rule up to a dozen, within some percent up to 5,000, and never
// more than 7,098 (linear counting: Whang, Vander-Zanden and Taylor, ACM TODS 15
// (2), 1990). Two sketches are joined by "or". The zero value has counted nothing.
type Sketch [16]uint64

// sketchBits is the size of a Sketch.
const sketchBits = 1024

// Add counts a name, in whatever case it is written.
func (s *Sketch) Add(name string) {
	// FNV-1a, mixed, because its low bits follow the last byte.
	h := uint64(14695981039346656037)
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		h = (h ^ uint64(c)) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) % sketchBits
	s[h/64] |= 1 << (h % 64)
}

// Count returns about how many different names were added.
func (s *Sketch) Count() int {
	set := 0
	for _, word := range s {
		set += bits.OnesCount64(word)
	}
	free := max(sketchBits-set, 1)
	return int(math.Round(-sketchBits * math.Log(float64(free)/sketchBits)))
}
