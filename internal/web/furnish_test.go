// SPDX-License-Identifier: Apache-2.0

package web_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"html"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/parse"
)

// furnish fills a house with the credentials of a small company, and with what
// this machine trusts, over the last weeks.
func (h *house) furnish() {
	h.Helper()
	defer h.at(testNow)
	h.at(testNow.AddDate(0, 0, -26))
	h.record("truststore", h.trusted()...)
	ca := newAuthority(h, "Example Internal CA 2")
	rng := mathrand.New(mathrand.NewPCG(1, 2)) // the same house every time
	files := []tallystick.Sighting{
		seen(ca.itself(), tallystick.RolePresents, "/etc/ssl/internal-ca.pem"), h.login("deploy", 1), h.login("root", 2),
	}
	var endpoints []tallystick.Sighting
	for i, host := range []string{"mail", "api", "login", "vpn", "wiki", "git", "ldap", "backup", "shop", "status", "search", "hr"} {
		for n := range 10 {
			name := fmt.Sprintf("%s%d.example.net", host, n+1)
			life := []int{90, 90, 90, 47, 200, 365}[n%6]
			key := newKey(h)
			if n == 0 && i < 6 {
				key = newRSA(h)
			}
			c := ca.issue(key, name, rng.IntN(life-2), life)
			path := fmt.Sprintf("/etc/%s/tls/%s", []string{"nginx", "postfix", "haproxy"}[n%3], name)
			held := seen(keyOf(c), tallystick.RoleHolds, path+".key")
			if rng.IntN(9) > 0 {
				held.File.Mode, held.File.Readers = "0600", nil
			}
			files = append(files, seen(c, tallystick.RolePresents, path+".pem"), held)
			endpoints = append(endpoints, served(c, fmt.Sprintf("10.0.%d.%d:443", i, n+10)))
		}
	}
	old := ca.issue(newKey(h), "old-mail.example.net", 93, 90)
	files = append(files, seen(old, tallystick.RolePresents, "/etc/postfix/tls/old-mail.pem"))
	h.at(testNow.AddDate(0, 0, -19))
	h.record("files", files...)
	h.at(testNow.AddDate(0, 0, -6))
	h.record("tls", append(endpoints, served(old, "10.0.9.9:25"))...)
	h.owned("mail team", "prod", "mail")
	h.owned("platform", "prod", "api")
	h.at(testNow.Add(-time.Hour))
	h.record("files", append(files[:len(files)-6], files[len(files)-1])...)
	h.surveyed()
}

// owned says who owns what a search finds.
func (h *house) owned(owner, environment, search string) {
	h.Helper()
	rows, err := h.db.Credentials(h.Context(), store.CredentialFilter{Text: search, Kind: "certificate"}, store.PageRequest{})
	if err != nil {
		h.Fatal(err)
	}
	for _, row := range rows.Items {
		said := store.PastAnnotation{Time: h.clock(), Author: "ada", Annotation: tallystick.Annotation{Owner: owner, Environment: environment}}
		if err := h.db.Annotate(h.Context(), row.ID, said); err != nil {
			h.Fatal(err)
		}
	}
	h.judge()
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
	return html.UnescapeString(match[1])
}
