// SPDX-License-Identifier: Apache-2.0

package hello

import (
	"encoding/binary"
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// A Depth says how far an answer is read.
type Depth int

const (
	ReadChoice      Depth = iota // to the ServerHello or HelloRetryRequest
	ReadCertificate              // to the chain, and in TLS 1.2 and older to the end of the server's flight
	ReadProof                    // and to the signature of the server
)

// An Offer says what a hello claims that this side can do. It may be used any
// number of times, by several goroutines.
type Offer struct {
	Versions []Version // highest first; without TLS 1.3 only the highest one is said (RFC 5246 appendix E.1)
	Suites   []Suite
	Groups   []Group
	Schemes  []Scheme // none leaves the extension out
	// ChainSchemes are those that are good within the chain, when they are not
	// those of Schemes (RFC 8446 section 4.2.3).
	ChainSchemes []Scheme
	ServerName   string // for SNI; an address must not be sent (RFC 6066 section 3)
	ALPN         []string
	Staple       bool // ask for an OCSP response
	// NoShare sends an empty key_share, to which a server of TLS 1.3 answers
	// by naming the group that it prefers (RFC 8446 section 4.2.8), without
	// work on either side. Otherwise there is a share for the first of Groups
	// for which this package can compute one.
	NoShare bool
	// Bare leaves every extension out, for servers from before RFC 3546.
	Bare bool
	Read Depth

	fixed []byte // extensions that are the same in every hello, from Prepare
}

// Prepare returns the offer with the parts built that do not differ between
// two hellos. Only ServerName, Suites and Read may be set afterwards.
func (o Offer) Prepare() Offer {
	b := cryptobyte.NewBuilder(nil)
	o.unchanging(b)
	o.fixed = b.BytesOrPanic() // all of it comes from the tables of this package and is short
	return o
}

const (
	extServerName        = 0
	extStatusRequest     = 5
	extGroups            = 10
	extPointFormats      = 11
	extSchemes           = 13
	extALPN              = 16
	extMasterSecret      = 23
	extSupportedVersions = 43
	extCookie            = 44
	extModes             = 45
	extAuthorities       = 47
	extChainSchemes      = 50
	extKeyShare          = 51

	messageClientHello        = 1
	messageServerHello        = 2
	messageSessionTicket      = 4
	messageEncryptedExts      = 8
	messageCertificate        = 11
	messageServerKeyExchange  = 12
	messageCertificateRequest = 13
	messageServerHelloDone    = 14
	messageCertificateVerify  = 15
	messageFinished           = 20
	messageCertificateStatus  = 22
	messageHash               = 254

	randomLength     = 32
	scsvRenegotiable = 0x00ff // RFC 5746: some servers refuse a hello without it
)

// A part is what differs between two hellos of one offer.
type part struct {
	random, session []byte
	group           Group  // of the share; 0 for none
	share           []byte // public half
	cookie          []byte // of a HelloRetryRequest
}

// highest is the newest version of the offer.
func (o *Offer) highest() Version {
	if len(o.Versions) == 0 {
		return TLS12
	}
	return slices.Max(o.Versions)
}

// marshal returns the handshake message ClientHello (RFC 8446 section 4.1.2;
// RFC 5246 section 7.4.1.2).
func (o *Offer) marshal(p part) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 1024))
	b.AddUint8(messageClientHello)
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) {
		b.AddUint16(uint16(min(o.highest(), TLS12)))
		b.AddBytes(p.random)
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p.session) })
		list := make([]byte, 0, 2*len(o.Suites)+2)
		for _, s := range o.Suites {
			list = binary.BigEndian.AppendUint16(list, uint16(s))
		}
		if o.highest() < TLS13 || len(o.Versions) > 1 {
			list = binary.BigEndian.AppendUint16(list, scsvRenegotiable)
		}
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(list) })
		b.AddBytes([]byte{1, 0}) // no compression
		if !o.Bare {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { o.extensions(b, p) })
		}
	})
	return b.Bytes()
}

// extensions writes them in the order of common clients; some middleboxes are
// picky about a key_share at the very end.
func (o *Offer) extensions(b *cryptobyte.Builder, p part) {
	if o.ServerName != "" {
		extension(b, extServerName, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				b.AddUint8(0) // host_name
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(o.ServerName)) })
			})
		})
	}
	if o.fixed != nil {
		b.AddBytes(o.fixed)
	} else {
		o.unchanging(b)
	}
	if o.highest() < TLS13 {
		return
	}
	if p.cookie != nil {
		extension(b, extCookie, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p.cookie) })
		})
	}
	extension(b, extKeyShare, func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			if p.group != 0 {
				b.AddUint16(uint16(p.group))
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(p.share) })
			}
		})
	})
}

// unchanging writes what does not depend on the server.
func (o *Offer) unchanging(b *cryptobyte.Builder) {
	if o.highest() < TLS13 || len(o.Versions) > 1 {
		extension(b, extMasterSecret, func(*cryptobyte.Builder) {})
		extension(b, extPointFormats, func(b *cryptobyte.Builder) { b.AddBytes([]byte{1, 0}) })
	}
	if len(o.Groups) > 0 {
		extension(b, extGroups, func(b *cryptobyte.Builder) { numbers(b, o.Groups) })
	}
	if len(o.ALPN) > 0 {
		extension(b, extALPN, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				for _, protocol := range o.ALPN {
					b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(protocol)) })
				}
			})
		})
	}
	if o.Staple {
		extension(b, extStatusRequest, func(b *cryptobyte.Builder) { b.AddBytes([]byte{1, 0, 0, 0, 0}) })
	}
	if len(o.Schemes) > 0 && o.highest() >= TLS12 {
		extension(b, extSchemes, func(b *cryptobyte.Builder) { numbers(b, o.Schemes) })
	}
	if len(o.ChainSchemes) > 0 && o.highest() >= TLS12 {
		extension(b, extChainSchemes, func(b *cryptobyte.Builder) { numbers(b, o.ChainSchemes) })
	}
	if o.highest() < TLS13 {
		return
	}
	extension(b, extSupportedVersions, func(b *cryptobyte.Builder) {
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, v := range o.Versions {
				b.AddUint16(uint16(v))
			}
		})
	})
	extension(b, extModes, func(b *cryptobyte.Builder) { b.AddBytes([]byte{1, 1}) }) // psk_dhe_ke
}

func extension(b *cryptobyte.Builder, number uint16, body cryptobyte.BuilderContinuation) {
	b.AddUint16(number)
	b.AddUint16LengthPrefixed(body)
}

func numbers[N ~uint16](b *cryptobyte.Builder, list []N) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, n := range list {
			b.AddUint16(uint16(n))
		}
	})
}
