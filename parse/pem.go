// SPDX-License-Identifier: Apache-2.0

package parse

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"github.com/tallystick/tallystick"
)

const (
	pemBegin = "-----BEGIN "
	pemEnd   = "-----END "
	pemDash  = "-----"
)

// A block is one PEM block (RFC 7468).
type block struct {
	label string
	dek   string // value of the DEK-Info header (RFC 1421 section 4.6.1.3)
	data  []byte
	line  int    // of its first line, counted from 1
	word  string // of the Problem, when fault is not empty
	fault string // why it cannot be read
}

// readPEM reads every block of a file. Text around blocks, indentation, line
// ends of any kind and line ends that are written as \n in a JSON or YAML
// string are fine; encoding/pem passes over the latter without a word, which
// is why this package has its own.
func (r *reader) readPEM(data []byte) {
	line := 1
	for !r.full() {
		before, after, found := bytes.Cut(data, []byte(pemBegin))
		if !found {
			return
		}
		line += bytes.Count(before, []byte("\n"))
		b, rest, ok := readBlock(after)
		if ok {
			b.line = line
			r.readBlock(b, startsLine(before))
		}
		line += bytes.Count(after[:len(after)-len(rest)], []byte("\n"))
		data = rest
	}
}

// startsLine says that only blanks stand between the last line end and here.
func startsLine(before []byte) bool {
	tail := before[bytes.LastIndexByte(before, '\n')+1:]
	return len(bytes.TrimLeft(tail, " \t\ufeff")) == 0
}

// readBlock reads from behind "-----BEGIN ". A body holds no dashes in a row,
// so that the next ones end it, whatever they are, and no input is walked twice.
func readBlock(data []byte) (b block, rest []byte, ok bool) {
	label, _, found := bytes.Cut(data[:min(len(data), 80)], []byte(pemDash))
	if !found || bytes.ContainsAny(label, "\r\n") {
		return b, data, false
	}
	b.label = string(label)
	data = data[len(label)+len(pemDash):]
	end := bytes.Index(data, []byte(pemDash))
	if end < 0 {
		b.word, b.fault = "truncated", "it has no end line"
		return b, nil, true
	}
	body, rest := data[:end], data[end:]
	if !bytes.HasPrefix(rest, []byte(pemEnd+b.label+pemDash)) {
		b.word, b.fault = "truncated", "another line of dashes comes before its end line"
		return b, rest, true
	}
	rest = rest[len(pemEnd)+len(label)+len(pemDash):]
	b.dek, body = cutHeaders(body)
	if b.data, ok = decodeBase64(body); !ok {
		b.word, b.fault = "malformed", "it is not base64"
	}
	return b, rest, true
}

// cutHeaders takes the lines with a colon off the start of a body.
func cutHeaders(body []byte) (dek string, rest []byte) {
	for {
		body = bytes.TrimLeft(body, " \t\r\n")
		header, after, found := bytes.Cut(body, []byte("\n"))
		if !found || bytes.IndexByte(header, ':') < 0 {
			return dek, body
		}
		if value, ok := strings.CutPrefix(string(header), "DEK-Info:"); ok {
			dek = strings.TrimSpace(value)
		}
		body = after
	}
}

// decodeBase64 takes blanks and the letters of written line ends away first.
func decodeBase64(body []byte) ([]byte, bool) {
	text := make([]byte, 0, len(body))
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '=':
		case c == '\\' && i+1 < len(body) && (body[i+1] == 'n' || body[i+1] == 'r'):
			i++
		default:
			text = append(text, c)
		}
	}
	n, err := base64.RawStdEncoding.Decode(text, text)
	return text[:n], err == nil && n > 0
}

// readBlock reads a block by its label. Labels that are not here (requests,
// CRLs, parameters, PGP) hold no credentials.
func (r *reader) readBlock(b block, startsLine bool) {
	if b.fault != "" {
		if startsLine && hasCredential(b.label) { // elsewhere it is a text about PEM
			r.problem(b.word, "line %d: %s block: %s", b.line, b.label, b.fault)
		}
		return
	}
	switch b.label {
	case "CERTIFICATE", "X509 CERTIFICATE":
		r.readCertificateBlock(b, Item{Role: tallystick.RolePresents, Format: "pem"})
	case "TRUSTED CERTIFICATE":
		r.readTrustedBlock(b)
	case "PRIVATE KEY", "RSA PRIVATE KEY", "EC PRIVATE KEY", "DSA PRIVATE KEY", "ANY PRIVATE KEY":
		r.readKeyBlock(b)
	case "ENCRYPTED PRIVATE KEY":
		r.readEncryptedPKCS8(b.data)
	case "OPENSSH PRIVATE KEY":
		r.readOpenSSH(b.data)
	case "PUBLIC KEY":
		r.readPublicBlock(b, b.data)
	case "RSA PUBLIC KEY":
		if !isRSAPublicKey(b.data) {
			r.problem("malformed", "line %d: %s block: not the two numbers of a public key", b.line, b.label)
			return
		}
		r.readPublicBlock(b, rsaSPKI(b.data))
	case "PKCS7", "CMS":
		r.readPKCS7(b.data)
	}
}

