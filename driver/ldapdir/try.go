// SPDX-License-Identifier: Apache-2.0

package ldapdir

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"time"
	"unicode"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// Listener is where Enter signs in.
func (s Server) Listener() driver.Listener {
	return driver.Listener{Address: s.Host(), Protocol: s.URL.Scheme, ServerName: s.ServerName}
}

// Enter signs in by a simple bind (RFC 4513 section 5.1.3) on a connection of its own, which it
// leaves open where it was let in. Refused says of what the directory said whether it is a word
// on the password. What the attempt says never has the password in it.
//
// An empty password is never sent, because whoever sends none is let in as nobody (section
// 5.1.2): it is ErrInvalid, as is one that would go out without TLS.
func (s Server) Enter(ctx context.Context, name string, password driver.Secret, refused func(*ldap.Error) bool, now func() time.Time) (*Session, driver.Attempt, error) {
	attempt := driver.Attempt{Listener: s.Listener(), Address: s.Host(), Way: driver.WayFresh, Outcome: driver.OutcomeFailed, At: now().UTC()}
	if err := s.sendable(name, password); err != nil {
		return nil, attempt, err
	}
	conn, err := s.connect(ctx)
	if err != nil {
		attempt.Answer = Printable(err.Error())
		return nil, attempt, ctx.Err()
	}
	attempt.Address, attempt.Served = addressOf(conn, s), servedBy(conn)
	session := s.session(conn)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	result, err := session.SimpleBind(ldap.NewSimpleBindRequest(name, password.Reveal(), []ldap.Control{ldap.NewControlBeheraPasswordPolicy()}))
	policy, locked := policySays(result)
	if err == nil {
		attempt.Outcome, attempt.Answer = driver.OutcomeAccepted, Printable(strings.TrimPrefix(policy, "; "))
		return session, attempt, nil
	}
	session.Close()
	var said *ldap.Error
	if errors.As(err, &said) && said.ResultCode < ldap.ErrorNetwork && !locked && refused(said) {
		attempt.Outcome = driver.OutcomeRefused
	}
	attempt.Answer = Printable(driver.Redact(err.Error()+policy, password))
	return nil, attempt, ctx.Err()
}

// Try signs in as Enter does, and out again.
func (s Server) Try(ctx context.Context, name string, password driver.Secret, refused func(*ldap.Error) bool, now func() time.Time) (driver.Attempt, error) {
	session, attempt, err := s.Enter(ctx, name, password, refused, now)
	if session != nil {
		session.Close()
	}
	return attempt, err
}

// policySays reads the answer of a directory with a password policy
// (draft-behera-ldap-password-policy-10 section 6.2). That an account is locked out says nothing
// about a password: the right one is refused as well.
func policySays(result *ldap.SimpleBindResult) (text string, locked bool) {
	if result == nil {
		return "", false
	}
	said, is := ldap.FindControl(result.Controls, ldap.ControlTypeBeheraPasswordPolicy).(*ldap.ControlBeheraPasswordPolicy)
	if !is || ldap.BeheraPasswordPolicyErrorMap[said.Error] == "" {
		return "", false
	}
	return "; password policy: " + ldap.BeheraPasswordPolicyErrorMap[said.Error], said.Error == ldap.BeheraAccountLocked
}

// sendable says why a name and a password are not sent.
func (s Server) sendable(name string, password driver.Secret) error {
	switch {
	case name == "" || password.IsZero():
		return invalid("nobody signs in over LDAP without a name and a password: the directory would let them in as nobody")
	case s.URL.Scheme == "ldap" && s.Plain:
		return invalid("option plain: a password that is rotated goes out over TLS alone")
	}
	return nil
}

func addressOf(conn net.Conn, s Server) string {
	if s.URL.Scheme == "ldapi" {
		return s.Host()
	}
	return conn.RemoteAddr().String()
}

func servedBy(conn net.Conn) string {
	secured, ok := conn.(*tls.Conn)
	if !ok || len(secured.ConnectionState().PeerCertificates) == 0 {
		return ""
	}
	sum := sha256.Sum256(secured.ConnectionState().PeerCertificates[0].Raw)
	return hex.EncodeToString(sum[:])
}

// Change makes a modification. An error has none of the secrets in it.
func (s *Session) Change(ctx context.Context, doing string, change *ldap.ModifyRequest, secrets ...driver.Secret) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	stop := context.AfterFunc(ctx, func() { s.Conn.Close() })
	defer stop()
	err := s.Modify(change)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return Answered(doing, Withheld(err, secrets...))
}

// Withheld takes secrets out of what a directory said, which may repeat them.
func Withheld(err error, secrets ...driver.Secret) error {
	said, is := errors.AsType[*ldap.Error](err)
	if !is || said.Err == nil {
		return err
	}
	text := said.Err.Error()
	if clear := driver.Redact(text, secrets...); clear != text {
		return ldap.NewError(said.ResultCode, errors.New(clear))
	}
	return err
}

// With has do use a session that signed in as the options say: one that is kept, or a new one.
func (l *Lobby) With(ctx context.Context, k *Keeper, s Server, do func(*Session) error) error {
	as := s.Address + " " + s.Host() + s.Attempt()
	session := k.Take(as)
	if session == nil {
		var err error
		if session, err = l.Dial(ctx, s); err != nil {
			return err
		}
	}
	err := do(session)
	if errors.Is(err, tallystick.ErrUnavailable) || ctx.Err() != nil {
		session.Close() // it may be in the middle of something
		return err
	}
	k.Put(session, as)
	return err
}

// Printable makes what another side said fit for driver.Attempt: without what cannot be printed.
func Printable(text string) string {
	return network.Clean(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.TrimRight(text, "\x00\r\n :")))
}
