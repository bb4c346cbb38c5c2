// SPDX-License-Identifier: Apache-2.0

package ssh

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick/driver/network"
)

// identification is what this side calls itself (RFC 4253 section 4.2); it
// stands in the servers' logs.
const identification = "SSH-2.0-Tallystick"

// An exchange is what one connection brought.
type exchange struct {
	greeting
	proven   bool // the server signed with the private half of key
	received bool // the server sent anything
	err      error
}

// errEnough ends a key exchange after the signature was checked.
var errEnough = errors.New("the host key is known")

// ask connects and exchanges keys until the server has shown a host key for
// one of the algorithms and signed with it.
func ask(ctx context.Context, dialer *network.Dialer, to netip.AddrPort, timeout time.Duration, algorithms []string) exchange {
	conn, err := dialer.Dial(ctx, to)
	if err != nil {
		return exchange{err: err}
	}
	defer conn.Close()
	// A deadline would not end the wait of a cancelled look.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return exchange{err: err}
	}
	recording := &recordingConn{Conn: conn}
	var proven []byte
	_, _, _, err = ssh.NewClientConn(recording, to.String(), &ssh.ClientConfig{
		Config:            widest(),
		ClientVersion:     identification,
		HostKeyAlgorithms: algorithms,
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			// Called after the signature was checked against this key. The
			// connection ends here, whoever the server is.
			proven = key.Marshal()
			return errEnough
		},
	})
	x := exchange{greeting: readGreeting(recording.read), received: len(recording.read) > 0, err: err}
	if recording.overflow {
		x.err = errTooMuch
	}
	if proven != nil {
		x.key, x.proven, x.err = proven, true, nil
	}
	if ctx.Err() != nil {
		x.err = ctx.Err()
	}
	return x
}

// widest is everything that the library can do, so that old servers are seen
// as well. Nothing is ever sent under these ciphers.
func widest() ssh.Config {
	sound, weak := ssh.SupportedAlgorithms(), ssh.InsecureAlgorithms()
	exchanges := append(sound.KeyExchanges, weak.KeyExchanges...)
	// The cheapest for both sides goes first.
	slices.SortStableFunc(exchanges, func(a, b string) int { return order(a) - order(b) })
	return ssh.Config{
		KeyExchanges: exchanges,
		Ciphers:      append(sound.Ciphers, weak.Ciphers...),
		MACs:         append(sound.MACs, weak.MACs...),
	}
}

func order(exchange string) int {
	switch exchange {
	case ssh.KeyExchangeCurve25519:
		return 0
	case ssh.KeyExchangeECDHP256:
		return 1
	}
	return 2
}

// A family is one host key under the algorithms that it signs with.
type family []string

// families lists the host keys that can be exchanged; among those that a
// server offers, the first is shown when all are asked for.
func families() []family {
	return []family{
		{ssh.KeyAlgoED25519},
		{ssh.KeyAlgoECDSA256},
		{ssh.KeyAlgoECDSA384},
		{ssh.KeyAlgoECDSA521},
		{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSA},
		{"ssh-dss"}, // the library's name for it is marked as deprecated
		{ssh.CertAlgoED25519v01},
		{ssh.CertAlgoECDSA256v01},
		{ssh.CertAlgoECDSA384v01},
		{ssh.CertAlgoECDSA521v01},
		{ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01, ssh.CertAlgoRSAv01},
		{"ssh-dss-cert-v01@openssh.com"},
	}
}

// offered returns the algorithms of a family that a server offers, in its order.
func (f family) offered(o *offer) []string {
	var list []string
	for _, algorithm := range o.hostKeys {
		if slices.Contains(f, algorithm) {
			list = append(list, algorithm)
		}
	}
	return list
}
