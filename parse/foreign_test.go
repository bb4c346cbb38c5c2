// SPDX-License-Identifier: Apache-2.0

package parse_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// The zlint project tests its lints with certificates that are each wrong in
// one way. TestZlintCertificates takes them from a pinned release and sees
// that every one becomes a credential.
const (
	zlintModule       = "github.com/zmap/zlint/v3@v3.7.3"
	zlintCertificates = 1432
)

func TestZlintCertificates(t *testing.T) {
	seen := map[tallystick.Fingerprint]bool{}
	refused := 0
	for _, der := range zlintDER(t) {
		id := tallystick.FingerprintOf(der)
		if seen[id] {
			continue
		}
		seen[id] = true
		c, err := parse.Certificate(der)
		if err != nil {
			t.Errorf("%s is lost: %v", id, err)
			continue
		}
		if c.Kind != tallystick.KindCertificate || c.Serial == "" || c.Signature == "" || c.Key.ID == "" || c.NotBefore.IsZero() && c.NotAfter.IsZero() {
			t.Errorf("%s is not read whole: %q: %+v", id, c.ReadError, c)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			refused++
			continue
		}
		sameAsStrict(t, cert, c)
	}
	if len(seen) != zlintCertificates {
		t.Errorf("%s has %d distinct certificates, want %d", zlintModule, len(seen), zlintCertificates)
	}
	t.Logf("%d certificates, of which crypto/x509 refuses %d", len(seen), refused)
}

// zlintDER downloads the module as data: nothing of it is built.
func zlintDER(t *testing.T) [][]byte {
	t.Helper()
	download := exec.Command("go", "mod", "download", "-json", zlintModule)
	download.Dir = t.TempDir()
	download.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	out, err := download.Output()
	if err != nil {
		t.Fatalf("couldn't download %s: %v: %s", zlintModule, err, out)
	}
	var module struct{ Dir string }
	if err := json.Unmarshal(out, &module); err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	err = filepath.WalkDir(filepath.Join(module.Dir, "testdata"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".pem" {
			return err
		}
		data, err := os.ReadFile(path)
		ders := certificateBlocks(data)
		if items := parse.Bytes(entry.Name(), data, nil).Items; len(items) != len(ders) {
			t.Errorf("%s has %d certificates, of which Bytes finds %d", entry.Name(), len(ders), len(items))
		}
		all = append(all, ders...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func certificateBlocks(data []byte) [][]byte {
	var all [][]byte
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			all = append(all, block.Bytes)
		}
	}
	return all
}
