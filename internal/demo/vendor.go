// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
)

// A vendor has three products, which share one certificate.
type vendor struct {
	dir         string
	products    []*product
	certificate *x509.Certificate // until the recall
	key         crypto.Signer     // of it; what is stolen

	// monitor is the application that reads the sign-in logs of customers who share them,
	// with a key of its own.
	monitor            string
	monitorFile        string
	monitorCertificate []byte
}

// newVendor makes the directory of a vendor. The products have no certificate yet.
func newVendor(dir string) (*vendor, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("couldn't make a directory for the vendor: %w", err)
	}
	v := &vendor{dir: dir, monitor: uuid.NewString(), monitorFile: filepath.Join(dir, "log-reader.pem")}
	for i, one := range []struct{ name, title string }{
		{"sync-recover", "Sync and Recover"}, {"continuity", "Continuity Monitor"}, {"internal-protect", "Internal Email Protect"},
	} {
		v.products = append(v.products, &product{
			name: one.name, title: one.title, address: fmt.Sprintf("127.0.0.%d", 11+i),
			bundle: filepath.Join(dir, one.name+".pem"), records: filepath.Join(dir, one.name+".ndjson"),
		})
	}
	return v, v.makeMonitor()
}

// makeMonitor makes the certificate of the log reader, signed by itself as such certificates mostly are.
func (v *vendor) makeMonitor() error {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Log reader of the vendor"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 6, 0), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if v.monitorCertificate, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		return err
	}
	return writeBundle(v.monitorFile, key, v.monitorCertificate)
}

func writeBundle(path string, key crypto.Signer, chain ...[]byte) error {
	var text []byte
	for _, der := range chain {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
	return os.WriteFile(path, text, 0o600)
}

// share gives the certificate in a directory, as "tally ca issue" writes it, to all products.
func (v *vendor) share(dir string) error {
	chain, err := os.ReadFile(filepath.Join(dir, "fullchain.pem"))
	if err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	if err != nil {
		return err
	}
	for _, one := range v.products {
		if err := os.WriteFile(one.bundle, append(append([]byte{}, chain...), key...), 0o600); err != nil {
			return err
		}
	}
	m, err := readBundle(v.products[0].bundle)
	if err != nil {
		return err
	}
	v.key = m.Key
	v.certificate, err = x509.ParseCertificate(m.Chain[0])
	return err
}

// open opens the books of the products.
func (v *vendor) open(c *cloud) error {
	var errs []error
	for _, one := range v.products {
		errs = append(errs, one.open(c.servers))
	}
	return errors.Join(errs...)
}

// counts returns how often the products wanted something, and how often they did not get it.
func (v *vendor) counts() (uses, failures int64) {
	for _, one := range v.products {
		uses += one.uses.Load()
		failures += one.failures.Load()
	}
	return uses, failures
}
