// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// Certificates of one look that are remembered. Leaves repeat where one stands
// on many machines, issuers nearly always.
const (
	mostLeaves = 1024
	mostTails  = 256
)

// certificates reads and judges certificates, each distinct one once as far as
// memory allows. It is safe for several goroutines.
type certificates struct {
	roots *x509.CertPool

	mu     sync.Mutex
	leaves map[[sha256.Size]byte]leaf  // guarded by mu
	tails  map[[sha256.Size]byte]*tail // guarded by mu
}

// A leaf is the first certificate of a chain.
type leaf struct {
	credential tallystick.Credential
	strict     *x509.Certificate // nil when crypto/x509 refuses it
	err        error             // that the tolerant reader had
}

// A tail is a chain without its leaf.
type tail struct {
	credentials  []tallystick.Credential
	fingerprints []tallystick.Fingerprint
	pool         *x509.CertPool    // of those that lead to a root; empty when none does
	first        *x509.Certificate // nil when there is none or it cannot be read
}

func newCertificates(roots *x509.CertPool) *certificates {
	return &certificates{roots: roots, leaves: map[[sha256.Size]byte]leaf{}, tails: map[[sha256.Size]byte]*tail{}}
}

func (c *certificates) leaf(der []byte) leaf {
	sum := sha256.Sum256(der)
	c.mu.Lock()
	l, ok := c.leaves[sum]
	c.mu.Unlock()
	if ok {
		return l
	}
	l.credential, l.strict, l.err = parse.CertificateBoth(der)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.leaves) >= mostLeaves {
		clear(c.leaves)
	}
	c.leaves[sum] = l
	return l
}

// tail returns what is known of chain[1:].
func (c *certificates) tail(chain [][]byte, now time.Time) *tail {
	h := sha256.New()
	for _, der := range chain[1:] {
		sum := sha256.Sum256(der)
		h.Write(sum[:])
	}
	sum := [sha256.Size]byte(h.Sum(nil))
	c.mu.Lock()
	t, ok := c.tails[sum]
	c.mu.Unlock()
	if ok {
		return t
	}
	t = c.readTail(chain[1:], now)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.tails) >= mostTails {
		clear(c.tails)
	}
	c.tails[sum] = t
	return t
}

func (c *certificates) readTail(chain [][]byte, now time.Time) *tail {
	t := &tail{pool: x509.NewCertPool()}
	served := x509.NewCertPool()
	var strict []*x509.Certificate
	for i, der := range chain {
		t.fingerprints = append(t.fingerprints, tallystick.FingerprintOf(der))
		// Whatever cannot be read has its fingerprint, and its bytes are not ours to keep.
		credential, certificate, err := parse.CertificateBoth(der)
		if err == nil {
			t.credentials = append(t.credentials, credential)
		}
		if certificate != nil {
			served.AddCert(certificate)
			strict = append(strict, certificate)
			if i == 0 {
				t.first = certificate
			}
		}
	}
	for _, certificate := range strict {
		_, err := certificate.Verify(x509.VerifyOptions{
			Roots: c.roots, Intermediates: served, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
		})
		// One that is out of date stays, so that it is named as the reason.
		var invalid x509.CertificateInvalidError
		if err == nil || errors.As(err, &invalid) {
			t.pool.AddCert(certificate)
		}
	}
	return t
}

// verify checks chain and name as a client of this machine would. Issuers that
// lead to no root are left out of the search: no signature needs to be checked
// to tell that they do not help.
func (c *certificates) verify(l leaf, t *tail, host string, now time.Time) error {
	if l.strict == nil {
		return errors.New(l.credential.ReadError)
	}
	_, err := l.strict.Verify(x509.VerifyOptions{DNSName: host, Roots: c.roots, Intermediates: t.pool, CurrentTime: now})
	return err
}

// isRSA says whether an algorithm of a credential's key is RSA.
func isRSA(algorithm string) bool { return len(algorithm) >= 3 && algorithm[:3] == "rsa" }
