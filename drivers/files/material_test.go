// SPDX-License-Identifier: Apache-2.0

package files

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
)

// run runs a program that the tests need in dir.
func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is missing: apt-get install openssl openssh-client openjdk-17-jre-headless", args[0])
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// tree returns a new directory that everybody can reach, as a server's are.
func tree(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	return real
}

// selfSigned makes a key and its certificate in PEM.
func selfSigned(t *testing.T) (key, certificate string) {
	t.Helper()
	dir := t.TempDir()
	run(t, dir, "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
		"-keyout", "key.pem", "-out", "cert.pem", "-subj", "/CN=files.example", "-days", "30")
	return read(t, filepath.Join(dir, "key.pem")), read(t, filepath.Join(dir, "cert.pem"))
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// write writes a file and the directories above it.
func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// A book is a sink that remembers.
type book struct{ drivertest.Recorder }

// places returns the paths of all sightings beneath root, sorted, each once.
func (b *book) places(root string) []string {
	var all []string
	for _, s := range b.Sightings {
		all = append(all, strings.TrimPrefix(s.Place.Path(), root+"/"))
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// missed returns "path word" of all misses beneath root, sorted.
func (b *book) missed(root string) []string {
	var all []string
	for _, m := range b.Misses {
		if path, ok := strings.CutPrefix(m.Place.Path(), root+"/"); ok {
			all = append(all, path+" "+m.Error)
		}
	}
	slices.Sort(all)
	return all
}

// at returns the sightings at a path.
func (b *book) at(path string) []tallystick.Sighting {
	var all []tallystick.Sighting
	for _, s := range b.Sightings {
		if s.Place == tallystick.FilePlace(path) {
			all = append(all, s)
		}
	}
	return all
}

func finderWith(t *testing.T, options map[string]string) driver.Finder {
	t.Helper()
	return drivertest.Open[driver.Finder](t, Driver(), options)
}

// find looks at targets and fails the test if that fails.
func find(t *testing.T, options map[string]string, targets ...string) *book {
	t.Helper()
	b := &book{}
	if err := finderWith(t, options).Find(context.Background(), driver.FindRequest{Targets: targets, Now: time.Now}, b); err != nil {
		t.Fatal(err)
	}
	return b
}
