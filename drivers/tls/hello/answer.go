// SPDX-License-Identifier: Apache-2.0

package hello

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// ChainLimit bounds the certificates of one chain, and the issuers that a
// server may name for client certificates.
const (
	ChainLimit  = 100
	IssuerLimit = 1000
)

// An Answer is what a server said to one hello. Its fields hold what was told
// before Err, if any, ended the exchange. They share memory with nothing.
type Answer struct {
	Version Version // chosen; 0 when the server chose none
	Suite   Suite   // likewise
	Group   Group   // of the key exchange, where one was named
	Retry   bool    // the server asked for a share of Group (HelloRetryRequest)
	ALPN    string
	Chain   [][]byte // DER, as served; nil when no Certificate message was read

	// ClientAuth says whether a client certificate is asked for, once
	// ClientAuthTold; Issuers are the DER names that the request lists.
	ClientAuth     bool
	ClientAuthTold bool
	Issuers        [][]byte

	Staple []byte // OCSP response, DER; nil when none was sent
	Proof  *Proof // signature of the server's key, as it was read; Check judges it
	Err    error  // an Alert, one of this package's errors, or the connection's
}

// Named says whether the server made a choice at all.
func (a *Answer) Named() bool { return a.Version != 0 && a.Suite != 0 }

// retryRandom is the random of a HelloRetryRequest (RFC 8446 section 4.1.3):
// the SHA-256 of "HelloRetryRequest".
const retryRandom = "\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91\xc2\xa2\x11\x16\x7a\xbb\x8c\x5e\x07\x9e\x09\xe2\xc8\xa8\x33\x9c"

// A serverHello is the message, as far as it matters.
type serverHello struct {
	version Version
	random  []byte
	suite   Suite
	group   Group
	share   []byte // nil in a HelloRetryRequest
	cookie  []byte
	alpn    string
}

func (h *serverHello) retry() bool { return string(h.random) == retryRandom }

// parseServerHello reads the body of the message (RFC 8446 section 4.1.3; RFC
// 5246 section 7.4.1.3). What it returns shares memory with body.
func parseServerHello(body []byte) (serverHello, error) {
	var h serverHello
	var version, suite uint16
	var session, extensions cryptobyte.String
	s := cryptobyte.String(body)
	if !s.ReadUint16(&version) || !s.ReadBytes(&h.random, randomLength) || !s.ReadUint8LengthPrefixed(&session) ||
		!s.ReadUint16(&suite) || !s.Skip(1) || len(session) > 32 {
		return h, ErrMalformed
	}
	h.version, h.suite = Version(version), Suite(suite)
	if h.version < SSL30 || h.version > TLS12 {
		return h, ErrMalformed
	}
	if s.Empty() {
		return h, nil
	}
	if !s.ReadUint16LengthPrefixed(&extensions) || !s.Empty() {
		return h, ErrMalformed
	}
	err := eachExtension(extensions, func(number uint16, data cryptobyte.String) bool {
		switch number {
		case extSupportedVersions:
			var v uint16
			ok := data.ReadUint16(&v) && data.Empty()
			h.version = Version(v)
			return ok
		case extKeyShare:
			return h.readShare(data)
		case extCookie:
			var cookie cryptobyte.String
			ok := data.ReadUint16LengthPrefixed(&cookie) && data.Empty()
			h.cookie = slices.Clone(cookie)
			return ok
		case extALPN:
			h.alpn = protocolOf(data)
		}
		return true
	})
	return h, err
}

// readShare reads a server's key share, which in a HelloRetryRequest is the
// group alone.
func (h *serverHello) readShare(data cryptobyte.String) bool {
	var group uint16
	if !data.ReadUint16(&group) {
		return false
	}
	h.group = Group(group)
	if data.Empty() {
		return h.retry()
	}
	var share cryptobyte.String
	ok := data.ReadUint16LengthPrefixed(&share) && data.Empty()
	h.share = share
	return ok
}

// protocolOf returns the one protocol of an ALPN extension (RFC 7301 section 3.1).
func protocolOf(data cryptobyte.String) string {
	var list, name cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || !list.ReadUint8LengthPrefixed(&name) {
		return ""
	}
	return string(name)
}

