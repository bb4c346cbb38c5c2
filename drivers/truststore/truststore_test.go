// SPDX-License-Identifier: Apache-2.0

package truststore

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/internal/lab"
)

// now is the clock of the tests.
var now = drivertest.Clock()

// debianBundle is the store of the machine that runs the tests.
const debianBundle = "/etc/ssl/certs/ca-certificates.crt"

func TestDriver(t *testing.T) {
	dir := t.TempDir()
	cacerts := filepath.Join(dir, "cacerts")
	importInto(t, cacerts, "JKS", "testroot", writeRoot(t, dir, "root.pem", "Java Root"))
	drivertest.Run(t, drivertest.Suite{
		Driver: Driver(), Targets: []string{debianBundle, cacerts},
		Want: []tallystick.Place{tallystick.TrustStorePlace(debianBundle), tallystick.TrustStorePlace(cacerts)},
		Bad:  filepath.Join(dir, "nothing"),
	})
}

// writeRoot writes a new self-signed certificate as PEM and returns its path.
func writeRoot(t *testing.T, dir, file, name string) string {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(9, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, public, private)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, file)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// importInto makes a trusted entry of a keystore with keytool.
func importInto(t *testing.T, keystore, kind, alias, certificate string) {
	t.Helper()
	lab.Keytool(t, "-importcert", "-noprompt", "-keystore", keystore, "-storetype", kind, "-storepass", "changeit", "-alias", alias, "-file", certificate)
}

// subjects returns whom the sightings are of, sorted.
func subjects(s *drivertest.Recorder) []string {
	var subjects []string
	for _, sighting := range s.Sightings {
		subjects = append(subjects, sighting.Credential.Subject)
	}
	slices.Sort(subjects)
	return subjects
}

func look(t *testing.T, options map[string]string, targets ...string) *drivertest.Recorder {
	t.Helper()
	return drivertest.Find(t, Driver(), options, targets...)
}

// TestDebianStore counts the bundle with another reader and finds the same in
// the directory around it, where every certificate has a file of its own too.
func TestDebianStore(t *testing.T) {
	data, err := os.ReadFile(debianBundle)
	if err != nil {
		t.Fatalf("install the package ca-certificates: %v", err)
	}
	want := bytes.Count(data, []byte("-----BEGIN CERTIFICATE-----"))
	store := look(t, nil, debianBundle)
	if len(store.Sightings) != want || len(store.Misses) != 0 || want < 100 {
		t.Errorf("%d certificates of %d, misses %+v", len(store.Sightings), want, store.Misses)
	}
	first := store.Sightings[0]
	if d := cmp.Diff(&tallystick.FileFacts{Format: "pem"}, first.File); d != "" || first.Role != tallystick.RoleAccepts {
		t.Errorf("role %q, facts (-want +got):\n%s", first.Role, d)
	}
	directory := look(t, nil, "truststore:///etc/ssl/certs")
	if len(directory.Sightings) < want || len(directory.Sightings) > want+10 {
		t.Errorf("%d certificates in the directory, %d in the bundle", len(directory.Sightings), want)
	}
	if place := directory.Sightings[0].Place; place != "truststore:///etc/ssl/certs" {
		t.Errorf("place %q", place)
	}
}

func TestKeystores(t *testing.T) {
	for _, kind := range []string{"JKS", "JCEKS", "PKCS12"} {
		dir := t.TempDir()
		keystore := filepath.Join(dir, "store")
		importInto(t, keystore, kind, "first", writeRoot(t, dir, "1.pem", "First"))
		importInto(t, keystore, kind, "second", writeRoot(t, dir, "2.pem", "Second"))
		lab.Keytool(t, "-genkeypair", "-keystore", keystore, "-storetype", kind, "-storepass", "changeit", "-keypass", "changeit",
			"-alias", "own", "-keyalg", "EC", "-dname", "CN=Own")
		s := look(t, nil, keystore)
		if d := cmp.Diff([]string{"CN=First", "CN=Second"}, subjects(s)); d != "" || len(s.Misses) > 0 {
			t.Errorf("%s: trusted entries (-want +got):\n%s misses: %+v", kind, d, s.Misses)
			continue
		}
		facts := []tallystick.FileFacts{*s.Sightings[0].File, *s.Sightings[1].File}
		slices.SortFunc(facts, func(a, b tallystick.FileFacts) int { return strings.Compare(a.Alias, b.Alias) })
		format := strings.ToLower(kind)
		want := []tallystick.FileFacts{{Format: format, Alias: "first"}, {Format: format, Alias: "second"}}
		if d := cmp.Diff(want, facts); d != "" {
			t.Errorf("%s: facts (-want +got):\n%s", kind, d)
		}
	}
}

func TestPassphrase(t *testing.T) {
	dir := t.TempDir()
	keystore := filepath.Join(dir, "store.p12")
	lab.Keytool(t, "-importcert", "-noprompt", "-keystore", keystore, "-storetype", "PKCS12", "-storepass", "a hard one", "-alias", "root",
		"-file", writeRoot(t, dir, "1.pem", "Hidden"))
	s := look(t, nil, keystore)
	if len(s.Sightings) != 0 || len(s.Misses) != 1 || s.Misses[0].Error != "sealed" {
		t.Errorf("without the passphrase: %q, misses %+v", subjects(s), s.Misses)
	}
	s = look(t, map[string]string{"passphrase": "a hard one"}, keystore)
	if d := cmp.Diff([]string{"CN=Hidden"}, subjects(s)); d != "" {
		t.Errorf("with the passphrase (-want +got):\n%s misses: %+v", d, s.Misses)
	}
}

