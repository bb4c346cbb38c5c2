// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"crypto/hmac"
	"hash"

	"github.com/tallystick/tallystick"
)

const (
	oidPBMAC1        = "1.2.840.113549.1.5.14"
	oidEncryptedData = "1.2.840.113549.1.7.6"
	oidKeyBag        = "1.2.840.113549.1.12.10.1.1"
	oidShroudedBag   = "1.2.840.113549.1.12.10.1.2"
	oidCertBag       = "1.2.840.113549.1.12.10.1.3"
	oidSafeBag       = "1.2.840.113549.1.12.10.1.6"
	oidX509Bag       = "1.2.840.113549.1.9.22.1"
	oidFriendlyName  = "1.2.840.113549.1.9.20"
	oidJavaTrusted   = "2.16.840.1.113894.746875.1.1"
)

// isPKCS12 looks at the fields of a PFX (RFC 7292 section 4): version 3 and a
// content.
func isPKCS12(parts []element) bool {
	if parts[0].tag != tagInteger || smallInt(parts[0].body) != 3 || parts[1].tag != tagSequence {
		return false
	}
	oid, _ := algorithmID(parts[1].body)
	return oid == oidData || oid == oidSignedData
}

// A keystore is a PKCS#12 file that is being read.
type keystore struct {
	*reader
	// opened is the passphrase, once a MAC or a decryption has shown it.
	opened *string
	refuse bool // the MAC says that no passphrase opens it
	weak   bool
	closed bool // some part stays closed
	locked bool // one of those parts is a private key
}

// readPKCS12 reads a PFX in the integrity modes by passphrase and none.
// Certificates that stand in it unencrypted, as in Java's own trust store, are
// found without any passphrase.
func (r *reader) readPKCS12(der []byte) {
	body, _, _ := expect(der, tagSequence)
	parts := children(body, 3)
	oid, content := algorithmID(parts[1].body)
	authSafe, _, ok := next(content.body)
	if oid != oidData || !ok {
		r.problem("unsupported", "PKCS#12 that is signed with a key instead of a passphrase")
		return
	}
	k := &keystore{reader: r}
	safes := octets(authSafe)
	if len(parts) > 2 {
		k.checkMAC(parts[2], safes)
	}
	list, _, ok := expect(safes, tagSequence)
	if !ok {
		r.problem("malformed", "PKCS#12 without contents")
		return
	}
	for info := range elements(list) {
		k.readContent(info)
	}
	if k.closed {
		k.addClosed(der)
	}
}

// addClosed adds one sealed credential for all that stays closed. Private keys
// stand outside of the encrypted lists of certificates, so that a file without
// one is told from a keystore even while it is closed.
func (k *keystore) addClosed(der []byte) {
	item := Item{Credential: sealed(der), Role: tallystick.RolePresents, Format: "pkcs12", Passphrase: true}
	if k.locked {
		item.Role, item.Private = tallystick.RoleHolds, true
	}
	k.add(item)
}

// checkMAC finds the passphrase by the MAC, which costs less than decrypting
// with each. A MAC that cannot be read decides nothing.
func (k *keystore) checkMAC(e element, safes []byte) {
	parts := children(e.body, 3)
	if len(parts) < 2 {
		return
	}
	info := children(parts[0].body, 2)
	if len(info) != 2 {
		return
	}
	rounds := 1
	if len(parts) > 2 {
		rounds = smallInt(parts[2].body)
	}
	oid, params := algorithmID(info[0].body)
	if oid != oidPBMAC1 && (hashes[digestWords[oid]] == nil || rounds < 1) {
		return
	}
	ok := k.try(func(passphrase string, weak bool) bool {
		newHash, key := k.macKey(oid, params.body, passphrase, octets(parts[1]), rounds)
		if key == nil {
			return false
		}
		if !k.work.spend(len(safes), byteCost) {
			return false
		}
		mac := hmac.New(newHash, key)
		mac.Write(safes)
		if !hmac.Equal(mac.Sum(nil), octets(info[1])) {
			return false
		}
		k.opened, k.weak = &passphrase, weak
		return true
	})
	k.refuse = !ok
}

// macKey derives the key of a MAC by RFC 7292 appendix B or, with PBMAC1, by
// RFC 9579; nil when that cannot be done.
func (k *keystore) macKey(oid string, params []byte, passphrase string, salt []byte, rounds int) (func() hash.Hash, []byte) {
	if oid != oidPBMAC1 {
		newHash := hashes[digestWords[oid]]
		if len(salt) > maxSalt || !k.work.spend(rounds, hashCosts[digestWords[oid]]) {
			return nil, nil
		}
		return newHash, deriveKey(newHash, bmpPassword(passphrase), salt, rounds, 3, newHash().Size())
	}
	both := children(params, 2)
	if len(both) != 2 {
		return nil, nil
	}
	scheme, _ := algorithmID(both[1].body)
	newHash := hashes[digestWords[scheme]]
	if newHash == nil {
		return nil, nil
	}
	key, _ := k.work.derive(both[0].body, passphrase, newHash().Size())
	return newHash, key
}

