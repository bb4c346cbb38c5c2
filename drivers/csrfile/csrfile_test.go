// SPDX-License-Identifier: Apache-2.0

package csrfile

import (
	"crypto/rand"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/internal/lab"
)

// A closedCA is openssl ca, and a person who works at it.
type closedCA struct {
	dir, requests string
	pki           *lab.PKI
}

func newClosedCA(t *testing.T) *closedCA {
	t.Helper()
	ca := &closedCA{dir: t.TempDir(), requests: t.TempDir(), pki: lab.NewPKI(t)}
	for name, text := range map[string]string{"index.txt": "", "serial": "1000\n", "ca.cnf": `[ca]
default_ca = lab
[lab]
dir = ` + ca.dir + `
database = $dir/index.txt
serial = $dir/serial
new_certs_dir = $dir
certificate = ` + ca.pki.SubFile + `
private_key = ` + ca.pki.SubKeyFile + `
default_md = sha256
default_days = 30
policy = any
copy_extensions = copy
x509_extensions = leaf
unique_subject = no
[any]
commonName = optional
[leaf]
basicConstraints = CA:FALSE
authorityKeyIdentifier = keyid
`} {
		if err := os.WriteFile(filepath.Join(ca.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return ca
}

// made counts what openssl has written down.
func (ca *closedCA) made() int {
	index, _ := os.ReadFile(filepath.Join(ca.dir, "index.txt"))
	return strings.Count(string(index), "\n")
}

// decide signs every request that has no certificate yet.
func (ca *closedCA) decide(t *testing.T) {
	requests, err := filepath.Glob(filepath.Join(ca.requests, "*.csr"))
	if err != nil {
		t.Fatal(err)
	}
	for _, request := range requests {
		stem := strings.TrimSuffix(request, ".csr")
		if _, err := os.Stat(stem + ".crt"); err == nil {
			continue
		}
		command := exec.Command("openssl", "ca", "-config", filepath.Join(ca.dir, "ca.cnf"), "-batch", "-notext", "-in", request, "-out", filepath.Join(ca.dir, "out.pem"))
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("openssl ca: %v\n%s", err, output)
		}
		leaf, err := os.ReadFile(filepath.Join(ca.dir, "out.pem"))
		if err != nil {
			t.Fatal(err)
		}
		// As people do it: the root with it, and upside down.
		bundle := lab.CertificatePEM(ca.pki.Root.Raw, ca.pki.Sub.Raw) + string(leaf)
		if err := os.WriteFile(stem+".crt", []byte(bundle), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDriver(t *testing.T) {
	t.Parallel()
	ca := newClosedCA(t)
	drivertest.Run(t, drivertest.Suite{
		Driver: Driver(), Options: map[string]string{"directory": ca.requests},
		Issuing: &drivertest.Issuing{
			Names: []string{"www.lab.test", "127.0.0.1"}, Decide: ca.decide, Made: ca.made, Tells: true,
			Gone: map[string]string{"directory": filepath.Join(ca.requests, "missing")},
		},
	})
	left, err := filepath.Glob(filepath.Join(ca.requests, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q (%v)", left, err)
	}
}

func setUp(t *testing.T) (*closedCA, *Issuer, driver.IssueRequest) {
	t.Helper()
	ca := newClosedCA(t)
	opened, err := Driver().Open(map[string]string{"directory": ca.requests})
	if err != nil {
		t.Fatal(err)
	}
	return ca, opened.(*Issuer), driver.IssueRequest{Order: "web-1", CSR: newCSR(t), Now: time.Now}
}

func newCSR(t *testing.T) []byte {
	t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"www.lab.test"}}, lab.NewKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func TestNothingIsOverwritten(t *testing.T) {
	t.Parallel()
	ca, i, r := setUp(t)
	path := filepath.Join(ca.requests, "web-1.csr")
	if err := os.WriteFile(path, []byte("of somebody else"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := i.Issue(t.Context(), r); !errors.Is(err, tallystick.ErrConflict) {
		t.Errorf("it says %v", err)
	}
	if text, _ := os.ReadFile(path); string(text) != "of somebody else" {
		t.Errorf("it holds %q", text)
	}
}

func TestCertificateOfAnotherKeyIsNotTaken(t *testing.T) {
	t.Parallel()
	ca, i, r := setUp(t)
	other := r
	other.Order, other.CSR = "web-2", newCSR(t)
	for _, request := range []driver.IssueRequest{r, other} {
		if issued, err := i.Issue(t.Context(), request); err != nil || len(issued.Chain) > 0 || !issued.Retry.After(time.Now()) {
			t.Fatalf("%+v, %v", issued, err)
		}
	}
	ca.decide(t)
	if err := os.Rename(filepath.Join(ca.requests, "web-2.crt"), filepath.Join(ca.requests, "web-1.crt")); err != nil {
		t.Fatal(err)
	}
	issued, err := i.Issue(t.Context(), r)
	if err == nil || len(issued.Chain) > 0 || errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "web-1.crt") {
		t.Errorf("%v, %v", issued.Chain, err)
	}
	if err := os.Remove(filepath.Join(ca.requests, "web-1.crt")); err != nil {
		t.Fatal(err)
	}
	ca.decide(t)
	if issued, err := i.Issue(t.Context(), r); err != nil || len(issued.Chain) != 2 {
		t.Errorf("with the right one there: %d certificates, %v", len(issued.Chain), err)
	}
}

func TestRefusalIsTold(t *testing.T) {
	t.Parallel()
	ca, i, r := setUp(t)
	if err := os.WriteFile(filepath.Join(ca.requests, "web-1.refused"), []byte("not on a Friday\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := i.Issue(t.Context(), r)
	if !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "not on a Friday") {
		t.Errorf("it says %v", err)
	}
}

// What others put into the directory leads nowhere, holds nothing up, and is
// bounded.
func TestHostileDirectory(t *testing.T) {
	t.Parallel()
	ca, i, r := setUp(t)
	secret := lab.File(t, "secret", "BEGIN SECRET")
	answer := filepath.Join(ca.requests, "web-1.crt")
	for what, put := range map[string]func() error{
		"a link out":   func() error { return os.Symlink(secret, answer) },
		"a pipe":       func() error { return exec.Command("mkfifo", answer).Run() },
		"a directory":  func() error { return os.Mkdir(answer, 0o700) },
		"a giant":      func() error { return os.WriteFile(answer, make([]byte, maxFile+1), 0o600) },
		"half a file":  func() error { return os.WriteFile(answer, []byte("-----BEGIN CERT"), 0o600) },
		"no DER":       func() error { return os.WriteFile(answer, []byte{0x30, 0x82, 0xff}, 0o600) },
		"an empty one": func() error { return os.WriteFile(answer, nil, 0o600) },
	} {
		if err := put(); err != nil {
			t.Fatal(err)
		}
		issued, err := i.Issue(t.Context(), r)
		if err == nil || len(issued.Chain) > 0 || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s gives %v, %v", what, issued.Chain, err)
		}
		if err := os.Remove(answer); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOrderNamesThatAreNoFiles(t *testing.T) {
	t.Parallel()
	ca, i, r := setUp(t)
	for _, name := range []string{"", ".", "..", "../x", "a/b", ".hidden", "-rf", "a\nb", strings.Repeat("a", 101)} {
		r.Order = name
		if _, err := i.Issue(t.Context(), r); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%q gives %v", name, err)
		}
	}
	entries, err := os.ReadDir(ca.requests)
	if err != nil || len(entries) > 0 {
		t.Errorf("there is %v (%v)", entries, err)
	}
}
