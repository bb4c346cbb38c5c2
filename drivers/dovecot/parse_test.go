// SPDX-License-Identifier: Apache-2.0

package dovecot

import (
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const configuration = `# 2.3.19.1 (9b53102964): /etc/dovecot/dovecot.conf
auth_mechanisms = plain external
listen = *, ::
passdb {
  args = scheme=PLAIN username_format=%n /etc/dovecot/cert-users
  driver = passwd-file
  mechanisms = external
}
protocols = imap sieve
service imap-login {
  inet_listener imap {
    port = 143
  }
  inet_listener imaps {
    address = 192.0.2.7
    port = 993
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3s {
    port = 995
    ssl = yes
  }
}
service managesieve-login {
  inet_listener sieve {
    port = 4190
  }
}
ssl = yes
ssl_ca = </etc/dovecot/ca.pem
protocol imap {
  ssl_ca = <other.pem
}
`

func TestParse(t *testing.T) {
	c := parse(configuration)
	var listeners []string
	for _, p := range c.ports() {
		listeners = append(listeners, p.Protocol+" "+p.Address)
	}
	want := []string{"imap 127.0.0.1:143", "sieve 127.0.0.1:4190", "imaps 192.0.2.7:993"}
	if d := cmp.Diff(want, listeners); d != "" {
		t.Errorf("listeners (-want +got):\n%s", d)
	}
	d := &door{Options: Options{Config: "/etc/dovecot/dovecot.conf"}}
	if d := cmp.Diff([]string{"/etc/dovecot/ca.pem", "/etc/dovecot/other.pem"}, d.authorityFiles(c)); d != "" {
		t.Errorf("files of CAs (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"/etc/dovecot/cert-users"}, userFiles(c)); d != "" {
		t.Errorf("files of users (-want +got):\n%s", d)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(configuration)
	f.Add("service imap-login {\ninet_listener x {\nport = 0x\n}\n}\n}\n}")
	f.Add(strings.Repeat("service a {\n", 50))
	f.Add("listen = [::]\nprotocols = lmtp\nservice lmtp {\ninet_listener lmtp {\nport = 24\n}\n")
	f.Fuzz(func(t *testing.T, text string) {
		c := parse(text)
		for _, p := range c.ports() {
			if _, _, err := net.SplitHostPort(p.Address); err != nil {
				t.Errorf("a listener has the address %q", p.Address)
			}
		}
		d := &door{Options: Options{Config: "/etc/dovecot/dovecot.conf"}}
		for _, path := range append(d.authorityFiles(c), userFiles(c)...) {
			if !strings.HasPrefix(path, "/") {
				t.Errorf("a file has the path %q", path)
			}
		}
		usersIn(text)
		countSessions(text)
		if again := withLists(withLists([]byte(text), nil), nil); cmp.Diff(string(withLists([]byte(text), nil)), string(again)) != "" {
			t.Error("taking lists out twice takes out more than once")
		}
	})
}
