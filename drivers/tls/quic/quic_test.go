// SPDX-License-Identifier: Apache-2.0

package quic

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// ngtcp2 starts the server of ngtcp2 with a certificate of its own.
func ngtcp2(t *testing.T, arguments ...string) (address string, leaf []byte) {
	t.Helper()
	path, err := exec.LookPath("gtlsserver")
	if err != nil {
		if path, err = exec.LookPath("/usr/sbin/gtlsserver"); err != nil {
			t.Fatalf("install the Debian package ngtcp2-server: %v", err)
		}
	}
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "quic"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	leaf, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	check(t, err)
	keyPath, leafPath := filepath.Join(dir, "key.pem"), filepath.Join(dir, "leaf.pem")
	check(t, os.WriteFile(keyPath, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	check(t, os.WriteFile(leafPath, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}), 0o600))
	socket := listen(t)
	address = socket.LocalAddr().String()
	check(t, socket.Close())
	host, port, err := net.SplitHostPort(address)
	check(t, err)
	server := exec.Command(path, append(arguments, "-q", "-d", dir, host, port, keyPath, leafPath)...)
	var output bytes.Buffer
	server.Stdout, server.Stderr = &output, &output
	check(t, server.Start())
	t.Cleanup(func() {
		server.Process.Kill()
		server.Wait()
		if t.Failed() {
			t.Logf("the server said: %s", output.String())
		}
	})
	return address, leaf
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// listen opens a socket on loopback.
func listen(t *testing.T) *net.UDPConn {
	t.Helper()
	socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	check(t, err)
	t.Cleanup(func() { socket.Close() })
	return socket
}

// ask asks until something listens.
func ask(t *testing.T, address string) (Answer, error) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		answer, err := Ask(ctx, address, "localhost")
		cancel()
		if !errors.Is(err, syscall.ECONNREFUSED) || time.Since(begin) > 10*time.Second {
			return answer, err
		}
	}
}

func TestNgtcp2(t *testing.T) {
	address, leaf := ngtcp2(t)
	answer, err := ask(t, address)
	check(t, err)
	if len(answer.Chain) != 1 || !bytes.Equal(answer.Chain[0], leaf) || answer.ALPN != "h3" || answer.Address != address || answer.Group == 0 {
		t.Errorf("answer %+v", answer)
	}
}

// A server that first wants to know whether the address is real (RFC 9000 section 8.1.2).
func TestRetry(t *testing.T) {
	address, leaf := ngtcp2(t, "--validate-addr")
	answer, err := ask(t, address)
	check(t, err)
	if len(answer.Chain) != 1 || !bytes.Equal(answer.Chain[0], leaf) {
		t.Errorf("answer %+v", answer)
	}
}

func TestNoCommonGroup(t *testing.T) {
	address, _ := ngtcp2(t, "--groups=-GROUP-ALL:+GROUP-FFDHE2048")
	_, err := ask(t, address)
	var alert tls.AlertError
	if !errors.As(err, &alert) {
		t.Errorf("%v, want an alert", err)
	}
}

func TestNobodyListens(t *testing.T) {
	socket := listen(t)
	address := socket.LocalAddr().String()
	socket.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if _, err := Ask(ctx, address, ""); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("%v, want a refusal", err)
	}
}

// answering is a peer that answers each datagram as it likes.
func answering(t *testing.T, answer func(datagram []byte, reply func([]byte))) string {
	socket := listen(t)
	go func() {
		buffer := make([]byte, 2000)
		for {
			n, client, err := socket.ReadFromUDP(buffer)
			if err != nil {
				return
			}
			answer(buffer[:n], func(p []byte) { socket.WriteToUDP(p, client) })
		}
	}()
	return socket.LocalAddr().String()
}

func TestOddPeers(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer func(datagram []byte, reply func([]byte))
		want   func(error) bool
	}{
		{"silent", func([]byte, func([]byte)) {}, timedOut},
		{"garbage", func(_ []byte, reply func([]byte)) { reply([]byte("HTTP/1.1 400\r\n\r\n")) }, timedOut},
		{"echo", func(p []byte, reply func([]byte)) { reply(p) }, timedOut},
		{"other version", func(p []byte, reply func([]byte)) { reply(versionNegotiation(p)) },
			func(err error) bool { return errors.Is(err, ErrVersion) }},
		{"flood", func(p []byte, reply func([]byte)) {
			for range 1000 {
				reply(bytes.Repeat([]byte{0x40}, 1200))
				time.Sleep(100 * time.Microsecond) // or the system drops them before they count
			}
		}, func(err error) bool { return errors.Is(err, ErrTooMuch) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
			defer cancel()
			if answer, err := Ask(ctx, answering(t, c.answer), "localhost"); !c.want(err) {
				t.Errorf("%+v, %v", answer, err)
			}
		})
	}
}

func timedOut(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// versionNegotiation answers a client's first datagram (RFC 9000 section 17.2.1).
func versionNegotiation(p []byte) []byte {
	destination := p[6 : 6+int(p[5])]
	rest := p[6+int(p[5]):]
	source := rest[1 : 1+int(rest[0])]
	answer := append([]byte{0x80, 0, 0, 0, 0, byte(len(source))}, source...)
	answer = append(append(answer, byte(len(destination))), destination...)
	return append(answer, 0xff, 0, 0, 29) // draft 29
}
