// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

const (
	defaultSSHTimeout = 10 * time.Second
	// keepalive is how often the other side is asked whether it is there, and how long it
	// has to answer: a machine that went away must not hold anybody up for hours.
	keepalive = 15 * time.Second
	// maxSessions is how many commands run on one connection at the same time; the
	// default of sshd (MaxSessions) is 10.
	maxSessions = 8
)

// SSHConfig says how a machine is reached.
type SSHConfig struct {
	Name    string // what the configuration calls it
	Address string // host:port
	User    string
	Key     ssh.Signer // a key, or a certificate with its key
	// HostKeys are those that the machine may prove. It is never asked for others, and what
	// shows another is not spoken to.
	HostKeys []ssh.PublicKey
	Timeout  time.Duration // for connecting; 0 is 10 seconds
}

// An SSH host is a machine that is reached over SSH. It needs a POSIX shell and the GNU
// core utilities there, and has the rights of the user who signs in. It connects when it is
// first used, and again when the connection was lost.
type SSH struct {
	config   SSHConfig
	sessions chan struct{} // has one token for each command that runs

	mu     sync.Mutex
	client *ssh.Client // guarded by mu; nil while there is no connection
	closed bool        // guarded by mu
}

var _ driver.Host = (*SSH)(nil)

// NewSSH makes a host of its configuration. It connects to nothing yet.
func NewSSH(c SSHConfig) (*SSH, error) {
	if _, _, err := net.SplitHostPort(c.Address); err != nil || c.Name == "" || c.User == "" || c.Key == nil {
		return nil, invalid("a host over SSH has a name, an address with a port, a user and a key")
	}
	if len(c.HostKeys) == 0 {
		return nil, invalid("the host %s has no host key: without one anybody could stand in for it", c.Name)
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultSSHTimeout
	}
	return &SSH{config: c, sessions: make(chan struct{}, maxSessions)}, nil
}

// Name returns what the configuration calls it.
func (s *SSH) Name() string { return s.config.Name }

// Close ends the connection, with everything that goes on over it.
func (s *SSH) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.client == nil {
		return nil
	}
	client := s.client
	s.client = nil
	return client.Close()
}

// connection returns the connection that there is, or makes one.
func (s *SSH) connection(ctx context.Context) (*ssh.Client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, s.unavailable(net.ErrClosed)
	}
	if s.client != nil {
		return s.client, nil
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	client, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	s.client = client
	gone := make(chan struct{})
	go func() {
		client.Wait() // why it ended is of no interest: who was using it is told
		s.forget(client)
		close(gone)
	}()
	go watch(client, gone)
	return client, nil
}

// forget drops a connection that is of no use any more.
func (s *SSH) forget(client *ssh.Client) {
	client.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == client {
		s.client = nil
	}
}

// watch closes a connection whose other side does not answer.
func watch(client *ssh.Client, gone <-chan struct{}) {
	for {
		select {
		case <-gone:
			return
		case <-time.After(keepalive):
		}
		timer := time.AfterFunc(keepalive, func() { client.Close() })
		// It answers that it does not know the request, which is an answer.
		if _, _, err := client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
			client.Close()
		}
		timer.Stop()
	}
}

// errHostKey is what a host key that is not among those of the configuration ends in.
var errHostKey = errors.New("the host key is not one that the configuration names: if it was changed on purpose, name the new one")

func (s *SSH) connect(ctx context.Context) (*ssh.Client, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.config.Address)
	if err != nil {
		return nil, s.unavailable(err)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(conn, s.config.Address, &ssh.ClientConfig{
		User: s.config.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(s.config.Key)}, ClientVersion: "SSH-2.0-Tallystick",
		HostKeyAlgorithms: s.algorithms(),
		HostKeyCallback: func(_ string, _ net.Addr, key ssh.PublicKey) error {
			if slices.ContainsFunc(s.config.HostKeys, func(known ssh.PublicKey) bool { return bytes.Equal(known.Marshal(), key.Marshal()) }) {
				return nil
			}
			return errHostKey
		},
	})
	switch {
	case err == nil:
		return ssh.NewClient(c, channels, requests), nil
	case errors.Is(err, errHostKey), strings.Contains(err.Error(), "no common algorithm for host key"):
		err = fmt.Errorf("%w: couldn't connect to the host %s: %w", tallystick.ErrDenied, s.config.Name, errHostKey)
	case strings.Contains(err.Error(), "unable to authenticate"):
		err = fmt.Errorf("%w: couldn't sign in to the host %s as %s: let its key in there", tallystick.ErrDenied, s.config.Name, s.config.User)
	default:
		err = s.unavailable(err)
	}
	conn.Close()
	return nil, err
}

// algorithms are those in which the known host keys can be proven, so that a server that
// has several keys proves one that is known.
func (s *SSH) algorithms() []string {
	var all []string
	for _, key := range s.config.HostKeys {
		if key.Type() == ssh.KeyAlgoRSA {
			all = append(all, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		} else {
			all = append(all, key.Type())
		}
	}
	return all
}

func (s *SSH) unavailable(err error) error {
	return fmt.Errorf("%w: the host %s: %w", tallystick.ErrUnavailable, s.config.Name, err)
}

// open opens a channel, of a new connection where the old one is found lost: nothing has
// been asked of it then. A server that has not done away yet with the sessions that have just
// ended is asked again.
func (s *SSH) open(ctx context.Context) (ssh.Channel, <-chan *ssh.Request, error) {
	lost := false
	for pause := 10 * time.Millisecond; ; {
		client, err := s.connection(ctx)
		if err != nil {
			return nil, nil, err
		}
		// A server that has gone without a word does not answer this either.
		stop := context.AfterFunc(ctx, func() { s.forget(client) })
		channel, requests, err := client.OpenChannel("session", nil)
		stop()
		var refused *ssh.OpenChannelError
		switch {
		case err == nil:
			return channel, requests, nil
		case ctx.Err() != nil:
			return nil, nil, ctx.Err()
		case errors.As(err, &refused) && pause < 2*time.Second:
			time.Sleep(pause)
			pause *= 2
		case refused != nil || lost:
			return nil, nil, s.unavailable(err)
		default:
			lost = true
			s.forget(client)
		}
	}
}

// Dial connects from that machine, to TCP ports and UNIX sockets.
func (s *SSH) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	client, err := s.connection(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := client.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("couldn't connect from the host %s to %s: %w", s.config.Name, address, err)
	}
	return withDeadlines(conn), nil
}
