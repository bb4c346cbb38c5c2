// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"context"
	gotls "crypto/tls"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/internal/lab"
)

// now is the clock of the tests.
var now = drivertest.Clock()

func TestDriver(t *testing.T) {
	p := newPKI(t)
	address := opensslServer(t, "-cert", p.leaf, "-key", p.key, "-cert_chain", p.intermediate)
	drivertest.Run(t, drivertest.Suite{
		Driver: Driver(), Targets: []string{address, "https://" + address},
		Want:    []tallystick.Place{tallystick.TLSPlace(address)},
		Bad:     nobody,
		Secrets: []string{p.keyText, strings.Split(p.keyText, "\n")[2]},
	})
}

func look(t *testing.T, options map[string]string, targets ...string) *drivertest.Recorder {
	t.Helper()
	return drivertest.Find(t, Driver(), options, targets...)
}

// see looks at one endpoint that must show a certificate.
func see(t *testing.T, options map[string]string, target string) tallystick.Sighting {
	t.Helper()
	s := look(t, options, target)
	if len(s.Sightings) != 1 {
		t.Fatalf("%d sightings, want one; misses: %+v", len(s.Sightings), s.Misses)
	}
	return s.Sightings[0]
}

func TestChainAndVerification(t *testing.T) {
	p := newPKI(t)
	address := opensslServer(t, "-cert", p.leaf, "-key", p.key, "-cert_chain", p.intermediate)
	s := see(t, map[string]string{"roots": p.root}, address)
	chain := []tallystick.Fingerprint{tallystick.FingerprintOf(p.leafDER), tallystick.FingerprintOf(p.intermediateDER)}
	if d := cmp.Diff(chain, s.TLS.Chain); d != "" {
		t.Errorf("chain (-want +got):\n%s", d)
	}
	if s.Credential.ID != chain[0] || len(s.Chain) != 1 || s.Chain[0].ID != chain[1] || s.TLS.Position != 0 {
		t.Errorf("leaf %s with %d further certificates at position %d", s.Credential.ID, len(s.Chain), s.TLS.Position)
	}
	if s.TLS.Evidence != tallystick.EvidenceVerified || s.TLS.VerifyError != "" || s.TLS.ServerName != "127.0.0.1" {
		t.Errorf("evidence %q for %q: %s", s.TLS.Evidence, s.TLS.ServerName, s.TLS.VerifyError)
	}
	s = see(t, nil, address)
	if s.TLS.Evidence != tallystick.EvidenceProven || !strings.Contains(s.TLS.VerifyError, "unknown authority") {
		t.Errorf("with the roots of this machine: evidence %q, error %q", s.TLS.Evidence, s.TLS.VerifyError)
	}
	other := lab.ServeTLS(t, &gotls.Config{Certificates: []gotls.Certificate{p.certificate}})
	_, port, _ := strings.Cut(other, ":")
	s = see(t, map[string]string{"roots": p.root}, "tls://LOCALHOST:"+port)
	if s.Place != tallystick.Place("tls://localhost:"+port) || s.TLS.Evidence != tallystick.EvidenceVerified {
		t.Errorf("by name: %s, evidence %q, %s", s.Place, s.TLS.Evidence, s.TLS.VerifyError)
	}
}

func TestProtocols(t *testing.T) {
	p := newPKI(t)
	for flags, want := range map[string][]string{
		"-tls1":                          {"tls1.0"},
		"-tls1_1":                        {"tls1.1"},
		"-tls1_2":                        {"tls1.2"},
		"-tls1_3":                        {"tls1.3"},
		"-no_tls1_2 -min_protocol TLSv1": {"tls1.0", "tls1.1", "tls1.3"},
		"-min_protocol TLSv1":            {"tls1.0", "tls1.1", "tls1.2", "tls1.3"},
	} {
		t.Run(flags, func(t *testing.T) {
			arguments := append(strings.Fields(flags), "-cert", p.leaf, "-key", p.key, "-cipher", "ALL:@SECLEVEL=0")
			s := see(t, nil, opensslServer(t, arguments...))
			if d := cmp.Diff(want, s.TLS.Protocols); d != "" {
				t.Errorf("protocols (-want +got):\n%s", d)
			}
			if s.TLS.Evidence != tallystick.EvidenceProven {
				t.Errorf("evidence %q", s.TLS.Evidence)
			}
		})
	}
}

func TestSuitesAndGroup(t *testing.T) {
	p := newPKI(t)
	old := []uint16{
		gotls.TLS_RSA_WITH_3DES_EDE_CBC_SHA, gotls.TLS_ECDHE_RSA_WITH_RC4_128_SHA,
		gotls.TLS_RSA_WITH_AES_128_CBC_SHA, gotls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	}
	address := lab.ServeTLS(t, &gotls.Config{
		Certificates: []gotls.Certificate{p.certificate}, CipherSuites: old,
		MaxVersion: gotls.VersionTLS12, CurvePreferences: []gotls.CurveID{gotls.CurveP384},
	})
	s := see(t, nil, address)
	want := []string{
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
		"TLS_RSA_WITH_3DES_EDE_CBC_SHA", "TLS_RSA_WITH_AES_128_CBC_SHA",
	}
	if d := cmp.Diff(want, s.TLS.Suites); d != "" {
		t.Errorf("suites (-want +got):\n%s", d)
	}
	if s.TLS.Group != "secp384r1" {
		t.Errorf("group %q, want secp384r1", s.TLS.Group)
	}
	modern := opensslServer(t, "-cert", p.leaf, "-key", p.key, "-tls1_3", "-groups", "X25519")
	s = see(t, nil, modern)
	if s.TLS.Group != "x25519" || len(s.TLS.Suites) != 1 || !strings.HasPrefix(s.TLS.Suites[0], "TLS_AES_") {
		t.Errorf("a modern server: group %q, suites %q", s.TLS.Group, s.TLS.Suites)
	}
}

