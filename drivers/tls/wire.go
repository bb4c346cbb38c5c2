// SPDX-License-Identifier: Apache-2.0

package tls

import "errors"

// Numbers of the TLS 1.2 record and handshake protocols, RFC 5246 sections
// 6.2.1 and 7.4.
const (
	recordChangeCipherSpec = 20
	recordHandshake        = 22
	recordHeaderLength     = 5
	messageHeaderLength    = 4
	messageCertificate     = 11
	chainLimit             = 500 // certificates; readLimit has no room for more real ones
)

var errMalformed = errors.New("malformed handshake")

// clearChain returns the DER certificates of the first Certificate message in
// what a server of TLS 1.2 or older sent, which is in clear text until
// ChangeCipherSpec (RFC 5246 section 7.4.2). found is false when stream ends
// before that message does. The result shares memory with nothing.
func clearChain(stream []byte) (chain [][]byte, found bool, err error) {
	messages := handshakeBytes(stream)
	for len(messages) >= messageHeaderLength {
		kind, length := messages[0], uint24(messages[1:])
		rest := messages[messageHeaderLength:]
		if length > len(rest) {
			return nil, false, nil
		}
		if kind == messageCertificate {
			chain, err = certificateList(rest[:length])
			return chain, err == nil, err
		}
		messages = rest[length:]
	}
	return nil, false, nil
}

// handshakeBytes joins the handshake records at the start of stream: messages
// may be split over records and records may hold several of them.
func handshakeBytes(stream []byte) []byte {
	var joined []byte
	for len(stream) >= recordHeaderLength {
		kind, length := stream[0], int(stream[3])<<8|int(stream[4])
		rest := stream[recordHeaderLength:]
		if kind == recordChangeCipherSpec || length > len(rest) {
			break
		}
		if kind == recordHandshake {
			joined = append(joined, rest[:length]...)
		}
		stream = rest[length:]
	}
	return joined
}

// certificateList reads the body of a Certificate message: a length of three
// bytes, then certificates with a length of three bytes each.
func certificateList(body []byte) ([][]byte, error) {
	if len(body) < 3 || uint24(body) != len(body)-3 {
		return nil, errMalformed
	}
	chain := [][]byte{}
	for body = body[3:]; len(body) > 0; {
		if len(body) < 3 || len(chain) == chainLimit {
			return nil, errMalformed
		}
		length := uint24(body)
		if length == 0 || length > len(body)-3 {
			return nil, errMalformed
		}
		chain = append(chain, body[3:3+length])
		body = body[3+length:]
	}
	return chain, nil
}

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }
