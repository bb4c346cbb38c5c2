// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/driver"
)

// Probe tries a credential at each address of each listener: a fresh sign-in of each
// version of TLS that the server speaks (of SSH one), and each session of an earlier
// Probe of these listeners once more. With Hold it keeps a session of each kind that
// the server gives, and one connection for each address and version, signed in; the
// caller closes them.
//
// An answer of 2xx, 3xx or 404 of HTTP is accepted, and 400, 401, 403, 495, 496 and 497
// refused; a recipient that SMTP takes or refuses; a sign-in by SASL EXTERNAL of IMAP,
// POP3 and LDAP; one of PostgreSQL or SSH; an access token, or the error invalid_client. A server that did not ask for a certificate
// has tried nothing, and answers that mean trouble and not this credential have failed.
// An open connection that the server has closed is refused.
//
// Details of listeners: "path" of https; "sender" and "recipient" of smtp; "user" and
// "database" of postgres; "user" of ssh, and of imap, pop3 and ldap where the client
// says whom it wants to be; "token_endpoint" (an https URL at the address of the listener),
// "client_id", "scope" and "roots" (PEM; without it those of this machine) of oauth.
//
// A protocol that is not spoken, a credential that does not fit one, a password
// (Account) or a key of another certificate are ErrInvalid. What fails at a listener
// is no error but an Attempt.
func Probe(ctx context.Context, r driver.ProbeRequest) (driver.Probed, error) {
	p := &prober{host: r.Host, now: r.Now, hold: r.Hold}
	if err := p.prepare(r); err != nil {
		return driver.Probed{}, err
	}
	old, err := readSessions(r.Sessions)
	if err != nil {
		return driver.Probed{}, err
	}
	probed := driver.Probed{Attempts: p.everywhere(ctx, r.Listeners, p.fresh)}
	for _, s := range old {
		if s.at(r.Listeners) {
			probed.Attempts = append(probed.Attempts, p.resume(ctx, s))
		}
	}
	probed.Open = p.open
	slices.SortFunc(p.sessions, func(a, b session) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), strings.Compare(a.Way, b.Way))
	})
	if probed.Sessions, err = writeSessions(p.sessions); err != nil {
		for _, o := range p.open {
			o.Close()
		}
		return driver.Probed{}, err
	}
	return probed, nil
}

// prepare checks the credential and the listeners.
func (p *prober) prepare(r driver.ProbeRequest) error {
	if r.Credential.Account != "" {
		return invalid("passwords are not tried")
	}
	if r.Credential.Key == nil {
		return invalid("a credential without its key cannot be tried")
	}
	if len(r.Credential.SSH) > 0 {
		var err error
		if p.signer, err = signer(r.Credential); err != nil {
			return err
		}
	} else if err := p.takeCertificate(r.Credential); err != nil {
		return err
	}
	for _, listener := range r.Listeners {
		switch {
		case !Speaks(listener.Protocol):
			return invalid("protocol %q is none that can be tried", listener.Protocol)
		case (listener.Protocol == protocolSSH) != (p.signer != nil):
			return invalid("the credential is not for listeners that speak %s", listener.Protocol)
		}
	}
	return nil
}

func (p *prober) takeCertificate(m driver.Material) error {
	if len(m.Chain) == 0 {
		return invalid("a credential is needed")
	}
	leaf, err := x509.ParseCertificate(m.Chain[0])
	if err != nil {
		return invalid("the certificate cannot be read")
	}
	if key, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !key.Equal(m.Key.Public()) {
		return invalid("the key is not that of the certificate")
	}
	p.material, p.certificate = m, &tls.Certificate{Certificate: m.Chain, PrivateKey: m.Key, Leaf: leaf}
	return nil
}

// fresh signs in anew at one spot.
func (p *prober) fresh(ctx context.Context, s spot) []driver.Attempt {
	switch s.Protocol {
	case protocolSSH:
		return []driver.Attempt{p.signInSSH(ctx, s)}
	case protocolOAuth:
		return []driver.Attempt{p.askToken(ctx, s)}
	}
	var tried, unspoken []driver.Attempt
	for _, v := range []struct {
		way     string
		version uint16
	}{{driver.WayFresh12, tls.VersionTLS12}, {driver.WayFresh13, tls.VersionTLS13}} {
		attempt, spoken := p.freshOf(ctx, s, v.way, v.version)
		if spoken {
			tried = append(tried, attempt)
		} else {
			unspoken = append(unspoken, attempt)
		}
	}
	if len(tried) == 0 {
		return unspoken
	}
	return tried
}

// freshOf signs in anew with one version, and keeps what Hold asks for.
func (p *prober) freshOf(ctx context.Context, s spot, way string, version uint16) (attempt driver.Attempt, spoken bool) {
	t := &try{spot: s, way: way, version: version}
	attempt = p.attempt(ctx, t)
	if attempt.Outcome != driver.OutcomeAccepted {
		t.close()
		return attempt, !t.unspoken
	}
	if !p.hold {
		t.close()
		return attempt, true
	}
	p.keepSessions(ctx, t)
	p.keep(&openTLS{talk: t.talk, now: p.now})
	if version == tls.VersionTLS12 && t.cache.last() != nil {
		// The server prefers tickets; without them it may keep a session itself.
		second := &try{spot: s, way: way, version: version, noTickets: true}
		if p.attempt(ctx, second).Outcome == driver.OutcomeAccepted {
			p.keepSessions(ctx, second)
		}
		second.close()
	}
	return attempt, true
}

