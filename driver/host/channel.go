// SPDX-License-Identifier: Apache-2.0

package host

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick/driver"
)

// grace is for how long a command may be silent after it should have been ended there,
// before the connection is given up.
const grace = 15 * time.Second

// execute runs a line of the shell there, with its input, for at most timeout.
func (s *SSH) execute(ctx context.Context, line string, stdin []byte, most int, timeout time.Duration) (driver.Output, error) {
	select {
	case s.sessions <- struct{}{}:
		defer func() { <-s.sessions }()
	case <-ctx.Done():
		return driver.Output{}, ctx.Err()
	}
	channel, requests, err := s.open(ctx)
	if err != nil {
		return driver.Output{}, err
	}
	defer channel.Close()
	within, cancel := context.WithTimeout(ctx, timeout+grace)
	defer cancel()
	stop := context.AfterFunc(within, func() { channel.Close() })
	defer stop()
	stdout, stderr := &bounded{most: most}, &bounded{most: maxOutput}
	var copying sync.WaitGroup
	copying.Go(func() { io.Copy(stdout, channel) }) // what fails here, fails below
	copying.Go(func() { io.Copy(stderr, channel.Stderr()) })
	exit, ended := -1, false
	if ok, err := channel.SendRequest("exec", true, ssh.Marshal(struct{ Command string }{line})); err == nil && ok {
		go func() {
			io.Copy(channel, bytes.NewReader(stdin))
			channel.CloseWrite()
		}()
		exit, ended = status(requests)
	}
	copied := make(chan struct{})
	go func() { copying.Wait(); close(copied) }()
	select {
	case <-copied:
	case <-time.After(lingering): // a daemon that it started holds on to its output
		channel.Close()
		<-copied
	}
	switch {
	case ctx.Err() != nil:
		return driver.Output{}, ctx.Err()
	case !ended:
		return driver.Output{}, s.unavailable(io.ErrUnexpectedEOF)
	}
	return driver.Output{Stdout: stdout.text.Bytes(), Stderr: stderr.text.Bytes(), Exit: exit}, nil
}

// status waits for how a command ended (RFC 4254 section 6.10). ended is false when the
// connection was lost.
func status(requests <-chan *ssh.Request) (exit int, ended bool) {
	for request := range requests {
		switch {
		case request.Type == "exit-status" && len(request.Payload) >= 4:
			exit, ended = int(binary.BigEndian.Uint32(request.Payload)), true
		case request.Type == "exit-signal":
			exit, ended = -1, true
		}
		if request.WantReply {
			request.Reply(false, nil)
		}
		if ended {
			go ssh.DiscardRequests(requests)
			return exit, true
		}
	}
	return -1, false
}

// quote writes a word for a POSIX shell.
func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// shell writes the line that runs a script there, with arguments.
func shell(script string, arguments ...string) string {
	line := "exec sh -c " + quote(script) + " sh"
	for _, argument := range arguments {
		line += " " + quote(argument)
	}
	return line
}

// A piped connection is one through SSH that keeps deadlines, which channels do not: it goes
// through a pipe of this process.
type piped struct {
	net.Conn // our end of the pipe
	through  net.Conn
}

func withDeadlines(through net.Conn) net.Conn {
	ours, theirs := net.Pipe()
	go func() {
		io.Copy(theirs, through)
		theirs.Close()
	}()
	go func() {
		io.Copy(through, theirs)
		through.Close()
	}()
	return &piped{ours, through}
}

func (p *piped) Close() error         { p.Conn.Close(); return p.through.Close() }
func (p *piped) LocalAddr() net.Addr  { return p.through.LocalAddr() }
func (p *piped) RemoteAddr() net.Addr { return p.through.RemoteAddr() }
