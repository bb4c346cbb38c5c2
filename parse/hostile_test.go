// SPDX-License-Identifier: Apache-2.0

package parse_test

import (
	"bytes"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// quick reads data and fails when that takes longer than MaxFileWork allows for,
// on a machine that is busy with other things too.
func quick(t *testing.T, name string, data []byte) parse.Result {
	t.Helper()
	start := time.Now()
	result := parse.Bytes(name, data, nil)
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("%s: %d bytes took %v", name, len(data), took)
	}
	return result
}

// A key that asks for two thousand million rounds is sealed, and told.
func TestHostileRounds(t *testing.T) {
	dir := t.TempDir()
	openssl(t, dir, "genpkey -algorithm ED25519 -out key.pem")
	openssl(t, dir, "pkcs8 -topk8 -iter 65537 -in key.pem -outform DER -out key.der -passout pass:changeit")
	der, err := os.ReadFile(filepath.Join(dir, "key.der"))
	if err != nil {
		t.Fatal(err)
	}
	for old, with := range map[string]string{"0203010001": "02037fffff"} {
		result := quick(t, "key.der", replace(t, der, old, with))
		if len(result.Items) != 1 || result.Items[0].Credential.Kind != tallystick.KindSealed {
			t.Errorf("%+v", result.Items)
		}
		if len(result.Problems) != 1 || result.Problems[0].Word != "too-much-work" {
			t.Errorf("problems: %v", result.Problems)
		}
	}
}

// Inputs on which a careless reader takes time that grows with the square of
// the length, or runs out of stack.
func TestHostileShapes(t *testing.T) {
	for name, data := range map[string][]byte{
		"begin.pem":   bytes.Repeat([]byte("-----BEGIN CERTIFICATE-----\n"), 200_000),
		"label.pem":   bytes.Repeat([]byte("-----BEGIN "), 500_000),
		"headers.pem": []byte("-----BEGIN RSA PRIVATE KEY-----\n" + strings.Repeat("a: b\n", 1_000_000) + "-----END RSA PRIVATE KEY-----"),
		"nested.der":  bytes.Repeat([]byte{0x30, 0x80}, 2_000_000),
		"sets.der":    append([]byte{0x30, 0x83, 0x3d, 0x09, 0x00}, bytes.Repeat([]byte{0x30, 0x80, 0, 0}, 1_000_000)...),
		"key.pub":     bytes.Repeat([]byte("ssh-rsa AAAA\n"), 300_000),
		"store.jks":   append([]byte{0xce, 0xce, 0xce, 0xce, 0, 0, 0, 2, 0xff, 0xff, 0xff, 0xff}, bytes.Repeat([]byte{0, 0, 0, 3, 0, 1, 'a', 0, 0, 0, 0, 0, 0, 0, 1, 0xac, 0xed, 0, 5}, 200_000)...),
	} {
		if result := quick(t, name, data); len(result.Items) > 0 || len(result.Problems) > 50 {
			t.Errorf("%s: %d items, %d problems", name, len(result.Items), len(result.Problems))
		}
	}
}

// What is cut off or spoilt is named, and what stands beside it is still read.
func TestSpoiltBundle(t *testing.T) {
	der := selfSigned(t, t.TempDir(), "-subj", "/CN=a")
	good := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	spoilt := bytes.Replace(good, []byte("MII"), []byte("M*I"), 1)
	other := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("hello")})
	data := slices.Concat(good, good[:len(good)/2], []byte("\n"), good, spoilt, other, good)
	result := parse.Bytes("bundle.pem", data, nil)
	if len(result.Items) != 3 {
		t.Errorf("%d certificates, want 3", len(result.Items))
	}
	words := ""
	for _, p := range result.Problems {
		words += p.Word + " "
	}
	if words != "truncated malformed malformed " {
		t.Errorf("problems: %v", result.Problems)
	}
}

// By its name alone a file is a keystore; text about PEM is no fault.
func TestProblemsOfNames(t *testing.T) {
	for content, word := range map[string]string{"\xff\xf0 noise": "malformed", "\x30\x04\x04\x02\xff\xff": "unsupported"} {
		if p := parse.Bytes("a.p12", []byte(content), nil).Problems; len(p) != 1 || p[0].Word != word {
			t.Errorf("a keystore that is none: %v", p)
		}
	}
	for name, text := range map[string]string{
		"notes.txt": "hello, world",
		"root.crt":  "# to be replaced",
		"code.go":   `const begin = "-----BEGIN CERTIFICATE-----"` + "\n",
		"dh.pem":    "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n",
	} {
		if r := parse.Bytes(name, []byte(text), nil); len(r.Items)+len(r.Problems) > 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestSniff(t *testing.T) {
	for _, row := range []struct {
		name, head string
		want       bool
	}{
		{"a.txt", "note\n-----BEGIN CERTIFICATE-----\n", true},
		{"server.PEM", "Certificate:\n    Data:\n", true},
		{"noname", "\x30\x82\x01\x00\x30\x82", true},
		{"noname", "\xfe\xed\xfe\xed\x00\x00\x00\x02", true},
		{"noname", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5", true},
		{"noname", "# keys\nsk-ssh-ed25519@openssh.com AAAA", true},
		{"authorized_keys", "# empty so far\n", true},
		{"wide", "\xff\xfe-\x00-\x00-\x00-\x00-\x00B\x00E\x00G\x00I\x00N\x00", true},
		{"noname", "\x7fELF\x02\x01\x01", false},
		{"main.go", "package main\n", false},
		{"data", "30 lines of text", false},
		{"data", "0 text that starts with a digit", false},
		{"logo.key", "\x89PNG\r\n", false},
		{"x", "", false},
	} {
		head, got := []byte(row.head), false
		allocs := testing.AllocsPerRun(10, func() { got = parse.Sniff(head, row.name) })
		if got != row.want || allocs > 0 {
			t.Errorf("Sniff(%q, %q) = %v with %v allocations", row.head, row.name, got, allocs)
		}
	}
}

func BenchmarkSniff(b *testing.B) {
	head := bytes.Repeat([]byte("int main(void) { return 0; } /* text */\n"), 13)[:parse.SniffLength]
	for b.Loop() {
		if parse.Sniff(head, "main.c") {
			b.Fatal("a source file")
		}
	}
}
