// SPDX-License-Identifier: Apache-2.0

package tls

import (
	gotls "crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"unicode"
)

// word says in one word why an answer has no certificate.
func word(a answer) string {
	var lookup *net.DNSError
	var header gotls.RecordHeaderError
	var op *net.OpError
	var timeout net.Error
	switch {
	case errors.As(a.err, &lookup):
		return "no-such-host"
	case errors.Is(a.err, errTooMuch):
		return "too-large"
	case errors.Is(a.err, syscall.ECONNREFUSED):
		return "refused"
	case errors.Is(a.err, syscall.ECONNRESET), errors.Is(a.err, syscall.EPIPE):
		return "reset"
	case errors.Is(a.err, syscall.ENETUNREACH), errors.Is(a.err, syscall.EHOSTUNREACH):
		return "unreachable"
	case errors.As(a.err, &op) && op.Op == "remote error":
		return alertWord(op.Err.Error())
	case errors.As(a.err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(a.err, io.EOF), errors.Is(a.err, io.ErrUnexpectedEOF):
		return "closed"
	case errors.As(a.err, &header) && a.version == 0:
		return "not-tls"
	case a.err == nil, a.chain != nil, strings.Contains(a.err.Error(), "empty certificates message"):
		return "no-certificate"
	}
	return "malformed"
}

// hopeless says that a second hello would bring nothing either.
func hopeless(a answer) bool {
	switch word(a) {
	case "not-tls", "timeout", "too-large":
		return true
	}
	return false
}

// alertWord makes "alert-handshake-failure" of "tls: handshake failure".
func alertWord(text string) string {
	text = strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(text), "tls: "), "alert")
	words := strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
	return "alert-" + strings.Join(words, "-")
}

// clean makes text that may quote a foreign certificate fit for a terminal and
// a log: no control characters, at most 300 bytes.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, text)
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:297], "") + "..."
	}
	return text
}
