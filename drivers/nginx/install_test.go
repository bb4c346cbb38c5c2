// SPDX-License-Identifier: Apache-2.0

package nginx_test

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/nginx"
	"github.com/tallystick/tallystick/internal/lab"
)

// asBefore looks that every listener shows the old one, and that a reload changes nothing in that.
func asBefore(t *testing.T, n *lab.Nginx, d *nginx.Door, client driver.Material) {
	t.Helper()
	for range 2 {
		drivertest.ShowsOnly(t, d, n.Server.Public, len(n.Addresses))
		if err := n.PKI.Gets(n.Addresses, client)(); err != nil {
			t.Error(err)
		}
		reload(t, n)
	}
}

// One listener has the certificate from another file: it goes on showing the old one.
func TestListenerThatKeepsTheOldOne(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Listeners: []lab.NginxListener{{}, {Own: true}}})
	door := opened(t, n, "certificate", n.Chain, "patience", "3s")
	_, err := drivertest.Install(t, door, host.Local(), n.PKI.Localhost(t))
	if err == nil || !strings.Contains(err.Error(), n.Addresses[1]) {
		t.Errorf("it says %v, and not that %s shows another", err, n.Addresses[1])
	}
	asBefore(t, n, door, driver.Material{})
	if _, err := drivertest.Install(t, opened(t, n), host.Local(), n.PKI.Localhost(t)); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("which of two certificates: %v, want ErrInvalid", err)
	}
}

// nginx -t does not take keys that OpenSSL calls too small.
func TestCertificateThatNginxRefuses(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{})
	small := weak(t, n.PKI)
	door := opened(t, n)
	if _, err := drivertest.Install(t, door, host.Local(), small); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "too small") {
		t.Errorf("it says %v", err)
	}
	asBefore(t, n, door, driver.Material{})
	wrong := n.PKI.Material(t, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"elsewhere.lab.test"}})
	if _, err := drivertest.Install(t, door, host.Local(), wrong); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("for another name: %v, want ErrInvalid", err)
	}
}

func weak(t *testing.T, p *lab.PKI) driver.Material {
	t.Helper()
	key := lab.NewRSAKey(t, 1024)
	return p.LocalhostOf(t, key)
}

// A master that is stopped reads nothing until it goes on.
func TestReloadThatTakesLong(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{})
	halt := func(signal syscall.Signal) {
		if err := syscall.Kill(n.PID, signal); err != nil {
			t.Fatal(err)
		}
	}
	halt(syscall.SIGSTOP)
	door := opened(t, n, "patience", "300ms")
	_, err := drivertest.Install(t, door, host.Local(), n.PKI.Localhost(t))
	halt(syscall.SIGCONT)
	if !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("too long: %v, want ErrUnavailable", err)
	}
	time.Sleep(300 * time.Millisecond)
	asBefore(t, n, door, driver.Material{})

	halt(syscall.SIGSTOP)
	time.AfterFunc(700*time.Millisecond, func() { syscall.Kill(n.PID, syscall.SIGCONT) })
	next := n.PKI.Localhost(t)
	installed, err := drivertest.Install(t, opened(t, n), host.Local(), next)
	if err != nil || len(installed.Shown) != 1 || !installed.Shown[0].Is(next.Public) {
		t.Errorf("a while: %+v, %v", installed, err)
	}
}

// A mute host has an nginx that is told of no reload after the first few.
type mute struct {
	driver.Host
	heeds int
}

func (h *mute) Run(ctx context.Context, c driver.Command) (driver.Output, error) {
	if !slices.Contains(c.Args, "reload") {
		return h.Host.Run(ctx, c)
	}
	if h.heeds--; h.heeds < 0 {
		return driver.Output{Exit: 1}, nil
	}
	return h.Host.Run(ctx, c)
}

// Where nginx has read the new files and does not read the old ones again, the door is
// worse than before.
func TestNoReloadOfWhatIsPutBack(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Listeners: []lab.NginxListener{{}, {Own: true}}}) // the second goes on showing the old one
	door := opened(t, n, "certificate", n.Chain, "patience", "3s")
	for heeds, damaged := range []bool{true, true, false} {
		_, err := drivertest.Install(t, door, &mute{host.Local(), heeds}, n.PKI.Localhost(t))
		if err == nil || errors.Is(err, tallystick.ErrDamaged) != damaged {
			t.Errorf("after %d reloads it says %v; want ErrDamaged: %v", heeds, err, damaged)
		}
		if chain, _ := lab.MaterialPEM(t, n.Server); lab.Read(t, n.Chain) != chain {
			t.Errorf("after %d reloads the file is another", heeds)
		}
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Clients: true})
	door, alice := opened(t, n), n.PKI.Client(t, "alice")
	if _, err := drivertest.Install(t, door, drivertest.FullDisk{Host: host.Local(), Path: n.Key}, n.PKI.Localhost(t)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Install says %v", err)
	}
	_, err := door.Block(t.Context(), driver.BlockRequest{Host: drivertest.FullDisk{Host: host.Local(), Path: n.CRL}, Old: alice.Public, CRLs: n.PKI.CRLs(t, alice.Public), Now: time.Now})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Block says %v", err)
	}
	asBefore(t, n, door, alice)
}

