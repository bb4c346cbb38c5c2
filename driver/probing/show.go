// SPDX-License-Identifier: Apache-2.0

package probing

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/starttls"
)

// protocolSSH is the protocol of listeners that speak SSH; all others speak TLS.
const protocolSSH = "ssh"

// show makes the handshakes of Show with one spot.
func (p *prober) show(ctx context.Context, s spot) []sight {
	if s.Protocol == protocolSSH {
		return p.showSSH(ctx, s)
	}
	if _, ok := starttls.Lookup(s.Protocol); !ok && s.Protocol != protocolOAuth {
		failed := s.attempt(driver.WayFresh, p.now)
		failed.Answer = clean(invalid("protocol %q is none that can be tried", s.Protocol).Error())
		return []sight{{attempt: failed}}
	}
	if algorithm := s.Details["algorithm"]; algorithm != "" {
		return []sight{p.handshake(ctx, s, driver.WayFresh12, func(c *tls.Config) { onlyFor(c, algorithm) })}
	}
	first := p.handshake(ctx, s, driver.WayFresh, func(*tls.Config) {})
	sights := []sight{first}
	if first.attempt.Served == "" {
		return sights
	}
	// Signature algorithms cannot be chosen for TLS 1.3, so that a server that has a
	// second certificate for other keys is only found out where it speaks 1.2.
	other := "RSA"
	if first.public.KeyAlgorithm() == other {
		other = "ECDSA"
	}
	second := p.handshake(ctx, s, driver.WayFresh12, func(c *tls.Config) { onlyFor(c, other) })
	if second.attempt.Served != "" && second.attempt.Served != first.attempt.Served {
		sights = append(sights, second)
	}
	return sights
}

// handshake makes one handshake.
func (p *prober) handshake(ctx context.Context, s spot, way string, adjust func(*tls.Config)) sight {
	attempt := s.attempt(way, p.now)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, stop, err := p.connect(ctx, s)
	if err != nil {
		attempt.Answer = because(ctx, err)
		return sight{attempt: attempt}
	}
	defer conn.Close()
	defer stop()
	var state tls.ConnectionState
	config := s.config()
	config.VerifyConnection = func(shown tls.ConnectionState) error {
		state = shown // also where the server goes on to demand a certificate of the client
		return nil
	}
	adjust(config)
	err = tls.Client(conn, config).HandshakeContext(ctx)
	if attempt.Served = served(state); attempt.Served == "" {
		attempt.Answer = because(ctx, err)
		return sight{attempt: attempt}
	}
	attempt.Outcome, attempt.Answer = driver.OutcomeAccepted, tls.VersionName(state.Version)
	return sight{attempt, driver.Public{Chain: chain(state)}}
}

// onlyFor limits a handshake to suites that sign with one kind of key. Suites of TLS
// 1.3 do not tell.
func onlyFor(c *tls.Config, algorithm string) {
	c.MaxVersion = tls.VersionTLS12
	kind := "_" + strings.ToUpper(algorithm) + "_"
	for _, suite := range slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites()) {
		if strings.Contains(suite.Name, kind) {
			c.CipherSuites = append(c.CipherSuites, suite.ID)
		}
	}
}

// showSSH exchanges keys once for each host key and host certificate that is
// offered, or for the one that the detail "algorithm" names.
func (p *prober) showSSH(ctx context.Context, s spot) []sight {
	if algorithm := s.Details["algorithm"]; algorithm != "" {
		one, _ := p.exchange(ctx, s, algorithm)
		return []sight{one}
	}
	// Nobody has this algorithm: the server then says which it has.
	first, offered := p.exchange(ctx, s, "none@tallystick.invalid")
	var sights []sight
	for _, family := range hostKeyFamilies() {
		if slices.ContainsFunc(family, func(algorithm string) bool { return slices.Contains(offered, algorithm) }) {
			one, _ := p.exchange(ctx, s, family...)
			sights = append(sights, one)
		}
	}
	if len(sights) == 0 {
		return []sight{first}
	}
	return sights
}

// errEnough ends an exchange of keys after the server has proven its own.
var errEnough = errors.New("the host key is known")

// exchange exchanges keys with an SSH server for a host key of one of the
// algorithms; where it has none it returns those that it has.
func (p *prober) exchange(ctx context.Context, s spot, algorithms ...string) (sight, []string) {
	attempt := s.attempt(driver.WayFresh, p.now)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, stop, err := p.connect(ctx, s)
	if err != nil {
		attempt.Answer = because(ctx, err)
		return sight{attempt: attempt}, nil
	}
	defer conn.Close()
	defer stop()
	var shown ssh.PublicKey
	config := sshConfig()
	config.HostKeyAlgorithms = algorithms
	config.HostKeyCallback = func(_ string, _ net.Addr, key ssh.PublicKey) error {
		shown = key
		return errEnough
	}
	_, _, _, err = ssh.NewClientConn(conn, s.address, config)
	if shown == nil {
		attempt.Answer = because(ctx, err)
		var none *ssh.AlgorithmNegotiationError
		if errors.As(err, &none) && none.What == "host key" {
			return sight{attempt: attempt}, none.RequestedAlgorithms
		}
		return sight{attempt: attempt}, nil
	}
	wire := shown.Marshal()
	attempt.Outcome, attempt.Answer = driver.OutcomeAccepted, shown.Type()
	attempt.Served = string(tallystick.FingerprintOf(wire))
	return sight{attempt, driver.Public{SSH: wire}}, nil
}

// sshConfig is what every connection of SSH has in common.
func sshConfig() *ssh.ClientConfig {
	return &ssh.ClientConfig{ClientVersion: "SSH-2.0-Tallystick"}
}

// hostKeyFamilies are the algorithms of host keys and host certificates; those of one
// family sign with the same key.
func hostKeyFamilies() [][]string {
	return [][]string{
		{ssh.KeyAlgoED25519}, {ssh.KeyAlgoECDSA256}, {ssh.KeyAlgoECDSA384}, {ssh.KeyAlgoECDSA521},
		{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256},
		{ssh.CertAlgoED25519v01}, {ssh.CertAlgoECDSA256v01}, {ssh.CertAlgoECDSA384v01}, {ssh.CertAlgoECDSA521v01},
		{ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01},
	}
}
