// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/audit"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/custody"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/lint"
	"github.com/tallystick/tallystick/internal/policy"
	"github.com/tallystick/tallystick/internal/store"
)

// freePort returns a port of loopback that nobody listens on now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}

// startOurs starts this program as a server: the CA with its policy, lints, custody,
// audit log and durable store, and ACME on it, over TLS.
func startOurs(dir string) (target, func(), error) {
	dir = filepath.Join(dir, "ours")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return target{}, nil, err
	}
	httpPort, err := freePort()
	if err != nil {
		return target{}, nil, err
	}
	dnsPort, err := freePort()
	if err != nil {
		return target{}, nil, err
	}
	t := target{name: "tallystick", httpPort: httpPort, resolver: fmt.Sprintf("127.0.0.1:%d", dnsPort), roots: filepath.Join(dir, "roots.pem")}
	self, err := os.Executable()
	if err != nil {
		return t, nil, err
	}
	cmd := exec.Command(self, "-serve", dir, strconv.Itoa(httpPort), t.resolver)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return t, nil, err
	}
	if err := cmd.Start(); err != nil {
		return t, nil, err
	}
	stop := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	said := bufio.NewScanner(out)
	if !said.Scan() {
		stop()
		return t, nil, errors.New("our server did not start")
	}
	t.directory, t.pid = said.Text(), cmd.Process.Pid
	return t, stop, nil
}

// serveOurs is the server; args are the port of http-01 and the resolver.
func serveOurs(dir string, args []string) error {
	ctx := context.Background()
	db, err := store.Open(ctx, filepath.Join(dir, "store.db"))
	if err != nil {
		return err
	}
	issuer, keys, err := openCA(ctx, db, dir)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	s := acme.New(acme.Config{
		ACME: config.ACME{
			Allow: []string{"127.0.0.0/8"}, HTTPPort: port, Resolver: args[1],
			Limits: config.ACMELimits{AccountsPerHour: 1000, OrdersPerHour: 10_000_000, OpenOrders: 9999},
		},
		DB: db, CA: issuer, Secrets: keys, Now: time.Now, Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	go func() { _ = s.Run(ctx) }()
	go func() { _ = issuer.Run(ctx, func(err error) { fmt.Fprintln(os.Stderr, err) }) }()
	certificate, err := selfSigned(filepath.Join(dir, "roots.pem"))
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("https://%s/acme/lab/directory\n", l.Addr())
	return (&http.Server{Handler: s, TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}}}).ServeTLS(l, "", "")
}

// openCA opens the CA as "tally up" does, with a root and an intermediate.
func openCA(ctx context.Context, db *store.DB, dir string) (*ca.CA, *custody.Custody, error) {
	wrapper, err := custody.OpenFile(filepath.Join(dir, "wrapping.key"), "", "", true)
	if err != nil {
		return nil, nil, err
	}
	keys, err := custody.Open(ctx, custody.Config{DB: db, Wrapper: wrapper, Now: time.Now})
	if err != nil {
		return nil, nil, err
	}
	log, err := audit.Open(ctx, db, filepath.Join(dir, "audit.key"))
	if err != nil {
		return nil, nil, err
	}
	rules, err := policy.Compile(nil)
	if err != nil {
		return nil, nil, err
	}
	linter, err := lint.New()
	if err != nil {
		return nil, nil, err
	}
	c := ca.New(ca.Config{
		DB: db, Gate: gate.New(log, time.Now), Keys: keys, Now: time.Now, CheckKey: lint.CheckKey, Profiles: ca.BuiltInProfiles(), URL: "http://pki.example.com", Shards: 1,
		Known: func(context.Context, tallystick.KeyID) (string, error) { return "", nil },
		Lint:  func(der []byte) error { _, err := linter.Lints(der); return err },
		Decide: func(r policy.Request) ca.Decision {
			d := rules.Decide(r)
			return ca.Decision{Allowed: d.Allowed, Approval: d.NeedsApproval, Why: d.Why()}
		},
	})
	for _, r := range []ca.InitRequest{{Name: "root", Key: custody.P256}, {Name: "lab", Parent: "root", Key: custody.P256}} {
		if _, err := c.Init(ctx, gate.Local("bench"), r); err != nil {
			return nil, nil, err
		}
	}
	return c, keys, nil
}

// selfSigned makes a certificate for 127.0.0.1 and writes it to a file.
func selfSigned(path string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return tls.Certificate{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, os.WriteFile(path, text, 0o600)
}