// What nginx shows to others as a client of theirs is a certificate, too.
func TestCertificateForSigningIn(t *testing.T) {
	t.Parallel()
	dir := lab.OpenDir(t)
	pki := lab.NewPKI(t)
	holder := pki.Client(t, "gateway")
	chain, key := lab.MaterialPEM(t, holder)
	both := dir + "/gateway.pem"
	lab.Write(t, both, chain+key)
	n := lab.StartNginx(t, lab.NginxSettings{PKI: pki, HTTP: "proxy_ssl_certificate \"" + both + "\";\nproxy_ssl_certificate_key " + both + ";\n"})
	door, next := opened(t, n, "certificate", both), pki.Client(t, "gateway")
	for _, want := range []bool{true, false} {
		installed, err := drivertest.Install(t, door, host.Local(), next)
		if err != nil || installed.Changed.Changed != want || len(installed.Shown) > 0 {
			t.Errorf("%+v, %v; want a change: %v", installed, err, want)
		}
	}
	view := drivertest.Look(t, door)
	for _, s := range view.Shown {
		if s.At == both && (!s.Is(next.Public) || !s.Key) {
			t.Errorf("it has %v with its key: %v", s.Names(), s.Key)
		}
	}
}

// Clients that ask all the time, on connections that stay and on new ones, lose nothing
// by a certificate that is replaced and by another client's that is blocked.
func TestNothingIsLostUnderLoad(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Clients: true, Cache: true, Listeners: []lab.NginxListener{{}, {Name: "other.lab.test"}}})
	door, alice := opened(t, n), n.PKI.Client(t, "alice")
	load := lab.StartLoad(t, n.PKI, n.Addresses, n.PKI.Client(t, "bob"))
	for range 3 {
		if _, err := drivertest.Install(t, door, host.Local(), n.PKI.Localhost(t)); err != nil {
			t.Fatal(err)
		}
		drivertest.Block(t, door, driver.BlockRequest{Old: alice.Public, CRLs: n.PKI.CRLs(t, alice.Public)})
		drivertest.Block(t, door, driver.BlockRequest{Old: alice.Public, Lift: true})
	}
	asked, failed := load.Stop()
	t.Logf("%d requests, %d failed", asked, len(failed))
	if asked < 100 || len(failed) > 0 {
		t.Errorf("of %d requests %d failed: %q", asked, len(failed), failed[:min(5, len(failed))])
	}
}

// A server may have one certificate for RSA and one for other keys: each is replaced for itself.
func TestOneOfTwoKindsOfKeys(t *testing.T) {
	t.Parallel()
	dir, pki := lab.OpenDir(t), lab.NewPKI(t)
	second := func() driver.Material {
		key := lab.NewRSAKey(t, 2048)
		leaf := pki.Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}}, &key.PublicKey)
		return driver.Material{Public: driver.Public{Chain: [][]byte{leaf.Raw, pki.Sub.Raw}}, Key: key}
	}
	chain, key := lab.MaterialPEM(t, second())
	lab.Write(t, dir+"/rsa.crt", chain)
	lab.Write(t, dir+"/rsa.key", key)
	n := lab.StartNginx(t, lab.NginxSettings{PKI: pki, Lines: "ssl_certificate " + dir + "/rsa.crt;\nssl_certificate_key " + dir + "/rsa.key;\n"})
	nextRSA, nextECDSA := second(), pki.Localhost(t)
	for path, next := range map[string]driver.Material{dir + "/rsa.crt": nextRSA, n.Chain: nextECDSA} {
		if _, err := drivertest.Install(t, opened(t, n, "certificate", path), host.Local(), next); err != nil {
			t.Error(err)
		}
	}
	view := drivertest.Look(t, opened(t, n))
	live := 0
	for _, s := range view.Shown {
		if !s.Is(nextRSA.Public) && !s.Is(nextECDSA.Public) {
			t.Errorf("%s shows %v", s.At, s.Names())
		}
		if s.Live {
			live++
		}
	}
	if live != 2 {
		t.Errorf("%d certificates are shown", live)
	}
}
