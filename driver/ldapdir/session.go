// SPDX-License-Identifier: Apache-2.0

package ldapdir

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
	"github.com/tallystick/tallystick/driver/starttls"
	"github.com/tallystick/tallystick/driver/turns"
)

// A Lobby makes sessions, and remembers in the memory of this process who was turned away with
// which password: a second try with the same one could lock the account. So one at a time signs in with
// one password, and the others wait for what comes of it.
type Lobby struct {
	turns turns.Turns[string] // at passwords, as Server.Attempt names them

	mu     sync.Mutex
	turned map[string]bool // guarded by mu; by password, as Server.Attempt names them
}

// maxTurned bounds what is remembered; who is behind it may be tried once more.
const maxTurned = 10_000

// A Session is a connection to a directory, signed in.
type Session struct {
	*ldap.Conn
	Host string
}

// ErrTurnedAway says that the directory did not take the password. It is of kind ErrDenied.
var ErrTurnedAway = fmt.Errorf("%w: the password is not the right one", tallystick.ErrDenied)

// Attempt names who would sign in with which password, without saying it: a password that is
// written to its file anew is another.
func (s Server) Attempt() string {
	if s.Bind == "" {
		return ""
	}
	info, err := os.Stat(s.PasswordFile)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %s %s %d %d", s.Host(), s.Bind, s.PasswordFile, info.Size(), info.ModTime().UnixNano())
}

