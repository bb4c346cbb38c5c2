// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A Certificate is what the server shows. It is read again, or made again, in
// time, while the server runs.
type Certificate struct {
	current    atomic.Pointer[tls.Certificate]
	renew      renewal
	spoilt     error // of the renewal at the start; for the log
	configured bool
}

// A renewal returns what is to be shown from now on, and why a certificate that
// we had made before could not be used for it; nil when there was none or it could.
type renewal func(now time.Time) (pair *tls.Certificate, spoilt, err error)

const (
	ownLife     = 365 * 24 * time.Hour // of a certificate that we make
	renewBefore = 30 * 24 * time.Hour
	keepEvery   = time.Hour // how soon a configured certificate that was replaced is shown
)

// MakeCertificate returns a self-signed certificate for this machine and an
// address to listen on. It is kept in a file of the data directory and made
// again when it is near its end, not for that address, or spoilt.
func MakeCertificate(dir, listen string, now time.Time) (*Certificate, error) {
	file := filepath.Join(dir, "server.pem")
	names := ownNames(listen)
	return newCertificate(now, false, func(now time.Time) (pair *tls.Certificate, spoilt, err error) {
		known, spoilt := tls.LoadX509KeyPair(file, file)
		if spoilt == nil && isFresh(known.Leaf, names, now) {
			return &known, nil, nil
		}
		if errors.Is(spoilt, fs.ErrNotExist) {
			spoilt = nil
		}
		pair, err = makeCertificate(file, names, now)
		return pair, spoilt, err
	})
}

// LoadCertificate returns the certificate of two PEM files: the certificate with
// its intermediates, and the private key.
func LoadCertificate(certFile, keyFile string, now time.Time) (*Certificate, error) {
	return newCertificate(now, true, func(time.Time) (_ *tls.Certificate, spoilt, err error) {
		pair, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			return nil, nil, fmt.Errorf("couldn't read the server's certificate: %w", err)
		}
		return &pair, nil, nil
	})
}

func newCertificate(now time.Time, configured bool, renew renewal) (*Certificate, error) {
	pair, spoilt, err := renew(now)
	if err != nil {
		return nil, err
	}
	c := &Certificate{renew: renew, spoilt: spoilt, configured: configured}
	c.current.Store(pair)
	return c, nil
}

// Configured says whether the certificate was given to us, not made here.
func (c *Certificate) Configured() bool { return c.configured }

// Fingerprint returns the SHA-256 of the certificate as browsers show it: pairs
// of upper-case digits with colons between them.
func (c *Certificate) Fingerprint() string {
	sum := sha256.Sum256(c.current.Load().Certificate[0])
	digits := strings.ToUpper(hex.EncodeToString(sum[:]))
	return strings.Join(slices.Collect(pairs(digits)), ":")
}

func pairs(digits string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for i := 0; i+1 < len(digits); i += 2 {
			if !yield(digits[i : i+2]) {
				return
			}
		}
	}
}

// Get returns the certificate that is shown now, for tls.Config.GetCertificate.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return c.current.Load(), nil
}

// isFor says whether the certificate is for a host.
func (c *Certificate) isFor(host string) bool {
	return c.current.Load().Leaf.VerifyHostname(host) == nil
}

// keep renews the certificate while ctx lasts, and says what became of it.
func (c *Certificate) keep(ctx context.Context, now func() time.Time, log *slog.Logger) {
	warn := func(spoilt error) {
		if spoilt != nil {
			log.Warn("the server's own certificate could not be read and was made again: its fingerprint is a new one", "error", spoilt)
		}
	}
	warn(c.spoilt)
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pair, spoilt, err := c.renew(now())
		if err != nil {
			log.Error("the server's certificate could not be renewed; the old one stays", "error", err)
			continue
		}
		warn(spoilt)
		c.current.Store(pair)
	}
}

// ownNames are the names that a certificate of our own is for.
func ownNames(listen string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil && name != "" {
		names = append(names, name)
	}
	host := hostOf(listen)
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		names = append(names, host)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// isFresh says whether a certificate still does.
func isFresh(leaf *x509.Certificate, names []string, now time.Time) bool {
	for _, name := range names {
		if leaf.VerifyHostname(name) != nil {
			return false
		}
	}
	return now.After(leaf.NotBefore) && now.Before(leaf.NotAfter.Add(-renewBefore))
}

func makeCertificate(file string, names []string, now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("couldn't make the server's key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, fmt.Errorf("couldn't make the server's certificate: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Tallystick"},
		// An hour back, because the clocks of browsers differ a little from ours.
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(ownLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("couldn't make the server's certificate: %w", err)
	}
	return writePair(file, der, key)
}

// writePair writes certificate and key to one file that nobody else reads, in
// one step, so that a crash leaves either the old pair or the new one.
func writePair(file string, der []byte, key *ecdsa.PrivateKey) (*tls.Certificate, error) {
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("couldn't write the server's key: %w", err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
	if err := replaceFile(file, text); err != nil {
		return nil, fmt.Errorf("couldn't write the server's certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(text, text)
	return &pair, err
}

// replaceFile puts a new file, that only its owner reads, in the place of one.
// Both the bytes and the name are on the disk when it returns nil.
func replaceFile(file string, text []byte) error {
	dir := filepath.Dir(file)
	temporary, err := os.CreateTemp(dir, ".server-*") // mode 0600, and never a file that is there
	if err != nil {
		return err
	}
	_, err = temporary.Write(text)
	if err := errors.Join(err, temporary.Sync(), temporary.Close()); err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	if err := os.Rename(temporary.Name(), file); err != nil {
		return errors.Join(err, os.Remove(temporary.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
