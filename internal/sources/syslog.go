// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/uses"
)

const (
	maxConnections = 256
	handshakeTime  = 10 * time.Second
	frameTime      = 30 * time.Second // to send the rest of a message that has begun
	waiting        = 64               // messages that are read and not understood yet
	maxWaiting     = 1 << 20          // bytes of them; when there are more, none is read
	stillEvery     = 2 * time.Second  // how often it is looked whether the source is still to be read
)

// ServeSyslog takes syslog messages over TLS (RFC 5425) from listener until ctx
// ends, and returns why; the listener is closed then. A sender is known by the
// certificate that it shows. failed is told what goes wrong here, not what
// strangers do.
func (s *Sources) ServeSyslog(ctx context.Context, listener net.Listener, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), failed func(error)) error {
	// The certificate is looked up by its fingerprint, as RFC 5425 section 4.2.1
	// has it, so it matters to nobody who has signed it.
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate, ClientAuth: tls.RequireAnyClientCert}
	var connections sync.WaitGroup
	defer connections.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() }) // Accept says so
	defer stop()
	for {
		conn, err := listener.Accept()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			failed(fmt.Errorf("couldn't accept a syslog connection: %w", err))
			rest(ctx, backoffMin)
			continue
		}
		if !s.connect(1) {
			_ = conn.Close() // there are too many
			continue
		}
		connections.Go(func() {
			defer s.connect(-1)
			done := context.AfterFunc(ctx, func() { _ = conn.Close() }) // so that a reader wakes up
			defer done()
			if err := s.syslog(ctx, tls.Server(conn, config), conn.RemoteAddr().String(), failed); err != nil && ctx.Err() == nil {
				failed(err)
			}
			_ = conn.Close() // what matters was said
		})
	}
}

// connect counts a connection, and says whether there is room for it.
func (s *Sources) connect(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n > 0 && s.connected >= maxConnections {
		return false
	}
	s.connected += n
	return true
}

// syslog reads one connection. An error is one of ours.
func (s *Sources) syslog(ctx context.Context, conn *tls.Conn, from string, failed func(error)) error {
	shaking, cancel := context.WithTimeout(ctx, handshakeTime)
	defer cancel()
	if conn.HandshakeContext(shaking) != nil {
		return nil // a stranger's affair
	}
	one, err := s.shown(ctx, conn.ConnectionState(), from)
	if err != nil || one.Paused {
		if errors.Is(err, tallystick.ErrUnsigned) {
			return nil // on record
		}
		return err
	}
	stream, err := uses.NewStream(one.Format, uses.Settings{Side: one.Side, Near: s.Now()})
	if err != nil {
		return err
	}
	c := &syslogConn{feed: s.newFeed(one), stream: stream, made: s.Now(), messages: make(chan message, waiting), taken: make(chan struct{}, 1)}
	var reading sync.WaitGroup
	ctx, stop := context.WithCancel(ctx)
	defer reading.Wait()
	defer conn.NetConn().Close()
	defer stop()
	reading.Go(func() {
		defer close(c.messages)
		c.receive(ctx, conn)
	})
	return c.run(ctx, failed)
}

// shown returns the source of the certificate that a client has shown and proved
// to have the key of.
func (s *Sources) shown(ctx context.Context, state tls.ConnectionState, from string) (store.Source, error) {
	sum := sha256.Sum256(state.PeerCertificates[0].Raw) // RequireAnyClientCert: there is one
	hash := CertificatePrefix + hex.EncodeToString(sum[:])
	one, err := s.DB.SourceOfToken(ctx, hash)
	known := err == nil && one.Kind == store.SourceSyslog && subtle.ConstantTimeCompare([]byte(one.TokenHash), []byte(hash)) == 1
	if !known && (err == nil || errors.Is(err, tallystick.ErrNotFound)) {
		return one, s.Gate.Refuse(ctx, gate.Actor{Via: "syslog"}, gate.SignIn, "from "+from,
			fmt.Errorf("%w: the client certificate %s is of no source", tallystick.ErrUnsigned, hash))
	}
	return one, err
}

// A message is one that came; nil text is one that was too long.
type message struct {
	text []byte
	err  error // why nothing more comes
}

// A syslogConn is a connection of a source.
type syslogConn struct {
	*feed
	stream   *uses.Stream
	made     time.Time // when stream was
	messages chan message
	unread   atomic.Int64  // bytes of messages
	taken    chan struct{} // one of them was taken
	count    int64
}

