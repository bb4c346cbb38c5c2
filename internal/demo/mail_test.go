// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/lab"
)

// Every message that Postfix took is fetched from Dovecot once, also one that the relay hands over;
// one that is fetched twice, or never, is told. A wrong password is a refusal.
func TestMail(t *testing.T) {
	if lacking := mailLacks(); lacking != "" {
		t.Fatal(lacking + "; run scripts/test-tools")
	}
	s, err := newServers(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	if err := s.startMail(map[string]string{"journal": "first"}, map[string]string{"route": "second"}); err != nil {
		t.Fatal(err)
	}
	m := s.mail
	_, m.stop = context.WithCancel(t.Context())
	for range 5 {
		if err := m.send(m.user, m.secret); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.forward("route"); err != nil {
		t.Fatal(err)
	}
	r, err := m.close(t.Context())
	if want := (MailResult{Flows: true, Sent: 6}); err != nil || r != want {
		t.Fatalf("it is %+v, %v; want %+v", r, err, want)
	}
	m.sent["never@vendor.example"] = true
	for id := range m.fetched {
		m.fetched[id]++
		break
	}
	if want := (MailResult{Flows: true, Sent: 7, Lost: 1, Doubled: 1}); m.result() != want {
		t.Errorf("it is %+v, want %+v", m.result(), want)
	}
	if err := m.look("journal", "first"); err != nil {
		t.Error(err)
	}
	for what, err := range map[string]error{"POP3": m.look("journal", "wrong"), "SMTP": m.send("route", "wrong")} {
		if _, refused := errors.AsType[refusal](err); !refused {
			t.Errorf("with a wrong password %s says %v", what, err)
		}
	}
}

// A server that does not start is an error, and nothing of it is left.
func TestAStageClears(t *testing.T) {
	var order []string
	start := func() (err error) {
		s := &stage{}
		defer s.rescue(&err)
		s.Cleanup(func() { order = append(order, "first") })
		s.Cleanup(func() { order = append(order, "second") })
		lab.Program(s, "a-program-that-nobody-has")
		return nil
	}
	if err := start(); !errors.Is(err, tallystick.ErrUnavailable) || len(order) != 2 || order[0] != "second" {
		t.Errorf("the error is %v, and the order %v", err, order)
	}
}
