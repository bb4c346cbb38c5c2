// SPDX-License-Identifier: Apache-2.0

package hello_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/drivers/tls/hello"
	"github.com/tallystick/tallystick/internal/lab"
)

// everything is an offer that any server can take.
func everything(versions ...hello.Version) *hello.Offer {
	o := &hello.Offer{
		Versions: versions, Groups: []hello.Group{hello.X25519, hello.P256, hello.P384, hello.P521}, Schemes: hello.Schemes(),
		ServerName: "localhost", ALPN: []string{"h2", "http/1.1"}, Staple: true, Read: hello.ReadProof,
	}
	for _, v := range versions {
		o.Suites = append(o.Suites, hello.SuitesOf(v)...)
		if v != hello.TLS13 {
			break // the suites of the older versions are the same ones
		}
	}
	if versions[0] == hello.TLS13 {
		o.Suites = append([]hello.Suite{0x1301, 0x1302, 0x1303}, o.Suites[len(hello.SuitesOf(hello.TLS13)):]...)
	}
	return o
}

func ask(t *testing.T, address string, o *hello.Offer) hello.Answer {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return hello.NewProber().Ask(conn, o)
}

// A pair is a self-signed certificate and its key, in files and in memory.
type pair struct {
	certificate tls.Certificate
	der, spki   []byte
	cert, key   string
}

func newPair(t *testing.T, key crypto.Signer) pair {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{certificate: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, der: der, spki: spki}
	p.cert, p.key = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	for path, block := range map[string]*pem.Block{p.cert: {Type: "CERTIFICATE", Bytes: der}, p.key: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func openssl(t *testing.T, arguments ...string) string {
	address := lab.Loopback(lab.FreePort(t))
	lab.Start(t, t.TempDir(), nil, append([]string{lab.Program(t, "openssl"), "s_server", "-accept", address, "-www"}, arguments...), address)
	return address
}

// TestProofs shows that the signature of each kind of key is read and checked
// in each version, and that another key's is refused.
func TestProofs(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	stranger := newPair(t, lab.NewKey(t))
	for name, key := range map[string]crypto.Signer{"rsa": lab.NewRSAKey(t, 2048), "ecdsa": lab.NewKey(t), "ed25519": edwards} {
		p := newPair(t, key)
		address := lab.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{p.certificate}, MinVersion: tls.VersionTLS10, NextProtos: []string{"h2"}})
		for _, v := range []hello.Version{hello.TLS10, hello.TLS11, hello.TLS12, hello.TLS13} {
			if name == "ed25519" && v < hello.TLS12 {
				continue // RFC 8422 section 5.4 has no signature for it there
			}
			t.Run(name+" "+v.String(), func(t *testing.T) {
				a := ask(t, address, everything(v))
				if a.Err != nil || a.Version != v || len(a.Chain) != 1 || string(a.Chain[0]) != string(p.der) || a.ALPN != "h2" {
					t.Fatalf("%v, %d certificates, ALPN %q: %v", a.Version, len(a.Chain), a.ALPN, a.Err)
				}
				if err := a.Proof.Check(p.spki); err != nil {
					t.Error(err)
				}
				if err := a.Proof.Check(stranger.spki); !errors.Is(err, hello.ErrUnproven) {
					t.Errorf("a stranger's key: %v", err)
				}
				a.Proof.Signed[0] ^= 1
				if err := a.Proof.Check(p.spki); !errors.Is(err, hello.ErrUnproven) {
					t.Errorf("another text: %v", err)
				}
				if !a.ClientAuthTold || a.ClientAuth {
					t.Errorf("client certificate: told %v, asked %v", a.ClientAuthTold, a.ClientAuth)
				}
			})
		}
	}
}