// receive reads messages until the connection ends.
func (c *syslogConn) receive(ctx context.Context, conn *tls.Conn) {
	r := bufio.NewReaderSize(conn, 64<<10)
	for {
		text, err := readFrame(r, func(begun bool) {
			deadline := time.Time{} // a sender may have nothing to say for long
			if begun {
				deadline = time.Now().Add(frameTime)
			}
			_ = conn.SetReadDeadline(deadline) // fails when it is closed, and so does reading
		})
		c.unread.Add(int64(len(text)))
		select {
		case c.messages <- message{text, err}:
		case <-ctx.Done():
			return
		}
		if err != nil && !errors.Is(err, errFrameLong) {
			return
		}
		for c.unread.Load() > maxWaiting {
			select {
			case <-c.taken:
			case <-ctx.Done():
				return
			}
		}
	}
}

// run reads messages as they come, and hands them over: together with others, and
// after a moment in any case. While it cannot, no more are read, and the sender has
// to wait.
func (c *syslogConn) run(ctx context.Context, failed func(error)) error {
	tick := time.NewTicker(batchTime)
	defer tick.Stop()
	looked := c.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case m, ok := <-c.messages:
			if ok {
				c.take(m)
			}
			if !ok || c.full() {
				if err := c.handOver(ctx, failed); err != nil || !ok {
					return ignoreGone(err)
				}
			}
		case <-tick.C:
			if err := c.handOver(ctx, failed); err != nil {
				return ignoreGone(err)
			}
			if c.Now().Sub(looked) < stillEvery {
				continue
			}
			looked = c.Now()
			if now, err := c.DB.Source(ctx, c.source.Name); errors.Is(err, tallystick.ErrNotFound) || err == nil && (now.Paused || now.ID != c.source.ID) {
				return nil
			}
		}
	}
}

// ignoreGone drops that the source was removed.
func ignoreGone(err error) error {
	if errors.Is(err, tallystick.ErrNotFound) {
		return nil
	}
	return err
}

// take reads a message.
func (c *syslogConn) take(m message) {
	c.count++
	c.unread.Add(-int64(len(m.text)))
	select {
	case c.taken <- struct{}{}:
	default: // who reads has not seen the last one yet, and looks again
	}
	switch {
	case errors.Is(m.err, errFrameLong):
		c.malformed("message", c.count, uses.ErrTooLong())
		return
	case errors.Is(m.err, errFraming):
		c.malformed("message", c.count, errFraming)
		return
	case m.err != nil: // the connection has ended
		return
	}
	if now := c.Now(); now.Sub(c.made) > 24*time.Hour { // times without a year are dated by it
		if stream, err := uses.NewStream(c.source.Format, c.settings(now)); err == nil {
			c.stream, c.made = stream, now
		}
	}
	head, err := parseSyslog(m.text)
	if err == nil {
		err = c.read(c.stream, head.record(c.source.Format))
	}
	if err != nil {
		c.malformed("message", c.count, err)
	}
}

// handOver hands over what was read, and tries until it works.
func (c *syslogConn) handOver(ctx context.Context, failed func(error)) error {
	if c.empty() && c.progress.Malformed == 0 {
		return nil
	}
	if c.source.Settle > 0 && !c.newest.IsZero() && len(c.batch.Uses) > 0 {
		c.mark(c.newest.Add(-c.source.Settle))
	}
	for wait := backoffMin; ; wait = min(2*wait, backoffMax) {
		_, err := c.hand(ctx)
		if err == nil {
			err = c.store(ctx, "")
		}
		if err == nil || errors.Is(err, tallystick.ErrNotFound) {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		failed(fmt.Errorf("source %s: %w", c.source.Name, errors.Join(err, c.DB.FailSource(ctx, c.source.ID, clip(err.Error())))))
		rest(ctx, wait)
	}
}

var (
	errFraming   = errors.New("expected messages with their length before them (RFC 5425, octet counting)")
	errFrameLong = errors.New("the message is too long")
)

// readFrame reads "MSG-LEN SP SYSLOG-MSG" (RFC 5425 section 4.3). Of a message
// that is too long nothing is held, and errFrameLong is returned; more may follow
// then. begun is told when a message is waited for and when it has begun.
func readFrame(r *bufio.Reader, begun func(bool)) ([]byte, error) {
	begun(false)
	size := 0
	for n := 0; ; n++ {
		b, err := r.ReadByte()
		if err != nil {
			return nil, err
		}
		begun(true)
		if b == ' ' && n > 0 {
			break
		}
		if b < '0' || b > '9' || n == 0 && b == '0' || n == 10 {
			return nil, errFraming
		}
		size = 10*size + int(b-'0')
	}
	if size > uses.MaxRecord {
		for size > 0 { // each piece has its time
			n, err := io.CopyN(io.Discard, r, int64(min(size, uses.MaxRecord)))
			if err != nil {
				return nil, err
			}
			size -= int(n)
			begun(true)
		}
		return nil, errFrameLong
	}
	// What a sender promises takes no memory before it comes.
	var text bytes.Buffer
	if _, err := io.CopyN(&text, r, int64(size)); err != nil {
		return nil, err
	}
	return text.Bytes(), nil
}
