// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"bytes"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	mainText = `inet_interfaces = all
inet_protocols = all
relay_clientcerts = hash:/etc/postfix/clients, proxy:hash:/etc/postfix/more
smtpd_client_restrictions = permit_mynetworks, check_ccert_access hash:/etc/postfix/late
smtpd_delay_reject = yes
smtpd_recipient_restrictions = check_ccert_access { lmdb:/etc/postfix/denied { search_order = cert_fingerprint } }, permit_tls_all_clientcerts, reject
smtpd_tls_ask_ccert = yes
smtpd_tls_fingerprint_digest = sha256
smtpd_tls_security_level = may
`
	masterText = `smtp       inet  n       -       y       -       1       postscreen
smtpd      pass  -       -       y       -       -       smtpd
submission inet  n       -       y       -       -       smtpd -o smtpd_tls_security_level=none
[::1]:465  inet  n       -       y       -       -       smtpd
odd        inet  n       -       y       -       -       smtpd
pickup     unix  n       -       y       60      1       pickup
`
	overrideText = "submission/inet/smtpd_tls_security_level = none\n[::1]:465/inet/smtpd_tls_wrappermode = yes\nsmtpd/pass/smtpd_tls_loglevel = 2\n"
)

func TestSettings(t *testing.T) {
	c := &configuration{main: parseParameters(mainText), overrides: parseOverrides(overrideText), services: parseServices(masterText)}
	var got []string
	for _, s := range c.doors() {
		speaks, wrapped := c.secures(s)
		line := s.name + " " + strings.Join(c.addresses(s), ",")
		if speaks {
			line += " tls"
		}
		if wrapped {
			line += " wrapped"
		}
		got = append(got, line)
	}
	want := []string{"smtp 127.0.0.1:25 tls", "submission 127.0.0.1:587", "[::1]:465 [::1]:465 tls wrapped", "odd  tls"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("services (-want +got):\n%s", d)
	}
	all, notes := c.accesses()
	if len(all) != 3 || len(notes) != 3 {
		t.Fatalf("%d services know clients, %d notes: %q", len(all), len(notes), notes)
	}
	first := access{
		service: "smtp", digest: "sha256", clients: []table{{"hash", "/etc/postfix/clients"}},
		denied: []table{{"lmdb", "/etc/postfix/denied"}}, anybody: true, guided: true,
	}
	if d := cmp.Diff(first, all[0], cmp.AllowUnexported(access{}, table{})); d != "" {
		t.Errorf("access (-want +got):\n%s", d)
	}
}

const tableText = `# clients
AA:BB one
 and more
aa:cc	two
AA:DD
`

// What add, silence and deny do to a table, withdraw and restore undo to the byte.
func TestTable(t *testing.T) {
	text := []byte(tableText)
	if e, ok := lookup(text, "aa:bb"); !ok || e.value != "one and more" {
		t.Errorf("lookup: %+v, %v", e, ok)
	}
	more := add(bytes.Clone(text), "AA:EE", "one and more")
	if e, ok := lookup(more, "AA:EE"); !ok || e.value != "one and more" {
		t.Errorf("added: %+v, %v", e, ok)
	}
	if d := cmp.Diff(tableText, string(withdraw(more, "aa:ee"))); d != "" {
		t.Errorf("withdrawn:\n%s", d)
	}
	if d := cmp.Diff(tableText, string(withdraw(text, "AA:CC"))); d != "" {
		t.Errorf("what was there before is withdrawn:\n%s", d)
	}
	silent := silence(text, "AA:CC")
	if _, ok := lookup(silent, "AA:CC"); ok || len(entries(silent)) != 2 {
		t.Errorf("silenced:\n%s", silent)
	}
	if d := cmp.Diff(strings.Replace(tableText, "\t", " ", 1), string(restore(silent, "aa:cc"))); d != "" {
		t.Errorf("restored:\n%s", d)
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte(tableText), "AA:BB")
	f.Add([]byte(" leading\n\n#x\na b\n\tc\n"), "a")
	f.Add([]byte(addedMark+"AA\n"+blockedMark+"AA x\n"), "AA")
	f.Fuzz(func(t *testing.T, text []byte, key string) {
		if key == "" || strings.ContainsAny(key, " \t\r\n#") || strings.TrimSpace(key) != key {
			return
		}
		if _, ok := lookup(silence(text, key), key); ok {
			t.Errorf("%q is still there", key)
		}
		if _, there := lookup(text, key); !there {
			if e, ok := lookup(add(bytes.Clone(text), key, "value"), key); !ok || e.value != "value" {
				t.Errorf("%q was not added", key)
			}
		}
		withdraw(text, key)
		restore(text, key)
	})
}

func FuzzAnswers(f *testing.F) {
	f.Add(mainText)
	f.Add(masterText)
	f.Add(overrideText)
	f.Add("0 0 127.0.0.1:25 127.0.0.1:4711 users:((\"smtpd\",pid=4712,fd=9))\n")
	f.Add("Nov 22 19:13:22 mail postfix/smtpd[26546]: unknown[127.0.0.1]: subject_CN=x, fingerprint=00, issuer=y, fingerprint=F6:D2, pkey_fingerprint=88:FD\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := &configuration{main: parseParameters(text), overrides: parseOverrides(text), services: parseServices(text)}
		c.accesses()
		for _, s := range c.doors() {
			c.secures(s)
			for _, address := range c.addresses(s) {
				if _, _, err := net.SplitHostPort(address); err != nil {
					t.Errorf("a listener has the address %q", address)
				}
			}
		}
		open, err := parseSockets(text)
		if err != nil && open != nil {
			t.Error("an error comes with sessions")
		}
		for _, s := range open {
			if s.pid < 2 {
				t.Errorf("a session is of process %d", s.pid)
			}
		}
		parseLog(text)
	})
}

// What a client chooses itself cannot pass for the fingerprint of its certificate.
func TestLogOfALiar(t *testing.T) {
	log := "Nov 22 19:13:22 mail postfix/smtpd[7]: connect from unknown[127.0.0.1]\n" +
		"Nov 22 19:13:22 mail postfix/smtpd[7]: unknown[127.0.0.1]: subject_CN=x, fingerprint=AA:AA, pkey_fingerprint=AA:AA, issuer=y, fingerprint=BB:BB, pkey_fingerprint=CC:CC\n" +
		"Nov 22 19:13:23 mail postfix/smtpd[8]: connect from unknown[127.0.0.1]\n"
	if d := cmp.Diff(map[int]holder{7: {"BB:BB", "CC:CC"}, 8: {}}, parseLog(log), cmp.AllowUnexported(holder{})); d != "" {
		t.Errorf("holders (-want +got):\n%s", d)
	}
}