// readContent reads one ContentInfo of the AuthenticatedSafe.
func (k *keystore) readContent(info element) {
	oid, content := algorithmID(info.body)
	switch oid {
	case oidData:
		if e, _, ok := next(content.body); ok {
			k.readBags(octets(e), 0)
		}
	case oidEncryptedData:
		data, _, _ := expect(content.body, tagSequence)
		fields := children(data, 2)
		if len(fields) != 2 {
			k.problem("malformed", "PKCS#12: encrypted content without fields")
			return
		}
		parts := children(fields[1].body, 3)
		if len(parts) != 3 || parts[1].tag != tagSequence {
			k.problem("malformed", "PKCS#12: encrypted content without an algorithm")
			return
		}
		plain, ok := k.decryptPart(parts[1].body, octets(parts[2]))
		if !ok {
			k.closed = true
			return
		}
		k.readBags(plain, 0)
	default:
		k.problem("unsupported", "PKCS#12: content that is encrypted with a key instead of a passphrase")
	}
}

// decryptPart opens one encrypted part, with the passphrase that is known to
// open the file or else with each.
func (k *keystore) decryptPart(algorithm, data []byte) ([]byte, bool) {
	var plain []byte
	open := func(passphrase string, weak bool) bool {
		var ok bool
		plain, ok = k.work.decrypt(algorithm, data, passphrase)
		if ok = ok && len(plain) > 0 && plain[0] == tagSequence; ok {
			k.opened, k.weak = &passphrase, weak
		}
		return ok
	}
	if k.opened != nil && open(*k.opened, k.weak) {
		return plain, true
	}
	if k.refuse {
		return nil, false
	}
	return plain, k.try(open)
}

// readBags reads a SafeContents (RFC 7292 section 4.2).
func (k *keystore) readBags(safe []byte, depth int) {
	list, _, ok := expect(safe, tagSequence)
	if !ok || depth > 4 {
		k.problem("malformed", "PKCS#12: contents that are no list")
		return
	}
	for bag := range elements(list) {
		if k.full() {
			return
		}
		parts := children(bag.body, 3)
		if len(parts) < 2 || parts[0].tag != tagOID || parts[1].tag != tagContext {
			k.problem("malformed", "PKCS#12: an entry without type or value")
			continue
		}
		item := Item{Role: tallystick.RolePresents, Format: "pkcs12"}
		if len(parts) > 2 {
			readAttributes(&item, parts[2].body)
		}
		value, _, _ := next(parts[1].body)
		switch oidText(parts[0].body) {
		case oidKeyBag:
			if !k.addPrivate(value.raw, item) {
				k.problem("malformed", "PKCS#12: an entry that should be a private key")
			}
		case oidShroudedBag:
			k.readShrouded(value, item)
		case oidCertBag:
			k.readCertBag(value, item)
		case oidSafeBag:
			k.readBags(value.raw, depth+1)
		}
	}
}

// readShrouded opens an EncryptedPrivateKeyInfo.
func (k *keystore) readShrouded(value element, item Item) {
	parts := children(value.body, 2)
	if len(parts) != 2 {
		k.problem("malformed", "PKCS#12: an entry that should be an encrypted private key")
		return
	}
	plain, ok := k.decryptPart(parts[0].body, octets(parts[1]))
	defer clear(plain)
	if !ok {
		k.closed, k.locked = true, true
		return
	}
	item.Passphrase, item.WeakPassphrase = true, k.weak
	if !k.addPrivate(plain, item) {
		k.problem("malformed", "PKCS#12: what was encrypted is no private key")
	}
}

func (k *keystore) readCertBag(value element, item Item) {
	oid, content := algorithmID(value.body)
	der, _, ok := next(content.body)
	if oid != oidX509Bag || !ok {
		return // SDSI certificates, RFC 7292 section 4.2.3, are not in use
	}
	k.addCertificate(octets(der), item, "certificate in PKCS#12")
}

// readAttributes takes the name that people gave an entry, and Java's mark of
// a trusted certificate.
func readAttributes(item *Item, set []byte) {
	for attribute := range elements(set) {
		oid, values := algorithmID(attribute.body)
		switch oid {
		case oidFriendlyName:
			if value, _, ok := next(values.body); ok {
				name, _ := text(value)
				item.Alias = printable(name)
			}
		case oidJavaTrusted:
			item.Role = tallystick.RoleAccepts
		}
	}
}
