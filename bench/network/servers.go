// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	_ "embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

//go:embed Everything.java
var everythingJava []byte

// A server is a TLS server with everything switched on.
type server struct {
	name string
	// start listens at the address on 127.0.0.1; stop ends it.
	start func(dir string, port int) (stop func(), err error)
}

// servers are of four families that share no code.
func servers() []server {
	return []server{
		{"openssl s_server", startOpenSSL},
		{"gnutls-serv", startGnuTLS(gnutlsAll)},
		{"gnutls-serv, also without encryption", startGnuTLS(gnutlsOpen)},
		{"Go crypto/tls", startGo},
		{"JDK JSSE", startJSSE},
	}
}

// makeKeys writes what the servers need to dir: a certificate for each kind of
// key, as PEM and together in a keystore.
func makeKeys(dir string) error {
	for name, options := range map[string][]string{
		"rsa": {"-newkey", "rsa:2048"},
		"ec":  {"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"},
	} {
		args := append([]string{"req", "-x509", "-nodes", "-days", "30", "-subj", "/CN=everything.example",
			"-keyout", filepath.Join(dir, name+".key"), "-out", filepath.Join(dir, name+".crt")}, options...)
		if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("couldn't make a key: %w: %s", err, out)
		}
	}
	for alias, algorithm := range map[string]string{"rsa": "RSA", "ec": "EC", "dsa": "DSA"} {
		args := []string{"-genkeypair", "-alias", alias, "-keyalg", algorithm, "-dname", "CN=everything.example",
			"-keystore", filepath.Join(dir, "keys.p12"), "-storepass", password, "-keypass", password}
		if algorithm == "DSA" {
			args = append(args, "-keysize", "1024", "-sigalg", "SHA1withDSA") // TLS 1.1 knows no other
		}
		if out, err := exec.Command("keytool", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("couldn't make a keystore: %w: %s", err, out)
		}
	}
	return nil
}

// password opens the keystore, which lives as long as a run.
const password = "everything"

func startOpenSSL(dir string, port int) (func(), error) {
	return startProgram(port, "openssl", "s_server", "-accept", "127.0.0.1:"+strconv.Itoa(port), "-quiet", "-www",
		"-cert", filepath.Join(dir, "rsa.crt"), "-key", filepath.Join(dir, "rsa.key"),
		"-dcert", filepath.Join(dir, "ec.crt"), "-dkey", filepath.Join(dir, "ec.key"),
		"-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0",
		"-ciphersuites", "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_CCM_SHA256:TLS_AES_128_CCM_8_SHA256")
}

// gnutlsAll is every cipher that GnuTLS still has for TLS, but those that do not
// encrypt or name nobody: with these, in gnutlsOpen, it leaves out TLS 1.3.
const (
	gnutlsAll = "NORMAL:+VERS-ALL:+3DES-CBC:+ARCFOUR-128:+MD5:+DHE-DSS:+RSA:+DHE-RSA:+AES-128-CBC:+AES-256-CBC:+SHA256:+SHA384:" +
		"+CAMELLIA-128-CBC:+CAMELLIA-256-CBC:+CAMELLIA-128-GCM:+CAMELLIA-256-GCM:+AES-128-CCM-8:+AES-256-CCM-8"
	gnutlsOpen = gnutlsAll + ":+NULL:+ANON-ECDH:+ANON-DH"
)

func startGnuTLS(priority string) func(string, int) (func(), error) {
	return func(dir string, port int) (func(), error) {
		return startProgram(port, "gnutls-serv", "--port", strconv.Itoa(port), "--echo", "--quiet", "--priority", priority,
			"--x509certfile", filepath.Join(dir, "rsa.crt"), "--x509keyfile", filepath.Join(dir, "rsa.key"),
			"--x509certfile", filepath.Join(dir, "ec.crt"), "--x509keyfile", filepath.Join(dir, "ec.key"))
	}
}

func startJSSE(dir string, port int) (func(), error) {
	source := filepath.Join(dir, "Everything.java")
	if err := os.WriteFile(source, everythingJava, 0o600); err != nil {
		return nil, err
	}
	return startProgram(port, "java", source, strconv.Itoa(port), filepath.Join(dir, "keys.p12"), password)
}

// startProgram starts a server and waits until it listens.
func startProgram(port int, name string, args ...string) (func(), error) {
	cmd := exec.Command(name, args...)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("couldn't start %s: %w", name, err)
	}
	stop := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	for range 300 {
		conn, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			conn.Close()
			return stop, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	stop()
	return nil, fmt.Errorf("%s didn't begin to listen in 15 seconds", name)
}

func startGo(dir string, port int) (func(), error) {
	config := &tls.Config{MinVersion: tls.VersionTLS10}
	for _, name := range []string{"rsa", "ec"} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key"))
		if err != nil {
			return nil, err
		}
		config.Certificates = append(config.Certificates, pair)
	}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		config.CipherSuites = append(config.CipherSuites, suite.ID)
	}
	listener, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return nil, err
	}
	go serve(listener, config)
	return func() { listener.Close() }, nil
}

// freePort returns a port where nobody listens.
func freePort() (int, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}
