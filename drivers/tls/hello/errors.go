// SPDX-License-Identifier: Apache-2.0

package hello

import (
	"errors"
	"strconv"
)

// How an exchange can end without an answer. Errors of the connection
// (refused, reset, timeout) come through as they are.
var (
	ErrNotTLS      = errors.New("what answered does not speak TLS")
	ErrMalformed   = errors.New("the server's handshake is malformed")
	ErrTooLarge    = errors.New("the server sent more than a handshake needs")
	ErrClosed      = errors.New("the server closed the connection without an answer")
	ErrUnsupported = errors.New("the server chose a key exchange or cipher that can't be followed here")
	ErrUnproven    = errors.New("the server did not prove that it has the private key")
)

// An Alert is a fatal alert (RFC 8446 section 6.2), by which a server refuses.
type Alert uint8

// The alerts that decide what is asked next.
const (
	AlertHandshakeFailure Alert = 40
	AlertProtocolVersion  Alert = 70
)

// alerts are the names of the IANA registry "TLS Alerts", with hyphens.
var alerts = map[Alert]string{
	0: "close-notify", 10: "unexpected-message", 20: "bad-record-mac", 21: "decryption-failed", 22: "record-overflow",
	30: "decompression-failure", AlertHandshakeFailure: "handshake-failure", 41: "no-certificate", 42: "bad-certificate",
	43: "unsupported-certificate", 44: "certificate-revoked", 45: "certificate-expired", 46: "certificate-unknown",
	47: "illegal-parameter", 48: "unknown-ca", 49: "access-denied", 50: "decode-error", 51: "decrypt-error",
	52: "too-many-cids-requested", 60: "export-restriction", AlertProtocolVersion: "protocol-version",
	71: "insufficient-security", 80: "internal-error", 86: "inappropriate-fallback", 90: "user-canceled",
	100: "no-renegotiation", 109: "missing-extension", 110: "unsupported-extension", 111: "certificate-unobtainable",
	112: "unrecognized-name", 113: "bad-certificate-status-response", 114: "bad-certificate-hash-value",
	115: "unknown-psk-identity", 116: "certificate-required", 117: "general-error", 120: "no-application-protocol", 121: "ech-required",
}

// Name returns the name in the IANA registry with hyphens, or the number.
func (a Alert) Name() string {
	if name, ok := alerts[a]; ok {
		return name
	}
	return strconv.Itoa(int(a))
}

// Error says which alert it was.
func (a Alert) Error() string { return "the server refused with alert " + a.Name() }
