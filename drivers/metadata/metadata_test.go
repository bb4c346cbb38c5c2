// SPDX-License-Identifier: Apache-2.0

package metadata

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/drivertest"
)

// now is the clock of the tests.
var now = drivertest.Clock()

// A site is an HTTPS server with documents, and a note of who was asked for what.
type site struct {
	*httptest.Server
	mu        sync.Mutex
	documents map[string]string // guarded by mu
	asked     []string          // guarded by mu
	roots     string            // path of a bundle with the certificate of the server
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{documents: map[string]string{}}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.asked = append(s.asked, r.URL.Path)
		text, ok := s.documents[r.URL.Path]
		if to, moved := strings.CutPrefix(text, "-> "); moved {
			http.Redirect(w, r, to, http.StatusFound)
		} else if !ok {
			http.NotFound(w, r)
		} else {
			fmt.Fprint(w, text)
		}
	}))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are meant
	s.StartTLS()
	t.Cleanup(s.Close)
	s.roots = filepath.Join(t.TempDir(), "roots.pem")
	write(t, s.roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
	return s
}

// put serves a document and returns its URL.
func (s *site) put(path, text string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.documents[path] = text
	return s.URL + path
}

// visits returns what was asked for.
func (s *site) visits() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

// place is the place of a document of the site.
func (s *site) place(path string) tallystick.Place {
	return tallystick.Place("metadata://" + s.Listener.Addr().String() + path)
}

func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// seen lists role, place, what and how it is called, a line a sighting.
func seen(r *drivertest.Recorder) []string {
	var lines []string
	for _, s := range r.Sightings {
		lines = append(lines, fmt.Sprintf("%s %s %s %s %q", s.Role, s.Place.Path(), s.Credential.Kind, s.Credential.Key.ID.Short(), s.File.Alias))
	}
	return lines
}

func find(t *testing.T, options map[string]string, targets ...string) *drivertest.Recorder {
	t.Helper()
	return drivertest.Find(t, Driver(), options, targets...)
}

// find looks at documents of the site, which it trusts.
func (s *site) find(t *testing.T, targets ...string) *drivertest.Recorder {
	t.Helper()
	return find(t, map[string]string{"roots": s.roots}, targets...)
}

// newCertificate makes a certificate, in DER, with the key of its own.
func newCertificate(t *testing.T, name string) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: now, NotAfter: now.AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

func base64Of(der []byte) string { return base64.StdEncoding.EncodeToString(der) }

func shortKey(t *testing.T, der []byte) string {
	t.Helper()
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tallystick.KeyIDOf(c.RawSubjectPublicKeyInfo).Short()
}

// tool runs a program that a Debian package brings.
func tool(t *testing.T, debian, stdin, name string, arguments ...string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("install the Debian package %s: %v", debian, err)
	}
	var errors strings.Builder
	c := exec.Command(path, arguments...)
	c.Stdin, c.Stderr, c.Dir = strings.NewReader(stdin), &errors, t.TempDir()
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s (Debian package %s): %v\n%s", c, debian, err, errors.String())
	}
	return string(out)
}

// entity is SAML metadata of one entity with key descriptors.
func entity(id string, keys ...string) string {
	return `<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#"` +
		` xmlns:dsig11="http://www.w3.org/2009/xmldsig11#" entityID="` + id + `"><IDPSSODescriptor protocolSupportEnumeration="x">` +
		strings.Join(keys, "") + `</IDPSSODescriptor></EntityDescriptor>`
}

func keyDescriptorOf(use string, infos ...string) string {
	return `<KeyDescriptor use="` + use + `"><ds:KeyInfo>` + strings.Join(infos, "") + `</ds:KeyInfo></KeyDescriptor>`
}

func x509Data(ders ...[]byte) string {
	text := "<ds:X509Data>"
	for _, der := range ders {
		text += "<ds:X509Certificate>\n" + base64Of(der) + "\n</ds:X509Certificate>"
	}
	return text + "</ds:X509Data>"
}

func TestSuite(t *testing.T) {
	s := newSite(t)
	der, key := newCertificate(t, "idp")
	shown := base64.RawURLEncoding.EncodeToString(must(key.Bytes()))
	s.put("/saml", entity("https://idp.example", keyDescriptorOf("signing", x509Data(der))))
	s.put("/.well-known/openid-configuration", `{"jwks_uri":"`+s.URL+`/keys"}`)
	s.put("/keys", `{"keys":[`+ecJWK(key, `,"d":"`+shown+`"`)+`]}`)
	file := write(t, filepath.Join(t.TempDir(), "sp.xml"), []byte(entity("sp", keyDescriptorOf("", x509Data(der)))))
	drivertest.Run(t, drivertest.Suite{
		Driver: Driver(), Options: map[string]string{"roots": s.roots},
		Targets: []string{s.URL + "/saml", s.URL, file, "file://" + file},
		Want:    []tallystick.Place{s.place("/saml"), s.place("/"), tallystick.Place("metadata://" + file)},
		Bad:     s.URL + "/nothing-here",
		Secrets: []string{shown, base64Of(must(key.Bytes()))},
	})
}

