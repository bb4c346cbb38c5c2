// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/internal/lab"
)

func TestDriver(t *testing.T) {
	t.Parallel()
	drivertest.Run(t, drivertest.Suite{Driver: Driver()})
}

// Only what is shown is of this suite: accounts are changed without a file or a command,
// which is what it makes fail.
func TestServerDoor(t *testing.T) {
	t.Parallel()
	drivertest.Doors(t, drivertest.DoorSuite{
		Verbs: []string{"install"},
		Reads: func(c driver.Command) bool { return c.Args[0] == "testparm" },
		Start: func(t *testing.T) drivertest.Door {
			p := lab.NewPKI(t)
			s := lab.StartSamba(t, p)
			return drivertest.Door{
				Opened: opened(t, s, nil), Host: host.Local(), Shown: s.Shown, Next: p.Named(t, lab.SambaHost),
				Good: func() error { return signsIn(s, p) },
			}
		},
	})
}

func opened(t *testing.T, s *lab.Samba, options map[string]string) any {
	t.Helper()
	all := map[string]string{
		"config": s.Config, "kdc-config": s.KDCConfig, "kdc": s.KDC, "restart": s.Restart,
		"listeners": fmt.Sprintf("ldaps://%s?sni=%s,ldap://%s?sni=%s", s.LDAPS, lab.SambaHost, s.LDAP, lab.SambaHost),
	}
	for name, value := range options {
		all[name] = value
	}
	return drivertest.Open[any](t, Driver(), all)
}

// signsIn binds over TLS with a password, as a client that knows the CA. A domain
// controller that is started again has some seconds.
func signsIn(s *lab.Samba, p *lab.PKI) error {
	roots := x509.NewCertPool()
	roots.AddCert(p.Root)
	var err error
	for range 100 {
		var conn *ldap.Conn
		conn, err = ldap.DialURL("ldaps://"+s.LDAPS, ldap.DialWithTLSConfig(&tls.Config{RootCAs: roots, ServerName: lab.SambaHost}), ldap.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}))
		if err == nil {
			err = conn.Bind(lab.SambaAdmin, lab.SambaPassword)
			conn.Close()
		}
		if err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// What clients cannot use is put back, and Samba is started with what was there.
func TestUnusableIsPutBack(t *testing.T) {
	t.Parallel()
	p := lab.NewPKI(t)
	s := lab.StartSamba(t, p)
	door := opened(t, s, map[string]string{"patience": "20s"}).(driver.Installer)
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader) // a curve that TLS 1.3 does not have (RFC 8446 section 4.2.3)
	if err != nil {
		t.Fatal(err)
	}
	leaf := p.Sign(t, &x509.Certificate{DNSNames: []string{lab.SambaHost}}, &key.PublicKey)
	next := driver.Material{Public: driver.Public{Chain: [][]byte{leaf.Raw, p.Sub.Raw}}, Key: key}
	_, err = door.Install(t.Context(), driver.InstallRequest{Host: host.Local(), New: next, Now: time.Now})
	if err == nil || errors.Is(err, tallystick.ErrDamaged) || !strings.Contains(err.Error(), s.LDAPS) {
		t.Errorf("it says %v", err)
	}
	if now, err := os.ReadFile(s.Cert); err != nil || string(now) != lab.CertificatePEM(s.Shown.Chain...) {
		t.Error("the old certificate was not put back")
	}
	if err := signsIn(s, p); err != nil {
		t.Error(err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, options := range []map[string]string{
		{"role": "both"}, {"config": "smb.conf"}, {"bind": "CN=x"}, {"password-file": "/x"}, {"kdc": "localhost"}, {"timeout": "1ms"},
		{"listeners": "https://localhost:443"}, {"listeners": "ldap://localhost:389", "bind": "CN=x", "password-file": "/x"}, {"restart": " "}, {"restart": "./x"},
	} {
		if _, err := Driver().Open(options); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v, want ErrInvalid", options, err)
		}
	}
}

// admin changes the directory as Samba itself.
func admin(t *testing.T, s *lab.Samba) *ldap.Conn {
	t.Helper()
	raw, err := net.Dial("unix", s.Socket)
	if err != nil {
		t.Fatal(err)
	}
	conn := ldap.NewConn(raw, false)
	conn.Start()
	t.Cleanup(func() { conn.Close() })
	return conn
}

func dn(name string) string { return "CN=" + name + ",CN=Users," + lab.SambaBase }

// addAccount makes one that can sign in.
func addAccount(t *testing.T, s *lab.Samba, name string, attributes map[string][]string) {
	t.Helper()
	request := ldap.NewAddRequest(dn(name), nil)
	request.Attribute("objectClass", []string{"user"})
	request.Attribute(attrName, []string{name})
	request.Attribute(attrUPN, []string{name + "@lab.test"})
	request.Attribute("unicodePwd", []string{adbytes.UnicodePwd(lab.SambaPassword)})
	request.Attribute(attrControl, []string{"512"})
	for attribute, values := range attributes {
		request.Attribute(attribute, values)
	}
	if err := admin(t, s).Add(request); err != nil {
		t.Fatal(err)
	}
}

// kinit asks for a ticket by a certificate as people do.
func kinit(t *testing.T, s *lab.Samba, m driver.Material, name string) error {
	t.Helper()
	dir := t.TempDir()
	chain, key := lab.MaterialPEM(t, m)
	for file, text := range map[string]string{"crt": chain, "key": key} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(lab.Program(t, "kinit"), "-X", "X509_user_identity=FILE:"+dir+"/crt,"+dir+"/key", name+"@"+lab.SambaRealm)
	cmd.Env = []string{"KRB5_CONFIG=" + s.ClientConfig, "KRB5CCNAME=FILE:" + dir + "/cache"}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("kinit: %w: %s", err, out)
	}
	return nil
}
