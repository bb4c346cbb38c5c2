// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"context"
	"errors"
	"testing"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/lab"
)

// Every message that Postfix took is fetched from Dovecot once; one that is fetched twice, or
// never, is told.
func TestMail(t *testing.T) {
	if missing := mailMissing(); missing != "" {
		t.Fatal(missing + "; run scripts/test-tools")
	}
	m, err := newMail()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stage.clear)
	_, m.stop = context.WithCancel(t.Context())
	for range 5 {
		if err := m.send(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := m.close(t.Context())
	if want := (MailResult{Flows: true, Sent: 5}); err != nil || r != want {
		t.Fatalf("it is %+v, %v; want %+v", r, err, want)
	}
	m.sent["never@vendor.example"] = true
	for id := range m.fetched {
		m.fetched[id]++
		break
	}
	if want := (MailResult{Flows: true, Sent: 6, Lost: 1, Doubled: 1}); m.result() != want {
		t.Errorf("it is %+v, want %+v", m.result(), want)
	}
	m.secret = "another one"
	if err := m.fetch(); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("with a wrong password the answer is %v", err)
	}
	if err := m.send(); err == nil {
		t.Error("Postfix takes mail with a wrong password")
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
