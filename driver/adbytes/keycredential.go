// SPDX-License-Identifier: Apache-2.0

package adbytes

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"time"
)

// A KeyCredential is a value of msDS-KeyCredentialLink: a public key whose private half signs
// in as the account ([MS-ADTS] section 2.2.20).
type KeyCredential struct {
	ID      string // SHA-256 of the key material, 64 hexadecimal digits
	Usage   string // "sign-in", "fido", "file encryption", or "unknown"
	Source  string // "directory" or "cloud"
	Device  string // GUID, "" where none is named
	SPKI    []byte // DER, empty where the key is of a form that is not read
	Created time.Time
	Used    time.Time // when it last signed in, approximately
	// Sound says that the hashes in the value are those of its bytes. Who forges one by hand
	// leaves them out or wrong, and domain controllers of today refuse it.
	Sound bool
}

// The entries of a KEYCREDENTIALLINK_BLOB ([MS-ADTS] section 2.2.20.6).
const (
	keyID = iota + 1
	keyHash
	keyMaterial
	keyUsage
	keySource
	keyDevice
	keyCustom
	keyUsed
	keyCreated
)

const keyVersion2 = 0x200

// ReadKeyCredential reads a KEYCREDENTIALLINK_BLOB of version 2.
func ReadKeyCredential(blob []byte) (KeyCredential, error) {
	if len(blob) < 4 || binary.LittleEndian.Uint32(blob) != keyVersion2 {
		return KeyCredential{}, malformed("key credential: it is not of version 2")
	}
	var entries [keyCreated + 1][]byte
	var hashed []byte // what the hash is over: all that stands behind it
	for rest := blob[4:]; len(rest) > 0; {
		if len(rest) < 3 {
			return KeyCredential{}, malformed("key credential: it ends in the middle of an entry")
		}
		size, id := int(binary.LittleEndian.Uint16(rest)), int(rest[2])
		if rest = rest[3:]; len(rest) < size {
			return KeyCredential{}, malformed("key credential: an entry is longer than what is there")
		}
		if id > 0 && id < len(entries) {
			if entries[id] != nil {
				return KeyCredential{}, malformed("key credential: an entry stands there twice")
			}
			entries[id] = rest[:size:size]
		}
		rest = rest[size:]
		if id == keyHash {
			hashed = rest
		}
	}
	if len(entries[keyMaterial]) == 0 || len(entries[keyID]) != sha256.Size {
		return KeyCredential{}, malformed("key credential: it has no key, or no identifier of one")
	}
	material := sha256.Sum256(entries[keyMaterial])
	whole := sha256.Sum256(hashed)
	k := KeyCredential{
		ID: hex.EncodeToString(entries[keyID]), Usage: usageOf(entries[keyUsage]), Source: "directory",
		SPKI: publicKey(entries[keyMaterial]), Device: GUID(entries[keyDevice]),
		Sound: bytes.Equal(material[:], entries[keyID]) && bytes.Equal(whole[:], entries[keyHash]),
	}
	if source := entries[keySource]; len(source) == 1 && source[0] == 1 {
		k.Source = "cloud"
	}
	k.Created, k.Used = fileTimeBytes(entries[keyCreated]), fileTimeBytes(entries[keyUsed])
	return k, nil
}

// usageOf reads [MS-ADTS] section 2.2.20.5.1.
func usageOf(b []byte) string {
	if len(b) == 1 {
		switch b[0] {
		case 1:
			return "sign-in"
		case 7:
			return "fido"
		case 8:
			return "file encryption"
		}
	}
	return "unknown"
}

func fileTimeBytes(b []byte) time.Time {
	if len(b) != 8 {
		return time.Time{}
	}
	return FileTime(int64(binary.LittleEndian.Uint64(b)))
}

const (
	rsaPublicMagic = 0x31415352 // "RSA1", BCRYPT_RSAPUBLIC_MAGIC of bcrypt.h
	rsaHeader      = 24
	maxModulus     = 16384 / 8
)

// publicKey returns the DER SubjectPublicKeyInfo of key material that is a BCRYPT_RSAKEY_BLOB
// or such a structure itself, and nil of any other.
func publicKey(material []byte) []byte {
	if _, err := x509.ParsePKIXPublicKey(material); err == nil {
		return material
	}
	if len(material) < rsaHeader || binary.LittleEndian.Uint32(material) != rsaPublicMagic {
		return nil
	}
	exponent, modulus := uint64(binary.LittleEndian.Uint32(material[8:])), uint64(binary.LittleEndian.Uint32(material[12:]))
	if exponent == 0 || exponent > 4 || modulus == 0 || modulus > maxModulus || uint64(len(material)) < rsaHeader+exponent+modulus {
		return nil
	}
	body := material[rsaHeader:]
	e := new(big.Int).SetBytes(body[:exponent])
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(body[exponent : exponent+modulus]), E: int(e.Int64())}
	if key.N.Sign() == 0 || key.E < 2 {
		return nil
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil
	}
	return der
}
