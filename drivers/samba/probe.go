// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

const (
	answerWithin = 10 * time.Second
	answerLimit  = 64 << 10 // bytes
)

// The error codes of a KDC that are a no to the certificate or to its account (RFC 4120
// section 7.5.9, RFC 4556 section 3.1.3).
var refusals = map[int]string{
	1: "the account has ended", 6: "there is no such account", 12: "not by the rules of the domain", 18: "the account is disabled",
	24: "not taken", 31: "it is not of this account, or its key is of a kind that the KDC does not know",
	62: "the certificate is not trusted", 64: "the signature is wrong", 70: "its chain leads to no anchor", 71: "the certificate is not valid",
	72: "the certificate is revoked", 73: "its revocation cannot be known", 75: "it names somebody else", 77: "it is for another purpose",
}

// Probe asks the KDC for a ticket by a certificate (PKINIT), at listeners of Look. What
// comes back is thrown away: only the client could open it, by a secret that is not kept.
// Nothing is held: Kerberos has no connections.
func (d *door) Probe(ctx context.Context, request driver.ProbeRequest) (driver.Probed, error) {
	leaf, err := request.Credential.Public.Leaf()
	if err != nil {
		return driver.Probed{}, err
	}
	if request.Credential.Key == nil {
		return driver.Probed{}, invalid("a certificate without its key cannot be tried")
	}
	var probed driver.Probed
	for _, l := range request.Listeners {
		if l.Protocol != protocolKerberos || l.Details["user"] == "" || l.Details["realm"] == "" {
			return driver.Probed{}, invalid("%s is no listener of a KDC", l.Address)
		}
		asked, err := newRequest(request.Credential, leaf, l.Details["user"], l.Details["realm"], request.Now())
		if err != nil {
			return driver.Probed{}, err
		}
		attempt := driver.Attempt{Listener: l, Address: l.Address, Way: driver.WayFresh, Outcome: driver.OutcomeFailed, At: request.Now().UTC()}
		answer, err := ask(ctx, request.Host, l.Address, asked)
		if err != nil {
			attempt.Answer = network.Clean(err.Error())
		} else {
			attempt.Outcome, attempt.Answer = judge(answer)
		}
		probed.Attempts = append(probed.Attempts, attempt)
	}
	return probed, ctx.Err()
}

// ask sends one message over TCP (RFC 4120 section 7.2.2).
func ask(ctx context.Context, h driver.Host, address string, message []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	conn, err := h.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	return exchange(conn, message)
}

func exchange(conn net.Conn, message []byte) ([]byte, error) {
	if _, err := conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)); err != nil {
		return nil, err
	}
	var size uint32
	if err := binary.Read(conn, binary.BigEndian, &size); err != nil {
		return nil, err
	}
	if size > answerLimit {
		return nil, fmt.Errorf("the KDC announces %d bytes", size)
	}
	answer := make([]byte, size)
	_, err := io.ReadFull(conn, answer)
	return answer, err
}

// judge says what the answer of a KDC means: a ticket (AS-REP), or an error (KRB-ERROR).
func judge(answer []byte) (outcome, text string) {
	const ticket, failure = cbasn1.Tag(0x6b), cbasn1.Tag(0x7e)
	message := cryptobyte.String(answer)
	if message.PeekASN1Tag(ticket) {
		return driver.OutcomeAccepted, "a ticket"
	}
	code, ok := errorCode(message, failure)
	if !ok {
		return driver.OutcomeFailed, "no answer of a KDC"
	}
	if why, ok := refusals[code]; ok {
		return driver.OutcomeRefused, fmt.Sprintf("error %d: %s", code, why)
	}
	return driver.OutcomeFailed, fmt.Sprintf("error %d", code)
}

// errorCode reads the field error-code of a KRB-ERROR (RFC 4120 section 5.9.1).
func errorCode(message cryptobyte.String, failure cbasn1.Tag) (int, bool) {
	if !message.ReadASN1(&message, failure) || !message.ReadASN1(&message, cbasn1.SEQUENCE) {
		return 0, false
	}
	for !message.Empty() {
		var field cryptobyte.String
		var tag cbasn1.Tag
		if !message.ReadAnyASN1(&field, &tag) {
			return 0, false
		}
		var code int
		if tag == context1(6) {
			return code, field.ReadASN1Integer(&code)
		}
	}
	return 0, false
}

// nonce makes a number of 31 bits, which all implementations take.
func nonce() (int64, error) {
	var b [4]byte
	_, err := rand.Read(b[:])
	return int64(binary.BigEndian.Uint32(b[:]) >> 1), err
}