// keepSessions keeps what the server gave to resume a session by.
func (p *prober) keepSessions(ctx context.Context, t *try) {
	s := session{Listener: t.Listener, Address: t.address, Way: driver.WayResumed13, Made: p.now().UTC()}
	if t.version == tls.VersionTLS12 {
		s.Way = driver.WayResumed12
	}
	if kept := t.cache.last(); kept != nil {
		ticket, state, err := kept.ResumptionState()
		if err == nil && state != nil {
			s.Ticket = ticket
			s.State, err = state.Bytes()
		}
		if err != nil || state == nil {
			return
		}
	} else if t.version == tls.VersionTLS12 {
		if s.Numbered = t.ear.session(); s.Numbered == nil {
			return
		}
		s.Server = bytes.Clone(t.state.PeerCertificates[0].Raw)
		if p.resume(ctx, s).Outcome != driver.OutcomeAccepted {
			return // some give numbers to sessions that they do not keep
		}
	} else {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sessions = append(p.sessions, s)
}

// keep keeps an open connection.
func (p *prober) keep(o driver.OpenConnection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, o)
}

// resume signs in with an earlier session.
func (p *prober) resume(ctx context.Context, s session) driver.Attempt {
	t := &try{spot: spot{s.Listener, s.Address}, way: s.Way, version: tls.VersionTLS12, resumes: true, made: s.Made}
	if s.Way == driver.WayResumed13 {
		t.version = tls.VersionTLS13
	}
	defer t.close()
	state, err := s.resumption()
	if err != nil {
		attempt := t.spot.attempt(s.Way, p.now)
		attempt.Answer = "the session was kept by another version of Tallystick"
		return attempt
	}
	t.cache.give = state
	if s.Numbered != nil {
		t.number = s.Numbered.ID
	}
	return p.attempt(ctx, t)
}

// A try is one sign-in under TLS.
type try struct {
	spot
	way       string
	version   uint16
	noTickets bool
	resumes   bool
	number    []byte    // of the session to be resumed, where it has one
	made      time.Time // when that session was

	cache    cache
	ear      *ear
	talk     *talk // nil before the handshake is done
	state    tls.ConnectionState
	unspoken bool // the server does not speak the version
	hungUp   bool // it has the certificate and closed the connection without an answer
}

func (t *try) close() {
	if t.talk != nil {
		t.talk.conn.Close()
	}
}

// attempt makes the connection, shakes hands and signs in.
func (p *prober) attempt(ctx context.Context, t *try) driver.Attempt {
	attempt := t.spot.attempt(t.way, p.now)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	v := p.signIn(ctx, t)
	if t.hungUp {
		// Servers that use GnuTLS look at the certificate after the handshake and say
		// nothing when they do not like it. One that is being restarted would not let
		// the client come so far a second time.
		again := &try{spot: t.spot, way: t.way, version: t.version, noTickets: t.noTickets}
		p.signIn(ctx, again)
		again.close()
		if again.hungUp {
			v = refused("the server closed the connection when it had the certificate")
		}
	}
	resumed := t.state.DidResume
	if !resumed {
		attempt.Served = served(t.state)
	}
	if t.resumes && !resumed && t.talk != nil {
		v = verdict{driver.OutcomeNotResumed, v.answer}
	}
	attempt.Outcome, attempt.Answer = v.outcome, v.answer
	return attempt
}

// signIn does it; t.talk is set when the handshake is done.
func (p *prober) signIn(ctx context.Context, t *try) verdict {
	conn, stop, err := p.connect(ctx, t.spot)
	if err != nil {
		return failed(because(ctx, err))
	}
	defer stop()
	t.ear = &ear{Conn: conn}
	talk := &talk{spot: t.spot, raw: conn}
	client := tls.Client(t.ear, p.clientConfig(t, talk))
	talk.conn, talk.in = client, bufio.NewReaderSize(client, lineLimit)
	if err := client.HandshakeContext(ctx); err != nil {
		conn.Close()
		t.hungUp = talk.asked && isClosed(err)
		t.unspoken = !talk.asked && len(t.state.PeerCertificates) == 0 && isUnspoken(err)
		return talk.failure(ctx, err)
	}
	t.talk, t.state = talk, client.ConnectionState()
	d, _ := dialogueOf(t.Protocol)
	v, err := d.signIn(talk)
	switch {
	case err != nil:
		t.hungUp = talk.asked && isClosed(err)
		return talk.failure(ctx, err)
	case !talk.asked && !t.state.DidResume:
		return failed("the server did not ask for a certificate; it answered: " + v.answer)
	}
	return v
}

// clientConfig is that of a handshake with the credential. It is shown also to servers
// whose list of CAs does not name its issuer: such lists are hints (RFC 8446 section
// 4.2.4), and a thief does not care.
func (p *prober) clientConfig(t *try, talk *talk) *tls.Config {
	c := t.config()
	c.MinVersion, c.MaxVersion = t.version, t.version
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		talk.asked = true
		return p.certificate, nil
	}
	c.Renegotiation = tls.RenegotiateOnceAsClient // which is how some ask, once they know the path
	c.KeyLogWriter = keyLog{t.ear}
	c.VerifyConnection = func(state tls.ConnectionState) error {
		t.state = state
		return nil
	}
	if c.SessionTicketsDisabled = t.noTickets; !t.noTickets {
		c.ClientSessionCache = &t.cache
	}
	if t.resumes && t.version == tls.VersionTLS12 {
		c.Time = func() time.Time { return t.made } // the server's certificate may have ended since
	}
	if t.number != nil {
		c.Rand = &steered{id: t.number}
	}
	return c
}

// isUnspoken says whether a handshake failed because the server does not speak the
// version, or nothing of it that the client does.
func isUnspoken(err error) bool {
	alert, ok := alertIn(err)
	return ok && (alert == alertProtocolVersion || alert == alertHandshakeFailure) ||
		strings.Contains(err.Error(), "unsupported protocol version") // which is not exported
}
