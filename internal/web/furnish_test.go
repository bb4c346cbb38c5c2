// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"regexp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/parse"
)

// furnish fills a house with the credentials of a small company, and with what
// this machine trusts.
func (h *house) furnish() {
	h.Helper()
	h.record("truststore", h.trusted()...)
	ca := newAuthority(h, "Example Internal CA 2")
	rng := mathrand.New(mathrand.NewPCG(1, 2)) // the same house every time
	var files, endpoints []tallystick.Sighting
	files = append(files, seen(ca.itself(), tallystick.RolePresents, "/etc/ssl/internal-ca.pem"))
	hosts := []string{"mail", "api", "login", "vpn", "wiki", "git", "ldap", "backup", "shop", "status", "db1", "db2"}
	for i, host := range hosts {
		for n := range 6 {
			name := fmt.Sprintf("%s%d.example.net", host, n+1)
			life := []int{90, 90, 90, 47, 200, 365}[n]
			key := newKey(h)
			if n == 0 && i < 6 {
				key = newRSA(h)
			}
			c := ca.issue(key, name, rng.IntN(life-2), life)
			path := fmt.Sprintf("/etc/%s/tls/%s.pem", []string{"nginx", "postfix", "haproxy"}[n%3], name)
			files = append(files, seen(c, tallystick.RolePresents, path))
			held := seen(keyOf(c), tallystick.RoleHolds, path[:len(path)-4]+".key")
			if rng.IntN(3) > 0 {
				held.File.Mode, held.File.Readers = "0600", nil
			}
			files = append(files, held)
			endpoints = append(endpoints, served(c, fmt.Sprintf("10.0.%d.%d:443", i, n+10)))
		}
	}
	old := ca.issue(newKey(h), "old-mail.example.net", 100, 90)
	files = append(files, seen(old, tallystick.RolePresents, "/etc/postfix/tls/old-mail.pem"), h.login("deploy", 1), h.login("root", 2))
	endpoints = append(endpoints, served(old, "10.0.9.9:25"))
	h.record("files", files...)
	h.record("tls", endpoints...)
	h.surveyed()
}

// surveyed judges what is compared with each other, too.
func (h *house) surveyed() {
	h.Helper()
	if err := h.engine.Survey(h.Context()); err != nil {
		h.Fatal(err)
	}
}

// login returns a line of authorized_keys that opens an account.
func (h *house) login(account string, line int) tallystick.Sighting {
	h.Helper()
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		h.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		h.Fatal(err)
	}
	key, err := parse.Key(spki)
	if err != nil {
		h.Fatal(err)
	}
	s := seen(keyOf(tallystick.Credential{Key: key}), tallystick.RoleAccepts, "/home/"+account+"/.ssh/authorized_keys")
	s.Credential.Subject = "anna@laptop"
	s.File.Format = "authorized_keys"
	s.SSH = &tallystick.SSHFacts{Account: account, Line: line, Comment: "anna@laptop"}
	return s
}

// trusted returns Debian's trust store as it is on this machine.
func (h *house) trusted() []tallystick.Sighting {
	h.Helper()
	const bundle = "/etc/ssl/certs/ca-certificates.crt"
	data, err := os.ReadFile(bundle)
	if err != nil {
		h.Fatalf("the test needs a trust store: apt-get install -y --no-install-recommends ca-certificates: %v", err)
	}
	var list []tallystick.Sighting
	for _, item := range parse.Bytes(filepath.Base(bundle), data, nil).Items {
		s := tallystick.Sighting{
			Credential: item.Credential, Place: tallystick.TrustStorePlace(bundle), Role: tallystick.RoleAccepts, Seen: testNow,
		}
		s.File = &tallystick.FileFacts{Format: "pem", Mode: "0644", Owner: "root", Group: "root"}
		list = append(list, s)
	}
	if len(list) < 50 {
		h.Fatalf("%s holds only %d certificates", bundle, len(list))
	}
	return list
}

// firstMatch returns what the group of a pattern matches first in a page.
func firstMatch(h *house, page, pattern string) string {
	h.Helper()
	match := regexp.MustCompile(pattern).FindStringSubmatch(page)
	if match == nil {
		h.Fatalf("the page has no %s:\n%s", pattern, page)
	}
	return match[1]
}
