// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"net/textproto"
	"strings"
	"testing"
)

func TestPostfix(t *testing.T) {
	p := StartPostfix(t, PostfixSettings{})
	greets(t, p.SMTP, "220 mail.lab.test")
	if n := len(p.AwaitDelivery(t)); n != 0 {
		t.Errorf("%d messages were delivered, and none was sent", n)
	}
}

func TestDovecot(t *testing.T) {
	d := StartDovecot(t, DovecotSettings{Users: map[string]string{"alice": "wonder"}, CertUsers: []string{"alice"}})
	greets(t, d.IMAP, "* OK")
	greets(t, d.POP3, "+OK")
}

// greets looks that a server begins with a greeting.
func greets(t *testing.T, address, want string) {
	t.Helper()
	c, err := textproto.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if line, err := c.ReadLine(); err != nil || !strings.HasPrefix(line, want) {
		t.Errorf("%s greets with %q, %v; want %q", address, line, err, want)
	}
}
