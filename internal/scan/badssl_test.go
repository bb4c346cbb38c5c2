// SPDX-License-Identifier: Apache-2.0

package scan_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/scan"
	"github.com/tallystick/tallystick/rules"
)

// An issued is a certificate with its key.
type issued struct {
	template *x509.Certificate
	der      []byte
	key      crypto.Signer
}

// issue makes a certificate below parent; nil signs itself.
func issue(t *testing.T, parent *issued, key crypto.Signer, change func(*x509.Certificate)) *issued {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().AddDate(0, 0, -10), NotAfter: time.Now().AddDate(0, 0, 80), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	change(c)
	i := &issued{template: c, key: key}
	if parent == nil {
		parent = i
	}
	if i.der, err = x509.CreateCertificate(rand.Reader, c, parent.template, key.Public(), parent.key); err != nil {
		t.Fatal(err)
	}
	return i
}

func authority(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject, c.IPAddresses, c.IsCA, c.KeyUsage, c.ExtKeyUsage = pkix.Name{CommonName: name}, nil, true, x509.KeyUsageCertSign, nil
		c.NotAfter = time.Now().AddDate(5, 0, 0)
	}
}

func curveKey(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func rsaKey(t *testing.T, bits int) crypto.Signer {
	t.Helper()
	t.Setenv("GODEBUG", "rsa1024min=0")
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// The certificate cases of badssl.com, served by nginx: what is wrong with each
// is said, and nothing else.
func TestTheCasesOfBadSSL(t *testing.T) {
	root := issue(t, nil, curveKey(t), authority("Test Root"))
	middle := issue(t, root, curveKey(t), authority("Test Intermediate"))
	stranger := issue(t, nil, curveKey(t), authority("A Root that nobody knows"))
	same := func(*x509.Certificate) {}
	names := func(n int) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			for i := range n {
				c.DNSNames = append(c.DNSNames, fmt.Sprintf("%d.san.example", i))
			}
		}
	}
	cases := map[string]struct {
		chain []*issued
		want  string // the rules, or the word of the miss
	}{
		"ecc256":           {[]*issued{issue(t, middle, curveKey(t), same), middle}, ""},
		"rsa2048":          {[]*issued{issue(t, middle, rsaKey(t, 2048), same), middle}, ""},
		"expired":          {[]*issued{issue(t, middle, curveKey(t), func(c *x509.Certificate) { c.NotAfter = time.Now().AddDate(0, 0, -1) }), middle}, "expired"},
		"wrong.host":       {[]*issued{issue(t, middle, curveKey(t), func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.example"} }), middle}, "name-mismatch"},
		"self-signed":      {[]*issued{issue(t, nil, curveKey(t), same)}, "self-signed"},
		"untrusted-root":   {[]*issued{issue(t, stranger, curveKey(t), same), stranger}, "overlong-chain"},
		"incomplete-chain": {[]*issued{issue(t, middle, curveKey(t), same)}, "incomplete-chain"},
		"no-common-name":   {[]*issued{issue(t, middle, curveKey(t), func(c *x509.Certificate) { c.Subject = pkix.Name{Organization: []string{"x"}} }), middle}, ""},
		"no-subject":       {[]*issued{issue(t, middle, curveKey(t), func(c *x509.Certificate) { c.Subject = pkix.Name{} }), middle}, ""},
		"1000-sans":        {[]*issued{issue(t, middle, curveKey(t), names(1000)), middle}, ""},
		"10000-sans":       {[]*issued{issue(t, middle, curveKey(t), names(10000)), middle}, "too-large"},
		"rsa1024":          {[]*issued{issue(t, middle, rsaKey(t, 1024), same), middle}, "weak-key"},
	}
	places, want := map[string]string{}, map[string]string{}
	dir := t.TempDir()
	var servers strings.Builder
	for name, c := range cases {
		address := lab.Loopback(lab.FreePort(t))
		place := "tls://" + address
		if name == "wrong.host" { // whoever asks by address has asked for no name
			place = strings.Replace(place, "127.0.0.1", "localhost", 1)
		}
		places[place], want[name] = name, c.want
		path := filepath.Join(dir, name)
		writeChain(t, path, c.chain)
		fmt.Fprintf(&servers, "server { listen %s ssl; ssl_certificate %s.pem; ssl_certificate_key %s.key; }\n", address, path, path)
	}
	writeChain(t, filepath.Join(dir, "root"), []*issued{root})
	nginx(t, dir, servers.String(), places)
	s := scan.New(scan.Options{
		Drivers: drivers.All(), Rules: rules.All(), Now: time.Now, Progress: silent{},
		Settings: map[string]map[string]string{"tls": {"roots": filepath.Join(dir, "root.pem")}},
	})
	var targets []string
	for place := range places {
		targets = append(targets, place)
	}
	if err := s.Look(t.Context(), sorted(t, s, targets...)); err != nil {
		t.Fatal(err)
	}
	result, err := s.Judge(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, said(result, places)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// said returns what is wrong at each place, but for what every certificate of a
// test is: owned by nobody, and served by a Debian that knows no new groups.
func said(result scan.Result, places map[string]string) map[string]string {
	all := map[string]string{}
	for f := range result.All() {
		if f.TLS.Position != 0 {
			continue
		}
		var broken []string
		for _, one := range f.Findings {
			if one.Rule != "no-owner" && one.Rule != "no-post-quantum" {
				broken = append(broken, one.Rule)
			}
		}
		all[places[string(f.Place)]] = strings.Join(broken, " ")
	}
	for _, m := range result.Misses {
		all[places[string(m.Place)]] = m.Error
	}
	return all
}

// writeChain writes a chain and the key of its first certificate.
func writeChain(t *testing.T, path string, chain []*issued) {
	t.Helper()
	var text bytes.Buffer
	for _, i := range chain {
		if err := pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: i.der}); err != nil {
			t.Fatal(err)
		}
	}
	key, err := x509.MarshalPKCS8PrivateKey(chain[0].key)
	if err != nil {
		t.Fatal(err)
	}
	for suffix, content := range map[string][]byte{".pem": text.Bytes(), ".key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})} {
		if err := os.WriteFile(path+suffix, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// nginx serves until the test ends.
func nginx(t *testing.T, dir, servers string, places map[string]string) {
	t.Helper()
	config := filepath.Join(dir, "nginx.conf")
	text := fmt.Sprintf("daemon off; pid %s/pid; error_log stderr; events {}\nhttp { access_log off; ssl_protocols TLSv1.2 TLSv1.3; "+
		"ssl_ciphers ECDHE+AESGCM:@SECLEVEL=0;\n%s}\n", dir, servers)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	command := exec.Command("nginx", "-p", dir, "-e", "stderr", "-c", config)
	var log bytes.Buffer
	command.Stderr = &log
	if err := command.Start(); err != nil {
		t.Fatalf("couldn't start nginx (Debian package nginx-light): %v", err)
	}
	t.Cleanup(func() {
		_ = command.Process.Signal(os.Interrupt)
		_ = command.Wait()
	})
	for place := range places {
		for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(place, "tls://"))
			if err == nil {
				conn.Close()
				break
			}
			if time.Now().After(end) {
				t.Fatalf("nginx does not serve: %v\n%s", err, log.String())
			}
		}
	}
}
