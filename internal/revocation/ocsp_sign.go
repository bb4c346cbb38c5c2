// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"fmt"
	"math/big"
	"sync"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cryptobyteasn1 "golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick"
)

// A responder signs answers and keeps them.
type responder struct {
	mu    sync.Mutex
	kept  map[int64]*keptAnswers // by authority
	certs map[int64]*delegate
}

func newResponder() responder {
	return responder{kept: map[int64]*keptAnswers{}, certs: map[int64]*delegate{}}
}

// maxAnswers bounds how many answers are kept for an authority: twice as many, of about a kilobyte each.
const maxAnswers = 8192

// A keptAnswers holds the answers that were asked for last, in two halves: when the new one is
// full, the old one is dropped.
type keptAnswers struct {
	generation int64
	fresh, old map[string]*answer
}

func (r *responder) of(authority int64) *keptAnswers {
	k := r.kept[authority]
	if k == nil {
		k = &keptAnswers{fresh: map[string]*answer{}}
		r.kept[authority] = k
	}
	return k
}

// generation changes when answers are forgotten.
func (r *responder) generation(authority int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.of(authority).generation
}

// get returns an answer of which more than half its lifetime is left.
func (r *responder) get(authority int64, id []byte, now time.Time) *answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.of(authority)
	a := k.fresh[string(id)]
	if a == nil {
		if a = k.old[string(id)]; a != nil {
			k.put(string(id), a)
		}
	}
	if a == nil || a.next.Sub(now) < AnswerLifetime/2 || now.Before(a.this) {
		return nil
	}
	return a
}

// put keeps an answer that was begun in a generation; later it may not be true any more.
func (r *responder) put(authority, generation int64, id []byte, a *answer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k := r.of(authority); k.generation == generation {
		k.put(string(id), a)
	}
}

func (k *keptAnswers) put(id string, a *answer) {
	if len(k.fresh) >= maxAnswers {
		k.old, k.fresh = k.fresh, map[string]*answer{}
	}
	k.fresh[id] = a
}

// forget drops the answers of an authority.
func (r *responder) forget(authority int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := r.of(authority)
	k.generation++
	k.fresh, k.old = map[string]*answer{}, nil
}

// A delegate is a key that an authority has certified for signing answers, or its own. Its certificate
// is short-lived, because nobody can revoke it (id-pkix-ocsp-nocheck, RFC 6960 section 4.2.2.2.1).
type delegate struct {
	mu    sync.Mutex
	retry time.Time
	signs *signing // nil: there is none yet
}

// A signing is what an answer is signed with.
type signing struct {
	signer      crypto.Signer
	how         scheme
	certificate []byte // DER, to be sent with the answer; nil for the authority's own key
	keyHash     []byte // SHA-1, which names the responder
	renew       time.Time
	until       time.Time
}

// delegateLifetime is how long a responder's certificate is valid. It is renewed at half of it.
const delegateLifetime = 7 * 24 * time.Hour

// signs returns what to sign answers of an authority with.
func (p *Publisher) signs(ctx context.Context, a Authority, now time.Time) (*signing, error) {
	p.ocsp.mu.Lock()
	d := p.ocsp.certs[a.ID]
	if d == nil {
		d = &delegate{}
		p.ocsp.certs[a.ID] = d
	}
	p.ocsp.mu.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	usable := d.signs != nil && now.Before(d.signs.until)
	if usable && now.Before(d.signs.renew) || now.Before(d.retry) && d.retry.Sub(now) <= firstRetry {
		if usable {
			return d.signs, nil
		}
		return nil, tallystick.ErrUnavailable
	}
	made, err := p.newSigning(ctx, a, now)
	if err == nil {
		d.signs = made
		return made, nil
	}
	d.retry = now.Add(firstRetry) // not every request has to wait for a device that is away
	if usable {
		return d.signs, nil
	}
	return nil, err
}

// signerPatience is how long a device may take to be found.
const signerPatience = 5 * time.Second

func (p *Publisher) newSigning(ctx context.Context, a Authority, now time.Time) (*signing, error) {
	if p.c.Signer == nil || a.Offline {
		return nil, tallystick.ErrUnavailable
	}
	ctx, cancel := context.WithTimeout(ctx, signerPatience) // others wait behind this request
	defer cancel()
	signer, err := p.c.Signer(ctx, a.Name)
	if err != nil {
		return nil, err
	}
	s := &signing{signer: signer, keyHash: digest(crypto.SHA1, publicKeyBits(a.Certificate)), until: a.Certificate.NotAfter, renew: now.Add(delegateLifetime)}
	if !p.c.Direct {
		if s, err = p.newDelegate(ctx, a, signer, now); err != nil {
			return nil, err
		}
	}
	s.how, err = schemeOf(s.signer.Public())
	return s, err
}

