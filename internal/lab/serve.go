// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/tls"
	"net"
	"time"
)

// Serve listens at an address, such as 127.0.0.1:0, until the test ends, and has handle serve
// each connection, which is closed then. It returns where it listens.
func Serve(t TB, address string, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
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
