// SPDX-License-Identifier: Apache-2.0

package parse_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/tallystick/tallystick/parse"
)

// sequence wraps what it is given.
func sequence(parts ...[]byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) { b.AddBytes(slices.Concat(parts...)) })
	return b.BytesOrPanic()
}

// bitString wraps a copy of what it is given.
func bitString(content []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1BitString(content)
	return b.BytesOrPanic()
}

// contents returns what is in the outermost element.
func contents(t *testing.T, der []byte) []byte {
	t.Helper()
	in, tag := cryptobyte.String(der), asn1.Tag(0)
	var out cryptobyte.String
	if !in.ReadAnyASN1(&out, &tag) {
		t.Fatal("not DER")
	}
	return out
}

// javaStore is a JKS of one trusted certificate.
func javaStore(der []byte) []byte {
	store := []byte("\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x02\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x05X.509")
	return slices.Concat(binary.BigEndian.AppendUint32(store, uint32(len(der))), der, make([]byte, 20))
}

// noSecret fails when a credential carries secret.
func noSecret(t *testing.T, name string, result parse.Result, secret []byte) {
	t.Helper()
	for _, item := range result.Items {
		if c := item.Credential; bytes.Contains(c.Raw, secret) || bytes.Contains(c.Key.SPKI, secret) {
			t.Errorf("%s: the public bytes of a %s hold a private key", name, c.Kind)
		}
	}
}

// hidden are the ways in which a private key is put among the bytes of a
// certificate or of a public key.
func hidden(t *testing.T, certificate, spki, private []byte) map[string][]byte {
	t.Helper()
	overlong := bytes.Clone(certificate)
	binary.BigEndian.PutUint16(overlong[2:], binary.BigEndian.Uint16(overlong[2:])+60_000)
	body := contents(t, certificate)
	tbs := contents(t, body)
	rest := body[len(sequence(tbs)):]
	return map[string][]byte{
		"overlong":          slices.Concat(overlong, private),
		"behind":            slices.Concat(certificate, private),
		"in a sequence":     sequence(private),
		"after the members": sequence(body, private),
		"after the fields":  sequence(sequence(tbs, private), rest),
		"as the signature":  sequence(body[:len(body)-len(lastElement(t, body))], bitString(private)),
		"bare":              private,
		"behind an SPKI":    slices.Concat(spki, private),
		"in an SPKI":        sequence(contents(t, spki), private),
		"as the key":        sequence(contents(t, spki)[:len(contents(t, spki))-len(lastElement(t, contents(t, spki)))], bitString(private)),
	}
}

// lastElement returns the last of the elements.
func lastElement(t *testing.T, b []byte) []byte {
	t.Helper()
	var last cryptobyte.String
	for in := cryptobyte.String(b); len(in) > 0; {
		var tag asn1.Tag
		if !in.ReadAnyASN1Element(&last, &tag) {
			t.Fatal("not DER")
		}
	}
	return last
}

// Whatever a file calls it, a private key never becomes the bytes of a credential.
func TestHiddenPrivateKeys(t *testing.T) {
	dir := t.TempDir()
	certificate := selfSigned(t, dir, "-subj", "/CN=a")
	spki := openssl(t, dir, "pkey -in key.pem -pubout -outform DER")
	openssl(t, dir, "genrsa -traditional -out rsa.pem 2048")
	for form, command := range map[string]string{
		"PKCS#8": "pkey -in key.pem -outform DER", "SEC1": "ec -in key.pem -outform DER",
		"PKCS#1": "rsa -in rsa.pem -traditional -outform DER", "sealed": "pkcs8 -topk8 -in key.pem -outform DER -passout pass:x",
	} {
		private := openssl(t, dir, command)
		secret := private[len(private)-40:]
		if form == "PKCS#8" || form == "SEC1" {
			scalar := bytes.Index(private, []byte{0x04, 0x20})
			secret = private[scalar+2 : scalar+34]
		}
		for place, der := range hidden(t, certificate, spki, private) {
			name := form + " " + place
			for _, label := range []string{"CERTIFICATE", "TRUSTED CERTIFICATE", "PUBLIC KEY", "RSA PUBLIC KEY", "PKCS7", "PRIVATE KEY"} {
				noSecret(t, name+" "+label, parse.Bytes("a.pem", pem.EncodeToMemory(&pem.Block{Type: label, Bytes: der}), nil), secret)
			}
			noSecret(t, name+" DER", parse.Bytes("a.crt", der, nil), secret)
			noSecret(t, name+" JKS", parse.Bytes("a.jks", javaStore(der), nil), secret)
			if c, err := parse.Certificate(der); err == nil && bytes.Contains(c.Raw, secret) {
				t.Errorf("%s: Certificate keeps it", name)
			}
		}
	}
}

// Behind an SSH certificate nothing may stand.
func TestHiddenInSSHCertificate(t *testing.T) {
	dir := t.TempDir()
	sshKeygen(t, dir, "-t", "ed25519", "-N", "", "-f", "id")
	sshKeygen(t, dir, "-s", "id", "-I", "a", "id.pub")
	line, err := os.ReadFile(filepath.Join(dir, "id-cert.pub"))
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Fields(line)
	blob, err := base64.StdEncoding.DecodeString(string(fields[1]))
	if err != nil {
		t.Fatal(err)
	}
	secret := []byte("a secret that stands behind it")
	data := slices.Concat(fields[0], []byte(" "), []byte(base64.StdEncoding.EncodeToString(append(blob, secret...))), []byte("\n"))
	result := parse.Bytes("id-cert.pub", data, nil)
	noSecret(t, "SSH", result, secret)
	if len(result.Problems) != 1 {
		t.Errorf("problems: %v", result.Problems)
	}
}
