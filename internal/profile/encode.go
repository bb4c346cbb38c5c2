// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

// version begins what Encode writes. What was written before, in version 1, has no ways.
const (
	version = 2
	wayless = 1
)

// dense is from how many bits on a sketch is written whole.
const dense = 96

// Encode appends a profile to b: some dozen bytes for one that was hardly used,
// at most 2 kB. Times are kept to the microsecond.
func Encode(b []byte, p *rule.Profile) []byte {
	b = append(b, version)
	b = appendTimes(b, p.First, p.Last, p.Holder.First, p.Holder.Last, p.Relying.First, p.Relying.Last, p.LastRefused)
	for _, n := range [...]int64{p.Uses, p.Holder.Uses, p.Relying.Uses, p.Pause.Microseconds()} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	forgotten := byte(0)
	if p.Forgotten {
		forgotten = 1
	}
	b = append(b, forgotten, byte(len(p.Networks)))
	for _, n := range p.Networks {
		b = appendTimes(appendPrefix(b, n.Prefix), n.First, n.Last)
		b = binary.AppendUvarint(b, uint64(n.Uses))
	}
	b = append(b, byte(len(p.Stays)))
	for _, s := range p.Stays {
		b = appendTimes(appendPrefix(b, s.Prefix), s.From, s.To)
	}
	b = append(b, byte(len(p.Hours)))
	for i := range p.Hours {
		b = appendSketch(appendTimes(b, p.Hours[i].Start), &p.Hours[i].Parties)
	}
	for i := range p.Rhythm {
		for _, most := range p.Rhythm[i] {
			b = binary.AppendUvarint(b, uint64(most))
		}
	}
	b = append(b, byte(len(p.Ways)))
	for _, w := range p.Ways {
		b = append(append(b, byte(len(w.Protocol))), w.Protocol...)
		b = append(append(b, byte(len(w.Method))), w.Method...)
		b = binary.AppendUvarint(appendTimes(b, w.First), uint64(w.Uses))
	}
	return b
}

// yearOne is the zero time in microseconds, so that it takes one byte.
const yearOne = -62135596800_000000

func appendTimes(b []byte, times ...time.Time) []byte {
	for _, t := range times {
		b = binary.AppendVarint(b, t.UnixMicro()-yearOne)
	}
	return b
}

func appendPrefix(b []byte, p netip.Prefix) []byte {
	raw := p.Addr().AsSlice()
	return append(append(append(b, byte(len(raw))), raw...), byte(max(p.Bits(), 0)))
}

func appendSketch(b []byte, s *rule.Sketch) []byte {
	set := 0
	for _, word := range s {
		set += bits.OnesCount64(word)
	}
	if set >= dense {
		b = append(b, dense)
		for _, word := range s {
			b = binary.LittleEndian.AppendUint64(b, word)
		}
		return b
	}
	b = append(b, byte(set))
	next := 0 // the position after the last one
	for i, word := range s {
		for ; word != 0; word &= word - 1 {
			at := i*64 + bits.TrailingZeros64(word)
			b = binary.AppendUvarint(b, uint64(at-next))
			next = at + 1
		}
	}
	return b
}

// Decode reads what Encode has written, and nothing after it. Anything else is
// ErrInvalid.
func Decode(b []byte) (rule.Profile, error) {
	d := decoder{rest: b}
	p := d.profile()
	if d.wrong || len(d.rest) > 0 {
		return rule.Profile{}, fmt.Errorf("couldn't read how a credential was used: %w", tallystick.ErrInvalid)
	}
	return p, nil
}

// A decoder returns zeros once something was wrong.
type decoder struct {
	rest  []byte
	wrong bool
}

func (d *decoder) profile() (p rule.Profile) {
	written := d.byte()
	if written != version && written != wayless {
		d.wrong = true
		return p
	}
	for _, t := range [...]*time.Time{&p.First, &p.Last, &p.Holder.First, &p.Holder.Last, &p.Relying.First, &p.Relying.Last, &p.LastRefused} {
		*t = d.time()
	}
	for _, n := range [...]*int64{&p.Uses, &p.Holder.Uses, &p.Relying.Uses} {
		*n = int64(d.uvarint(1<<63 - 1))
	}
	p.Pause = time.Duration(d.uvarint((1<<63-1)/1000)) * time.Microsecond
	p.Forgotten = d.most(1) == 1
	for range d.most(rule.MaxNetworks) {
		p.Networks = append(p.Networks, rule.Network{Prefix: d.prefix(), First: d.time(), Last: d.time(), Uses: int64(d.uvarint(1<<63 - 1))})
	}
	for range d.most(rule.MaxStays) {
		p.Stays = append(p.Stays, rule.Stay{Prefix: d.prefix(), From: d.time(), To: d.time()})
	}
	for range d.most(rule.MaxHours) {
		h := rule.Hour{Start: d.time(), Parties: d.sketch()}
		if n := len(p.Hours); n > 0 && !h.Start.After(p.Hours[n-1].Start) {
			d.wrong = true
		}
		p.Hours = append(p.Hours, h)
	}
	for i := range p.Rhythm {
		for j := range p.Rhythm[i] {
			p.Rhythm[i][j] = uint16(d.uvarint(1<<16 - 1))
		}
	}
	if written == wayless {
		return p
	}
	for range d.most(rule.MaxWays) {
		p.Ways = append(p.Ways, rule.Way{Protocol: d.word(), Method: d.word(), First: d.time(), Uses: int64(d.uvarint(1<<63 - 1))})
	}
	return p
}

func (d *decoder) bytes(n int) []byte {
	if d.wrong || n > len(d.rest) {
		d.wrong = true
		return nil
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *decoder) byte() byte {
	if b := d.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) word() string { return string(d.bytes(int(d.byte()))) }

// most reads a byte that is no more than n.
func (d *decoder) most(n byte) byte {
	b := d.byte()
	if b > n {
		d.wrong = true
		return 0
	}
	return b
}

func (d *decoder) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(d.rest)
	if d.wrong || n <= 0 || v > most {
		d.wrong = true
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *decoder) time() time.Time {
	v, n := binary.Varint(d.rest)
	if d.wrong || n <= 0 || v > 1<<60 || v < -1<<60 {
		d.wrong = true
		return time.Time{}
	}
	d.rest = d.rest[n:]
	return time.UnixMicro(v + yearOne).UTC()
}

func (d *decoder) prefix() netip.Prefix {
	address, ok := netip.AddrFromSlice(d.bytes(int(d.most(16))))
	p := netip.PrefixFrom(address, int(d.byte()))
	if !ok || !p.IsValid() || p.Masked() != p {
		d.wrong = true
	}
	return p
}

func (d *decoder) sketch() (s rule.Sketch) {
	set := d.most(dense)
	if set == dense {
		for i := range s {
			if word := d.bytes(8); word != nil {
				s[i] = binary.LittleEndian.Uint64(word)
			}
		}
		return s
	}
	next := uint64(0)
	for range set {
		at := next + d.uvarint(1023)
		if at > 1023 {
			d.wrong = true
			return s
		}
		s[at/64] |= 1 << (at % 64)
		next = at + 1
	}
	return s
}
