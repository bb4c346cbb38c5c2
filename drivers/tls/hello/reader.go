// SPDX-License-Identifier: Apache-2.0

package hello

import (
	"encoding/binary"
	"errors"
	"io"
)

// ReadLimit bounds what one exchange reads, in bytes. Real flights that carry a
// chain stay below 20 KiB; a handshake message could be 16 MiB.
const ReadLimit = 96 << 10

const (
	firstBuffer  = 6 << 10 // holds most flights whole
	headerLength = 5
	// maxRecord is the bound of RFC 5246 section 6.2.3, which is the widest.
	maxRecord = 1<<14 + 2048

	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordApplicationData  = 23
)

// A reader takes handshake messages out of a stream of records (RFC 5246
// section 6.2.1, RFC 8446 section 5). Messages may be split over records and
// records may hold several of them.
type reader struct {
	source  io.Reader
	buffer  []byte // of the stream; [start:end] is not yet read
	start   int
	end     int
	total   int    // bytes taken from source
	pending []byte // handshake bytes that are no whole message yet
	owned   bool   // pending has memory of its own and does not lie in buffer
	read    bool   // a record of TLS was seen
	old     bool   // TLS 1.3 was not chosen, so that warnings exist
	keys    *protection
}

// message returns the next handshake message, with its header. It is valid
// until the next call.
func (r *reader) message() ([]byte, error) {
	for {
		if len(r.pending) >= 4 {
			length := 4 + int(r.pending[1])<<16 + int(r.pending[2])<<8 + int(r.pending[3])
			if length > ReadLimit {
				return nil, ErrTooLarge
			}
			if len(r.pending) >= length {
				m := r.pending[:length:length]
				r.pending = r.pending[length:]
				return m, nil
			}
		}
		if err := r.handshakeRecord(); err != nil {
			return nil, err
		}
	}
}

// handshakeRecord adds the content of the next handshake record to pending. An
// alert that ends the handshake is its error.
func (r *reader) handshakeRecord() error {
	for {
		kind, body, err := r.record()
		if err != nil {
			return err
		}
		switch kind {
		case recordHandshake:
			r.take(body)
			return nil
		case recordAlert:
			if len(body) < 2 {
				return ErrMalformed
			}
			if body[0] == 1 && body[1] != 0 && (r.old || r.keys == nil) {
				continue // a warning, such as unrecognized_name, after which the server goes on
			}
			if body[1] == 0 {
				return ErrClosed
			}
			return Alert(body[1])
		case recordChangeCipherSpec:
			if r.old {
				return ErrMalformed // nothing before the end of the flight may change the cipher
			}
		default:
			return ErrMalformed
		}
	}
}

// take adds to pending. The common case, whole messages in one record, stays
// where it is.
func (r *reader) take(body []byte) {
	switch {
	case len(r.pending) == 0:
		r.pending, r.owned = body[:len(body):len(body)], false
	case r.owned:
		r.pending = append(r.pending, body...)
	default:
		r.pending, r.owned = append(append(make([]byte, 0, 4*(len(r.pending)+len(body))), r.pending...), body...), true
	}
}

// record returns the type and the content of the next record, decrypted when
// there are keys. The content is valid until the next call.
func (r *reader) record() (kind byte, body []byte, err error) {
	if err := r.fill(headerLength); err != nil {
		return 0, nil, r.cut(err)
	}
	header := r.buffer[r.start : r.start+headerLength]
	kind, length := header[0], int(binary.BigEndian.Uint16(header[3:]))
	if kind < recordChangeCipherSpec || kind > recordApplicationData || header[1] != 3 || length > maxRecord {
		if !r.read {
			return 0, nil, ErrNotTLS
		}
		return 0, nil, ErrMalformed
	}
	if err := r.fill(headerLength + length); err != nil {
		return 0, nil, r.cut(err)
	}
	r.read = true
	header = r.buffer[r.start : r.start+headerLength]
	body = r.buffer[r.start+headerLength : r.start+headerLength+length]
	r.start += headerLength + length
	switch {
	case kind == recordApplicationData && r.keys != nil:
		return r.keys.open(header, body)
	case kind == recordApplicationData, kind == recordHandshake && r.keys != nil:
		return 0, nil, ErrMalformed // encrypted too early, or not at all (RFC 8446 section 5)
	}
	return kind, body, nil
}

// cut says what the end of the stream means: nothing said at all, or broken off.
func (r *reader) cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		if !r.read && r.end > r.start {
			return ErrNotTLS // a short greeting in clear text
		}
		return ErrClosed
	}
	return err
}

// fill makes at least n unread bytes available.
func (r *reader) fill(n int) error {
	for r.end-r.start < n {
		if r.total >= ReadLimit {
			return ErrTooLarge
		}
		if r.start+n > len(r.buffer) || r.end == len(r.buffer) {
			r.makeRoom(n)
		}
		got, err := r.source.Read(r.buffer[r.end:min(len(r.buffer), r.end+ReadLimit-r.total)])
		r.end += got
		r.total += got
		if err != nil && r.end-r.start < n {
			return err
		}
	}
	return nil
}

// makeRoom moves what is unread to the front of a buffer that has room for n
// bytes. What is pending gets memory of its own, for it may lie in the old one.
func (r *reader) makeRoom(n int) {
	if !r.owned {
		r.pending, r.owned = append([]byte(nil), r.pending...), true
	}
	buffer := r.buffer
	if n > len(buffer) {
		buffer = make([]byte, max(n, 2*len(buffer)))
	}
	r.end = copy(buffer, r.buffer[r.start:r.end])
	r.start, r.buffer = 0, buffer
}
