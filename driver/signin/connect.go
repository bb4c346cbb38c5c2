// SPDX-License-Identifier: Apache-2.0

package signin

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/starttls"
)

const (
	byteLimit = 64 << 10 // of what a server says under TLS
	lineLimit = 8 << 10
	maxLines  = 100 // before an answer
)

// enter connects, begins TLS, and signs in. It says which certificate the server showed.
func (c Client) enter(ctx context.Context, l driver.Listener, address, user string, password driver.Secret) (v verdict, served string, err error) {
	raw, err := c.Host.Dial(ctx, "tcp", address)
	if err != nil {
		return v, "", err
	}
	defer raw.Close()
	// Connections through SSH know no deadlines.
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	name := l.ServerName
	if name == "" {
		if name, _, err = net.SplitHostPort(l.Address); err != nil {
			return v, "", invalid("%q is no host:port", l.Address)
		}
	}
	if err := starttls.Upgrade(ctx, raw, l.Protocol, name); err != nil {
		return v, "", err
	}
	conn := tls.Client(raw, c.config(name))
	defer conn.Close()
	if err := conn.HandshakeContext(ctx); err != nil {
		return v, "", fmt.Errorf("couldn't begin TLS: %w", err)
	}
	served = string(tallystick.FingerprintOf(conn.ConnectionState().PeerCertificates[0].Raw))
	begun, _ := starttls.Lookup(l.Protocol)
	t := &talk{conn: conn, in: bufio.NewReaderSize(io.LimitReader(conn, byteLimit), lineLimit), greeted: !begun.Direct()}
	d, _ := dialogueOf(l.Protocol)
	if v, err = d.signIn(t, user, password.Reveal()); v.outcome == driver.OutcomeAccepted {
		_ = t.send(d.goodbye) // a server that has gone already has given its answer
	}
	return v, served, err
}

// config is that of a client who takes a pinned certificate, or one for the name of the server.
func (c Client) config(name string) *tls.Config {
	verify := func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("the server showed no certificate")
		}
		leaf := state.PeerCertificates[0]
		if slices.Contains(c.Pins, string(tallystick.FingerprintOf(leaf.Raw))) {
			return nil
		}
		options := x509.VerifyOptions{Roots: c.Roots, Intermediates: x509.NewCertPool(), DNSName: name, CurrentTime: c.Now()}
		for _, one := range state.PeerCertificates[1:] {
			options.Intermediates.AddCert(one)
		}
		if _, err := leaf.Verify(options); err != nil {
			return fmt.Errorf("no password is sent to it: %w", err)
		}
		return nil
	}
	// The library's own check knows no pins; verify is called in its place.
	return &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, VerifyConnection: verify}
}

// A talk is what is said under TLS.
type talk struct {
	conn    io.Writer
	in      *bufio.Reader
	greeted bool // the greeting was read before TLS
}

// line reads a line without its end.
func (t *talk) line() (string, error) {
	line, err := t.in.ReadSlice('\n')
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return "", fmt.Errorf("a line of more than %d bytes", lineLimit)
	case errors.Is(err, io.EOF):
		return "", errors.New("closed without an answer")
	case err != nil:
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// until reads lines up to one that is picked.
func (t *talk) until(pick func(line string) bool) (string, error) {
	for range maxLines {
		line, err := t.line()
		if err != nil || pick(line) {
			return line, err
		}
	}
	return "", fmt.Errorf("no answer in %d lines", maxLines)
}

func (t *talk) send(line string) error {
	_, err := io.WriteString(t.conn, line+"\r\n")
	return err
}