func must(data []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return data
}

// ecJWK writes a P-256 key as a JWK with further members.
func ecJWK(key *ecdsa.PrivateKey, further string) string {
	point := must(key.PublicKey.Bytes())
	b64 := base64.RawURLEncoding
	return `{"kty":"EC","crv":"P-256","kid":"one","x":"` + b64.EncodeToString(point[1:33]) + `","y":"` + b64.EncodeToString(point[33:]) + `"` + further + `}`
}

// What Shibboleth writes is read.
func TestShibbolethMetadata(t *testing.T) {
	s := newSite(t)
	dir := t.TempDir()
	arguments := []string{"-h", "sp.example.org", "-e", "https://sp.example.org/shibboleth"}
	var want []string
	for _, name := range []string{"old", "new"} {
		der, _ := newCertificate(t, name)
		path := write(t, filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
		arguments = append(arguments, "-c", path)
		want = append(want, "accepts /metadata certificate "+shortKey(t, der)+` "https://sp.example.org/shibboleth"`)
	}
	text := tool(t, "shibboleth-sp-utils", "", "shib-metagen", arguments...)
	sink := s.find(t, s.put("/metadata", text))
	if d := cmp.Diff(want, seen(sink)); d != "" {
		t.Errorf("(-want +got)\n%s\nmissed: %v\n%s", d, sink.Misses, text)
	}
}

// jwcryptoSet makes a key set and prints it, and for each key kid and PEM.
const jwcryptoSet = `
import json
from jwcrypto import jwk
keys = [jwk.JWK.generate(kid=str(n), **how) for n, how in enumerate([
    dict(kty='RSA', size=2048, use='sig'), dict(kty='RSA', size=2048, use='enc'),
    dict(kty='EC', crv='P-256'), dict(kty='EC', crv='P-384'), dict(kty='EC', crv='P-521'), dict(kty='EC', crv='secp256k1'),
    dict(kty='OKP', crv='Ed25519'), dict(kty='OKP', crv='Ed448'), dict(kty='OKP', crv='X25519'), dict(kty='OKP', crv='X448')])]
print(json.dumps({'keys': [k.export_public(as_dict=True) for k in keys], 'pems': [k.export_to_pem().decode() for k in keys]}))
`

// A key of a set has the name that its PEM has, whatever its kind.
func TestJwcryptoKeySet(t *testing.T) {
	s := newSite(t)
	text := tool(t, "python3-jwcrypto", jwcryptoSet, "/usr/bin/python3", "-")
	var made struct {
		PEMs []string `json:"pems"`
	}
	if err := json.Unmarshal([]byte(text), &made); err != nil {
		t.Fatal(err)
	}
	sink := s.find(t, s.put("/jwks.json", text))
	var want []string
	for n, text := range made.PEMs {
		block, _ := pem.Decode([]byte(text))
		role := "accepts"
		if n == 1 || n >= 8 { // for encryption
			role = "presents"
		}
		want = append(want, fmt.Sprintf("%s /jwks.json key %s %q", role, tallystick.KeyIDOf(block.Bytes).Short(), fmt.Sprint(n)))
	}
	if d := cmp.Diff(want, seen(sink)); d != "" || len(want) != 10 {
		t.Errorf("(-want +got)\n%s\nmissed: %v", d, sink.Misses)
	}
	for _, sighting := range sink.Sightings {
		if sighting.Credential.Key.Algorithm == "unknown" {
			t.Errorf("key %s has an unknown algorithm", sighting.File.Alias)
		}
	}
}

func TestCertificatesOfKeys(t *testing.T) {
	s := newSite(t)
	der, key := newCertificate(t, "leaf")
	other, otherKey := newCertificate(t, "other")
	sink := s.find(t, s.put("/keys", `{"keys":[`+
		ecJWK(key, `,"x5c":["`+base64Of(der)+`","`+base64Of(other)+`"],"x5u":"`+s.URL+`/never"`)+`,`+
		ecJWK(otherKey, `,"x5c":["`+base64Of(der)+`"]`)+`]}`))
	want := []string{
		"accepts /keys certificate " + shortKey(t, der) + ` "one"`,
		"accepts /keys key " + shortKey(t, other) + ` "one"`, // x5c is of another key
	}
	if d := cmp.Diff(want, seen(sink)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if d := cmp.Diff([]string{"malformed"}, sink.Words()); d != "" {
		t.Errorf("misses (-want +got)\n%s", d)
	}
	if chain := sink.Sightings[0].Chain; len(chain) != 1 || chain[0].ID != tallystick.FingerprintOf(other) {
		t.Errorf("the chain is %v", chain)
	}
	if d := cmp.Diff([]string{"/keys"}, s.visits()); d != "" {
		t.Errorf("requests (-want +got)\n%s", d)
	}
}

// Whoever publishes a private key is told so.
func TestShownPrivateKey(t *testing.T) {
	s := newSite(t)
	der, key := newCertificate(t, "leaf")
	sink := s.find(t, s.put("/keys", `{"keys":[`+ecJWK(key, `,"d":"AAAA"`)+`,{"kty":"oct","k":"c2VjcmV0"}]}`))
	want := []string{
		"holds /keys key " + shortKey(t, der) + ` "one"`,
		"accepts /keys key " + shortKey(t, der) + ` "one"`,
	}
	if d := cmp.Diff(want, seen(sink)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	if !sink.Sightings[0].File.Private || sink.Sightings[1].File.Private {
		t.Error("the sighting that holds the private half says so, and no other")
	}
	if d := cmp.Diff([]string{"secret-shown"}, sink.Words()); d != "" {
		t.Errorf("misses (-want +got)\n%s", d)
	}
}

// The members of a federation stand beneath its document; the certificate that
// signs the document is no key of a member.
func TestFederation(t *testing.T) {
	s := newSite(t)
	one, _ := newCertificate(t, "one")
	two, _ := newCertificate(t, "two")
	signer, _ := newCertificate(t, "signer")
	sink := s.find(t, s.put("/all", `<?xml version="1.0" encoding="UTF-8"?><!-- all -->
<md:EntitiesDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#">
<ds:Signature><ds:KeyInfo>`+x509Data(signer)+`</ds:KeyInfo></ds:Signature>`+
		entity("https://a.example/idp", keyDescriptorOf("signing", x509Data(one)), keyDescriptorOf("signing", x509Data(one)))+
		`<md:EntitiesDescriptor>`+entity("urn:b", keyDescriptorOf("signing", x509Data(one, two)), keyDescriptorOf("encryption", x509Data(one)))+
		`</md:EntitiesDescriptor></md:EntitiesDescriptor>`))
	want := []string{
		"accepts /all/https://a.example/idp certificate " + shortKey(t, one) + ` "https://a.example/idp"`,
		"accepts /all/urn:b certificate " + shortKey(t, one) + ` "urn:b"`,
		"presents /all/urn:b certificate " + shortKey(t, one) + ` "urn:b"`,
	}
	if d := cmp.Diff(want, seen(sink)); d != "" {
		t.Errorf("(-want +got)\n%s\nmissed: %v", d, sink.Misses)
	}
	for _, sighting := range sink.Sightings {
		if !sighting.Place.Within(s.place("/all")) {
			t.Errorf("%s is not beneath its document", sighting.Place)
		}
	}
}

// Keys stand in SAML metadata without certificates, too.
func TestKeyValues(t *testing.T) {
	s := newSite(t)
	der, key := newCertificate(t, "ec")
	_, other := newCertificate(t, "other")
	spki := must(x509.MarshalPKIXPublicKey(other.Public()))
	curve := `<dsig11:NamedCurve URI="urn:oid:1.2.840.10045.3.1.7"/>`
	ec := `<ds:KeyValue><dsig11:ECKeyValue>` + curve + `<dsig11:PublicKey>` + base64Of(must(key.PublicKey.Bytes())) + `</dsig11:PublicKey></dsig11:ECKeyValue></ds:KeyValue>`
	rsa := `<ds:KeyValue><ds:RSAKeyValue><ds:Modulus>` + base64Of([]byte(strings.Repeat("\xaa", 255)+"\x01")) + `</ds:Modulus><ds:Exponent>AQAB</ds:Exponent></ds:RSAKeyValue></ds:KeyValue>`
	raw := `<dsig11:DEREncodedKeyValue>` + base64Of(spki) + `</dsig11:DEREncodedKeyValue>`
	sink := s.find(t, s.put("/saml", entity("idp",
		keyDescriptorOf("signing", ec, x509Data(der)), // the key of the certificate, once
		keyDescriptorOf("encryption", ec), keyDescriptorOf("signing", rsa), keyDescriptorOf("signing", raw))))
	var got []string
	for _, sighting := range sink.Sightings {
		got = append(got, fmt.Sprint(sighting.Role, " ", sighting.Credential.Kind, " ", sighting.Credential.Key.Algorithm))
	}
	want := []string{"accepts certificate ecdsa-p256", "presents key ecdsa-p256", "accepts key rsa-2048", "accepts key ecdsa-p256"}
	if d := cmp.Diff(want, got); d != "" || sink.Misses != nil {
		t.Errorf("(-want +got)\n%s\nmissed: %v", d, sink.Misses)
	}
	if got := sink.Sightings[3].Credential.Key.ID; got != tallystick.KeyIDOf(spki) {
		t.Errorf("key %s, want that of the DER", got)
	}
}
