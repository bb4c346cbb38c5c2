// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/md5"
	"crypto/pbkdf2"
	"crypto/rc4"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"time"

	"golang.org/x/crypto/scrypt"
)

const (
	oidPBES2  = "1.2.840.113549.1.5.13"
	oidPBKDF2 = "1.2.840.113549.1.5.12"
	oidScrypt = "1.3.6.1.4.1.11591.4.11"
)

// hashes are the digests of MACs and key derivations, by their words.
var hashes = map[string]func() hash.Hash{
	"sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New,
	"sha384": sha512.New384, "sha512": sha512.New,
}

// A scheme is a password-based encryption of before PBES2 (RFC 8018 section
// 6.1, RFC 7292 appendix C).
type scheme struct {
	hash    func() hash.Hash
	cost    time.Duration // of one round
	pkcs12  bool          // the key derivation of PKCS#12; else PBKDF1
	keySize int
	cipher  string
}

var schemes = map[string]scheme{
	"1.2.840.113549.1.5.3":    {md5.New, md5Cost, false, 8, "des"},
	"1.2.840.113549.1.5.6":    {md5.New, md5Cost, false, 8, "rc2"},
	"1.2.840.113549.1.5.10":   {sha1.New, sha1Cost, false, 8, "des"},
	"1.2.840.113549.1.5.11":   {sha1.New, sha1Cost, false, 8, "rc2"},
	"1.2.840.113549.1.12.1.1": {sha1.New, sha1Cost, true, 16, "rc4"},
	"1.2.840.113549.1.12.1.2": {sha1.New, sha1Cost, true, 5, "rc4"},
	"1.2.840.113549.1.12.1.3": {sha1.New, sha1Cost, true, 24, "3des"},
	"1.2.840.113549.1.12.1.4": {sha1.New, sha1Cost, true, 16, "3des"},
	"1.2.840.113549.1.12.1.5": {sha1.New, sha1Cost, true, 16, "rc2"},
	"1.2.840.113549.1.12.1.6": {sha1.New, sha1Cost, true, 5, "rc2"},
}

// modernCiphers are the encryption schemes of PBES2 (RFC 8018 appendix B.2).
var modernCiphers = map[string]scheme{
	"2.16.840.1.101.3.4.1.2":  {keySize: 16, cipher: "aes"},
	"2.16.840.1.101.3.4.1.22": {keySize: 24, cipher: "aes"},
	"2.16.840.1.101.3.4.1.42": {keySize: 32, cipher: "aes"},
	"1.2.840.113549.3.7":      {keySize: 24, cipher: "3des"},
	"1.3.14.3.2.7":            {keySize: 8, cipher: "des"},
}

// decrypt opens data that is encrypted as the inside of an AlgorithmIdentifier
// says. A wrong passphrase gives false, or now and then rubbish: whoever calls
// looks at what came out.
func (w *work) decrypt(algorithm, data []byte, passphrase string) ([]byte, bool) {
	oid, params := algorithmID(algorithm)
	if oid == oidPBES2 {
		return w.decryptPBES2(params.body, data, passphrase)
	}
	s, ok := schemes[oid]
	fields := children(params.body, 2)
	if !ok || len(fields) != 2 {
		return nil, false
	}
	salt, rounds := octets(fields[0]), smallInt(fields[1].body)
	if rounds < 1 || len(salt) > maxSalt || !w.spend(3*rounds, s.cost) || !w.spend(len(data), s.byteCost()) { // at most two blocks of key and one of IV
		return nil, false
	}
	var key, iv []byte
	if s.pkcs12 {
		password := bmpPassword(passphrase)
		key = deriveKey(s.hash, password, salt, rounds, 1, s.keySize)
		iv = deriveKey(s.hash, password, salt, rounds, 2, rc2BlockSize)
	} else {
		both := pbkdf1(s.hash, passphrase, salt, rounds)
		key, iv = both[:8], both[8:16]
	}
	if s.cipher == "3des" && len(key) == 16 {
		key = append(key, key[:8]...)
	}
	return s.open(key, iv, data)
}

