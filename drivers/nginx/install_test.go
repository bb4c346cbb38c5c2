// SPDX-License-Identifier: Apache-2.0

package nginx_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io/fs"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/nginx"
	"github.com/tallystick/tallystick/internal/lab"
)

func install(t *testing.T, d *nginx.Door, h driver.Host, m driver.Material) (driver.Installed, error) {
	t.Helper()
	return d.Install(t.Context(), driver.InstallRequest{Host: h, New: m, Now: time.Now, Keep: func(driver.Material) error { return nil }})
}

// asBefore looks that every listener shows the old one, and that a reload changes nothing in that.
func asBefore(t *testing.T, n *lab.Nginx, d *nginx.Door, client driver.Material) {
	t.Helper()
	for range 2 {
		view, err := d.Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		live := 0
		for _, s := range view.Shown {
			if !s.Is(n.Server.Public) {
				t.Errorf("%s shows %v", s.At, s.Names())
			}
			if s.Live {
				live++
			} else if !s.Key {
				t.Errorf("%s does not fit its key", s.At)
			}
		}
		if live != len(n.Addresses) {
			t.Errorf("%d of %d listeners show the old one: %q", live, len(n.Addresses), view.Notes)
		}
		if err := good(n.Addresses, n.PKI, client)(); err != nil {
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
	_, err := install(t, door, host.Local(), n.PKI.Localhost(t))
	if err == nil || !strings.Contains(err.Error(), n.Addresses[1]) {
		t.Errorf("it says %v, and not that %s shows another", err, n.Addresses[1])
	}
	asBefore(t, n, door, driver.Material{})
	if _, err := install(t, opened(t, n), host.Local(), n.PKI.Localhost(t)); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("which of two certificates: %v, want ErrInvalid", err)
	}
}

// nginx -t does not take keys that OpenSSL calls too small.
func TestCertificateThatNginxRefuses(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{})
	small := weak(t, n.PKI)
	door := opened(t, n)
	if _, err := install(t, door, host.Local(), small); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "too small") {
		t.Errorf("it says %v", err)
	}
	asBefore(t, n, door, driver.Material{})
	wrong := n.PKI.Material(t, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"elsewhere.lab.test"}})
	if _, err := install(t, door, host.Local(), wrong); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("for another name: %v, want ErrInvalid", err)
	}
}

func weak(t *testing.T, p *lab.PKI) driver.Material {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	leaf := p.Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, &key.PublicKey)
	return driver.Material{Public: driver.Public{Chain: [][]byte{leaf.Raw, p.Sub.Raw}}, Key: key}
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
	_, err := install(t, door, host.Local(), n.PKI.Localhost(t))
	halt(syscall.SIGCONT)
	if !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("too long: %v, want ErrUnavailable", err)
	}
	time.Sleep(300 * time.Millisecond)
	asBefore(t, n, door, driver.Material{})

	halt(syscall.SIGSTOP)
	time.AfterFunc(700*time.Millisecond, func() { syscall.Kill(n.PID, syscall.SIGCONT) })
	next := n.PKI.Localhost(t)
	installed, err := install(t, opened(t, n), host.Local(), next)
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
		_, err := install(t, door, &mute{host.Local(), heeds}, n.PKI.Localhost(t))
		if err == nil || errors.Is(err, tallystick.ErrDamaged) != damaged {
			t.Errorf("after %d reloads it says %v; want ErrDamaged: %v", heeds, err, damaged)
		}
		if chain, _ := lab.MaterialPEM(t, n.Server); read(t, n.Chain) != chain {
			t.Errorf("after %d reloads the file is another", heeds)
		}
	}
}

// A full is a host on whose disk there is no room for what is longer than a few bytes at one path.
type full struct {
	driver.Host
	path string
}

func (f full) WriteFile(ctx context.Context, path string, content []byte, mode fs.FileMode) error {
	if path == f.path {
		return &fs.PathError{Op: "write", Path: path, Err: syscall.ENOSPC}
	}
	return f.Host.WriteFile(ctx, path, content, mode)
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Clients: true})
	door, alice := opened(t, n), n.PKI.Client(t, "alice")
	if _, err := install(t, door, full{host.Local(), n.Key}, n.PKI.Localhost(t)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Install says %v", err)
	}
	_, err := door.Block(t.Context(), driver.BlockRequest{Host: full{host.Local(), n.CRL}, Old: alice.Public, CRLs: n.PKI.CRLs(t, alice.Public), Now: time.Now})
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
	write(t, both, chain+key)
	n := lab.StartNginx(t, lab.NginxSettings{PKI: pki, HTTP: "proxy_ssl_certificate \"" + both + "\";\nproxy_ssl_certificate_key " + both + ";\n"})
	door, next := opened(t, n, "certificate", both), pki.Client(t, "gateway")
	for _, want := range []bool{true, false} {
		installed, err := install(t, door, host.Local(), next)
		if err != nil || installed.Changed.Changed != want || len(installed.Shown) > 0 {
			t.Errorf("%+v, %v; want a change: %v", installed, err, want)
		}
	}
	view, err := door.Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
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
	load := lab.StartLoad(t, n.Addresses, n.PKI.Root, n.PKI.Client(t, "bob"))
	for range 3 {
		if _, err := install(t, door, host.Local(), n.PKI.Localhost(t)); err != nil {
			t.Fatal(err)
		}
		block(t, door, driver.BlockRequest{Old: alice.Public, CRLs: n.PKI.CRLs(t, alice.Public)})
		block(t, door, driver.BlockRequest{Old: alice.Public, Lift: true})
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
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			t.Fatal(err)
		}
		leaf := pki.Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}}, &key.PublicKey)
		return driver.Material{Public: driver.Public{Chain: [][]byte{leaf.Raw, pki.Sub.Raw}}, Key: key}
	}
	chain, key := lab.MaterialPEM(t, second())
	write(t, dir+"/rsa.crt", chain)
	write(t, dir+"/rsa.key", key)
	n := lab.StartNginx(t, lab.NginxSettings{PKI: pki, Lines: "ssl_certificate " + dir + "/rsa.crt;\nssl_certificate_key " + dir + "/rsa.key;\n"})
	nextRSA, nextECDSA := second(), pki.Localhost(t)
	for path, next := range map[string]driver.Material{dir + "/rsa.crt": nextRSA, n.Chain: nextECDSA} {
		if _, err := install(t, opened(t, n, "certificate", path), host.Local(), next); err != nil {
			t.Error(err)
		}
	}
	view, err := opened(t, n).Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
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
