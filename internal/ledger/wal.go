// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/tallystick/tallystick"
)

// A write-ahead log is a header and frames. The header is 8 letters, 12 random
// bytes and a CRC-32C. A frame is 16 bytes and a body: the first 4 of the random
// bytes as a marker, the length of the body, the number of the frame from 1, and
// a CRC-32C over the other 8 random bytes, length, number and body. Numbers are
// little-endian. One frame is written and synced at a time, so only the last one
// can be torn; and what is in records cannot look like a frame to a search for
// later frames, because nobody who writes records knows the random bytes.
const (
	walMagic    = "TALLYWL1"
	walHeader   = 24
	frameHeader = 16
	maxFrame    = 1 << 30
)

// A wal is the log of one table. It has one writer.
type wal struct {
	f      file
	name   string
	random [12]byte
	size   int64 // of whole frames that are on the disk
	frames uint32
	dirty  bool // there may be something behind size
	buffer []byte
}

func walName(number uint32) string { return fmt.Sprintf("%08d.wal", number) }

func createWAL(fs files, number uint32) (*wal, error) {
	w := &wal{name: walName(number), size: walHeader}
	if _, err := rand.Read(w.random[:]); err != nil {
		return nil, err
	}
	f, err := fs.create(w.name)
	if err != nil {
		return nil, fmt.Errorf("couldn't make %s: %w", w.name, noSpace(err))
	}
	w.f = f
	_, err = f.WriteAt(w.header(), 0)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = fs.sync()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("couldn't make %s: %w", w.name, noSpace(err)), f.Close())
	}
	return w, nil
}

func (w *wal) header() []byte {
	header := append([]byte(walMagic), w.random[:]...)
	return binary.LittleEndian.AppendUint32(header, checksum(header))
}

func checksum(parts ...[]byte) (sum uint32) {
	for _, part := range parts {
		sum = crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), part)
	}
	return sum
}

// body returns an empty buffer that starts with room for the header of a frame.
func (w *wal) body() []byte {
	if cap(w.buffer) > 1<<24 {
		w.buffer = nil // one large batch must not be paid for ever
	}
	return append(w.buffer[:0], make([]byte, frameHeader)...)
}

// append writes a frame and waits for the disk. After an error there is nothing
// of it, also after a crash, or the whole of it and nothing behind.
func (w *wal) append(frame []byte) error {
	w.buffer = frame
	size := len(frame) - frameHeader
	if size > maxFrame {
		return fmt.Errorf("%w: %d bytes at once, the bound is %d: append fewer records at a time", tallystick.ErrInvalid, size, maxFrame)
	}
	if w.dirty {
		if err := w.f.Truncate(w.size); err != nil {
			return fmt.Errorf("couldn't clear %s: %w", w.name, noSpace(err))
		}
	}
	w.dirty = true
	copy(frame, w.random[:4])
	binary.LittleEndian.PutUint32(frame[4:], uint32(size))
	binary.LittleEndian.PutUint32(frame[8:], w.frames+1)
	binary.LittleEndian.PutUint32(frame[12:], checksum(w.random[4:], frame[4:12], frame[frameHeader:]))
	if _, err := w.f.WriteAt(frame, w.size); err != nil {
		return w.failed("write to", err)
	}
	if err := w.f.Sync(); err != nil {
		return w.failed("sync", err)
	}
	w.dirty = false
	w.size += int64(len(frame))
	w.frames++
	return nil
}

// failed cuts off what a failed append may have left. What cannot be cut off now
// is cut off before the next frame.
func (w *wal) failed(what string, err error) error {
	if w.f.Truncate(w.size) == nil {
		w.dirty = false
	}
	return fmt.Errorf("couldn't %s %s: %w", what, w.name, noSpace(err))
}

// openWAL reads a log, giving the body of every frame to fn, and makes it ready
// to be written on. The last frame is cut off when it is not whole and the log is
// the one that was written to last; anything else that is wrong is ErrDamaged.
func openWAL(fs files, number uint32, last bool, fn func(body []byte) error) (*wal, error) {
	w, err := readWAL(fs, number, last, fn)
	if err != nil {
		return nil, err
	}
	if w.size == 0 {
		return createWAL(fs, number)
	}
	if w.f, err = fs.open(w.name); err != nil {
		return nil, fmt.Errorf("couldn't open %s: %w", w.name, err)
	}
	if w.dirty {
		if err := w.f.Truncate(w.size); err != nil {
			return nil, errors.Join(fmt.Errorf("couldn't cut %s: %w", w.name, noSpace(err)), w.f.Close())
		}
		w.dirty = false
	}
	return w, nil
}

// readWAL reads a log as openWAL does, and changes nothing; it is not ready to be
// written on. Its size is 0 when it was being made, and nothing was ever in it.
func readWAL(fs files, number uint32, last bool, fn func(body []byte) error) (*wal, error) {
	w := &wal{name: walName(number)}
	data, err := readFile(fs, w.name)
	if err != nil {
		return nil, fmt.Errorf("couldn't read %s: %w", w.name, err)
	}
	if last && len(data) < walHeader {
		return w, nil
	}
	if w.size, err = w.read(data, fn); err != nil {
		return nil, err
	}
	if w.dirty = w.size < int64(len(data)); w.dirty && !last {
		return nil, damaged(w.name, w.size, "a frame of a finished log is not whole")
	}
	return w, nil
}

// read returns where the last whole frame ends.
func (w *wal) read(data []byte, fn func(body []byte) error) (int64, error) {
	if len(data) < walHeader || string(data[:8]) != walMagic ||
		checksum(data[:walHeader-4]) != binary.LittleEndian.Uint32(data[walHeader-4:]) {
		return 0, damaged(w.name, 0, "it does not begin as a log does")
	}
	copy(w.random[:], data[8:20])
	at := walHeader
	for {
		body, ok := w.frame(data[at:], w.frames+1)
		if !ok {
			break
		}
		if err := fn(body); err != nil {
			return 0, damaged(w.name, int64(at), err.Error())
		}
		w.frames++
		at += frameHeader + len(body)
	}
	if later := w.search(data[at:]); later >= 0 {
		return 0, damaged(w.name, int64(at), fmt.Sprintf("a frame is not what was written, and there is a whole one at %d", at+later))
	}
	return int64(at), nil
}

// frame returns the body of the frame that data begins with; number 0 is any.
func (w *wal) frame(data []byte, number uint32) (body []byte, ok bool) {
	if len(data) < frameHeader || !bytes.Equal(data[:4], w.random[:4]) {
		return nil, false
	}
	size := binary.LittleEndian.Uint32(data[4:])
	if uint64(size) > uint64(len(data)-frameHeader) || number != 0 && binary.LittleEndian.Uint32(data[8:]) != number {
		return nil, false
	}
	body = data[frameHeader : frameHeader+int(size)]
	return body, checksum(w.random[4:], data[4:12], body) == binary.LittleEndian.Uint32(data[12:])
}

// search returns where the first whole frame behind the start of data is, -1 if
// there is none.
func (w *wal) search(data []byte) int {
	for at := 1; at < len(data); at++ {
		next := bytes.Index(data[at:], w.random[:4])
		if next < 0 {
			return -1
		}
		at += next
		if _, ok := w.frame(data[at:], 0); ok {
			return at
		}
	}
	return -1
}

func damaged(name string, at int64, what string) error {
	return fmt.Errorf("%s: at byte %d: %s: %w", name, at, what, tallystick.ErrDamaged)
}