// TestRefusedCertificate serves what crypto/x509 does not read: the serial is
// negative, as Samba makes them.
func TestRefusedCertificate(t *testing.T) {
	dir := t.TempDir()
	key, certificate := filepath.Join(dir, "key.pem"), filepath.Join(dir, "cert.pem")
	output, err := exec.Command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate,
		"-subj", "/CN=samba", "-set_serial", "-4660", "-days", "30").CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v: %s", err, output)
	}
	s := see(t, nil, opensslServer(t, "-cert", certificate, "-key", key))
	if s.Credential.Subject != "CN=samba" || s.Credential.Serial != "-1234" || s.Credential.ReadError == "" {
		t.Errorf("subject %q, serial %q, read error %q", s.Credential.Subject, s.Credential.Serial, s.Credential.ReadError)
	}
	if s.TLS.Evidence != tallystick.EvidenceProven || !strings.Contains(s.TLS.VerifyError, "serial") {
		t.Errorf("evidence %q, error %q", s.TLS.Evidence, s.TLS.VerifyError)
	}
	if !slices.Equal(s.TLS.Protocols, []string{"tls1.2", "tls1.3"}) {
		t.Errorf("protocols %q", s.TLS.Protocols)
	}
}

// TestClientCertificateWanted shows that a server which lets nobody in still
// shows its certificate and proves its key.
func TestClientCertificateWanted(t *testing.T) {
	p := newPKI(t)
	for _, version := range []string{"-tls1_2", "-tls1_3"} {
		address := opensslServer(t, "-cert", p.leaf, "-key", p.key, version, "-Verify", "1", "-verify_return_error")
		s := see(t, nil, address)
		if s.TLS.Evidence != tallystick.EvidenceProven {
			t.Errorf("%s: evidence %q", version, s.TLS.Evidence)
		}
	}
}

func TestNginx(t *testing.T) {
	p := newPKI(t)
	address := lab.Loopback(lab.FreePort(t))
	config := fmt.Sprintf(`daemon off; pid %[1]s/pid; error_log stderr; events {}
http { access_log off; server { listen %[2]s ssl; ssl_certificate %[3]s; ssl_certificate_key %[4]s; } }`,
		p.dir, address, p.leaf, p.key)
	path := filepath.Join(p.dir, "nginx.conf")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	lab.Start(t, p.dir, nil, []string{lab.Program(t, "nginx"), "-p", p.dir, "-e", "stderr", "-c", path}, address)
	s := see(t, nil, address)
	if s.Credential.ID != tallystick.FingerprintOf(p.leafDER) || s.TLS.Evidence != tallystick.EvidenceProven {
		t.Errorf("%s, evidence %q", s.Credential.Subject, s.TLS.Evidence)
	}
	if !slices.Contains(s.TLS.Protocols, "tls1.2") {
		t.Errorf("protocols %q", s.TLS.Protocols)
	}
}

func TestTargets(t *testing.T) {
	opened, err := Driver().Open(map[string]string{"ports": "443,8443"})
	if err != nil {
		t.Fatal(err)
	}
	grammar := opened.(network.Finder).Grammar()
	for text, good := range map[string]bool{
		"example.org": true, "example.org:8443": true, "tls://EXAMPLE.org:0443": true, "https://example.org/": true, "[::1]:443": true,
		"smtp://mail.example.org": true, "postgres://127.1.0.0/28": true, "ldap://127.0.0.1:3890": true,
		"tls://example.org": false, "gopher://example.org": false, "user@example.org:443": false, ":443": false, "example.org:0": false, "": false,
	} {
		if _, err := grammar.Parse(context.Background(), []string{text}, nil); (err == nil) != good || err != nil && !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for name, value := range map[string]string{
		"timeout": "-1s", "concurrency": "0", "depth": "all", "prove": "maybe", "rate": "-1", "ports": "0", "names": "127.0.0.1", "exclude": "a b",
	} {
		if _, err := Driver().Open(map[string]string{name: value}); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s=%s: error %v, want ErrInvalid", name, value, err)
		}
	}
	opened, err := Driver().Open(map[string]string{"roots": "/dev/null"})
	if err != nil {
		t.Fatal(err)
	}
	err = opened.(driver.Finder).Find(context.Background(), driver.FindRequest{Targets: []string{"a:1"}, Now: time.Now}, &drivertest.Recorder{})
	if !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("roots without a certificate: error %v, want ErrInvalid", err)
	}
}