// TestRetry shows that servers which want another group than X25519 are followed there.
func TestRetry(t *testing.T) {
	p := newPair(t, lab.NewKey(t))
	for group, curve := range map[hello.Group]tls.CurveID{
		hello.P256: tls.CurveP256, hello.P384: tls.CurveP384, hello.P521: tls.CurveP521,
		hello.X25519MLKEM768: tls.X25519MLKEM768, hello.SecP256r1MLKEM768: tls.SecP256r1MLKEM768,
		hello.SecP384r1MLKEM1024: tls.SecP384r1MLKEM1024,
	} {
		address := lab.ServeTLS(t, &tls.Config{
			Certificates: []tls.Certificate{p.certificate}, CurvePreferences: []tls.CurveID{curve}, MinVersion: tls.VersionTLS13,
		})
		offer := everything(hello.TLS13, hello.TLS12)
		offer.Groups = append([]hello.Group{hello.X25519}, hello.Groups()...)
		a := ask(t, address, offer)
		if a.Err != nil || !a.Retry || a.Group != group || len(a.Chain) != 1 || a.Proof.Check(p.spki) != nil {
			t.Errorf("%v: group %v, retry %v, %d certificates: %v", group, a.Group, a.Retry, len(a.Chain), a.Err)
		}
		offer.NoShare, offer.Read = true, hello.ReadChoice
		if a := ask(t, address, offer); a.Err != nil || !a.Retry || a.Group != group || a.Version != hello.TLS13 {
			t.Errorf("%v without a share: group %v: %v", group, a.Group, a.Err)
		}
	}
}

// TestSuites13 shows that every cipher of TLS 1.3 that can be read is read.
func TestSuites13(t *testing.T) {
	p := newPair(t, lab.NewKey(t))
	for suite, err := range map[hello.Suite]error{0x1301: nil, 0x1302: nil, 0x1303: nil, 0x1304: hello.ErrUnsupported} {
		address := openssl(t, "-cert", p.cert, "-key", p.key, "-tls1_3", "-ciphersuites", suite.String())
		offer := everything(hello.TLS13, hello.TLS12)
		offer.Suites = append(offer.Suites, 0x1304)
		if a := ask(t, address, offer); !errors.Is(a.Err, err) || a.Suite != suite || (err == nil) != (len(a.Chain) == 1) {
			t.Errorf("%v: suite %v, %d certificates, %v", suite, a.Suite, len(a.Chain), a.Err)
		}
	}
}

// TestClientAuth shows whom servers let in, in both generations.
func TestClientAuth(t *testing.T) {
	p := newPair(t, lab.NewRSAKey(t, 2048))
	ca := newPair(t, lab.NewKey(t))
	want := pkix.Name{CommonName: "localhost"}.ToRDNSequence().String()
	for _, v := range []hello.Version{hello.TLS10, hello.TLS12, hello.TLS13} {
		address := openssl(t, "-cert", p.cert, "-key", p.key, "-CAfile", ca.cert, "-Verify", "1", "-min_protocol", "TLSv1", "-cipher", "ALL:@SECLEVEL=0")
		a := ask(t, address, everything(v))
		if a.Err != nil || !a.ClientAuth || len(a.Issuers) != 1 {
			t.Fatalf("%v: asked %v, %d issuers: %v", v, a.ClientAuth, len(a.Issuers), a.Err)
		}
		issuer, err := x509.ParseCertificate(ca.der)
		if err != nil || string(a.Issuers[0]) != string(issuer.RawSubject) || issuer.Subject.ToRDNSequence().String() != want {
			t.Errorf("%v: issuer %x: %v", v, a.Issuers[0], err)
		}
	}
}

func TestStaple(t *testing.T) {
	p := newPair(t, lab.NewKey(t))
	p.certificate.OCSPStaple = []byte("an OCSP response")
	address := lab.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{p.certificate}})
	for _, v := range []hello.Version{hello.TLS12, hello.TLS13} {
		if a := ask(t, address, everything(v)); string(a.Staple) != "an OCSP response" {
			t.Errorf("%v: staple %q: %v", v, a.Staple, a.Err)
		}
	}
}

