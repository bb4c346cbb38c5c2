// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	keystore "github.com/pavlo-v-chernykh/keystore-go/v4"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/internal/lab"
)

const passphrase = "correct horse"

func TestDriver(t *testing.T) {
	t.Parallel()
	drivertest.Run(t, drivertest.Suite{Driver: Driver()})
}

func door(t *testing.T, options map[string]string) *Door {
	t.Helper()
	if options["passphrase-file"] == "" {
		options["passphrase"] = passphrase
	}
	return drivertest.Open[*Door](t, Driver(), options)
}

// made makes a keystore by keytool, of one entry that is called web.
func made(t *testing.T, path, kind string, m driver.Material) {
	t.Helper()
	lab.Keytool(t, "-importkeystore", "-noprompt", "-srckeystore", pkcs12File(t, m), "-srcstoretype", "PKCS12", "-srcstorepass", passphrase,
		"-destkeystore", path, "-deststoretype", kind, "-deststorepass", passphrase)
}

// java compiles the server of testdata and starts it with its stores.
func java(t *testing.T, stores ...string) (address, reload string) {
	t.Helper()
	dir, port := t.TempDir(), lab.FreePort(t)
	text, err := exec.Command(lab.Program(t, "javac"), "-nowarn", "-XDignore.symbol.file", "-d", dir, "testdata/Server.java").CombinedOutput()
	if err != nil {
		t.Fatalf("javac: %v\n%s", err, text)
	}
	count := filepath.Join(dir, "generation")
	command := append([]string{lab.Program(t, "java"), "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", dir, "Server", strconv.Itoa(port), count, passphrase}, stores...)
	p := lab.Start(t, dir, nil, command, lab.Loopback(port))
	script := filepath.Join(dir, "reload.sh")
	lines := fmt.Sprintf("before=$(cat %[1]s)\nkill -HUP %[2]d || exit 1\nfor i in $(seq 500); do [ \"$(cat %[1]s)\" != \"$before\" ] && exit 0; sleep 0.01; done\nexit 1\n", count, p.PID)
	if err := os.WriteFile(script, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	return lab.Loopback(port), "sh " + script
}

// get signs in, with a certificate of a client unless it is nothing.
func get(p *lab.PKI, address string, client driver.Material) error {
	c := http.Client{Transport: &http.Transport{TLSClientConfig: p.ClientConfig(client), DisableKeepAlives: true}, Timeout: time.Minute}
	response, err := c.Get("https://" + address)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.ReadAll(response.Body)
	return err
}

func TestServer(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{
		Start: func(t *testing.T) drivertest.Door {
			p := lab.NewPKI(t)
			shown := p.Localhost(t)
			path := pkcs12File(t, shown)
			address, reload := java(t, path)
			return drivertest.Door{
				Opened: door(t, map[string]string{"path": path, "reload": reload, "listeners": "https://" + address + "?sni=localhost"}), Host: host.Local(),
				Shown: shown, Next: p.Localhost(t), Good: func() error { return get(p, address, driver.Material{}) },
			}
		},
	})
}

// pkcs12File writes a credential into a file, with the alias web.
func pkcs12File(t *testing.T, m driver.Material) string {
	t.Helper()
	content, err := writePKCS12(m, "web", passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return lab.File(t, "web.p12", string(content))
}

// trustedFile writes a truststore of certificates by their aliases.
func trustedFile(t *testing.T, all map[string][]byte) string {
	t.Helper()
	store := keystore.New(keystore.WithOrderedAliases())
	for alias, der := range all {
		if err := trust(store, alias, der, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	content, err := stored(store, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return lab.File(t, "clients.jks", string(content))
}

func TestTruststore(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{
		Start: func(t *testing.T) drivertest.Door {
			p := lab.NewPKI(t)
			client, bob := p.Client(t, "sync"), p.Client(t, "bob")
			path := trustedFile(t, map[string][]byte{"sync": client.Chain[0], "bob": bob.Chain[0]})
			address, reload := java(t, pkcs12File(t, p.Localhost(t)), path)
			return drivertest.Door{
				Opened: door(t, map[string]string{"path": path, "role": "truststore", "reload": reload}), Host: host.Local(),
				Client: client, NextClient: p.Client(t, "sync"),
				Listeners: []driver.Listener{{Address: address, Protocol: "https", ServerName: "localhost"}},
				Good:      func() error { return get(p, address, bob) },
			}
		},
	})
}

// keytool reads what the driver wrote, with the alias, and the other entries are there.
func TestKeytoolReadsIt(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"PKCS12", "JKS"} {
		p, path := lab.NewPKI(t), filepath.Join(t.TempDir(), "keystore")
		made(t, path, kind, p.Localhost(t))
		if kind == "JKS" {
			lab.Keytool(t, "-importcert", "-noprompt", "-alias", "partner", "-file", p.RootFile, "-keystore", path, "-storepass", passphrase)
		}
		next := p.Localhost(t)
		d := door(t, map[string]string{"path": path, "alias": "Web", "role": "client"})
		if _, err := d.Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: next, Now: time.Now}); err != nil {
			t.Fatal(err)
		}
		listed := lab.Keytool(t, "-list", "-rfc", "-keystore", path, "-storepass", passphrase)
		if !strings.Contains(listed, "Alias name: web\n") || !strings.Contains(listed, "Certificate chain length: 2") || !strings.Contains(strings.ReplaceAll(listed, "\r", ""), strings.TrimSpace(lab.CertificatePEM(next.Chain[0]))) {
			t.Errorf("%s: keytool lists\n%s", kind, listed)
		}
		if kind == "JKS" && !strings.Contains(listed, "Alias name: partner\n") {
			t.Error("the other entry is gone")
		}
		lab.Keytool(t, "-certreq", "-alias", "web", "-keystore", path, "-storepass", passphrase) // it signs, so the key can be used
	}
}