// decryptPBES2 is RFC 8018 section 6.2.
func (w *work) decryptPBES2(params, data []byte, passphrase string) ([]byte, bool) {
	both := children(params, 2)
	if len(both) != 2 {
		return nil, false
	}
	oid, iv := algorithmID(both[1].body)
	s, ok := modernCiphers[oid]
	if !ok || !w.spend(len(data), s.byteCost()) {
		return nil, false
	}
	key, ok := w.derive(both[0].body, passphrase, s.keySize)
	if !ok {
		return nil, false
	}
	return s.open(key, octets(iv), data)
}

// derive makes a key with PBKDF2 or scrypt, as the inside of an
// AlgorithmIdentifier says (RFC 8018 appendix A.2, RFC 7914 section 7.1).
func (w *work) derive(algorithm []byte, passphrase string, size int) ([]byte, bool) {
	oid, params := algorithmID(algorithm)
	fields := children(params.body, 5)
	if len(fields) < 2 {
		return nil, false
	}
	salt := octets(fields[0])
	if len(salt) > maxSalt {
		return nil, false
	}
	switch oid {
	case oidPBKDF2:
		rounds, digest := smallInt(fields[1].body), "sha1"
		if last := fields[len(fields)-1]; last.tag == tagSequence {
			prf, _ := algorithmID(last.body)
			digest = digestWords[prf]
		}
		newHash := hashes[digest]
		if newHash == nil || rounds < 1 || !w.spend(2*rounds*(1+size/newHash().Size()), hashCosts[digest]) { // an HMAC is two hashes
			return nil, false
		}
		key, err := pbkdf2.Key(newHash, passphrase, salt, rounds, size)
		return key, err == nil
	case oidScrypt:
		if len(fields) < 4 {
			return nil, false
		}
		return w.scrypt(salt, smallInt(fields[1].body), smallInt(fields[2].body), smallInt(fields[3].body), passphrase, size)
	}
	return nil, false
}

// scrypt keeps the memory, 128*n*r bytes, below 64 MiB.
func (w *work) scrypt(salt []byte, n, r, p int, passphrase string, size int) ([]byte, bool) {
	const most = 1 << 19
	if n < 2 || r < 1 || p < 1 || n > most || r > most/n || p > most || !w.spend(n*r*p, scryptCost) {
		w.exceeded = true
		return nil, false
	}
	key, err := scrypt.Key([]byte(passphrase), salt, n, r, p, size)
	return key, err == nil
}

// byteCost is what it costs to decrypt a byte.
func (s scheme) byteCost() time.Duration {
	switch s.cipher {
	case "des", "3des", "rc2":
		return desCost
	}
	return byteCost
}

// open decrypts and takes the padding off (RFC 8018 section 6.1.1).
func (s scheme) open(key, iv, data []byte) ([]byte, bool) {
	if s.cipher == "rc4" {
		stream, err := rc4.NewCipher(key)
		if err != nil {
			return nil, false
		}
		plain := make([]byte, len(data))
		stream.XORKeyStream(plain, data)
		return plain, true
	}
	if s.cipher == "rc2" {
		if len(data)%rc2BlockSize != 0 || len(iv) != rc2BlockSize {
			return nil, false
		}
		return unpad(decryptRC2(key, iv, data), rc2BlockSize)
	}
	newCipher := map[string]func([]byte) (cipher.Block, error){
		"aes": aes.NewCipher, "des": des.NewCipher, "3des": des.NewTripleDESCipher,
	}[s.cipher]
	block, err := newCipher(key)
	if err != nil || len(iv) != block.BlockSize() || len(data)%block.BlockSize() != 0 {
		return nil, false
	}
	plain := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, data)
	return unpad(plain, block.BlockSize())
}

func unpad(plain []byte, blockSize int) ([]byte, bool) {
	if len(plain) == 0 {
		return nil, false
	}
	n := int(plain[len(plain)-1])
	if n < 1 || n > blockSize || n > len(plain) {
		return nil, false
	}
	body, padding := plain[:len(plain)-n], plain[len(plain)-n:]
	return body, bytes.Count(padding, []byte{byte(n)}) == n
}

// pbkdf1 is RFC 8018 section 5.1, with the whole digest returned.
func pbkdf1(newHash func() hash.Hash, passphrase string, salt []byte, rounds int) []byte {
	h := newHash()
	sum := append([]byte(passphrase), salt...)
	for range rounds {
		h.Reset()
		h.Write(sum)
		sum = h.Sum(sum[:0])
	}
	return sum
}
