// SPDX-License-Identifier: Apache-2.0

package hello

import (
	"crypto/ecdh"
	"crypto/mlkem"
	"crypto/rand"
	"fmt"
	"sync"
)

// A Prober asks servers. It keeps one key pair for each group for as long as
// it lives, because making one costs as much as the rest of an exchange; what
// the pair protects is thrown away. Make one with NewProber; it is safe for
// several goroutines.
type Prober struct {
	session [randomLength]byte // legacy_session_id: middleboxes want one (RFC 8446 appendix D.4)
	buffers sync.Pool          // of *[]byte

	mu     sync.Mutex
	shares map[Group]*share // guarded by mu

	sha256, sha384 schedule
}

// NewProber makes a prober. It makes its key pairs when they are first needed.
func NewProber() *Prober {
	p := &Prober{shares: map[Group]*share{}}
	rand.Read(p.session[:]) // never fails (crypto/rand)
	p.sha256, p.sha384 = newSchedules()
	p.buffers.New = func() any { b := make([]byte, firstBuffer); return &b }
	return p
}

// A share is this side's half of one key exchange.
type share struct {
	public []byte
	// secret computes the shared secret from the server's half.
	secret func(theirs []byte) ([]byte, error)
}

// share returns the pair for a group; false when this package can compute none.
func (p *Prober) share(g Group) (*share, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s, ok := p.shares[g]; ok {
		return s, true
	}
	s, err := newShare(g)
	if err != nil || s == nil {
		return nil, false
	}
	p.shares[g] = s
	return s, true
}

func newShare(g Group) (*share, error) {
	switch g {
	case X25519:
		return newCurveShare(ecdh.X25519())
	case P256:
		return newCurveShare(ecdh.P256())
	case P384:
		return newCurveShare(ecdh.P384())
	case P521:
		return newCurveShare(ecdh.P521())
	case X25519MLKEM768, SecP256r1MLKEM768, SecP384r1MLKEM1024:
		return newHybridShare(g)
	}
	return nil, nil
}

func newCurveShare(curve ecdh.Curve) (*share, error) {
	key, err := curve.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	return &share{public: key.PublicKey().Bytes(), secret: func(theirs []byte) ([]byte, error) {
		public, err := curve.NewPublicKey(theirs)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return key.ECDH(public)
	}}, nil
}

// newHybridShare joins a curve and ML-KEM (draft-ietf-tls-ecdhe-mlkem):
// the curve stands first, except with X25519.
func newHybridShare(g Group) (*share, error) {
	var kem decapsulator
	var err error
	curve, sealed := P256, mlkem.CiphertextSize768
	switch g {
	case SecP384r1MLKEM1024:
		curve, sealed = P384, mlkem.CiphertextSize1024
		var key *mlkem.DecapsulationKey1024
		if key, err = mlkem.GenerateKey1024(); err == nil {
			kem = decapsulator{key.EncapsulationKey().Bytes(), key.Decapsulate}
		}
	default:
		var key *mlkem.DecapsulationKey768
		if key, err = mlkem.GenerateKey768(); err == nil {
			kem = decapsulator{key.EncapsulationKey().Bytes(), key.Decapsulate}
		}
	}
	if g == X25519MLKEM768 {
		curve = X25519
	}
	if err != nil {
		return nil, err
	}
	classical, err := newShare(curve)
	if err != nil {
		return nil, err
	}
	if curve == X25519 {
		return &share{public: join(kem.public, classical.public), secret: func(theirs []byte) ([]byte, error) {
			if len(theirs) < sealed {
				return nil, ErrMalformed
			}
			return both(kem.open, theirs[:sealed], classical.secret, theirs[sealed:])
		}}, nil
	}
	return &share{public: join(classical.public, kem.public), secret: func(theirs []byte) ([]byte, error) {
		if len(theirs) < sealed {
			return nil, ErrMalformed
		}
		point := len(theirs) - sealed
		return both(classical.secret, theirs[:point], kem.open, theirs[point:])
	}}, nil
}

type decapsulator struct {
	public []byte
	open   func([]byte) ([]byte, error)
}

func both(first func([]byte) ([]byte, error), a []byte, second func([]byte) ([]byte, error), b []byte) ([]byte, error) {
	x, err := first(a)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	y, err := second(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return join(x, y), nil
}

func join(a, b []byte) []byte { return append(append(make([]byte, 0, len(a)+len(b)), a...), b...) }
