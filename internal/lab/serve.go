// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"
)

// Listen listens at an address until the caller closes it. It waits for five seconds at most for one
// where something listened a moment ago: a process that another test starts just then has a copy of
// each socket of this one until its program runs, so that one which is closed here stays in use for
// a little longer.
func Listen(t TB, address string) net.Listener {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		listener, err := net.Listen("tcp", address)
		if err == nil {
			return listener
		}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// Serve listens at an address, such as 127.0.0.1:0, until the test ends, and has handle serve
// each connection, which is closed then. It returns where it listens.
func Serve(t TB, address string, handle func(net.Conn)) string {
	t.Helper()
	listener := Listen(t, address)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				handle(conn)
			}()
		}
	}()
	return listener.Addr().String()
}

// ServeTLS serves as package crypto/tls does, which still has RC4 and 3DES: Debian's OpenSSL
// is built without them. Who has said something, or nothing for a while, is hung up on.
func ServeTLS(t TB, config *tls.Config) string {
	t.Helper()
	return Serve(t, "127.0.0.1:0", func(conn net.Conn) {
		server := tls.Server(conn, config)
		server.SetDeadline(time.Now().Add(10 * time.Second))
		if server.Handshake() == nil {
			server.Read(make([]byte, 1))
		}
	})
}