func eachExtension(list cryptobyte.String, read func(number uint16, data cryptobyte.String) bool) error {
	for !list.Empty() {
		var number uint16
		var data cryptobyte.String
		if !list.ReadUint16(&number) || !list.ReadUint16LengthPrefixed(&data) || !read(number, data) {
			return ErrMalformed
		}
	}
	return nil
}

// certificates reads a Certificate message: of TLS 1.3 (RFC 8446 section
// 4.4.2), where each certificate has extensions, or older (RFC 5246 section 7.4.2).
func (a *Answer) certificates(body []byte, modern bool) error {
	s := cryptobyte.String(slices.Clone(body))
	var context, list cryptobyte.String
	if modern && (!s.ReadUint8LengthPrefixed(&context) || !context.Empty()) || !s.ReadUint24LengthPrefixed(&list) || !s.Empty() {
		return ErrMalformed
	}
	chain := [][]byte{}
	for !list.Empty() {
		var der, extensions cryptobyte.String
		if !list.ReadUint24LengthPrefixed(&der) || der.Empty() || modern && !list.ReadUint16LengthPrefixed(&extensions) {
			return ErrMalformed
		}
		if len(chain) == ChainLimit {
			return ErrTooLarge
		}
		chain = append(chain, der)
		if len(chain) > 1 {
			continue // a staple for an intermediate says nothing about the leaf
		}
		err := eachExtension(extensions, func(number uint16, data cryptobyte.String) bool {
			return number != extStatusRequest || a.status(data)
		})
		if err != nil {
			return err
		}
	}
	a.Chain = chain
	return nil
}

// status reads a CertificateStatus (RFC 6066 section 8).
func (a *Answer) status(s cryptobyte.String) bool {
	var kind uint8
	var response cryptobyte.String
	if !s.ReadUint8(&kind) || !s.ReadUint24LengthPrefixed(&response) || !s.Empty() {
		return false
	}
	if kind == 1 {
		a.Staple = slices.Clone(response)
	}
	return true
}

// request reads a CertificateRequest of TLS 1.2 and older (RFC 5246 section 7.4.4).
func (a *Answer) request(body []byte) error {
	s := cryptobyte.String(body)
	var types, schemes, names cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&types) || a.Version == TLS12 && !s.ReadUint16LengthPrefixed(&schemes) {
		return ErrMalformed
	}
	a.ClientAuth, a.ClientAuthTold = true, true
	if s.Empty() {
		return nil // some old servers leave an empty list out
	}
	if !s.ReadUint16LengthPrefixed(&names) {
		return ErrMalformed
	}
	return a.issuers(names)
}

// modernRequest reads a CertificateRequest of TLS 1.3 (RFC 8446 sections 4.3.2
// and 4.2.4).
func (a *Answer) modernRequest(body []byte) error {
	s := cryptobyte.String(body)
	var context, extensions cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&context) || !s.ReadUint16LengthPrefixed(&extensions) {
		return ErrMalformed
	}
	a.ClientAuth, a.ClientAuthTold = true, true
	var fault error
	err := eachExtension(extensions, func(number uint16, data cryptobyte.String) bool {
		if number != extAuthorities {
			return true
		}
		var names cryptobyte.String
		if !data.ReadUint16LengthPrefixed(&names) {
			return false
		}
		fault = a.issuers(names)
		return fault == nil
	})
	if fault != nil {
		return fault
	}
	return err
}

func (a *Answer) issuers(names cryptobyte.String) error {
	names = slices.Clone(names)
	for !names.Empty() {
		var name cryptobyte.String
		if !names.ReadUint16LengthPrefixed(&name) {
			return ErrMalformed
		}
		if len(a.Issuers) == IssuerLimit {
			return ErrTooLarge
		}
		a.Issuers = append(a.Issuers, name)
	}
	return nil
}

// encryptedExtensions reads the application protocol (RFC 8446 section 4.3.1).
func (a *Answer) encryptedExtensions(body []byte) error {
	s := cryptobyte.String(body)
	var extensions cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&extensions) {
		return ErrMalformed
	}
	return eachExtension(extensions, func(number uint16, data cryptobyte.String) bool {
		if number == extALPN {
			a.ALPN = protocolOf(data)
		}
		return true
	})
}
