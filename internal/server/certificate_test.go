// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A disk that was full for a moment must not keep the server from starting for
// good, and whoever compared the fingerprint has to hear of it.
func TestSpoiltCertificateIsMadeAgain(t *testing.T) {
	for what, spoil := range map[string]func(pem string) error{
		"no certificate": func(pem string) error { return os.WriteFile(pem, []byte("nothing"), 0o600) },
		"empty":          func(pem string) error { return os.Truncate(pem, 0) },
		"half a file":    func(pem string) error { return os.Truncate(pem, 300) },
		"a loop": func(pem string) error { // which root cannot read either
			return errors.Join(os.Remove(pem), os.Symlink(pem, pem))
		},
	} {
		dir := t.TempDir()
		pem := filepath.Join(dir, "server.pem")
		_, err := MakeCertificate(dir, "127.0.0.1:8443", now)
		must(t, err)
		must(t, spoil(pem))
		again, err := MakeCertificate(dir, "127.0.0.1:8443", now)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		kept, err := LoadCertificate(pem, pem, now)
		must(t, err)
		if kept.Fingerprint() != again.Fingerprint() {
			t.Errorf("%s: the certificate that is shown is not the one that is kept", what)
		}
		if said := logOf(t, again); !strings.Contains(said, "was made again") {
			t.Errorf("%s: the log says %q", what, said)
		}
		if said := logOf(t, kept); said != "" {
			t.Errorf("%s: the log says %q of a good one", what, said)
		}
	}
}

// logOf returns what is logged of a certificate at the start.
func logOf(t *testing.T, c *Certificate) string {
	t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.keep(ctx, time.Now, slog.New(slog.NewTextHandler(&out, nil)))
	return out.String()
}

// A file that somebody else made beforehand, and has open, does not get the key.
func TestKeyGoesIntoANewFile(t *testing.T) {
	dir := t.TempDir()
	pem := filepath.Join(dir, "server.pem")
	var open []*os.File
	for _, name := range []string{pem, pem + ".new"} {
		f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o666)
		must(t, err)
		defer f.Close()
		open = append(open, f)
	}
	_, err := MakeCertificate(dir, "127.0.0.1:8443", now)
	must(t, err)
	for _, f := range open {
		if info, err := f.Stat(); err != nil || info.Size() != 0 {
			t.Errorf("%s was written to: %v, %v", f.Name(), info, err)
		}
	}
	info, err := os.Stat(pem)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, want 0600", info.Mode())
	}
	rest, err := filepath.Glob(filepath.Join(dir, ".server-*"))
	if err != nil || len(rest) != 0 {
		t.Errorf("left over: %v, %v", rest, err)
	}
}
