// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/binary"
	"slices"
	"time"

	keystore "github.com/pavlo-v-chernykh/keystore-go/v4"
	"golang.org/x/crypto/cryptobyte"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// isJKS says whether content begins like a Java keystore.
func isJKS(content []byte) bool { return bytes.HasPrefix(content, []byte{0xfe, 0xed, 0xfe, 0xed}) }

// openJKS reads a Java keystore.
func openJKS(content []byte, passphrase string) (keystore.KeyStore, error) {
	store := keystore.New(keystore.WithOrderedAliases())
	if err := sound(content); err != nil {
		return store, err
	}
	if err := store.Load(bytes.NewReader(content), []byte(passphrase)); err != nil {
		return store, invalid("couldn't open the keystore: is the passphrase right? %v", err)
	}
	return store, nil
}

// sound walks a file before the library does, which reserves what a length says before it
// has seen that many bytes.
func sound(content []byte) error {
	s := cryptobyte.String(content)
	var version, count, tag uint32
	ok := s.Skip(4) && s.ReadUint32(&version) && s.ReadUint32(&count)
	for ; ok && count > 0; count-- {
		ok = s.ReadUint32(&tag) && skip16(&s) && s.Skip(8)
		certificates := uint32(1)
		if ok && tag == 1 { // a private key, then its chain
			ok = skip32(&s) && s.ReadUint32(&certificates)
		}
		for ; ok && certificates > 0; certificates-- {
			ok = (version == 1 || skip16(&s)) && skip32(&s)
		}
	}
	if !ok || len(s) != 20 { // the digest
		return invalid("it is no whole Java keystore")
	}
	return nil
}

func skip16(s *cryptobyte.String) bool {
	var text cryptobyte.String
	return s.ReadUint16LengthPrefixed(&text)
}

func skip32(s *cryptobyte.String) bool {
	if len(*s) < 4 {
		return false
	}
	n := int64(binary.BigEndian.Uint32(*s))
	return n <= int64(len(*s)-4) && s.Skip(4+int(n))
}

// readJKS reads the entry of a private key. Without an alias it is the only one.
func readJKS(store keystore.KeyStore, alias, passphrase string) (driver.Material, string, error) {
	if alias == "" {
		keys := slices.DeleteFunc(store.Aliases(), func(a string) bool { return !store.IsPrivateKeyEntry(a) })
		if len(keys) != 1 {
			return driver.Material{}, "", invalid("the keystore has %d private keys: name one by option alias", len(keys))
		}
		alias = keys[0]
	}
	if !store.IsPrivateKeyEntry(alias) {
		return driver.Material{}, alias, invalid("the keystore has no private key with the alias %q", alias)
	}
	entries, err := store.GetPrivateKeyEntryCertificateChain(alias)
	if err != nil {
		return driver.Material{}, alias, invalid("couldn't read the chain of %q: %v", alias, err)
	}
	var all []*x509.Certificate
	for _, entry := range entries {
		c, err := x509.ParseCertificate(entry.Content)
		if err != nil {
			return driver.Material{}, alias, invalid("couldn't read the chain of %q: %v", alias, err)
		}
		all = append(all, c)
	}
	if len(all) == 0 {
		return driver.Material{}, alias, invalid("the entry %q has no certificate", alias)
	}
	m := driver.Material{Public: driver.Public{Chain: installing.Ladder(all[0], all[1:])}}
	if entry, err := store.GetPrivateKeyEntry(alias, []byte(passphrase)); err == nil {
		if key, err := x509.ParsePKCS8PrivateKey(entry.PrivateKey); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				m.Key = signer
			}
		}
	}
	if own, ok := all[0].PublicKey.(interface{ Equal(crypto.PublicKey) bool }); m.Key != nil && (!ok || !own.Equal(m.Key.Public())) {
		m.Key = nil
	}
	return m, alias, nil
}

// writeJKS puts a credential into the entry of an alias, and leaves all others.
func writeJKS(store keystore.KeyStore, m driver.Material, alias, passphrase, keyPassphrase string, now time.Time) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(m.Key)
	if err != nil {
		return nil, invalid("a private key that cannot be taken out of where it is cannot be written to a keystore")
	}
	entry := keystore.PrivateKeyEntry{CreationTime: now, PrivateKey: der}
	for _, der := range m.Chain {
		entry.CertificateChain = append(entry.CertificateChain, keystore.Certificate{Type: "X509", Content: der})
	}
	if err := store.SetPrivateKeyEntry(alias, entry, []byte(keyPassphrase)); err != nil {
		return nil, invalid("couldn't write the entry %q: %v", alias, err)
	}
	return stored(store, passphrase)
}

func stored(store keystore.KeyStore, passphrase string) ([]byte, error) {
	var content bytes.Buffer
	if err := store.Store(&content, []byte(passphrase)); err != nil {
		return nil, invalid("couldn't write the keystore: %v", err)
	}
	return content.Bytes(), nil
}

// trusted returns the trusted certificates of a store by their alias.
func trusted(store keystore.KeyStore) map[string][]byte {
	all := map[string][]byte{}
	for _, alias := range store.Aliases() {
		if entry, err := store.GetTrustedCertificateEntry(alias); err == nil {
			all[alias] = entry.Certificate.Content
		}
	}
	return all
}

// trust adds a trusted certificate.
func trust(store keystore.KeyStore, alias string, der []byte, now time.Time) error {
	if err := store.SetTrustedCertificateEntry(alias, keystore.TrustedCertificateEntry{
		CreationTime: now, Certificate: keystore.Certificate{Type: "X509", Content: der},
	}); err != nil {
		return invalid("couldn't add a trusted certificate: %v", err)
	}
	return nil
}
