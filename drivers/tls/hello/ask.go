// SPDX-License-Identifier: Apache-2.0

package hello

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"slices"
)

// An exchange is one hello and what comes back.
type exchange struct {
	prober     *Prober
	offer      *Offer
	conn       io.ReadWriter
	in         reader
	answer     Answer
	part       part
	ours       *share
	sent       []byte    // the first ClientHello message
	transcript hash.Hash // of TLS 1.3, once the suite is known
}

// Ask sends one hello over conn and reads the answer as deep as the offer says.
// The caller sets the deadline of conn, and closes it: nothing can follow.
func (p *Prober) Ask(conn io.ReadWriter, offer *Offer) Answer {
	buffer := p.buffers.Get().(*[]byte)
	defer p.buffers.Put(buffer)
	var random [randomLength]byte
	rand.Read(random[:]) // fresh, or else a recorded signature could be played back
	x := exchange{prober: p, offer: offer, conn: conn, in: reader{source: conn, buffer: *buffer}}
	x.part = part{random: random[:]}
	if offer.highest() == TLS13 {
		x.part.session = p.session[:]
	}
	x.answer.Err = x.run()
	return x.answer
}

func (x *exchange) run() error {
	if !x.offer.NoShare && x.offer.highest() == TLS13 {
		for _, g := range x.offer.Groups {
			if ours, ok := x.prober.share(g); ok {
				x.ours, x.part.group, x.part.share = ours, g, ours.public
				break
			}
		}
	}
	if err := x.send(); err != nil {
		return err
	}
	h, err := x.serverHello()
	if err != nil {
		return err
	}
	if h.retry() {
		if h.version != TLS13 {
			return ErrMalformed
		}
		x.answer.Retry = true
		if x.offer.NoShare || x.offer.Read == ReadChoice {
			return nil
		}
		if h, err = x.again(h); err != nil {
			return err
		}
	}
	if x.offer.Read == ReadChoice {
		return nil
	}
	if x.answer.Version == TLS13 {
		return x.modern(h)
	}
	return x.old(h)
}

// send writes the ClientHello as one record. Some old servers read nothing
// from a record with a version that they do not know (RFC 5246 appendix E.1).
func (x *exchange) send() error {
	message, err := x.offer.marshal(x.part)
	if err != nil {
		return fmt.Errorf("couldn't build a hello: %w", err)
	}
	record := make([]byte, 0, headerLength+len(message))
	record = append(record, recordHandshake)
	version := min(x.offer.highest(), TLS10)
	if x.answer.Retry {
		version = TLS12 // RFC 8446 section 5.1: 1.0 is for the first record alone
	}
	record = binary.BigEndian.AppendUint16(record, uint16(version))
	record = binary.BigEndian.AppendUint16(record, uint16(len(message)))
	record = append(record, message...)
	x.sent = record[headerLength:]
	_, err = x.conn.Write(record)
	return err
}

// serverHello reads a ServerHello or HelloRetryRequest and notes the choice.
func (x *exchange) serverHello() (serverHello, error) {
	message, err := x.in.message()
	if err != nil {
		return serverHello{}, err
	}
	if message[0] != messageServerHello {
		return serverHello{}, ErrMalformed
	}
	h, err := parseServerHello(message[4:])
	if err != nil {
		return h, err
	}
	h.random, h.share = slices.Clone(h.random), slices.Clone(h.share)
	x.answer.Version, x.answer.Suite, x.answer.ALPN = h.version, h.suite, h.alpn
	if h.group != 0 {
		x.answer.Group = h.group
	}
	x.in.old = h.version != TLS13
	if x.in.old {
		return h, nil
	}
	schedule, known := x.prober.scheduleOf(h.suite)
	switch {
	case x.offer.NoShare || x.offer.Read == ReadChoice:
		return h, nil
	case !known:
		return h, fmt.Errorf("%w: %v", ErrUnsupported, h.suite)
	case x.transcript == nil:
		x.transcript = schedule.hash()
		if h.retry() { // RFC 8446 section 4.4.1
			x.transcript.Write(x.sent)
			sum := x.transcript.Sum(nil)
			x.transcript.Reset()
			x.transcript.Write([]byte{messageHash, 0, 0, byte(len(sum))})
			x.transcript.Write(sum)
		} else {
			x.transcript.Write(x.sent)
		}
	}
	x.transcript.Write(message)
	return h, nil
}

// again answers a HelloRetryRequest with a share of the group that it names.
func (x *exchange) again(retry serverHello) (serverHello, error) {
	ours, ok := x.prober.share(retry.group)
	if !ok {
		return retry, fmt.Errorf("%w: group %v", ErrUnsupported, retry.group)
	}
	x.ours, x.part.group, x.part.share, x.part.cookie = ours, retry.group, ours.public, retry.cookie
	if err := x.send(); err != nil {
		return retry, err
	}
	x.transcript.Write(x.sent)
	h, err := x.serverHello()
	if err == nil && (h.retry() || h.suite != retry.suite || h.version != retry.version) {
		err = ErrMalformed
	}
	return h, err
}

// modern reads the encrypted flight of TLS 1.3 to the Certificate, or to the
// CertificateVerify when it is wanted.
func (x *exchange) modern(h serverHello) error {
	if h.share == nil || h.group != x.part.group || x.ours == nil {
		return ErrMalformed
	}
	shared, err := x.ours.secret(h.share)
	if err != nil {
		return err
	}
	if len(x.in.pending) > 0 {
		return ErrMalformed // keys change only between records (RFC 8446 section 5.1)
	}
	schedule, _ := x.prober.scheduleOf(h.suite)
	if x.in.keys, err = schedule.protect(h.suite, shared, x.transcript.Sum(nil)); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	a := &x.answer
	for {
		message, err := x.in.message()
		if err != nil {
			return err
		}
		body := message[4:]
		switch message[0] {
		case messageEncryptedExts:
			err = a.encryptedExtensions(body)
		case messageCertificateRequest:
			err = a.modernRequest(body)
		case messageCertificate:
			err = a.certificates(body, true)
			a.ClientAuthTold = true // a request would have come before
			if x.offer.Read == ReadCertificate {
				return err
			}
		case messageCertificateVerify:
			return x.modernProof(body)
		default:
			return ErrMalformed
		}
		if err != nil {
			return err
		}
		x.transcript.Write(message)
	}
}

// old reads the flight of TLS 1.2 and older to its end, which asks no more of
// either side than to read to the Certificate.
func (x *exchange) old(h serverHello) error {
	a := &x.answer
	if !slices.Contains(Versions(), a.Version) {
		return ErrMalformed
	}
	for {
		message, err := x.in.message()
		if err != nil {
			return err
		}
		body := message[4:]
		switch message[0] {
		case 0: // HelloRequest, to be ignored (RFC 5246 section 7.4.1.1)
		case messageCertificate:
			err = a.certificates(body, false)
		case messageCertificateStatus:
			if !a.status(bytes.Clone(body)) {
				err = ErrMalformed
			}
		case messageServerKeyExchange:
			err = x.keyExchange(h, bytes.Clone(body))
		case messageCertificateRequest:
			err = a.request(body)
		case messageServerHelloDone:
			a.ClientAuthTold = true
			return nil
		default:
			err = ErrMalformed
		}
		if err != nil {
			return err
		}
	}
}