// TestJavaRuntimes reads the stores that come with the Java of this machine.
func TestJavaRuntimes(t *testing.T) {
	paths, err := filepath.Glob("/usr/lib/jvm/*/lib/security/cacerts")
	if err != nil || len(paths) == 0 {
		t.Fatalf("install openjdk-17-jre-headless: %v", err)
	}
	for _, path := range paths {
		if s := look(t, nil, path); len(s.Sightings) < 50 || len(s.Misses) > 0 {
			t.Errorf("%s: %d certificates, misses %+v", path, len(s.Sightings), s.Misses)
		}
	}
}

// TestDirectories shows which files of a directory make it a store.
func TestDirectories(t *testing.T) {
	plain := t.TempDir()
	writeRoot(t, plain, "a.crt", "A")
	writeRoot(t, plain, "b.PEM", "B")
	writeRoot(t, plain, "c.txt", "C")
	if d := cmp.Diff([]string{"CN=A", "CN=B"}, subjects(look(t, nil, plain))); d != "" {
		t.Errorf("a plain directory (-want +got):\n%s", d)
	}
	hashed := t.TempDir()
	writeRoot(t, hashed, "unused.pem", "Unused")
	link := filepath.Join(hashed, "0a1b2c3d.0")
	if err := os.Symlink(writeRoot(t, hashed, "used.pem", "Used"), link); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(link, filepath.Join(hashed, "0a1b2c3d.1")); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"CN=Used"}, subjects(look(t, nil, hashed))); d != "" {
		t.Errorf("a directory of OpenSSL (-want +got):\n%s", d)
	}
}

// TestMisses shows what becomes of paths at which there is no store.
func TestMisses(t *testing.T) {
	dir := t.TempDir()
	fifo, loop, large, empty := filepath.Join(dir, "fifo"), filepath.Join(dir, "loop"), filepath.Join(dir, "large"), filepath.Join(dir, "empty")
	for _, err := range []error{
		syscall.Mkfifo(fifo, 0o600), os.Symlink(loop, loop), os.WriteFile(large, nil, 0o600),
		os.Truncate(large, 1<<40), os.WriteFile(empty, nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for target, want := range map[string]string{
		filepath.Join(dir, "nothing"): "not-found",
		fifo:                          "not-a-file",
		loop:                          "unreadable",
		large:                         "too-large",
		empty:                         "no-certificate",
		t.TempDir():                   "no-certificate",
		"/proc/self/mem":              "unreadable",
	} {
		s := look(t, nil, target)
		if len(s.Sightings) != 0 || len(s.Misses) != 1 || s.Misses[0].Error != want || s.Misses[0].Place != tallystick.TrustStorePlace(target) {
			t.Errorf("%s: sightings %d, misses %+v, want %q", target, len(s.Sightings), s.Misses, want)
		}
	}
}

func TestTargets(t *testing.T) {
	for _, target := range []string{"", "certs", "truststore://certs", "https://example.org"} {
		opened, err := Driver().Open(nil)
		if err != nil {
			t.Fatal(err)
		}
		err = opened.(driver.Finder).Find(t.Context(), driver.FindRequest{Targets: []string{target}, Now: time.Now}, &drivertest.Recorder{})
		if !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%q: error %v, want ErrInvalid", target, err)
		}
	}
}

// TestKnownStores lays the files of several systems out and finds each store
// once, whatever leads to it.
func TestKnownStores(t *testing.T) {
	root := t.TempDir()
	for _, path := range []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/java/cacerts", "/etc/pki/tls/certs/ca-bundle.crt",
		"/usr/lib/python3/dist-packages/certifi/cacert.pem", "/usr/lib/jvm/temurin-25/lib/security/cacerts", "/usr/lib/jvm/java-17/lib/security/other",
	} {
		path = filepath.Join(root, path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	err := os.Symlink(filepath.Join(root, "/etc/ssl/certs/java/cacerts"), filepath.Join(root, "/usr/lib/jvm/java-17/lib/security/cacerts"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := stores(root)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i] = strings.TrimPrefix(got[i], root)
	}
	want := []string{
		"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/certs", "/etc/ssl/certs/java/cacerts",
		"/usr/lib/jvm/temurin-25/lib/security/cacerts", "/usr/lib/python3/dist-packages/certifi/cacert.pem",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("stores (-want +got):\n%s", d)
	}
}

// TestThisMachine looks without targets.
func TestThisMachine(t *testing.T) {
	s := look(t, nil)
	count := map[tallystick.Place]int{}
	for _, sighting := range s.Sightings {
		count[sighting.Place]++
	}
	t.Logf("stores %v, misses %+v", count, s.Misses)
	for _, place := range []tallystick.Place{"truststore:///etc/ssl/certs", "truststore:///etc/ssl/certs/java/cacerts"} {
		if count[place] < 100 {
			t.Errorf("%d certificates at %s", count[place], place)
		}
	}
}
