// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"context"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// signer returns the key, or the certificate with its key, that is tried.
func signer(m driver.Material) (ssh.Signer, error) {
	key, err := ssh.NewSignerFromSigner(m.Key)
	if err != nil {
		return nil, invalid("the key is none of SSH")
	}
	public, err := ssh.ParsePublicKey(m.SSH)
	if err != nil {
		return nil, invalid("no public key of SSH")
	}
	if certificate, ok := public.(*ssh.Certificate); ok {
		signer, err := ssh.NewCertSigner(certificate, key)
		if err != nil {
			return nil, invalid("the key is not that of the certificate")
		}
		return signer, nil
	}
	if string(public.Marshal()) != string(key.PublicKey().Marshal()) {
		return nil, invalid("the private key is not that of the public one")
	}
	return key, nil
}

// signInSSH signs in at an SSH server. A session is not asked for.
func (p *prober) signInSSH(ctx context.Context, s spot) driver.Attempt {
	attempt := s.attempt(driver.WayFresh, p.now)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, stop, err := p.connect(ctx, s)
	if err != nil {
		attempt.Answer = because(ctx, err)
		return attempt
	}
	defer stop()
	var banner string
	config := sshConfig()
	config.User = s.Details["user"]
	config.Auth = []ssh.AuthMethod{ssh.PublicKeys(p.signer)}
	config.BannerCallback = func(text string) error {
		banner = text
		return nil
	}
	config.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
		attempt.Served = string(tallystick.FingerprintOf(key.Marshal()))
		return nil
	}
	client, channels, requests, err := ssh.NewClientConn(conn, s.address, config)
	switch {
	case err == nil:
		attempt.Outcome, attempt.Answer = driver.OutcomeAccepted, clean("signed in to "+string(client.ServerVersion())+" "+banner)
	case attempt.Served != "" && strings.Contains(err.Error(), "unable to authenticate"):
		attempt.Outcome, attempt.Answer = driver.OutcomeRefused, clean(banner+" "+err.Error())
	default:
		attempt.Answer = because(ctx, err)
	}
	if err != nil {
		conn.Close()
		return attempt
	}
	if !p.hold {
		client.Close()
		return attempt
	}
	go ssh.DiscardRequests(requests) // both end with the connection
	go refuseChannels(channels)
	p.keep(&openSSH{spot: s, client: client, now: p.now})
	return attempt
}

// refuseChannels says no to whatever the server would like to open here.
func refuseChannels(channels <-chan ssh.NewChannel) {
	for channel := range channels {
		channel.Reject(ssh.Prohibited, "")
	}
}

// An openSSH is a connection of SSH that is signed in.
type openSSH struct {
	spot
	client ssh.Conn
	now    now
}

// Try asks for something that nobody has; servers answer that, as OpenSSH's own
// clients know (ServerAliveInterval).
func (o *openSSH) Try(ctx context.Context) driver.Attempt {
	attempt := o.attempt(driver.WayOpen, o.now)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { o.client.Close() })
	defer stop()
	_, _, err := o.client.SendRequest("keepalive@openssh.com", true, nil)
	v := accepted("answered")
	if err != nil {
		v = ended(ctx, verdict{}, err)
	}
	attempt.Outcome, attempt.Answer = v.outcome, v.answer
	return attempt
}

// Close ends the connection.
func (o *openSSH) Close() error { return o.client.Close() }