// TestDual shows that the schemes decide which of two certificates is shown.
func TestDual(t *testing.T) {
	one, other := newPair(t, lab.NewRSAKey(t, 2048)), newPair(t, lab.NewKey(t))
	address := lab.ServeTLS(t, &tls.Config{Certificates: []tls.Certificate{one.certificate, other.certificate}})
	for _, v := range []hello.Version{hello.TLS12, hello.TLS13} {
		for want, schemes := range map[string][]hello.Scheme{string(one.der): hello.RSASchemes(), string(other.der): hello.ECSchemes()} {
			offer := everything(v)
			offer.Schemes = schemes
			if v == hello.TLS12 {
				word := map[bool]string{true: "_RSA_", false: "_ECDSA_"}[schemes[0] == hello.RSASchemes()[0]]
				offer.Suites = slices.DeleteFunc(offer.Suites, func(s hello.Suite) bool { return !strings.Contains(s.String(), word) })
			}
			if a := ask(t, address, offer); len(a.Chain) != 1 || string(a.Chain[0]) != want {
				t.Errorf("%v with %v: %d certificates: %v", v, schemes[0], len(a.Chain), a.Err)
			}
		}
	}
}

// TestRefusals names how servers say no.
func TestRefusals(t *testing.T) {
	p := newPair(t, lab.NewKey(t))
	old := openssl(t, "-cert", p.cert, "-key", p.key, "-tls1_2")
	if a := ask(t, old, everything(hello.TLS13)); !errors.Is(a.Err, hello.AlertProtocolVersion) {
		t.Errorf("TLS 1.3 at a server of 1.2: %v", a.Err)
	}
	offer := everything(hello.TLS12)
	offer.Suites = []hello.Suite{0x0005}
	if a := ask(t, old, offer); !errors.Is(a.Err, hello.AlertHandshakeFailure) || a.Named() {
		t.Errorf("RC4 alone: %v", a.Err)
	}
}

// TestGnuTLS asks a server of another make, with a bare hello too.
func TestGnuTLS(t *testing.T) {
	p := newPair(t, lab.NewRSAKey(t, 2048))
	port := lab.FreePort(t)
	address := lab.Loopback(port)
	lab.Start(t, t.TempDir(), nil, []string{lab.Program(t, "gnutls-serv"), "--port", strconv.Itoa(port), "--x509certfile", p.cert, "--x509keyfile", p.key, "--http",
		"--priority", "NORMAL:+VERS-ALL:+ARCFOUR-128:+3DES-CBC:%SERVER_PRECEDENCE", "--disable-client-cert"}, address)
	for _, v := range []hello.Version{hello.TLS10, hello.TLS11, hello.TLS12, hello.TLS13} {
		a := ask(t, address, everything(v))
		if a.Err != nil || a.Version != v || a.Proof.Check(p.spki) != nil {
			t.Errorf("%v: %v %v: %v", v, a.Version, a.Suite, a.Err)
		}
	}
	bare := everything(hello.TLS10)
	bare.Bare = true
	if a := ask(t, address, bare); a.Err != nil || len(a.Chain) != 1 {
		t.Errorf("bare: %v, %d certificates: %v", a.Suite, len(a.Chain), a.Err)
	}
}

func TestNames(t *testing.T) {
	got := fmt.Sprint(hello.SSL30, hello.TLS12, hello.Suite(0xc02f), hello.Suite(0x0064), hello.Suite(0xfafa), hello.X25519MLKEM768, hello.Group(0), hello.Group(0x101), hello.Scheme(0x0804), hello.AlertHandshakeFailure)
	want := "ssl3 tls1.2 TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 TLS_RSA_EXPORT1024_WITH_RC4_56_SHA 0xfafa X25519MLKEM768  ffdhe3072 rsa_pss_rsae_sha256 the server refused with alert handshake-failure"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if name := hello.Suite(s.ID).String(); name != s.Name {
			t.Errorf("0x%04x is %s here and %s in crypto/tls", s.ID, name, s.Name)
		}
	}
}
