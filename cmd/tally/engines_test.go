// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/store/storetest"
)

// A journal is an output that is read while it is written.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

// TestUpOnBothEngines runs "tally up" and the commands beside it on SQLite and
// on PostgreSQL, which the configuration names in a file of its own.
func TestUpOnBothEngines(t *testing.T) {
	storetest.EachURL(t, func(t *testing.T, url string) {
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, "estate", "cert.pem"), selfSigned(t, "both.example"))
		text := "discovery:\n  - name: estate\n    driver: files\n    targets: [" + filepath.Join(dir, "estate") + "]\n"
		if strings.HasPrefix(url, "postgres") {
			writeFile(t, filepath.Join(dir, "database"), []byte(url+"\n"))
			text += "database_file: database\n"
		}
		config := filepath.Join(dir, "tally.yaml")
		writeFile(t, config, []byte(text))
		flags := []string{"--config", config, "--data", filepath.Join(dir, "data")}

		ctx, stop := context.WithCancel(t.Context())
		log, ended := &journal{}, make(chan int, 1)
		p := &program{in: strings.NewReader(""), out: &journal{}, err: log, getenv: os.Getenv, now: time.Now}
		go func() { ended <- p.run(ctx, append([]string{"up", "--listen", "127.0.0.1:0"}, flags...)) }()
		for end := time.Now().Add(patience); !strings.Contains(log.String(), "a look ended"); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("no look ended:\n%s", log)
			}
		}
		for command, want := range map[string]string{
			"list credentials": "both.example", "list places": "cert.pem", "list runs": "done", "changes --kind new": "both.example",
			"export --format csv": "CN=both.example", "audit list": "export", "audit verify": "tallystick/audit/", "user list": "admin",
		} {
			out, errs := &journal{}, &journal{}
			q := &program{in: strings.NewReader(""), out: out, err: errs, getenv: os.Getenv, now: time.Now}
			status := q.run(t.Context(), append(strings.Fields(command), flags...))
			if status != 0 || command != "audit list" && !strings.Contains(out.String(), want) {
				t.Errorf("tally %s: status %d, want %q in:\n%s%s", command, status, want, out, errs)
			}
		}
		stop()
		if status := <-ended; status != 0 {
			t.Errorf("up ended with status %d:\n%s", status, log)
		}
	})
}

func writeFile(t *testing.T, path string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// selfSigned returns a certificate as PEM.
func selfSigned(t *testing.T, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 1, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(fmt.Errorf("couldn't make a certificate: %w", err))
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
