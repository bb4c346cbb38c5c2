// SPDX-License-Identifier: Apache-2.0

package parse_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// keytool runs Java's tool on the keystore "store" of a type.
func keytool(t *testing.T, dir, kind, secret, command string) {
	t.Helper()
	args := strings.Fields(command + " -keystore store -storetype " + kind + " -storepass " + secret)
	tool(t, dir, "keytool", append([]string{"-J-XX:TieredStopAtLevel=1", "-J-XX:+UseSerialGC", "-noprompt"}, args...)...)
}

// fill puts a key pair and a trusted certificate into a keystore, with a
// secret key between them where the type can hold one.
func fill(t *testing.T, dir, kind, secret string) {
	t.Helper()
	keytool(t, dir, kind, secret, "-genkeypair -alias web -keyalg EC -groupname secp256r1 -dname CN=web -validity 30")
	if kind == "JCEKS" {
		keytool(t, dir, kind, secret, "-genseckey -alias middle -keyalg AES -keysize 128")
	}
	keytool(t, dir, kind, secret, "-importcert -alias root -file ca.pem")
}

// exportedKey is the identity that Java and OpenSSL give the key pair.
func exportedKey(t *testing.T, dir, kind, secret string) tallystick.KeyID {
	t.Helper()
	keytool(t, dir, kind, secret, "-exportcert -alias web -rfc -file web.pem")
	pem := openssl(t, dir, "x509 -in web.pem -noout -pubkey")
	return parse.Bytes("web.pub", pem, nil).Items[0].Credential.Key.ID
}

func TestJavaKeystores(t *testing.T) {
	for kind, format := range map[string]string{"JKS": "jks", "JCEKS": "jceks", "PKCS12": "pkcs12"} {
		t.Run(kind, func(t *testing.T) {
			for secret, weak := range map[string]bool{"changeit": true, passphrase: false} {
				dir := t.TempDir()
				makeChain(t, dir)
				fill(t, dir, kind, secret)
				id := exportedKey(t, dir, kind, secret)
				ca := tallystick.KeyIDOf(openssl(t, dir, "pkey -in ca.key -pubout -outform DER"))
				want := map[seen]bool{
					{tallystick.KindKey, tallystick.RoleHolds, id, "ecdsa-p256", format, "web", true, true, weak}:               true,
					{tallystick.KindCertificate, tallystick.RolePresents, id, "ecdsa-p256", format, "web", false, false, false}: true,
					{tallystick.KindCertificate, tallystick.RoleAccepts, ca, "ecdsa-p384", format, "root", false, false, false}: true,
				}
				result := readFile(t, filepath.Join(dir, "store"), passphrase)
				for _, s := range seenIn(result) { // Java writes its entries in any order
					if !want[s] {
						t.Errorf("%s: unexpected %+v", kind, s)
					}
					delete(want, s)
				}
				for s := range want {
					t.Errorf("%s: missing %+v; %v", kind, s, result.Problems)
				}
			}
		})
	}
}

// The certificates of JKS need no passphrase; PKCS#12 stays closed.
func TestJavaKeystoresWithoutPassphrase(t *testing.T) {
	dir := t.TempDir()
	makeChain(t, dir)
	fill(t, dir, "JKS", passphrase)
	if items := readFile(t, filepath.Join(dir, "store")).Items; len(items) != 3 {
		t.Errorf("JKS: %d items, want 3", len(items))
	}
	dir = t.TempDir()
	makeChain(t, dir)
	fill(t, dir, "PKCS12", passphrase)
	wantSeen(t, filepath.Join(dir, "store"), nil, seen{
		Kind: tallystick.KindSealed, Role: tallystick.RoleHolds, Algorithm: "unknown", Format: "pkcs12", Private: true, Passphrase: true,
	})
}

// A secret key entry is told as a problem and does not hide what follows.
func TestJavaSecretKey(t *testing.T) {
	dir := t.TempDir()
	makeChain(t, dir)
	fill(t, dir, "JCEKS", "changeit")
	result := readFile(t, filepath.Join(dir, "store"))
	if len(result.Problems) != 1 || result.Problems[0].Word != "unsupported" || len(result.Items) != 3 {
		t.Errorf("%d items, problems %v", len(result.Items), result.Problems)
	}
}
