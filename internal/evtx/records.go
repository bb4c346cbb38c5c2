// SPDX-License-Identifier: Apache-2.0

package evtx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	recordsStart = 512 // in a chunk
	recordHead   = 24
	recordTail   = 4 // the size again
	recordMagic  = "**\x00\x00"
)

// What a record may cost, in bytes of XML and tokens of binary XML: Windows writes
// none of more than 64 KiB, but a template can name a value often. A chunk has a
// limit of its own so that it does not cost many times the most of a record.
const (
	tokenCost   = 16
	recordLimit = 2 << 20
	chunkLimit  = 16 << 20
)

var errOlder = errors.New("it was being written when the file was copied: what is behind its last record is not of the same time")

var errTooMuch = errors.New("its XML is larger than that of any event")

// A decoder makes the text of the records of a chunk.
type decoder struct {
	chunk  *Chunk
	data   []byte
	offset int64 // of data in the file
	ends   []int // of each record in out

	names  map[uint32]string
	values []value // of all template instances that are being written
	out    []byte
	tokens int
	lost   int // of out, which was dropped
	limit  int // of cost
	depth  int
}

// begin goes on with another chunk. Of the last one it keeps memory only.
func (d *decoder) begin(c *Chunk, data []byte, offset int64) {
	clear(d.names)
	d.chunk, d.data, d.offset = c, data, offset
	d.ends, d.out, d.tokens, d.lost = d.ends[:0], d.out[:0], 0, 0
}

// records reads the records up to where the free space begins. Behind one that is
// damaged it looks for the next.
func (d *decoder) records(free int) {
	for at := recordsStart; at < free; {
		size, err := d.size(at, free)
		if err == nil {
			err = d.record(at, size)
		}
		if err != nil {
			d.chunk.fault(d.offset+int64(at), err)
		}
		if size > 0 {
			at += size
			continue
		}
		next := bytes.Index(d.data[at+1:free], []byte(recordMagic))
		if next < 0 {
			return
		}
		at += 1 + next
	}
}

// growing reads records that are whole, one after the other, whatever the header
// says. What is behind them can be of an earlier use of the chunk, which is told
// unless it is blank.
func (d *decoder) growing() {
	last, at := uint64(0), recordsStart
	for at < len(d.data) {
		size, err := d.size(at, len(d.data))
		if err != nil {
			break
		}
		id := binary.LittleEndian.Uint64(d.data[at+8:])
		if last > 0 && id != last+1 {
			break
		}
		if err := d.record(at, size); err != nil {
			d.chunk.fault(d.offset+int64(at), err)
		}
		last = id
		at += size
	}
	if len(bytes.TrimLeft(d.data[at:], "\x00")) > 0 {
		d.chunk.fault(d.offset+int64(at), errOlder)
	}
}

// size returns the size of the record at a place, or 0 where there is none.
func (d *decoder) size(at, end int) (int, error) {
	if end-at < recordHead+recordTail || string(d.data[at:at+4]) != recordMagic {
		return 0, errors.New("expected a record")
	}
	size := binary.LittleEndian.Uint32(d.data[at+4:])
	if size < recordHead+recordTail || int64(size) > int64(end-at) ||
		binary.LittleEndian.Uint32(d.data[at+int(size)-recordTail:]) != size {
		return 0, errors.New("its two sizes differ")
	}
	return int(size), nil
}

// record writes one record. One that fails leaves nothing.
func (d *decoder) record(at, size int) error {
	from := len(d.out)
	d.limit = min(d.cost()+recordLimit, chunkLimit)
	d.values, d.depth = d.values[:0], 0
	c := cursor{data: d.data, at: at + recordHead, end: at + size - recordTail}
	err := d.fragment(&c, nil, false)
	if err == nil && len(d.out) == from {
		err = errors.New("it holds no element")
	}
	id := binary.LittleEndian.Uint64(d.data[at+8:])
	if err != nil {
		d.drop(from)
		return fmt.Errorf("record %d: %w", id, err)
	}
	d.chunk.Records = append(d.chunk.Records, Record{ID: id, Offset: d.offset + int64(at)})
	d.ends = append(d.ends, len(d.out))
	return nil
}

// cost is what the chunk has cost yet.
func (d *decoder) cost() int { return d.tokens*tokenCost + len(d.out) + d.lost }

// drop takes back what was written from a place on; it has cost what it cost.
func (d *decoder) drop(from int) {
	d.lost += len(d.out) - from
	d.out = d.out[:from]
}

// spend counts a token.
func (d *decoder) spend() error {
	d.tokens++
	if d.cost() > d.limit {
		return errTooMuch
	}
	return nil
}

// finish gives the records their text.
func (d *decoder) finish() {
	c := d.chunk
	c.Text = string(d.out)
	from := 0
	for i, end := range d.ends {
		c.Records[i].XML = c.Text[from:end]
		from = end
	}
}
