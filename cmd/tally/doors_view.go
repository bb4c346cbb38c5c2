// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"crypto/x509"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/doors"
)

// A doorView is a door with how it stands, as JSON.
type doorView struct {
	Door     doors.Door       `json:"door"`
	View     driver.View      `json:"view"`
	Attempts []driver.Attempt `json:"attempts,omitempty"` // a handshake with every address
}

// A viewSheet writes how a door stands in plain words.
type viewSheet struct {
	*sheet
	now time.Time
}

func (v viewSheet) print(view driver.View, attempts []driver.Attempt) {
	var listeners []string
	for _, l := range view.Listeners {
		listeners = append(listeners, words(l.Address, "("+words(l.Protocol, as("for", l.ServerName))+")")+silence(l, attempts))
	}
	v.list("Listens at", some(listeners))
	for _, shown := range view.Shown {
		v.shown(shown)
	}
	if len(view.Shown) == 0 {
		v.sheet.print("\n  It shows no credential.\n")
	}
	v.letsIn(view)
	var refused []string
	for _, name := range view.Denies {
		refused = append(refused, shortName(name))
	}
	v.section(fmt.Sprintf("It refuses %s", plural(len(refused), "credential")), refused)
	v.section("Worth knowing", view.Notes)
}

// silence says which addresses of a listener showed nothing, and why.
func silence(l driver.Listener, attempts []driver.Attempt) string {
	text := ""
	for _, a := range attempts {
		if a.Listener.Address == l.Address && a.Listener.Protocol == l.Protocol && a.Served == "" {
			where := ""
			if a.Address != l.Address {
				where = a.Address + " "
			}
			text += "; " + where + "showed nothing: " + a.Answer
		}
	}
	return text
}

// section writes lines under a heading, unless there are none.
func (v viewSheet) section(heading string, lines []string) {
	if len(lines) == 0 {
		return
	}
	v.sheet.print("\n  %s\n", heading)
	for _, line := range some(lines) {
		v.sheet.print("    %s\n", clean(line))
	}
}

// as joins a word and a value, where there is one.
func as(word, value string) string {
	if value == "" {
		return ""
	}
	return word + " " + value
}

// shown writes one credential that the door shows.
func (v viewSheet) shown(s driver.Shown) {
	where := "In the file " + s.At
	if s.Live {
		where = "Shown now at " + s.At
	}
	if s.Key {
		where += ", with its private key"
	}
	v.sheet.print("\n  %s\n", clean(where))
	switch {
	case len(s.Chain) > 0:
		v.certificate(s.Chain)
	case len(s.SSH) > 0:
		v.put("SSH", sshWords(s.SSH))
	default:
		v.put("Account", s.Account)
	}
}

func (v viewSheet) certificate(chain [][]byte) {
	c, err := x509.ParseCertificate(chain[0])
	if err != nil {
		v.put("Certificate", "one that cannot be read: "+err.Error())
		return
	}
	v.put("Certificate", cmp.Or(c.Subject.String(), "without a subject"))
	v.put("For", strings.Join(namesIn(c), ", "))
	v.put("Issued by", c.Issuer.String())
	v.put("Valid", validity(&tallystick.Credential{NotBefore: c.NotBefore, NotAfter: c.NotAfter}, v.now))
	v.put("SHA-256", string(tallystick.FingerprintOf(c.Raw)))
	v.put("Key id", string(tallystick.KeyIDOf(c.RawSubjectPublicKeyInfo)))
	if len(chain) > 1 {
		v.put("Chain", plural(len(chain)-1, "certificate")+" above it")
	}
}

// namesIn are the names that a certificate is for.
func namesIn(c *x509.Certificate) []string {
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	names = append(names, c.EmailAddresses...)
	for _, u := range c.URIs {
		names = append(names, u.String())
	}
	return some(names)
}

// sshWords names a key as OpenSSH does.
func sshWords(wire []byte) string {
	key, err := ssh.ParsePublicKey(wire)
	if err != nil {
		return "a key that cannot be read"
	}
	return key.Type() + " " + ssh.FingerprintSHA256(key)
}

// letsIn writes who gets in.
func (v viewSheet) letsIn(view driver.View) {
	var people, authorities []string
	for _, a := range view.Accepts {
		people = append(people, words(shortName(a.Name), as("as", a.As), as("in", a.At)))
	}
	for _, der := range view.Authorities {
		if c, err := x509.ParseCertificate(der); err == nil {
			authorities = append(authorities, c.Subject.String()+", SHA-256 "+string(tallystick.FingerprintOf(der)))
		} else {
			authorities = append(authorities, "a certificate that cannot be read")
		}
	}
	v.section(fmt.Sprintf("It lets in %s one by one", plural(len(people), "credential")), people)
	v.section("It lets in whoever has a client certificate of", authorities)
}

// shortName writes a name of a credential so that a line has room for it.
func shortName(name string) string { return clipMiddle(name, 88) }
