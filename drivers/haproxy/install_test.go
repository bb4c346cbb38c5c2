// SPDX-License-Identifier: Apache-2.0

package haproxy_test

import (
	"context"
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
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/drivers/haproxy"
	"github.com/tallystick/tallystick/internal/lab"
)

// asBefore looks that every listener shows the old one, and that a reload changes nothing in that.
func asBefore(t *testing.T, n *lab.HAProxy, d *haproxy.Door, client driver.Material) {
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
	n := lab.StartHAProxy(t, lab.HAProxySettings{Listeners: []lab.HAProxyListener{{}, {Own: true}}})
	door := opened(t, n, "certificate", n.PEM, "patience", "300ms")
	_, err := drivertest.Install(t, door, host.Local(), n.PKI.Localhost(t))
	if err == nil || !strings.Contains(err.Error(), n.Addresses[1]) {
		t.Errorf("it says %v, and not that %s shows another", err, n.Addresses[1])
	}
	asBefore(t, n, door, driver.Material{})
	if _, err := drivertest.Install(t, opened(t, n), host.Local(), n.PKI.Localhost(t)); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("which of two certificates: %v, want ErrInvalid", err)
	}
}

// haproxy -c does not take keys that OpenSSL calls too small.
func TestCertificateThatHAProxyRefuses(t *testing.T) {
	t.Parallel()
	n := lab.StartHAProxy(t, lab.HAProxySettings{})
	key := lab.NewRSAKey(t, 1024)
	door := opened(t, n)
	_, err := drivertest.Install(t, door, host.Local(), n.PKI.LocalhostOf(t, key))
	if !errors.Is(err, tallystick.ErrInvalid) || strings.Contains(err.Error(), "PRIVATE") {
		t.Errorf("it says %v, want ErrInvalid", err)
	}
	asBefore(t, n, door, driver.Material{})
}

// Without the socket certificates are installed by a reload, which may take long.
func TestInstallingByAReload(t *testing.T) {
	t.Parallel()
	n := lab.StartHAProxy(t, lab.HAProxySettings{NoSocket: true})
	n.Socket = ""
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
	time.Sleep(500 * time.Millisecond)
	asBefore(t, n, door, driver.Material{})

	halt(syscall.SIGSTOP)
	time.AfterFunc(700*time.Millisecond, func() { syscall.Kill(n.PID, syscall.SIGCONT) })
	next := n.PKI.Localhost(t)
	for _, want := range []bool{true, false} {
		installed, err := drivertest.Install(t, opened(t, n), host.Local(), next)
		if err != nil || installed.Changed.Changed != want || len(installed.Shown) != 1 || !installed.Shown[0].Is(next.Public) {
			t.Errorf("a while: %+v, %v; want a change: %v", installed, err, want)
		}
	}
}

// The key may be in a file beside the certificate.
func TestKeyBesideTheCertificate(t *testing.T) {
	t.Parallel()
	n := lab.StartHAProxy(t, lab.HAProxySettings{})
	chain, key := lab.MaterialPEM(t, n.Server)
	lab.Write(t, n.PEM, chain)
	lab.Write(t, n.PEM+".key", key)
	reload(t, n)
	next := n.PKI.Localhost(t)
	installed, err := drivertest.Install(t, opened(t, n), host.Local(), next)
	if err != nil || !slices.Contains(installed.How, "runtime-api") {
		t.Fatalf("%+v, %v", installed, err)
	}
	if chain, key := lab.MaterialPEM(t, next); lab.Read(t, n.PEM) != chain || lab.Read(t, n.PEM+".key") != key {
		t.Error("the files are not those of the new one")
	}
	reload(t, n)
	view := drivertest.Look(t, opened(t, n))
	for _, s := range view.Shown {
		if !s.Is(next.Public) || !s.Live && !s.Key {
			t.Errorf("%s shows %v, with its key: %v", s.At, s.Names(), s.Key)
		}
	}
}

// HAProxy 2.6 puts what is meant for one file into a transaction about another: nothing
// is set while somebody has one open, and one that we left behind is ended.
func TestOpenTransactions(t *testing.T) {
	t.Parallel()
	n := lab.StartHAProxy(t, lab.HAProxySettings{Listeners: []lab.HAProxyListener{{}, {Own: true}}})
	lab.Write(t, n.OwnPEMs[0], lab.BundlePEM(t, n.PKI.Localhost(t))) // another certificate, so that nobody waits for it
	ask(t, n, "set ssl cert "+n.OwnPEMs[0]+" <<\n"+lab.Read(t, n.OwnPEMs[0]))
	door := opened(t, n, "certificate", n.PEM)
	if _, err := drivertest.Install(t, door, host.Local(), n.PKI.Localhost(t)); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("somebody is at it: %v, want ErrUnavailable", err)
	}
	if got := ask(t, n, "commit ssl cert "+n.OwnPEMs[0]); !strings.Contains(got, "Success!") {
		t.Errorf("somebody's transaction is gone: %s", got)
	}
	ask(t, n, "set ssl cert "+n.PEM+" <<\n"+lab.BundlePEM(t, n.PKI.Localhost(t)))
	next := n.PKI.Localhost(t)
	if installed, err := drivertest.Install(t, door, host.Local(), next); err != nil || len(installed.Shown) != 1 {
		t.Errorf("one of ours is open: %+v, %v", installed, err)
	}
}

