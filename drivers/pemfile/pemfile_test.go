// SPDX-License-Identifier: Apache-2.0

package pemfile

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/internal/lab"
)

func TestDriver(t *testing.T) {
	t.Parallel()
	drivertest.Run(t, drivertest.Suite{Driver: Driver()})
}

func opened(t *testing.T, options map[string]string) *Door {
	t.Helper()
	return drivertest.Open[*Door](t, Driver(), options)
}

// webOptions are those of a door that is an nginx.
func webOptions(n *lab.Nginx, t *testing.T) map[string]string {
	nginx := lab.Program(t, "nginx") + " -c " + n.Config + " -e " + n.ErrorLog
	return map[string]string{
		"certificate": n.Chain, "key": n.Key, "check": nginx + " -t -q", "reload": nginx + " -s reload",
		"listeners": "https://" + strings.Join(n.Addresses, "?sni=localhost,https://") + "?sni=localhost", "patience": "5s",
	}
}

func TestServer(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{
		Start: func(t *testing.T) drivertest.Door {
			n := lab.StartNginx(t, lab.NginxSettings{Listeners: []lab.NginxListener{{}, {}}})
			return drivertest.Door{
				Opened: opened(t, webOptions(n, t)), Host: host.Local(), Shown: n.Server, Next: n.PKI.Localhost(t),
				Good: n.PKI.Gets(n.Addresses, driver.Material{}),
			}
		},
		Reads: func(c driver.Command) bool { return c.Args[len(c.Args)-1] == "-q" },
	})
}

// A client's program takes its files up by a command alone, so that nobody can see
// whether it has.
func TestClient(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{
		Start: func(t *testing.T) drivertest.Door {
			p, dir := lab.NewPKI(t), t.TempDir()
			bundle, taken := filepath.Join(dir, "client.pem"), filepath.Join(dir, "taken.pem")
			shown := p.Client(t, "sync")
			text, err := installing.PEM(shown, installing.Key, installing.Chain)
			if err != nil {
				t.Fatal(err)
			}
			for _, path := range []string{bundle, taken} {
				if err := os.WriteFile(path, text, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			return drivertest.Door{
				Opened: opened(t, map[string]string{"bundle": bundle, "key-first": "true", "role": "client", "reload": "cp " + bundle + " " + taken}),
				Host:   host.Local(), Shown: shown, Next: p.Client(t, "sync"),
				Good: func() error { _, err := tls.LoadX509KeyPair(taken, taken); return err },
			}
		},
	})
}

// What was killed before the command has run is known by the journal.
func TestKilledBeforeTheReload(t *testing.T) {
	t.Parallel()
	p, dir := lab.NewPKI(t), t.TempDir()
	old, next, path, log := p.Client(t, "sync"), p.Client(t, "sync"), filepath.Join(dir, "client.pem"), filepath.Join(dir, "log")
	text, err := installing.PEM(old, installing.Chain, installing.Key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	door := opened(t, map[string]string{"bundle": path, "role": "client", "reload": "sh -c 'echo read >>" + log + "'"})
	h := drivertest.Faulty(host.Local())
	request := driver.InstallRequest{Host: h, New: next, Now: time.Now, Keep: func(m driver.Material) error {
		if !m.Is(old.Public) || m.Key == nil {
			t.Errorf("%v is kept, with a key: %v", m, m.Key != nil)
		}
		return nil
	}}
	h.Fail(2, drivertest.Killed, nil) // the journal, and then the bundle
	if _, err := door.Install(t.Context(), request); err == nil {
		t.Fatal("it was not killed")
	}
	h.Fail(0, drivertest.Never, nil)
	for range 2 {
		if _, err := door.Install(t.Context(), request); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(log); err != nil || string(got) != "read\n" {
		t.Errorf("the program was made to read %q (%v)", got, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("there are %v (%v)", left, err)
	}
}

// fixture is a door at files in a directory, with an old credential in them.
func fixture(t *testing.T, options map[string]string) (*Door, *lab.PKI, driver.Material, map[string]string) {
	t.Helper()
	p, dir := lab.NewPKI(t), t.TempDir()
	all := map[string]string{"certificate": filepath.Join(dir, "tls.crt"), "key": filepath.Join(dir, "tls.key")}
	maps.Copy(all, options)
	old := p.Localhost(t)
	chain, key := lab.MaterialPEM(t, old)
	for path, text := range map[string]string{all["certificate"]: chain, all["key"]: key} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return opened(t, all), p, old, all
}

func TestFilesOfTheirOwn(t *testing.T) {
	t.Parallel()
	chain := filepath.Join(t.TempDir(), "chain.pem")
	door, p, _, options := fixture(t, map[string]string{"chain": chain})
	next := p.Localhost(t)
	if _, err := door.Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: next, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{options["certificate"]: lab.CertificatePEM(next.Chain[0]), chain: lab.CertificatePEM(p.Sub.Raw), options["key"]: lab.KeyPEM(t, next.Key)} {
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("%s holds %d bytes (%v)", path, len(got), err)
		}
	}
}

// Files that hold the new credential in another form are left as somebody made them.
func TestOtherFormIsLeft(t *testing.T) {
	t.Parallel()
	door, _, old, options := fixture(t, nil)
	text := "# our shop\n" + lab.CertificatePEM(old.Chain...)
	if err := os.WriteFile(options["certificate"], []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if done, err := door.Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: old, Now: time.Now}); err != nil || done.Changed.Changed {
		t.Errorf("%+v, %v", done, err)
	}
	if got, err := os.ReadFile(options["certificate"]); err != nil || string(got) != text {
		t.Errorf("it holds %q (%v)", got, err)
	}
}

func TestFirstCredentialOfAll(t *testing.T) {
	t.Parallel()
	p, path := lab.NewPKI(t), filepath.Join(t.TempDir(), "new.pem")
	door := opened(t, map[string]string{"bundle": path})
	view, err := door.Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	if err != nil || len(view.Shown) > 0 || len(view.Notes) == 0 {
		t.Errorf("%+v, %v", view, err)
	}
	if _, err := door.Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: p.Localhost(t), Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// What the check refuses, or what lacks a name, never reaches the program.
func TestRefusedIsPutBack(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	door, p, old, options := fixture(t, map[string]string{"check": "sh -c 'echo bad directive >&2; exit 1'", "reload": "touch " + log})
	other := p.Material(t, &x509.Certificate{Subject: pkix.Name{CommonName: "other"}, DNSNames: []string{"other"}})
	for _, next := range []driver.Material{p.Localhost(t), other} {
		_, err := door.Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: next, Now: time.Now})
		if err == nil || !strings.Contains(err.Error(), "bad directive") && !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("it says %v", err)
		}
		if there, err := door.read(t.Context(), host.Local()); err != nil || !there.Is(old.Public) || there.Key == nil {
			t.Errorf("there is %v in %s (%v)", there, options["certificate"], err)
		}
	}
	if _, err := os.Stat(log); err == nil {
		t.Error("the program read what was refused")
	}
}