func TestNothingIsLost(t *testing.T) {
	t.Parallel()
	p, path := lab.NewPKI(t), filepath.Join(t.TempDir(), "keystore")
	made(t, path, "PKCS12", p.Localhost(t))
	lab.Keytool(t, "-genkeypair", "-alias", "second", "-keyalg", "EC", "-dname", "CN=second", "-keystore", path, "-storepass", passphrase)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := door(t, map[string]string{"path": path, "role": "client"})
	if _, err := d.Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: p.Localhost(t), Now: time.Now}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a file of two entries gives %v, want ErrInvalid", err)
	}
	if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
		t.Errorf("it was changed (%v)", err)
	}
	wrong, err := Driver().Open(map[string]string{"path": path, "passphrase": "wrong", "role": "client"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wrong.(*Door).Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: p.Localhost(t), Now: time.Now}); !errors.Is(err, tallystick.ErrInvalid) || strings.Contains(err.Error(), "wrong\"") {
		t.Errorf("a wrong passphrase gives %v, want ErrInvalid", err)
	}
}

func TestFirstKeystore(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"pkcs12", "jks"} {
		p, dir := lab.NewPKI(t), t.TempDir()
		path, secret := filepath.Join(dir, "keystore"), filepath.Join(dir, "secret")
		if err := os.WriteFile(secret, []byte(passphrase+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		d := door(t, map[string]string{"path": path, "type": kind, "alias": "new", "passphrase-file": secret, "role": "client"})
		for _, want := range []bool{true, false} {
			m := p.Localhost(t)
			for range 2 {
				done, err := d.Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: m, Now: time.Now})
				if err != nil || done.Changed.Changed == (done.How == nil) {
					t.Fatalf("%+v, %v (%v)", done, err, want)
				}
			}
			if got, alias, err := d.read(t.Context(), host.Local()); err != nil || alias != "new" || !got.Is(m.Public) || installing.Check(got, time.Now()) != nil {
				t.Errorf("%s: %v %q, %v", kind, got, alias, err)
			}
		}
	}
}

// One certificate of a CA that is trusted as a whole cannot be refused, and is not said to be.
func TestCertificatesOfACA(t *testing.T) {
	t.Parallel()
	p := lab.NewPKI(t)
	path := trustedFile(t, map[string][]byte{"ca": p.Root.Raw})
	d := door(t, map[string]string{"path": path, "role": "truststore"})
	client := p.Client(t, "sync")
	if _, err := d.Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: client.Public, Now: time.Now}); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), `"ca"`) {
		t.Errorf("it says %v", err)
	}
	if view, err := d.Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now}); err != nil || len(view.Authorities) != 1 || len(view.Accepts) != 0 {
		t.Errorf("%+v, %v", view, err)
	}
	if changed, err := d.Trust(t.Context(), driver.TrustRequest{Host: host.Local(), New: p.Client(t, "next").Public, Like: client.Public, Now: time.Now}); err != nil || !changed.Changed {
		t.Errorf("%+v, %v", changed, err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, options := range []map[string]string{
		{}, {"path": "/a"}, {"path": "a", "passphrase": "x"}, {"path": "/a", "passphrase": "x", "passphrase-file": "/b"}, {"path": "/a", "passphrase": "x", "role": "x"},
		{"path": "/a", "passphrase": "x", "type": "jceks"}, {"path": "/a", "passphrase": "x", "reload": "'"}, {"path": "/a", "passphrase": "x", "role": "client", "listeners": "tls://a:1"},
	} {
		if _, err := Driver().Open(options); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v, want ErrInvalid", options, err)
		}
	}
}

// FuzzRead reads keystores that others wrote.
func FuzzRead(f *testing.F) {
	p := lab.NewPKI(f)
	m := p.Localhost(f)
	content, err := writePKCS12(m, "web", passphrase)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	content, err = writeJKS(keystore.New(), m, "web", passphrase, passphrase, time.Now())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte("\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00\x01\x00\x00\x00\x01\x00\x01a\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, content []byte) {
		var err error
		if isJKS(content) {
			if store, failed := openJKS(content, passphrase); failed == nil {
				_, _, err = readJKS(store, "", passphrase)
				trusted(store)
			} else {
				err = failed
			}
		} else {
			_, _, err = openPKCS12(content, passphrase)
		}
		if err != nil && !errors.Is(err, tallystick.ErrInvalid) {
			t.Fatal(err)
		}
	})
}

// A file that asks for years of key derivation is not opened.
func TestWorkIsBounded(t *testing.T) {
	t.Parallel()
	content, err := writePKCS12(lab.NewPKI(t).Localhost(t), "web", passphrase)
	if err != nil {
		t.Fatal(err)
	}
	file, _, err := safes(content)
	if err != nil {
		t.Fatal(err)
	}
	file.MacData.Iterations = 1<<31 - 1
	if content, err = asn1.Marshal(file); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, _, err := openPKCS12(content, passphrase); !errors.Is(err, tallystick.ErrInvalid) || time.Since(began) > 10*time.Second {
		t.Errorf("after %v: %v", time.Since(began), err)
	}
}
