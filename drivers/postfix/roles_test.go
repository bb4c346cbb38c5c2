// SPDX-License-Identifier: Apache-2.0

package postfix_test

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/drivers/postfix"
	"github.com/tallystick/tallystick/internal/lab"
)

// A stubborn host has a Postfix that heeds no reload, as one whose processes go on does.
type stubborn struct{ driver.Host }

func (h stubborn) Run(ctx context.Context, c driver.Command) (driver.Output, error) {
	if slices.Contains(c.Args, "reload") {
		return driver.Output{}, nil
	}
	return h.Host.Run(ctx, c)
}

// What is not shown by every listener after the reload is put back.
func TestNotShownIsPutBack(t *testing.T) {
	t.Parallel()
	s := start(t, lab.PostfixSettings{}, map[string]string{"patience": "500ms"})
	if err := s.good(t); err != nil { // so that there are processes that wait
		t.Fatal(err)
	}
	_, err := s.door.(driver.Installer).Install(t.Context(), driver.InstallRequest{Host: stubborn{host.Local()}, New: s.PKI.Localhost(t), Now: time.Now})
	if err == nil || errors.Is(err, tallystick.ErrDamaged) {
		t.Errorf("it gives %v, want an error without damage", err)
	}
	// An smtpd that began meanwhile goes on with what it read, until a reload that is heeded.
	if _, err := installing.Run(t.Context(), host.Local(), "postfix", "-c", s.Config, "reload"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second)
	s.unchanged(t)
}

// A configuration that `postfix check` refuses is not loaded.
func TestCheckerSaysNo(t *testing.T) {
	t.Parallel()
	s := start(t, lab.PostfixSettings{}, nil)
	path := filepath.Join(s.Config, "main.cf")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, "meta_directory = /nonexistent\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := drivertest.Install(t, s.door, host.Local(), s.PKI.Localhost(t)); !errors.Is(err, tallystick.ErrInvalid) || errors.Is(err, tallystick.ErrDamaged) {
		t.Errorf("it gives %v, want ErrInvalid", err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	s.unchanged(t)
}

// unchanged looks that the server shows what it showed at first, and serves.
func (s *server) unchanged(t *testing.T) {
	t.Helper()
	if err := s.good(t); err != nil {
		t.Error(err)
	}
	shown := s.look(t).Shown
	if len(shown) != 3 {
		t.Errorf("it shows %d credentials, want one in a file and at two listeners", len(shown))
	}
	for _, one := range shown {
		if !one.Is(s.Server.Public) {
			t.Errorf("%s shows something else", one.At)
		}
	}
}

// A Postfix that signs in elsewhere uses the new certificate after Install: the old one is
// blocked there then, and its mail still arrives.
func TestClient(t *testing.T) {
	t.Parallel()
	s := start(t, lab.PostfixSettings{MapType: "lmdb"}, nil)
	text, key := lab.MaterialPEM(t, s.alice)
	file := lab.File(t, "client.pem", key+text)
	_, port, _ := strings.Cut(s.SMTP, ":")
	relay := lab.StartPostfix(t, lab.PostfixSettings{PKI: s.PKI, Main: fmt.Sprintf(`mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_tls_ask_ccert = no
virtual_mailbox_domains =
default_transport = smtp
relayhost = [127.0.0.1]:%s
smtpd_tls_security_level = none
smtp_tls_security_level = encrypt
smtp_tls_chain_files = %s
smtp_tls_session_cache_database = btree:$data_directory/smtp_scache
`, port, file)})
	door := open(t, relay, map[string]string{"role": "client"})
	deliver := func(id string) {
		t.Helper()
		message := "Message-ID: <" + id + ">\r\n\r\nhello\r\n"
		if err := smtp.SendMail(relay.SMTP, nil, "load@lab.test", []string{lab.Recipient}, []byte(message)); err != nil {
			t.Fatal(err)
		}
		relay.AwaitDelivery(t)
		if n := s.AwaitDelivery(t)[id]; n != 1 {
			t.Fatalf("message %s was delivered %d times", id, n)
		}
	}
	deliver("1@load.test")
	next := s.PKI.Client(t, "alice")
	if _, err := s.door.(driver.Truster).Trust(t.Context(), driver.TrustRequest{Host: host.Local(), New: next.Public, Like: s.alice.Public, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	for n, want := range []bool{true, false} {
		if installed, err := drivertest.Install(t, door, host.Local(), next); err != nil || installed.Changed.Changed != want || len(installed.Shown) != 1 {
			t.Fatalf("install %d: %+v, %v", n, installed, err)
		}
	}
	s.block(t, s.alice)
	deliver("2@load.test")
	view, err := door.(driver.Looker).Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	if err != nil || len(view.Shown) != 1 || !view.Shown[0].Is(next.Public) || len(view.Listeners) > 0 {
		t.Errorf("look: %+v, %v", view, err)
	}
	for _, verb := range []string{"trust", "block"} {
		if driver.Offers(door, verb) || !driver.Offers(s.door, verb) {
			t.Errorf("a client offers %s, or a server does not", verb)
		}
	}
	if _, err := door.(driver.Blocker).Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: s.alice.Public, Now: time.Now}); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a client that should block gives %v", err)
	}
}