// hasCredential tells the labels above from others by their last words.
func hasCredential(label string) bool {
	for _, end := range []string{"CERTIFICATE", "PRIVATE KEY", "PUBLIC KEY", "PKCS7", "CMS"} {
		if strings.HasSuffix(label, end) {
			return true
		}
	}
	return false
}

func (r *reader) readCertificateBlock(b block, item Item) {
	c, err := Certificate(b.data)
	if err != nil {
		r.problem(certificateWord(err), "line %d: %s block: %v", b.line, b.label, err)
		return
	}
	item.Credential = c
	r.add(item)
}

// readTrustedBlock reads OpenSSL's certificate with its trust settings behind it.
func (r *reader) readTrustedBlock(b block) {
	if e, _, ok := next(b.data); ok {
		b.data = e.raw
	}
	r.readCertificateBlock(b, Item{Role: tallystick.RoleAccepts, Format: "pem"})
}

func (r *reader) readPublicBlock(b block, spki []byte) {
	if _, err := Key(spki); err != nil {
		r.problem("malformed", "line %d: %s block: %v", b.line, b.label, err)
		return
	}
	r.add(Item{Credential: bareKey(spki, ""), Role: tallystick.RolePresents, Format: "pem"})
}

// isRSAPublicKey tells an RSAPublicKey from the private key of PKCS#1, which
// begins alike.
func isRSAPublicKey(der []byte) bool {
	body, behind, ok := expect(der, tagSequence)
	numbers, whole := members(body, 2)
	return ok && whole && len(behind) == 0 && len(numbers) == 2 && allIntegers(numbers)
}

// readKeyBlock reads a private key that is not encrypted, or by DEK-Info.
func (r *reader) readKeyBlock(b block) {
	if b.dek != "" {
		r.readLegacyKey(b)
		return
	}
	item := Item{Format: "pem"}
	if b.label == "PRIVATE KEY" {
		item.Format = "pkcs8"
	}
	if !r.addPrivate(b.data, item) {
		r.problem("malformed", "line %d: %s block: not a private key", b.line, b.label)
	}
}

// legacyCiphers are the values of DEK-Info that OpenSSL writes.
var legacyCiphers = map[string]scheme{
	"DES-CBC":      {keySize: 8, cipher: "des"},
	"DES-EDE3-CBC": {keySize: 24, cipher: "3des"},
	"AES-128-CBC":  {keySize: 16, cipher: "aes"},
	"AES-192-CBC":  {keySize: 24, cipher: "aes"},
	"AES-256-CBC":  {keySize: 32, cipher: "aes"},
}

// readLegacyKey opens a key that is encrypted in the old way of OpenSSL.
func (r *reader) readLegacyKey(b block) {
	name, text, _ := strings.Cut(b.dek, ",")
	s, known := legacyCiphers[strings.ToUpper(name)]
	iv, err := hex.DecodeString(strings.TrimSpace(text))
	item := Item{Format: "pem", Passphrase: true}
	if known && err == nil && len(iv) >= 8 {
		ok := r.try(func(passphrase string, weak bool) bool {
			if !r.work.spend(len(b.data), s.byteCost()) {
				return false
			}
			plain, ok := s.open(legacyKey(passphrase, iv[:8], s.keySize), iv, b.data)
			if !ok {
				return false
			}
			defer clear(plain)
			item.WeakPassphrase = weak
			return r.addPrivate(plain, item)
		})
		if ok {
			return
		}
		item.WeakPassphrase = false
	}
	r.addSealed(b.data, item)
}

// legacyKey is OpenSSL's EVP_BytesToKey with MD5 and one round.
func legacyKey(passphrase string, salt []byte, size int) []byte {
	var key, sum []byte
	for len(key) < size {
		h := md5.Sum(append(append(sum, passphrase...), salt...))
		sum = h[:]
		key = append(key, sum...)
	}
	return key[:size]
}
