// SPDX-License-Identifier: Apache-2.0

package signin_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/signin"
	"github.com/tallystick/tallystick/internal/lab"
)

const right = "wönder land"

// servers starts a Dovecot and a Postfix that knows the same users, and returns a client that
// trusts them, and all listeners.
func servers(t *testing.T, main string) (*lab.Dovecot, signin.Client, []driver.Listener) {
	t.Helper()
	d := lab.StartDovecot(t, lab.DovecotSettings{NoLists: true, Main: main, Users: map[string]string{"alice": right}})
	p := lab.StartPostfix(t, lab.PostfixSettings{PKI: d.PKI, SASL: d.Auth})
	roots := x509.NewCertPool()
	roots.AddCert(d.PKI.Root)
	listeners := []driver.Listener{
		{Protocol: "imap", Address: d.IMAP}, {Protocol: "imaps", Address: d.IMAPS}, {Protocol: "pop3", Address: d.POP3}, {Protocol: "pop3s", Address: d.POP3S},
		{Protocol: "smtp", Address: p.SMTP}, {Protocol: "submission", Address: p.SMTP}, {Protocol: "smtps", Address: p.SMTPS},
	}
	return d, signin.Client{Host: host.Local(), Roots: roots, Now: time.Now}, listeners
}

func request(old, next string) driver.SecretRequest {
	return driver.SecretRequest{Old: driver.NewSecret(old), New: driver.NewSecret(next), TryOld: old != ""}
}

// outcomes looks that there is an attempt at each listener, and what came of it.
func outcomes(t *testing.T, attempts []driver.Attempt, want string, listeners []driver.Listener) {
	t.Helper()
	if len(attempts) != len(listeners) {
		t.Errorf("%d attempts at %d listeners", len(attempts), len(listeners))
	}
	for _, a := range attempts {
		if a.Outcome != want || a.Answer == "" {
			t.Errorf("%s at %s is %s, want %s: %s", a.Listener.Protocol, a.Address, a.Outcome, want, a.Answer)
		}
	}
}

func TestEveryProtocol(t *testing.T) {
	for _, mechanism := range []string{"plain", "login"} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			_, client, listeners := servers(t, "auth_mechanisms = "+mechanism+"\n")
			told := 0
			both := request("wrong", right)
			both.Used = func(tallystick.Use) { told++ }
			tested, err := client.Test(t.Context(), both, "alice", listeners)
			if err != nil {
				t.Fatal(err)
			}
			outcomes(t, tested.Old, driver.OutcomeRefused, listeners)
			outcomes(t, tested.New, driver.OutcomeAccepted, listeners)
			if told != 3*len(listeners) {
				t.Errorf("%d sign-ins are told of, want 3 at each of %d", told, len(listeners))
			}
			if served := tested.New[0].Served; slices.ContainsFunc(tested.New[:4], func(a driver.Attempt) bool { return a.Served != served || served == "" }) {
				t.Errorf("Dovecot shows one certificate, and several are told: %+v", tested.New[:4])
			}
		})
	}
}

// Where the new password does not get in, nothing more is tried: not the old one, which may be wrong
// as well, and not the new one elsewhere.
func TestNoTwoWrongInARow(t *testing.T) {
	t.Parallel()
	_, client, listeners := servers(t, "")
	tested, err := client.Test(t.Context(), request("wrong", "wrong, too"), "alice", listeners[:3])
	if err != nil {
		t.Fatal(err)
	}
	outcomes(t, tested.Old, driver.OutcomeFailed, listeners[:3])
	outcomes(t, tested.New[:1], driver.OutcomeRefused, listeners[:1])
	outcomes(t, tested.New[1:], driver.OutcomeFailed, listeners[1:3])
}

// To a server that is not known to be the one, and to one without TLS, no password goes.
func TestNoPasswordForStrangers(t *testing.T) {
	t.Parallel()
	d, client, listeners := servers(t, "")
	pinned := client
	pinned.Roots, pinned.Pins = x509.NewCertPool(), []string{string(tallystick.FingerprintOf(d.Server.Chain[0]))}
	attempt := pinned.Try(t.Context(), listeners[1], listeners[1].Address, "alice", driver.NewSecret(right))
	if attempt.Outcome != driver.OutcomeAccepted {
		t.Errorf("with its certificate pinned it is %+v", attempt)
	}
	stranger := client
	stranger.Roots = x509.NewCertPool()
	otherName := listeners[1]
	otherName.ServerName = "mail.elsewhere.test"
	plain := lab.Serve(t, "127.0.0.1:0", func(conn net.Conn) {
		heard := make([]byte, 4096)
		conn.Write([]byte("220 plain.lab.test ESMTP\r\n"))
		for {
			n, err := conn.Read(heard)
			if err != nil {
				return
			}
			if strings.Contains(string(heard[:n]), "AUTH") {
				t.Error("it signs in without TLS")
			}
			conn.Write([]byte("250-plain.lab.test\r\n250 AUTH PLAIN LOGIN\r\n"))
		}
	})
	for what, try := range map[string]driver.Attempt{
		"another CA":   stranger.Try(t.Context(), listeners[1], listeners[1].Address, "alice", driver.NewSecret("never sent")),
		"another name": client.Try(t.Context(), otherName, listeners[1].Address, "alice", driver.NewSecret("never sent")),
		"no TLS":       client.Try(t.Context(), driver.Listener{Protocol: "smtp", Address: plain}, plain, "alice", driver.NewSecret("never sent")),
	} {
		if try.Outcome != driver.OutcomeFailed {
			t.Errorf("%s: %+v", what, try)
		}
	}
	if log := lab.Read(t, d.LogFile); strings.Contains(log, "Password mismatch") || strings.Count(log, "Login: user=<alice>") > 1 {
		t.Errorf("Dovecot was asked:\n%s", log)
	}
}

// What is not fit to be sent is not, and what no server takes is not called refused.
func TestOddPasswords(t *testing.T) {
	t.Parallel()
	d, client, listeners := servers(t, "auth_mechanisms = external\n")
	for _, old := range []string{"", "a\x00b"} {
		r := request(old, right)
		r.TryOld = true
		if _, err := client.Test(t.Context(), r, "alice", listeners); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%q gives %v, want ErrInvalid", old, err)
		}
		if a := client.Try(t.Context(), listeners[0], listeners[0].Address, "alice", driver.NewSecret(old)); a.Outcome != driver.OutcomeFailed {
			t.Errorf("%q: %+v", old, a)
		}
	}
	if _, err := client.Test(t.Context(), request("", right), "alice", []driver.Listener{{Protocol: "gopher", Address: d.IMAP}}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a protocol that is not spoken gives %v, want ErrInvalid", err)
	}
	for _, listener := range listeners[:4] { // which take no passwords at all
		if a := client.Try(t.Context(), listener, listener.Address, "alice", driver.NewSecret(right)); a.Outcome != driver.OutcomeFailed || !strings.Contains(a.Answer, "neither") {
			t.Errorf("%+v", a)
		}
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	silent := lab.Serve(t, "127.0.0.1:0", func(conn net.Conn) { conn.Read(make([]byte, 1)); <-t.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	client := signin.Client{Host: host.Local(), Now: time.Now}
	tested, err := client.Test(ctx, request("", right), "alice", []driver.Listener{{Protocol: "imap", Address: silent}})
	if !errors.Is(err, context.DeadlineExceeded) || len(tested.New) != 1 || tested.New[0].Outcome != driver.OutcomeFailed {
		t.Errorf("%+v, %v", tested, err)
	}
}