// Where the fingerprint of the public key is listed, a certificate that somebody makes
// of a stolen key is refused as well.
func TestBlockedByKey(t *testing.T) {
	t.Parallel()
	pki := lab.NewPKI(t)
	alice, carol := pki.Client(t, "alice"), pki.Client(t, "carol")
	p := lab.StartPostfix(t, lab.PostfixSettings{PKI: pki, MapType: "lmdb", Clients: map[string]string{keyPrint(t, alice): "alice", fingerprint(carol): "carol"}})
	s := &server{Postfix: p, alice: alice, carol: carol, door: open(t, p, nil)}
	own := selfSigned(t, alice)
	s.gets(t, s.alice, driver.OutcomeAccepted)
	s.gets(t, own, driver.OutcomeAccepted)
	s.block(t, s.alice)
	s.gets(t, s.alice, driver.OutcomeRefused)
	s.gets(t, own, driver.OutcomeRefused)
	s.gets(t, s.carol, driver.OutcomeAccepted)
}

func selfSigned(t *testing.T, of driver.Material) driver.Material {
	t.Helper()
	c, err := x509.ParseCertificate(of.Chain[0])
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, of.Key.Public(), of.Key)
	if err != nil {
		t.Fatal(err)
	}
	return driver.Material{Public: driver.Public{Chain: [][]byte{der}}, Key: of.Key}
}

// Where every certificate of a CA gets in, only a table of refusals keeps one out.
func TestEverybodyOfACA(t *testing.T) {
	t.Parallel()
	s := start(t, lab.PostfixSettings{MapType: "lmdb", Clients: map[string]string{}, Main: "smtpd_relay_restrictions = permit_tls_all_clientcerts, reject\n"}, nil)
	s.gets(t, s.alice, driver.OutcomeAccepted)
	if changed, err := s.door.(driver.Truster).Trust(t.Context(), driver.TrustRequest{Host: host.Local(), New: s.bob.Public, Like: s.alice.Public, Now: time.Now}); err != nil || changed.Changed {
		t.Errorf("trust: %+v, %v; want nothing to do", changed, err)
	}
	s.block(t, s.alice)
	s.gets(t, s.alice, driver.OutcomeRefused)
	s.gets(t, s.carol, driver.OutcomeAccepted)
	if n := len(s.look(t).Authorities); n != 2 {
		t.Errorf("look sees %d CAs", n)
	}
	postconf(t, s.Postfix, "smtpd_client_restrictions=")
	_, err := s.door.(driver.Blocker).Block(t.Context(), driver.BlockRequest{Host: host.Local(), Old: s.bob.Public, Now: time.Now})
	if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "check_ccert_access") {
		t.Errorf("without a table it gives %v, want ErrInvalid that names the setting", err)
	}
}

func postconf(t *testing.T, p *lab.Postfix, setting string) {
	t.Helper()
	for _, args := range [][]string{{"postconf", "-c", p.Config, "-e", setting}, {"postfix", "-c", p.Config, "reload"}} {
		if out, err := exec.Command(lab.Program(t, args[0]), args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v\n%s", args, err, out)
		}
	}
}

// Where it is not logged whose certificate a connection has, those that are open are named.
func TestOpenConnectionsAreNamed(t *testing.T) {
	t.Parallel()
	s := start(t, lab.PostfixSettings{Main: "smtpd_tls_loglevel = 1\n"}, nil)
	held := s.probe(t, driver.ProbeRequest{Credential: s.alice, Hold: true})
	blocked := s.block(t, s.alice)
	if blocked.Closed != 0 || len(blocked.Left) < len(held.Open) || len(held.Open) == 0 {
		t.Errorf("%d are open, %+v", len(held.Open), blocked)
	}
	for _, open := range held.Open {
		open.Close()
	}
}

// Two certificates: the door says which it is about, or nothing is done.
func TestSeveralCertificates(t *testing.T) {
	t.Parallel()
	s := start(t, lab.PostfixSettings{}, nil)
	key := lab.NewRSAKey(t, 2048)
	old := s.PKI.Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}}, &key.PublicKey)
	text, private := lab.MaterialPEM(t, driver.Material{Public: driver.Public{Chain: [][]byte{old.Raw, s.PKI.Sub.Raw}}, Key: key})
	second, keyFile := lab.File(t, "rsa.pem", text), lab.File(t, "rsa.key", private)
	postconf(t, s.Postfix, "smtpd_tls_chain_files="+s.ChainFile+", "+keyFile+", "+second)
	look := func(options map[string]string) (driver.View, error) {
		return open(t, s.Postfix, options).(driver.Looker).Look(t.Context(), driver.LookRequest{Host: host.Local(), Now: time.Now})
	}
	if _, err := look(nil); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "option certificate") {
		t.Errorf("without the option it gives %v", err)
	}
	next := s.PKI.Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"}}, &key.PublicKey)
	door := open(t, s.Postfix, map[string]string{"certificate": second})
	if _, err := drivertest.Install(t, door, host.Local(), s.PKI.Localhost(t)); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a key of another kind gives %v", err)
	}
	m := driver.Material{Public: driver.Public{Chain: [][]byte{next.Raw, s.PKI.Sub.Raw}}, Key: key}
	installed, err := drivertest.Install(t, door, host.Local(), m)
	if err != nil || len(installed.Shown) != 2 {
		t.Errorf("install: %+v, %v", installed, err)
	}
	if text, err := os.ReadFile(filepath.Clean(s.ChainFile)); err != nil || !strings.HasPrefix(string(text), "-----BEGIN PRIVATE KEY") {
		t.Errorf("the other certificate's file: %v", err)
	}
}

func TestOptions(t *testing.T) {
	for _, options := range []map[string]string{
		{"config": "etc"}, {"role": "both"}, {"certificate": "tls.pem"}, {"recipient": "a@b>\r\nDATA"}, {"patience": "0s"},
	} {
		if _, err := postfix.Driver().Open(options); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v, want ErrInvalid", options, err)
		}
	}
}