// A server that reloads and goes on with the old certificate on one listener is found
// out, and everything is put back.
func TestOneListenerStays(t *testing.T) {
	t.Parallel()
	n := lab.StartNginx(t, lab.NginxSettings{Listeners: []lab.NginxListener{{}, {Own: true}}})
	options := webOptions(n, t)
	options["patience"] = "3s" // within which the other one must have changed
	next := n.PKI.Localhost(t)
	_, err := opened(t, options).Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: next, Now: time.Now})
	if err == nil || !strings.Contains(err.Error(), n.Addresses[1]) || strings.Contains(err.Error(), n.Addresses[0]) || errors.Is(err, tallystick.ErrDamaged) {
		t.Errorf("it says %v", err)
	}
	var listeners []driver.Listener
	for _, address := range n.Addresses {
		listeners = append(listeners, driver.Listener{Address: address, Protocol: "https", ServerName: "localhost"})
	}
	if _, err := installing.ServedEverywhere(t.Context(), host.Local(), listeners, n.Server.Public, time.Second, time.Now); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, options := range []map[string]string{
		{}, {"certificate": "/a"}, {"bundle": "/a", "key": "/b"}, {"bundle": "a"}, {"bundle": "/a", "role": "both"}, {"bundle": "/a", "reload": "systemctl 'x"},
		{"bundle": "/a", "reload": "./reload"}, {"bundle": "/a", "listeners": "localhost:443"}, {"bundle": "/a", "listeners": "tls://localhost"},
		{"bundle": "/a", "role": "client", "listeners": "tls://localhost:443"}, {"bundle": "/a", "timeout": "1ms"},
	} {
		if _, err := Driver().Open(options); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v, want ErrInvalid", options, err)
		}
	}
}
