// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// firstAddress is where the farm begins; every address of 127.0.0.0/8 is this
// machine, so that none of them has to be set up.
var firstAddress = netip.AddrFrom4([4]byte{127, 16, 1, 0})

// A farm is many TLS servers in one process: one listening socket for each
// kind, on all addresses of the loopback device, and at each address a
// certificate of its own.
type farm struct {
	issuer    *x509.Certificate
	issuerKey *ecdsa.PrivateKey
	rsaKeys   []*rsa.PrivateKey // shared: five thousand would take minutes to make
}

// farmPorts are where a farm listens.
type farmPorts struct {
	Plain  int // P-256, TLS 1.0 to 1.3
	RSA    int // RSA-2048, TLS 1.0 to 1.3
	Only13 int // P-256, TLS 1.3 alone
	Dead   int // answers nothing at all
}

// serveFarm listens with count certificates a kind, says where on standard
// output, and serves until standard input ends.
func serveFarm(count int) error {
	f, err := newFarm()
	if err != nil {
		return fmt.Errorf("couldn't make the farm's keys: %w", err)
	}
	var ports farmPorts
	for _, kind := range []struct {
		port     *int
		key      func(n int) (crypto.Signer, error)
		versions [2]uint16
	}{
		{&ports.Plain, newP256, [2]uint16{tls.VersionTLS10, tls.VersionTLS13}},
		{&ports.RSA, f.rsaKey, [2]uint16{tls.VersionTLS10, tls.VersionTLS13}},
		{&ports.Only13, newP256, [2]uint16{tls.VersionTLS13, tls.VersionTLS13}},
	} {
		certificates, err := f.issueAll(count, kind.key)
		if err != nil {
			return fmt.Errorf("couldn't issue the farm's certificates: %w", err)
		}
		listener, err := listenLoopback()
		if err != nil {
			return err
		}
		*kind.port = listener.Addr().(*net.TCPAddr).Port
		go serve(listener, &tls.Config{
			MinVersion: kind.versions[0], MaxVersion: kind.versions[1], SessionTicketsDisabled: true,
			GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
				return certificateAt(certificates, hello.Conn.LocalAddr())
			},
		})
	}
	if ports.Dead, err = listenDead(); err != nil {
		return err
	}
	fmt.Println(ports.Plain, ports.RSA, ports.Only13, ports.Dead)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func newFarm() (*farm, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	f := &farm{issuerKey: key, issuer: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Farm CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageCertSign,
	}}
	der, err := x509.CreateCertificate(rand.Reader, f.issuer, f.issuer, key.Public(), key)
	if err != nil {
		return nil, err
	}
	for range 8 {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			return nil, err
		}
		f.rsaKeys = append(f.rsaKeys, key)
	}
	f.issuer, err = x509.ParseCertificate(der)
	return f, err
}

func newP256(int) (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func (f *farm) rsaKey(n int) (crypto.Signer, error) { return f.rsaKeys[n%len(f.rsaKeys)], nil }

// issueAll makes the certificates of count addresses, each with its issuer.
func (f *farm) issueAll(count int, keyOf func(n int) (crypto.Signer, error)) ([]tls.Certificate, error) {
	certificates := make([]tls.Certificate, count)
	for n := range certificates {
		key, err := keyOf(n)
		if err != nil {
			return nil, err
		}
		template := &x509.Certificate{
			SerialNumber: big.NewInt(int64(n) + 2),
			Subject:      pkix.Name{CommonName: fmt.Sprintf("host%d.example", n)},
			DNSNames:     []string{fmt.Sprintf("host%d.example", n)},
			NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(0, 3, 0),
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, template, f.issuer, key.Public(), f.issuerKey)
		if err != nil {
			return nil, err
		}
		certificates[n] = tls.Certificate{Certificate: [][]byte{der, f.issuer.Raw}, PrivateKey: key}
	}
	return certificates, nil
}

var errNoSuchAddress = errors.New("the farm has no such address")

// certificateAt returns what an address of this machine shows.
func certificateAt(certificates []tls.Certificate, at net.Addr) (*tls.Certificate, error) {
	ip := at.(*net.TCPAddr).IP.To4()
	if ip == nil {
		return nil, errNoSuchAddress
	}
	first := firstAddress.As4()
	n := int64(binary.BigEndian.Uint32(ip)) - int64(binary.BigEndian.Uint32(first[:]))
	if n < 0 || n >= int64(len(certificates)) {
		return nil, errNoSuchAddress
	}
	return &certificates[n], nil
}

// addresses returns the first count addresses of the farm.
func addresses(count int) []netip.Addr {
	list := make([]netip.Addr, 0, count)
	for a := firstAddress; len(list) < count; a = a.Next() {
		list = append(list, a)
	}
	return list
}

// listenLoopback listens on every address of this machine, but only for what
// comes in by the loopback device: nobody else can reach it.
func listenLoopback() (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		controlErr := raw.Control(func(fd uintptr) {
			err = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, "lo")
		})
		return errors.Join(controlErr, err)
	}}
	listener, err := config.Listen(context.Background(), "tcp4", "0.0.0.0:0")
	if err != nil {
		return nil, fmt.Errorf("couldn't listen on the loopback device: %w", err)
	}
	return listener, nil
}

// listenDead returns a port that answers nothing, as behind a firewall that
// drops: its queue has one seat, which is taken, and the kernel drops every
// further SYN. A port where nobody listens would refuse at once. The socket is
// a bare one, which stays open until the process ends.
func listenDead() (int, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("couldn't make a socket: %w", err)
	}
	err = errors.Join(
		syscall.SetsockoptString(fd, syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, "lo"),
		syscall.Bind(fd, &syscall.SockaddrInet4{}),
		syscall.Listen(fd, 0))
	if err != nil {
		return 0, fmt.Errorf("couldn't listen on the loopback device: %w", err)
	}
	at, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	port := at.(*syscall.SockaddrInet4).Port
	for range 8 {
		conn, err := net.DialTimeout("tcp4", fmt.Sprintf("127.0.0.1:%d", port), 300*time.Millisecond)
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			return port, nil
		}
		if err == nil {
			defer conn.Close() // its seat stays taken: nobody accepts it
		}
	}
	return 0, errors.New("couldn't make a port that does not answer: its queue is never full")
}

// serve completes handshakes, and reads until the client has gone.
func serve(listener net.Listener, config *tls.Config) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "bench: a server stops:", err)
			return
		}
		go func() {
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			secure := tls.Server(conn, config)
			if secure.Handshake() == nil {
				_, _ = io.Copy(io.Discard, secure)
			}
		}()
	}
}

// startFarm starts the farm in a process of its own on CPU 1; stop ends it.
func startFarm(self string, count int) (ports farmPorts, stop func(), err error) {
	cmd := exec.Command("taskset", "-c", "1", self, "-serve", "-endpoints", fmt.Sprint(count))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return ports, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return ports, nil, err
	}
	if err := cmd.Start(); err != nil {
		return ports, nil, fmt.Errorf("couldn't start the farm (it needs taskset of the Debian package util-linux): %w", err)
	}
	stop = func() { in.Close(); _ = cmd.Wait() }
	if _, err := fmt.Fscan(bufio.NewReader(out), &ports.Plain, &ports.RSA, &ports.Only13, &ports.Dead); err != nil {
		stop()
		return ports, nil, fmt.Errorf("the farm didn't say where it listens: %w", err)
	}
	return ports, stop, nil
}