// newDelegate makes a responder's key, which never leaves memory, and has it certified.
func (p *Publisher) newDelegate(ctx context.Context, a Authority, authority crypto.Signer, now time.Time) (*signing, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	end := earlier(now.Add(delegateLifetime), a.Certificate.NotAfter)
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(newSerial(now)),
		Subject:      pkix.Name{CommonName: "OCSP responder of " + a.Name},
		NotBefore:    now.Add(-Backdate), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning},
		BasicConstraintsValid: true,
		ExtraExtensions:       []pkix.Extension{{Id: oidNoCheck, Value: []byte{5, 0}}},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key.Public(), authority)
	if err != nil {
		return nil, fmt.Errorf("couldn't certify a responder: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err == nil && p.c.Keep != nil {
		err = p.c.Keep(ctx, a.ID, certificate)
	}
	if err != nil {
		return nil, err
	}
	return &signing{signer: key, certificate: der, keyHash: digest(crypto.SHA1, publicKeyBits(certificate)),
		renew: now.Add(delegateLifetime / 2), until: end}, nil
}

var oidNoCheck = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 5}

// newSerial makes a serial number as package ca does: the time, and 80 random bits.
func newSerial(now time.Time) []byte {
	var serial [SerialSize]byte
	var milli [8]byte
	binary.BigEndian.PutUint64(milli[:], uint64(now.UnixMilli()))
	copy(serial[:6], milli[2:])
	_, _ = rand.Read(serial[6:]) // it never fails (crypto/rand)
	return serial[:]
}

var oidBasicResponse = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 48, 1, 1}

// sign encodes and signs an answer (RFC 6960 section 4.2.1).
func (s *signing) sign(q query, standings []standing, now time.Time, a *answer) ([]byte, error) {
	explicit := func(n uint8) cryptobyteasn1.Tag { return cryptobyteasn1.Tag(n).Constructed().ContextSpecific() }
	var data cryptobyte.Builder
	data.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(explicit(2), func(b *cryptobyte.Builder) { b.AddASN1OctetString(s.keyHash) })
		addGeneralized(b, now)
		b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, one := range standings {
				one.addTo(b, a)
			}
		})
		if q.nonce != nil {
			b.AddASN1(explicit(1), func(b *cryptobyte.Builder) {
				b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
					addExtension(b, oidNonce, false, func(b *cryptobyte.Builder) { b.AddASN1OctetString(q.nonce) })
				})
			})
		}
	})
	tbs, err := data.Bytes()
	if err != nil {
		return nil, err
	}
	signature, err := s.how.sign(s.signer, tbs)
	if err != nil {
		return nil, err
	}
	var b cryptobyte.Builder
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Enum(0) // successful
		b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
			b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidBasicResponse)
				b.AddASN1(cryptobyteasn1.OCTET_STRING, func(b *cryptobyte.Builder) {
					b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
						b.AddBytes(tbs)
						b.AddBytes([]byte(s.how.id))
						b.AddASN1BitString(signature)
						if s.certificate != nil {
							b.AddASN1(explicit(0), func(b *cryptobyte.Builder) {
								b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(s.certificate) })
							})
						}
					})
				})
			})
		})
	})
	return b.Bytes()
}

// addTo adds a SingleResponse.
func (s standing) addTo(b *cryptobyte.Builder, a *answer) {
	b.AddASN1(cryptobyteasn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(s.raw)
		switch s.state {
		case stateRevoked:
			b.AddASN1(cryptobyteasn1.Tag(stateRevoked).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) {
				addGeneralized(b, s.revoked.At)
				if s.revoked.Reason != 0 {
					b.AddASN1(cryptobyteasn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { b.AddASN1Enum(int64(s.revoked.Reason)) })
				}
			})
		default:
			b.AddASN1(cryptobyteasn1.Tag(s.state).ContextSpecific(), func(*cryptobyte.Builder) {})
		}
		addGeneralized(b, a.this)
		b.AddASN1(cryptobyteasn1.Tag(0).Constructed().ContextSpecific(), func(b *cryptobyte.Builder) { addGeneralized(b, a.next) })
	})
}

func addGeneralized(b *cryptobyte.Builder, t time.Time) {
	b.AddASN1(cryptobyteasn1.GeneralizedTime, func(b *cryptobyte.Builder) { b.AddBytes(appendGeneralized(nil, t)) })
}
