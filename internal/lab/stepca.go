// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// StepCASettings are what a test may want of its step-ca.
type StepCASettings struct {
	Password string // when not "", the key of the provisioner is kept with the CA, wrapped with it
	ACME     bool   // have a provisioner "acme" too, whose http-01 looks at HTTPPort of the StepCA
}

// A StepCA is a step-ca with a provisioner of type JWK and a CRL.
type StepCA struct {
	*Process
	URL         string
	RootFile    string
	Fingerprint string // of the root, SHA-256, hex
	Provisioner string
	Key         string // of the provisioner, a private JWK
	HTTPPort    int
	PKI         *PKI
}

// StartStepCA starts one. It certifies names under lab.test, localhost and
// addresses of 127.0.0.0/8, and nothing else.
func StartStepCA(t TB, s StepCASettings) *StepCA {
	t.Helper()
	pki, dir := NewPKI(t), t.TempDir()
	sum := sha256.Sum256(pki.Root.Raw)
	address := Loopback(FreePort(t))
	ca := &StepCA{
		URL: "https://" + address, RootFile: pki.RootFile, Fingerprint: hex.EncodeToString(sum[:]),
		Provisioner: "tally", HTTPPort: FreePort(t), PKI: pki,
	}
	provisioner := ca.provisioner(t, NewKey(t), s.Password)
	provisioners := []any{provisioner}
	if s.ACME {
		provisioners = append(provisioners, map[string]any{"type": "ACME", "name": "acme"})
	}
	config, err := json.Marshal(map[string]any{
		"root": pki.RootFile, "crt": pki.SubFile, "key": pki.SubKeyFile, "address": address, "dnsNames": []string{"localhost", "127.0.0.1"},
		"logger": map[string]any{"format": "json"},
		"db":     map[string]any{"type": "badgerv2", "dataSource": dir},
		"crl":    map[string]any{"enabled": true, "generateOnRevoke": true},
		"authority": map[string]any{
			"provisioners": provisioners,
			"policy": map[string]any{"x509": map[string]any{
				"allow": map[string]any{"dns": []string{"*.lab.test", "localhost"}, "ip": []string{"127.0.0.0/8"}, "cn": []string{"*.lab.test"}},
			}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	command := []string{Program(t, "step-ca"), write(t, dir, "ca.json", string(config))}
	ca.Process = Start(t, dir, []string{"STEPPATH=" + dir}, command, address)
	return ca
}

// Issued counts the certificates that it has made. It logs a request after it has
// answered, so a count is one that stays the same for a while.
func (ca *StepCA) Issued() int {
	for n := ca.signed(); ; {
		time.Sleep(50 * time.Millisecond)
		again := ca.signed()
		if again == n {
			return n
		}
		n = again
	}
}

func (ca *StepCA) signed() int {
	n := 0
	for line := range strings.Lines(ca.Log()) {
		if strings.Contains(line, `"path":"/1.0/sign"`) && strings.Contains(line, `"status":201`) {
			n++
		}
	}
	return n
}

// provisioner makes the key of the provisioner, and its configuration.
func (ca *StepCA) provisioner(t TB, key *ecdsa.PrivateKey, password string) map[string]any {
	t.Helper()
	private := jose.JSONWebKey{Key: key, Algorithm: "ES256", Use: "sig"}
	sum, err := private.Thumbprint(crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	private.KeyID = hex.EncodeToString(sum)
	text, err := private.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	ca.Key = string(text)
	config := map[string]any{"type": "JWK", "name": ca.Provisioner, "key": private.Public()}
	if password == "" {
		return config
	}
	encrypter, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{
		Algorithm: jose.PBES2_HS256_A128KW, Key: []byte(password), PBES2Count: 100_000, PBES2Salt: []byte("sixteen bytes ok"),
	}, (&jose.EncrypterOptions{}).WithContentType("jwk+json"))
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := encrypter.Encrypt(text)
	if err != nil {
		t.Fatal(err)
	}
	config["encryptedKey"], err = wrapped.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return config
}
