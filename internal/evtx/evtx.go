// SPDX-License-Identifier: Apache-2.0

// Package evtx reads the event logs of Windows as Windows writes them (EVTX), and
// gives each event as the XML that Windows shows for it. The format is described
// in libyal's "Windows XML Event Log (EVTX)" and, for the binary XML in it, in
// [MS-EVEN6] section 2.2.12.
//
// Logs are written by strangers. Every offset and length is checked, what an event
// may become is bounded in depth and size, and damage costs the records that it
// hit: it is told, and reading goes on.
package evtx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Magic is what an EVTX file begins with.
const Magic = "ElfFile\x00"

const (
	headerSize = 4096
	chunkSize  = 64 << 10
	chunkMagic = "ElfChnk\x00"
)

// ErrNotEVTX is the error of NewReader for what is no EVTX file, or one of a
// version that is not known.
var ErrNotEVTX = errors.New("expected a Windows event log (EVTX) of version 3")

// A Reader reads the chunks of a log in the order of the file. That of a circular
// log is not the order of time.
type Reader struct {
	r         io.Reader
	dirty     bool // Windows has it open, or had when it was copied
	unchecked bool // it has no checksums
	number    int  // of the next chunk
	faults    []Fault
	buffer    []byte
	decoder   *decoder
}

// A Chunk is a part of a log that can be read without the others.
type Chunk struct {
	Number  int      // from 0
	Text    string   // the XML of its records, one behind the other
	Records []Record // that were read
	Faults  []Fault  // what could not be read
}

// A Record is one event.
type Record struct {
	ID     uint64 // the EventRecordID
	Offset int64  // of the record in the file
	XML    string // an element Event; a part of the chunk's Text
}

// A Fault is damage: a record or a chunk that was not read.
type Fault struct {
	Offset int64 // in the file
	Before int   // how many of the chunk's records come before it
	Err    error
}

// NewReader begins to read a log.
func NewReader(r io.Reader) (*Reader, error) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(r, header); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = ErrNotEVTX
		}
		return nil, err
	}
	const major = 3
	if string(header[:8]) != Magic || binary.LittleEndian.Uint16(header[38:]) != major {
		return nil, ErrNotEVTX
	}
	e := &Reader{r: r, buffer: make([]byte, chunkSize), decoder: &decoder{names: map[uint32]string{}}}
	const isDirty, hasNoChecksums = 1, 4
	e.dirty, e.unchecked = header[120]&isDirty != 0, header[120]&hasNoChecksums != 0
	if !e.unchecked && crc32.ChecksumIEEE(header[:120]) != binary.LittleEndian.Uint32(header[124:]) {
		e.faults = []Fault{{Err: errors.New("the file's header does not match its checksum")}}
	}
	return e, nil
}

// Next returns the next chunk that holds something, and io.EOF at the end of the
// file. It is valid for as long as it is kept.
func (e *Reader) Next() (*Chunk, error) {
	for {
		n, err := io.ReadFull(e.r, e.buffer)
		if n == 0 && err == io.EOF && len(e.faults) > 0 {
			c := &Chunk{Number: e.number, Faults: e.faults}
			e.faults = nil
			return c, nil
		}
		if err != nil && err != io.ErrUnexpectedEOF {
			return nil, err
		}
		c := &Chunk{Number: e.number, Faults: e.faults}
		e.faults = nil
		e.number++
		e.read(c, e.buffer[:n])
		if len(c.Records) > 0 || len(c.Faults) > 0 {
			return c, nil
		}
	}
}

// read reads a chunk. Nothing is read of one that does not match its checksums,
// but in a file that Windows had open: it writes the records first, and the header
// with the checksums later.
func (e *Reader) read(c *Chunk, data []byte) {
	offset := headerSize + int64(c.Number)*chunkSize
	whole := len(data) == chunkSize
	if !whole {
		data = append(make([]byte, 0, chunkSize), data...)[:chunkSize]
	}
	if string(data[:8]) != chunkMagic {
		if len(bytes.TrimLeft(data, "\x00")) > 0 { // room that was not used yet is blank
			c.fault(offset, errors.New("it does not begin as a chunk does"))
		}
		return
	}
	free := int(min(binary.LittleEndian.Uint32(data[48:]), chunkSize))
	damage := damageOf(data, free)
	d := e.decoder
	d.begin(c, data, offset)
	switch {
	case whole && (damage == nil || e.unchecked):
		d.records(free)
	case e.dirty || !whole:
		d.growing()
	default:
		c.fault(offset, damage)
	}
	if !whole {
		c.fault(offset, errors.New("the file ends in the middle of it"))
	}
	d.finish()
}

// damageOf compares a chunk with its checksums.
func damageOf(data []byte, free int) error {
	switch {
	case headerSum(data) != binary.LittleEndian.Uint32(data[124:]):
		return errors.New("its header does not match its checksum")
	case free < recordsStart:
		return errors.New("its records end before they begin")
	case crc32.ChecksumIEEE(data[recordsStart:free]) != binary.LittleEndian.Uint32(data[52:]):
		return errors.New("its records do not match their checksum")
	}
	return nil
}

// headerSum is the checksum of a chunk's header, which does not cover itself.
func headerSum(data []byte) uint32 {
	return crc32.Update(crc32.ChecksumIEEE(data[:120]), crc32.IEEETable, data[128:recordsStart])
}

func (c *Chunk) fault(offset int64, err error) {
	c.Faults = append(c.Faults, Fault{offset, len(c.Records), fmt.Errorf("chunk %d, byte %d: %w", c.Number, offset, err)})
}