// Dial signs in.
func (l *Lobby) Dial(ctx context.Context, s Server) (*Session, error) {
	name := s.Attempt()
	if l.isTurned(name) {
		return nil, turnedAway(s)
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	session := s.session(conn)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := l.signIn(ctx, s, name, session); err != nil {
		session.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	return session, nil
}

func (l *Lobby) isTurned(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.turned[name]
}

func (l *Lobby) remember(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turned == nil || len(l.turned) >= maxTurned {
		l.turned = map[string]bool{}
	}
	l.turned[name] = true
}

// signIn signs in when nobody else does with the same password.
func (l *Lobby) signIn(ctx context.Context, s Server, name string, session *Session) error {
	if name == "" {
		return s.signIn(session)
	}
	wait, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	leave, err := l.turns.Take(wait, name)
	if err != nil {
		return later(ctx, "couldn't sign in as "+network.Quote(s.Bind), errors.New("others do with the same password, and get no answer"))
	}
	defer leave()
	if l.isTurned(name) {
		return turnedAway(s)
	}
	if err = s.signIn(session); errors.Is(err, ErrTurnedAway) {
		l.remember(name)
	}
	return err
}

// session speaks LDAP on a connection.
func (s Server) session(conn net.Conn) *Session {
	session := &Session{Conn: ldap.NewConn(&bounded{Conn: conn}, s.URL.Scheme != "ldap" || !s.Plain), Host: s.Host()}
	session.Start()
	session.SetTimeout(s.Timeout)
	return session
}

func turnedAway(s Server) error {
	err := fmt.Errorf("couldn't sign in as %s: %w. It is not tried again before %s is written anew, so that the account is not locked",
		network.Quote(s.Bind), ErrTurnedAway, s.PasswordFile)
	return tallystick.WithHint(err, "write the right password of "+network.Quote(s.Bind)+" to "+s.PasswordFile)
}

// connect reaches the server, in TLS wherever a password or a certificate is to be sent.
func (s Server) connect(ctx context.Context) (net.Conn, error) {
	dialer := net.Dialer{Timeout: s.Timeout}
	if s.URL.Scheme == "ldapi" {
		conn, err := dialer.DialContext(ctx, "unix", s.URL.Path)
		if err != nil {
			return nil, later(ctx, "couldn't reach "+s.URL.Path, err)
		}
		return conn, nil
	}
	config, err := s.tls()
	if err != nil {
		return nil, err
	}
	conn, err := dialer.DialContext(ctx, "tcp", cmp.Or(s.Address, s.URL.Host))
	if err != nil {
		return nil, later(ctx, "couldn't reach "+s.URL.Host, err)
	}
	if s.URL.Scheme == "ldap" && s.Plain {
		return conn, nil
	}
	limit, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	if s.URL.Scheme == "ldap" {
		if err := starttls.Upgrade(limit, conn, "ldap", s.URL.Hostname()); err != nil {
			conn.Close()
			return nil, later(ctx, "couldn't begin TLS with "+s.URL.Host, err)
		}
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(limit); err != nil {
		conn.Close()
		return nil, later(ctx, "couldn't speak TLS with "+s.URL.Host, err)
	}
	return secured, nil
}

// signIn binds where the options say so. A wrong password is told once.
func (s Server) signIn(session *Session) error {
	switch {
	case s.External:
		return Answered("couldn't sign in by SASL EXTERNAL", session.ExternalBind())
	case s.Bind == "":
		return nil
	}
	password, err := s.password()
	if err != nil {
		return err
	}
	err = session.Conn.Bind(s.Bind, password)
	if ldap.IsErrorWithCode(err, ldap.LDAPResultInvalidCredentials) {
		return turnedAway(s)
	}
	return Answered("couldn't sign in as "+network.Quote(s.Bind), err)
}

func later(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	said := fmt.Errorf("%w: %s: %s", tallystick.ErrUnavailable, doing, network.Clean(err.Error()))
	const do = "give its roots in the option ca, and the name in its certificate in server-name"
	if _, untrusted := errors.AsType[*tls.CertificateVerificationError](err); untrusted {
		return tallystick.WithHint(said, do)
	}
	return said
}

// ErrTooMany says that the directory gives no more entries than it has given: what was read is
// not all. It is of kind ErrDenied.
var ErrTooMany = fmt.Errorf("%w: the directory does not give that many entries", tallystick.ErrDenied)

// Answered makes an error of what a directory said: no again, or later. Of no error it is nil.
func Answered(doing string, err error) error {
	if err == nil {
		return nil
	}
	kind := tallystick.ErrUnavailable
	var said *ldap.Error
	if errors.As(err, &said) {
		switch said.ResultCode {
		case ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultStrongAuthRequired,
			ldap.LDAPResultInappropriateAuthentication, ldap.LDAPResultConfidentialityRequired, ldap.LDAPResultUnavailableCriticalExtension:
			kind = tallystick.ErrDenied
		case ldap.LDAPResultSizeLimitExceeded, ldap.LDAPResultAdminLimitExceeded:
			kind = ErrTooMany
		case ldap.LDAPResultNoSuchObject:
			kind = tallystick.ErrNotFound
		case ldap.LDAPResultConstraintViolation, ldap.LDAPResultUnwillingToPerform, ldap.LDAPResultInvalidAttributeSyntax,
			ldap.LDAPResultReferral, ldap.LDAPResultNoSuchAttribute, ldap.LDAPResultUndefinedAttributeType,
			ldap.LDAPResultInvalidDNSyntax, ldap.LDAPResultObjectClassViolation, ldap.LDAPResultAttributeOrValueExists:
			kind = tallystick.ErrInvalid
		}
		if said.ResultCode == ldap.LDAPResultReferral {
			return fmt.Errorf("%w: %s: it refers to another server, which is not followed: name that one", kind, doing)
		}
	}
	return fmt.Errorf("%w: %s: %w", kind, doing, cleaned{err})
}

// A cleaned error says what a server said in characters that can be printed.
type cleaned struct{ error }

// Error returns its text.
func (c cleaned) Error() string { return network.Clean(c.error.Error()) }

// Unwrap returns what was said.
func (c cleaned) Unwrap() error { return c.error }

// Word says in one word why something was not seen.
func Word(err error) string {
	switch {
	case errors.Is(err, ErrTooMany):
		return "too-many"
	case errors.Is(err, tallystick.ErrDenied):
		return "denied"
	case errors.Is(err, tallystick.ErrNotFound):
		return "not-found"
	case errors.Is(err, tallystick.ErrInvalid):
		return "invalid"
	}
	return "unavailable"
}

// A Keeper keeps sessions between calls, and ends those that nobody has asked for for a while: a
// sign-in each second would fill the log of the directory. Its methods are safe for several
// goroutines.
type Keeper struct {
	mu   sync.Mutex
	kept map[*Session]*keeping // guarded by mu
}

// A keeping is what a Keeper knows of a session.
type keeping struct {
	as    string // who it signed in as
	timer *time.Timer
}

const (
	keptFor  = 2 * time.Minute // is how long a session is kept that nobody asks for
	mostKept = 16              // sessions of one Keeper
)

// Take returns a session that was put back, if one still stands that is of the same attempt; else nil.
func (k *Keeper) Take(as string) *Session {
	k.mu.Lock()
	defer k.mu.Unlock()
	for session, kept := range k.kept {
		if kept.as != as && !session.IsClosing() {
			continue // it may be asked for again; else its time ends it
		}
		delete(k.kept, session)
		kept.timer.Stop()
		if !session.IsClosing() {
			return session
		}
		session.Close()
	}
	return nil
}

// Put keeps a session.
func (k *Keeper) Put(session *Session, as string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.kept) >= mostKept {
		session.Close()
		return
	}
	if k.kept == nil {
		k.kept = map[*Session]*keeping{}
	}
	kept := &keeping{as: as}
	k.kept[session] = kept
	kept.timer = time.AfterFunc(keptFor, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.kept[session] == kept { // else somebody has taken it meanwhile
			delete(k.kept, session)
			session.Close()
		}
	})
}
