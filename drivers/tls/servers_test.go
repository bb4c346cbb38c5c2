// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	gotls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A pki is a root, an intermediate and a leaf for localhost and 127.0.0.1, in
// a directory and in memory.
type pki struct {
	dir                      string
	key, leaf, intermediate  string // paths
	root                     string
	certificate              gotls.Certificate // leaf and intermediate
	keyText                  string            // of the leaf's private key, which must stay unseen
	leafDER, intermediateDER []byte
}

func newPKI(t *testing.T) pki {
	t.Helper()
	p := pki{dir: t.TempDir()}
	rootKey, intermediateKey, leafKey := newKey(t), newKey(t), newRSAKey(t)
	root := template("Test Root", true)
	rootDER := sign(t, root, root, rootKey.Public(), rootKey)
	intermediate := template("Test Intermediate", true)
	p.intermediateDER = sign(t, intermediate, root, intermediateKey.Public(), rootKey)
	leaf := template("Test Leaf", false)
	leaf.DNSNames, leaf.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	p.leafDER = sign(t, leaf, intermediate, leafKey.Public(), intermediateKey)
	p.certificate = gotls.Certificate{Certificate: [][]byte{p.leafDER, p.intermediateDER}, PrivateKey: leafKey}

	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	p.key, p.keyText = writePEM(t, p.dir, "key.pem", "PRIVATE KEY", keyDER)
	p.leaf, _ = writePEM(t, p.dir, "leaf.pem", "CERTIFICATE", p.leafDER)
	p.intermediate, _ = writePEM(t, p.dir, "intermediate.pem", "CERTIFICATE", p.intermediateDER)
	p.root, _ = writePEM(t, p.dir, "root.pem", "CERTIFICATE", rootDER)
	return p
}

func newKey(t *testing.T) crypto.Signer {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRSAKey(t *testing.T) crypto.Signer {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func template(name string, isCA bool) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: big.NewInt(int64(len(name))), Subject: pkix.Name{CommonName: name},
		NotBefore: now.AddDate(0, 0, -10), NotAfter: now.AddDate(0, 0, 80),
		BasicConstraintsValid: true, IsCA: isCA,
	}
	if isCA {
		c.KeyUsage = x509.KeyUsageCertSign
	}
	return c
}

func sign(t *testing.T, c, issuer *x509.Certificate, public crypto.PublicKey, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, issuer, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t *testing.T, dir, name, kind string, der []byte) (path, text string) {
	t.Helper()
	path, text = filepath.Join(dir, name), string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path, text
}

// opensslServer starts openssl s_server and returns where it listens.
func opensslServer(t *testing.T, arguments ...string) string {
	t.Helper()
	address := freeAddress(t)
	start(t, "openssl", append([]string{"s_server", "-accept", address, "-www"}, arguments...)...)
	waitFor(t, address)
	return address
}

// start runs a program until the test ends.
func start(t *testing.T, name string, arguments ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("install %s (Debian: openssl, nginx-light): %v", name, err)
	}
	var output strings.Builder
	command := exec.Command(path, arguments...)
	command.Stdout, command.Stderr = &output, &output
	command.WaitDelay = 5 * time.Second
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Signal(syscall.SIGTERM) // so that nginx takes its workers along
		command.Wait()
		if t.Failed() {
			t.Logf("%s said: %s", name, output.String())
		}
	})
}

// nobody is an address of loopback where nothing listens, nor will while other
// tests take free ports.
const nobody = "127.99.0.1:1"

// freeAddress returns an address of loopback for a server that cannot choose one.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// waitFor waits until something listens at address.
func waitFor(t *testing.T, address string) {
	t.Helper()
	for deadline := time.Now().Add(40 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return
		}
	}
	t.Fatalf("nothing listens at %s", address)
}

// serve accepts connections at address until the test ends.
func serve(t *testing.T, address string, handle func(net.Conn)) string {
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

// goServer is a server of crypto/tls, which still has RC4 and 3DES; Debian's
// OpenSSL is built without them.
func goServer(t *testing.T, config *gotls.Config) string {
	t.Helper()
	return serve(t, "127.0.0.1:0", func(conn net.Conn) {
		server := gotls.Server(conn, config)
		server.SetDeadline(time.Now().Add(10 * time.Second))
		if server.Handshake() == nil {
			server.Read(make([]byte, 1))
		}
	})
}
