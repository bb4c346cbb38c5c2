// SPDX-License-Identifier: Apache-2.0

// Package signin signs in to mail servers by the password of an account, as its holder or a
// thief would: by IMAP (RFC 9051), POP3 (RFC 5034) and SMTP (RFC 4954), under TLS, with SASL
// PLAIN (RFC 4616) or LOGIN. It asks for nothing else, and changes nothing.
//
// A password goes only to a server whose certificate is that of the server, and never without
// TLS. An empty one is not sent. What a server says is hostile: each try ends after
// 40 seconds and 64 KiB.
package signin

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/driver/probing"
	"github.com/tallystick/tallystick/driver/trying"
)

// patience is for one try. Servers delay their answers to those who were wrong before: Dovecot
// by 17 seconds at most.
const patience = 40 * time.Second

// A Client signs in to servers that it trusts.
type Client struct {
	Host driver.Host // from which machine
	// Roots certify servers by the names that listeners have; nil is what this machine trusts.
	Roots *x509.CertPool
	// Pins are the SHA-256 of certificates, hex, that servers may show whoever certified
	// them: those that a door is known to have.
	Pins []string
	Now  func() time.Time
	// Forget is for accounts whose wrong passwords somebody else counts, such as a directory
	// that the servers ask. It signs in there with New, and says whether that was right: a server
	// that remembers New lets it in without asking, so that the count would grow from
	// listener to listener. nil is for servers that count themselves, or not at all.
	Forget func(ctx context.Context) bool
}

// Listeners reads the option that names where passwords are tried, such as
// "imaps://mail.example.com:993". Errors are ErrInvalid.
func Listeners(texts []string) ([]driver.Listener, error) {
	listeners, err := installing.Listeners(texts)
	if err == nil {
		err = Check(listeners)
	}
	return listeners, err
}

// Roots reads the PEM file of an option that names what certifies the listeners; "" is what
// this machine trusts.
func Roots(ctx context.Context, h driver.Host, option, path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	text, err := h.ReadFile(ctx, path, installing.MaxFile)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the file of the option %s: %w", option, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, invalid("option %s: there is no certificate in %s", option, path)
	}
	return roots, nil
}

// Speaks says whether Test signs in at listeners of a protocol.
func Speaks(protocol string) bool { _, known := dialogueOf(protocol); return known }

// Check says what is wrong with listeners that an option names. Errors are ErrInvalid.
func Check(listeners []driver.Listener) error {
	for _, l := range listeners {
		if !Speaks(l.Protocol) {
			return invalid("nobody signs in by password at %s://%s here: the protocols are imap, imaps, pop3, pop3s, smtp, smtps and submission", l.Protocol, l.Address)
		}
	}
	return nil
}

// Test is driver.Rotator.TestSecret for an account that is called user at the listeners. After a New
// that did not get in nothing more is tried: whether somebody counts cannot be told from here. An
// Old that no protocol can carry is ErrInvalid, before anything is tried.
func (c Client) Test(ctx context.Context, request driver.SecretRequest, user string, listeners []driver.Listener) (driver.Tested, error) {
	request.Now = c.Now
	t := trying.Trial{Request: request, Counts: true}
	err := c.Join(ctx, &t, user, listeners)
	return t.Tested, err
}

// Join goes on with a trial as Test does, at listeners as the machine of the client finds them.
func (c Client) Join(ctx context.Context, t *trying.Trial, user string, listeners []driver.Listener) error {
	if err := Check(listeners); err != nil {
		return err
	}
	for what, secret := range map[string]driver.Secret{"new": t.Request.New, "old": t.Request.Old} {
		if err := carried(user, secret); err != nil && (what == "new" || t.Request.TryOld) {
			return fmt.Errorf("couldn't try the %s password: %w", what, err)
		}
	}
	return t.Everywhere(ctx, c.Host, listeners, func(l driver.Listener, address string) trying.Spot {
		return trying.Spot{
			Listener: l, Address: address, Forget: c.Forget,
			Try: func(ctx context.Context, secret driver.Secret) (driver.Attempt, error) {
				return c.Try(ctx, l, address, user, secret), ctx.Err()
			},
			Tell: func(_ driver.Secret, attempt driver.Attempt) {
				trying.Tell(t.Request, []string{tallystick.NormalName("account:mail/" + user)}, party(l.Protocol), attempt)
			},
		}
	})
}

// party is a server as its log has it. Postfix writes the name of its machine, and Dovecot the address
// at which it was reached.
func party(protocol string) string {
	if protocol == "submission" {
		protocol = "smtp"
	}
	return strings.TrimSuffix(protocol, "s") + ":"
}

// carried says whether SASL PLAIN has room for a name and a password: it has none for a NUL.
func carried(user string, secret driver.Secret) error {
	switch {
	case user == "" || strings.ContainsRune(user, 0):
		return invalid("%q is no name to sign in with", user)
	case secret.IsZero():
		return invalid("it is empty, and many a server lets anybody in with none, as nobody")
	case strings.ContainsRune(secret.Reveal(), 0):
		return invalid("it has a NUL byte, which no mail protocol can carry")
	}
	return nil
}

// Try signs in once at an address of a listener. What it returns never has the password in it.
func (c Client) Try(ctx context.Context, l driver.Listener, address, user string, password driver.Secret) driver.Attempt {
	attempt := driver.Attempt{Listener: l, Address: address, Way: driver.WayFresh, Outcome: driver.OutcomeFailed, At: c.Now().UTC()}
	if err := errors.Join(Check([]driver.Listener{l}), carried(user, password)); err != nil {
		attempt.Answer = probing.Clean(err.Error())
		return attempt
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	v, served, err := c.enter(ctx, l, address, user, password)
	if err != nil {
		v = verdict{driver.OutcomeFailed, err.Error()}
		if ctx.Err() != nil {
			v.answer = fmt.Sprintf("no answer within %s", patience)
		}
	}
	attempt.Outcome, attempt.Answer, attempt.Served = v.outcome, probing.Clean(withhold(v.answer, user, password)), served
	return attempt
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
