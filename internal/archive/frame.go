// SPDX-License-Identifier: Apache-2.0

package archive

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"time"

	"github.com/tallystick/tallystick"
)

// A frame is a head of headSize bytes and the packed records. Numbers are
// little-endian.
//
//	0  magic
//	4  size of the packed records
//	8  size of the records unpacked
//	12 first time, microseconds
//	20 last time
//	28 CRC-32C of the packed records
//	32 CRC-32C of what stands before
//
// Unpacked, each record has its size before it, as a varint.
const (
	headSize = 36
	magic    = 0x77617254 // "Traw"
)

// castagnoli makes the table of CRC-32C; the package keeps it.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

type head struct {
	packed, plain uint32
	first, last   int64
	sum           uint32
}

var (
	errFrame = fmt.Errorf("it is not a frame: %w", tallystick.ErrDamaged)
	errTorn  = fmt.Errorf("its last frame is not whole: %w", tallystick.ErrDamaged)
)

// pack makes a frame.
func (a *Archive) pack(first, last time.Time, records [][]byte) ([]byte, error) {
	size := 0
	for _, r := range records {
		size += len(r) + binary.MaxVarintLen32
	}
	if size > MaxBatch {
		return nil, fmt.Errorf("%w: %d bytes at once are too many for the archive", tallystick.ErrInvalid, size)
	}
	plain := make([]byte, 0, size)
	for _, r := range records {
		plain = append(binary.AppendUvarint(plain, uint64(len(r))), r...)
	}
	frame := a.packer.EncodeAll(plain, make([]byte, headSize, headSize+len(plain)/4))
	packed := frame[headSize:]
	le := binary.LittleEndian
	le.PutUint32(frame[0:], magic)
	le.PutUint32(frame[4:], uint32(len(packed)))
	le.PutUint32(frame[8:], uint32(len(plain)))
	le.PutUint64(frame[12:], uint64(clamp(first)))
	le.PutUint64(frame[20:], uint64(clamp(last)))
	le.PutUint32(frame[28:], crc32.Checksum(packed, castagnoli()))
	le.PutUint32(frame[32:], crc32.Checksum(frame[:32], castagnoli()))
	return frame, nil
}

// clamp returns the microsecond of a time; those that have none are at the ends.
func clamp(t time.Time) int64 {
	switch {
	case t.Year() < -200_000:
		return math.MinInt64
	case t.Year() > 200_000:
		return math.MaxInt64
	}
	return t.UnixMicro()
}

// readHead reads the head of the frame at an offset. io.EOF is the end of the
// file; errFrame is that what is there is no head.
func readHead(r io.ReaderAt, at int64) (head, error) {
	var b [headSize]byte
	n, err := r.ReadAt(b[:], at)
	if n == 0 && err == io.EOF {
		return head{}, io.EOF
	}
	if err != nil && (err != io.EOF || n < headSize) {
		if err == io.EOF {
			err = errFrame
		}
		return head{}, err
	}
	le := binary.LittleEndian
	h := head{
		packed: le.Uint32(b[4:]), plain: le.Uint32(b[8:]), first: int64(le.Uint64(b[12:])), last: int64(le.Uint64(b[20:])), sum: le.Uint32(b[28:]),
	}
	if le.Uint32(b[0:]) != magic || le.Uint32(b[32:]) != crc32.Checksum(b[:32], castagnoli()) || h.plain > MaxBatch || h.packed > 2*MaxBatch {
		return head{}, errFrame
	}
	return h, nil
}

// payload reads the packed records behind a head.
func (h head) payload(r io.ReaderAt, at int64) ([]byte, error) {
	packed := make([]byte, h.packed)
	if _, err := r.ReadAt(packed, at+headSize); err != nil {
		if err == io.EOF {
			err = errTorn
		}
		return nil, err
	}
	if crc32.Checksum(packed, castagnoli()) != h.sum {
		return nil, errFrame
	}
	return packed, nil
}

// wholeSize returns up to where a file has whole frames.
func wholeSize(r io.ReaderAt) (int64, error) {
	for at := int64(0); ; {
		h, err := readHead(r, at)
		if err == nil {
			_, err = h.payload(r, at)
		}
		if err == io.EOF || errors.Is(err, tallystick.ErrDamaged) {
			return at, nil
		}
		if err != nil {
			return 0, err
		}
		at += headSize + int64(h.packed)
	}
}

// findIn calls do with every record of the frames of a time, until it returns
// false. The end of the newest file may be in the making, and is no damage.
func (a *Archive) findIn(ctx context.Context, path string, newest bool, at time.Time, do func([]byte) bool) error {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has expired meanwhile
	}
	if err != nil {
		return err
	}
	defer file.Close()
	instant := clamp(at)
	var damage error
	for offset := int64(0); ctx.Err() == nil; {
		h, err := readHead(file, offset)
		if err == io.EOF || errors.Is(err, tallystick.ErrDamaged) && newest {
			return damage
		}
		if err != nil {
			return errors.Join(damage, fmt.Errorf("%s: %w", path, err))
		}
		if h.first <= instant && instant <= h.last {
			more, err := a.records(h, file, offset, do)
			if errors.Is(err, errTorn) && newest {
				return damage
			}
			if err != nil {
				damage = fmt.Errorf("%s: %w", path, err)
			}
			if !more {
				return damage
			}
		}
		offset += headSize + int64(h.packed)
	}
	return damage
}

// records unpacks a frame.
func (a *Archive) records(h head, r io.ReaderAt, at int64, do func([]byte) bool) (more bool, err error) {
	packed, err := h.payload(r, at)
	if err != nil {
		return true, err
	}
	plain, err := a.unpacker.DecodeAll(packed, make([]byte, 0, h.plain))
	if err != nil || len(plain) != int(h.plain) {
		return true, errFrame
	}
	for len(plain) > 0 {
		size, n := binary.Uvarint(plain)
		if n <= 0 || size > uint64(len(plain)-n) {
			return true, errFrame
		}
		if !do(plain[n : n+int(size)]) {
			return false, nil
		}
		plain = plain[n+int(size):]
	}
	return true, nil
}