// HAProxy 2.6 says "Success!" to a certificate that is set after lists were, and goes on
// showing the one before.
func TestInstallingAfterListsWereSet(t *testing.T) {
	t.Parallel()
	n := lab.StartHAProxy(t, lab.HAProxySettings{Clients: true})
	door, alice := opened(t, n), n.PKI.Client(t, "alice")
	if blocked := drivertest.Block(t, door, driver.BlockRequest{Old: alice.Public, CRLs: n.PKI.CRLs(t, alice.Public)}); slices.Contains(blocked.How, "reload") {
		t.Errorf("Block says %q", blocked.How)
	}
	next := n.PKI.Localhost(t)
	for _, want := range []bool{true, false} {
		installed, err := drivertest.Install(t, door, host.Local(), next)
		if err != nil || installed.Changed.Changed != want || len(installed.Shown) != 1 || !installed.Shown[0].Is(next.Public) {
			t.Errorf("%+v, %v; want a change: %v", installed, err, want)
		}
	}
}

// A deaf host has an HAProxy that hears neither signals nor its socket, once a path was
// written.
type deaf struct {
	driver.Host
	path    string
	written bool
}

func (h *deaf) WriteFile(ctx context.Context, path string, content []byte, mode fs.FileMode) error {
	h.written = h.written || path == h.path
	return h.Host.WriteFile(ctx, path, content, mode)
}

func (h *deaf) Run(ctx context.Context, c driver.Command) (driver.Output, error) {
	if h.written && slices.Contains(c.Args, "USR2") {
		return driver.Output{}, nil
	}
	return h.Host.Run(ctx, c)
}

func (h *deaf) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if h.written && network == "unix" {
		return nil, syscall.ECONNREFUSED
	}
	return h.Host.Dial(ctx, network, address)
}

// Where HAProxy cannot be made to go by the old files again, the door may be worse than before.
func TestNothingIsHeardOfWhatIsPutBack(t *testing.T) {
	t.Parallel()
	for _, socket := range []bool{true, false} {
		n := lab.StartHAProxy(t, lab.HAProxySettings{NoSocket: !socket})
		if !socket {
			n.Socket = ""
		}
		_, err := drivertest.Install(t, opened(t, n, "patience", "300ms"), &deaf{Host: host.Local(), path: n.PEM}, n.PKI.Localhost(t))
		if !errors.Is(err, tallystick.ErrDamaged) || !errors.Is(err, tallystick.ErrUnavailable) {
			t.Errorf("with a socket (%v) it says %v, want ErrDamaged and ErrUnavailable", socket, err)
		}
		if lab.Read(t, n.PEM) != lab.BundlePEM(t, n.Server) {
			t.Error("the file is another")
		}
	}
}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	n := lab.StartHAProxy(t, lab.HAProxySettings{Clients: true})
	door, alice := opened(t, n), n.PKI.Client(t, "alice")
	if _, err := drivertest.Install(t, door, drivertest.FullDisk{Host: host.Local(), Path: n.PEM}, n.PKI.Localhost(t)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Install says %v", err)
	}
	_, err := door.Block(t.Context(), driver.BlockRequest{Host: drivertest.FullDisk{Host: host.Local(), Path: n.CRL}, Old: alice.Public, CRLs: n.PKI.CRLs(t, alice.Public), Now: time.Now})
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Block says %v", err)
	}
	asBefore(t, n, door, alice)
}

// Clients that ask all the time, on connections that stay and on new ones, lose nothing
// by a certificate that is replaced and by another client's that is blocked.
func TestNothingIsLostUnderLoad(t *testing.T) {
	t.Parallel()
	for _, deny := range []bool{true, false} {
		n := lab.StartHAProxy(t, lab.HAProxySettings{Clients: true, NoDeny: !deny, Listeners: []lab.HAProxyListener{{}, {}}})
		door, alice := opened(t, n), n.PKI.Client(t, "alice")
		load := lab.StartLoad(t, n.PKI, n.Addresses, n.PKI.Client(t, "bob"))
		for range 3 {
			if _, err := drivertest.Install(t, door, host.Local(), n.PKI.Localhost(t)); err != nil {
				t.Fatal(err)
			}
			drivertest.Block(t, door, driver.BlockRequest{Old: alice.Public, CRLs: n.PKI.CRLs(t, alice.Public)})
			if deny {
				drivertest.Block(t, door, driver.BlockRequest{Old: alice.Public, Lift: true})
			}
		}
		asked, failed := load.Stop()
		t.Logf("deny list %v: %d requests, %d failed", deny, asked, len(failed))
		if asked < 50 || len(failed) > 0 {
			t.Errorf("of %d requests %d failed: %q", asked, len(failed), failed[:min(5, len(failed))])
		}
	}
}
