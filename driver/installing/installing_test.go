// SPDX-License-Identifier: Apache-2.0

package installing_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/ssh"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/installing"
	"github.com/tallystick/tallystick/internal/lab"
)

// server makes a credential of the PKI's intermediate.
func server(t *testing.T, p *lab.PKI, names ...string) driver.Material {
	t.Helper()
	key := lab.NewKey(t)
	leaf := p.Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, key.Public())
	return driver.Material{Public: driver.Public{Chain: [][]byte{leaf.Raw, p.Sub.Raw}}, Key: key}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	p, other := lab.NewPKI(t), lab.NewPKI(t)
	good := server(t, p, "www.lab.test")
	if err := installing.Check(good, time.Now()); err != nil {
		t.Error(err)
	}
	with := func(change func(*driver.Material)) driver.Material {
		m := good
		change(&m)
		return m
	}
	for what, row := range map[string]struct {
		material driver.Material
		now      time.Time
	}{
		"nothing":          {driver.Material{}, time.Now()},
		"no key":           {with(func(m *driver.Material) { m.Key = nil }), time.Now()},
		"another key":      {with(func(m *driver.Material) { m.Key = lab.NewKey(t) }), time.Now()},
		"another kind":     {with(func(m *driver.Material) { m.Key = newEd25519(t) }), time.Now()},
		"another chain":    {with(func(m *driver.Material) { m.Chain = [][]byte{good.Chain[0], other.Sub.Raw} }), time.Now()},
		"no certificate":   {with(func(m *driver.Material) { m.Chain = [][]byte{good.Chain[0], []byte("no")} }), time.Now()},
		"ended":            {good, time.Now().AddDate(1, 0, 0)},
		"not begun":        {good, time.Now().AddDate(-1, 0, 0)},
		"an SSH key of no": {with(func(m *driver.Material) { m.Chain, m.SSH = nil, []byte("no") }), time.Now()},
	} {
		if err := installing.Check(row.material, row.now); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s gives %v, want ErrInvalid", what, err)
		}
	}
}

func newEd25519(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestCheckOfSSH(t *testing.T) {
	t.Parallel()
	key := newEd25519(t)
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	certificate := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.HostCert, ValidAfter: uint64(now.Add(-time.Hour).Unix()), ValidBefore: uint64(now.Add(time.Hour).Unix())}
	forever := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.HostCert, ValidBefore: ssh.CertTimeInfinity}
	for _, c := range []*ssh.Certificate{certificate, forever} {
		if err := c.SignCert(rand.Reader, signer); err != nil {
			t.Fatal(err)
		}
		if err := installing.Check(driver.Material{Public: driver.Public{SSH: c.Marshal()}, Key: key}, now); err != nil {
			t.Error(err)
		}
	}
	for what, m := range map[string]driver.Material{
		"another key": {Public: driver.Public{SSH: signer.PublicKey().Marshal()}, Key: newEd25519(t)},
		"no key":      {Public: driver.Public{SSH: certificate.Marshal()}},
	} {
		if err := installing.Check(m, now); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s gives %v, want ErrInvalid", what, err)
		}
	}
	if err := installing.Check(driver.Material{Public: driver.Public{SSH: certificate.Marshal()}, Key: key}, now.Add(2*time.Hour)); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("one that has ended gives %v", err)
	}
}

func TestCovers(t *testing.T) {
	t.Parallel()
	p, key := lab.NewPKI(t), lab.NewKey(t)
	upn, err := asn1.Marshal(struct{ Raw []asn1.RawValue }{[]asn1.RawValue{{Class: 2, Tag: 0, IsCompound: true, Bytes: []byte{6, 1, 42, 0xa0, 2, 12, 0}}}}.Raw)
	if err != nil {
		t.Fatal(err)
	}
	other := []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: upn}}
	spiffe, _ := url.Parse("spiffe://lab.test/web")
	for what, row := range map[string]struct {
		next, old x509.Certificate
		want      bool
	}{
		"same":          {x509.Certificate{DNSNames: []string{"a.test"}}, x509.Certificate{DNSNames: []string{"A.test"}}, true},
		"more":          {x509.Certificate{DNSNames: []string{"a.test", "b.test"}}, x509.Certificate{DNSNames: []string{"b.test"}}, true},
		"fewer":         {x509.Certificate{DNSNames: []string{"a.test"}}, x509.Certificate{DNSNames: []string{"a.test", "b.test"}}, false},
		"none":          {x509.Certificate{}, x509.Certificate{DNSNames: []string{"b.test"}}, false},
		"wildcard":      {x509.Certificate{DNSNames: []string{"*.b.test"}}, x509.Certificate{DNSNames: []string{"a.b.test"}}, true},
		"deeper":        {x509.Certificate{DNSNames: []string{"*.b.test"}}, x509.Certificate{DNSNames: []string{"x.a.b.test"}}, false},
		"wildcards":     {x509.Certificate{DNSNames: []string{"*.b.test"}}, x509.Certificate{DNSNames: []string{"*.b.test"}}, true},
		"no wildcard":   {x509.Certificate{DNSNames: []string{"a.b.test"}}, x509.Certificate{DNSNames: []string{"*.b.test"}}, false},
		"address":       {x509.Certificate{DNSNames: []string{"a.test"}}, x509.Certificate{DNSNames: []string{"a.test"}, IPAddresses: []net.IP{net.IPv6loopback}}, false},
		"with address":  {x509.Certificate{IPAddresses: []net.IP{net.IPv6loopback, net.IPv4(127, 0, 0, 1)}}, x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, true},
		"mail":          {x509.Certificate{EmailAddresses: []string{"a@b.test"}}, x509.Certificate{EmailAddresses: []string{"c@b.test"}}, false},
		"uri":           {x509.Certificate{URIs: []*url.URL{spiffe}}, x509.Certificate{URIs: []*url.URL{spiffe}}, true},
		"without uri":   {x509.Certificate{DNSNames: []string{"a.test"}}, x509.Certificate{DNSNames: []string{"a.test"}, URIs: []*url.URL{spiffe}}, false},
		"other":         {x509.Certificate{ExtraExtensions: other}, x509.Certificate{ExtraExtensions: other}, true},
		"without other": {x509.Certificate{DNSNames: []string{"a.test"}}, x509.Certificate{ExtraExtensions: other}, false},
		"common name":   {x509.Certificate{Subject: pkix.Name{CommonName: "a"}}, x509.Certificate{Subject: pkix.Name{CommonName: "a"}}, true},
		"its name":      {x509.Certificate{DNSNames: []string{"a.test"}}, x509.Certificate{Subject: pkix.Name{CommonName: "a.test"}}, true},
		"another name":  {x509.Certificate{Subject: pkix.Name{CommonName: "b"}}, x509.Certificate{Subject: pkix.Name{CommonName: "a"}}, false},
		"nameless":      {x509.Certificate{}, x509.Certificate{}, true},
	} {
		err := installing.Covers(p.Sign(t, &row.next, key.Public()), p.Sign(t, &row.old, key.Public()))
		if (err == nil) != row.want || err != nil && !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s gives %v", what, err)
		}
	}
}

func TestPEMGoesAndComes(t *testing.T) {
	t.Parallel()
	p := lab.NewPKI(t)
	m := server(t, p, "www.lab.test")
	text, err := installing.PEM(m, installing.Key, installing.Above, installing.Leaf)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		kinds = append(kinds, block.Type)
	}
	if d := cmp.Diff([]string{"PRIVATE KEY", "CERTIFICATE", "CERTIFICATE"}, kinds); d != "" {
		t.Error(d)
	}
	// The root and strangers are no part of the credential.
	chain, err := installing.PEM(m, installing.Chain, installing.Key)
	if err != nil {
		t.Fatal(err)
	}
	text = append(chain, lab.CertificatePEM(p.Root.Raw, lab.NewPKI(t).Sub.Raw)...)
	got, err := installing.ReadPEM(text)
	if err != nil || cmp.Diff(m.Chain, got.Chain) != "" || installing.Check(got, time.Now()) != nil {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := installing.ReadPEM([]byte(lab.CertificatePEM(m.Chain...))); err != nil || got.Key != nil {
		t.Errorf("without a key: %v, %v", got.Key, err)
	}
	if _, err := installing.PEM(driver.Material{Public: m.Public}, installing.Key); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a key that is not there is written: %v", err)
	}
}

func TestReadPEMOfEveryKindOfKey(t *testing.T) {
	t.Parallel()
	p := lab.NewPKI(t)
	leaf := lab.CertificatePEM(server(t, p, "www.lab.test").Chain...)
	rsaKey := lab.NewRSAKey(t, 2048)
	ec, err := x509.MarshalECPrivateKey(lab.NewKey(t))
	if err != nil {
		t.Fatal(err)
	}
	for what, block := range map[string]*pem.Block{
		"PKCS #1": {Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}, "SEC 1": {Type: "EC PRIVATE KEY", Bytes: ec},
	} {
		if got, err := installing.ReadPEM(append(pem.EncodeToMemory(block), leaf...)); err != nil || got.Key == nil {
			t.Errorf("%s: %v, %v", what, got.Key, err)
		}
	}
	sealed := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("sealed")})
	if got, err := installing.ReadPEM(append(sealed, leaf...)); err != nil || got.Key != nil {
		t.Errorf("a key under a passphrase: %v, %v", got.Key, err)
	}
	for what, text := range map[string]string{
		"nothing": "", "a key alone": lab.KeyPEM(t, rsaKey), "no certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
		"no key": leaf + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "too many": strings.Repeat(leaf, 60),
	} {
		if _, err := installing.ReadPEM([]byte(text)); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s gives %v, want ErrInvalid", what, err)
		}
	}
}

func FuzzReadPEM(f *testing.F) {
	p := lab.NewPKI(f)
	f.Add([]byte(lab.CertificatePEM(p.Sub.Raw, p.Root.Raw) + lab.KeyPEM(f, p.SubKey)))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := installing.ReadPEM(text)
		if err != nil {
			if !errors.Is(err, tallystick.ErrInvalid) {
				t.Fatal(err)
			}
			return
		}
		if len(m.Chain) == 0 || len(m.Names()) == 0 {
			t.Fatal("a credential without a name")
		}
		again, err := installing.PEM(m, installing.Chain)
		if err != nil {
			t.Fatal(err)
		}
		if read, err := installing.ReadPEM(again); err != nil || cmp.Diff(m.Chain, read.Chain) != "" {
			t.Fatalf("it is read again as another: %v", err)
		}
		if leaf, err := x509.ParseCertificate(m.Chain[0]); err == nil && installing.Covers(leaf, leaf) != nil && len(leaf.DNSNames) == 0 {
			t.Fatal("it does not cover itself")
		}
	})
}

func TestRun(t *testing.T) {
	t.Parallel()
	if text, err := installing.Run(t.Context(), host.Local(), "echo", "a", "b"); err != nil || text != "a b\n" {
		t.Errorf("%q, %v", text, err)
	}
	_, err := installing.Run(t.Context(), host.Local(), "sh", "-c", "yes first | head -1000 >&2; printf 'nginx: \x1b[31mno such file\nnginx: test failed\n' >&2; exit 3")
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.HasSuffix(err.Error(), "no such file; nginx: test failed") || len(err.Error()) > 400 || strings.Contains(err.Error(), "\x1b") {
		t.Errorf("it says %v", err)
	}
}

// A stage is a TLS server whose certificates can be changed while it runs.
func stage(t *testing.T, certificates func() []tls.Certificate) driver.Listener {
	t.Helper()
	address := lab.ServeTLS(t, &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: certificates()}, nil
	}})
	return driver.Listener{Address: address, Protocol: "tls", ServerName: "www.lab.test"}
}

func pair(m driver.Material) tls.Certificate {
	return tls.Certificate{Certificate: m.Chain, PrivateKey: m.Key}
}

func TestServedEverywhere(t *testing.T) {
	t.Parallel()
	p := lab.NewPKI(t)
	old, next := server(t, p, "www.lab.test"), server(t, p, "www.lab.test")
	rsaKey := lab.NewRSAKey(t, 2048)
	second := driver.Material{Key: rsaKey, Public: driver.Public{Chain: [][]byte{p.Sign(t, &x509.Certificate{DNSNames: []string{"www.lab.test"}}, rsaKey.Public()).Raw, p.Sub.Raw}}}
	began := time.Now()
	good := stage(t, func() []tls.Certificate { return []tls.Certificate{pair(next)} })
	both := stage(t, func() []tls.Certificate { return []tls.Certificate{pair(next), pair(second)} })
	late := stage(t, func() []tls.Certificate {
		if time.Since(began) < 200*time.Millisecond {
			return []tls.Certificate{pair(old)}
		}
		return []tls.Certificate{pair(next)}
	})
	shown, err := installing.ServedEverywhere(t.Context(), host.Local(), []driver.Listener{good, both, late}, next.Public, 5*time.Second, time.Now)
	if err != nil || len(shown) != 3 {
		t.Fatalf("%d, %v", len(shown), err)
	}
	for _, s := range shown {
		if !s.Live || !bytes.Equal(s.Chain[0], next.Chain[0]) {
			t.Errorf("%+v", s)
		}
	}
	stale := stage(t, func() []tls.Certificate { return []tls.Certificate{pair(old)} })
	alone := stage(t, func() []tls.Certificate { return []tls.Certificate{pair(second)} })
	for _, l := range []driver.Listener{stale, alone, {Address: "127.0.0.1:1", Protocol: "tls"}} {
		_, err := installing.ServedEverywhere(t.Context(), host.Local(), []driver.Listener{good, l}, next.Public, 50*time.Millisecond, time.Now)
		if err == nil || !strings.Contains(err.Error(), l.Address) || strings.Contains(err.Error(), good.Address) {
			t.Errorf("%s: %v", l.Address, err)
		}
	}
}

func TestReplaceable(t *testing.T) {
	t.Parallel()
	p := lab.NewPKI(t)
	old, next, elsewhere := server(t, p, "www.lab.test"), server(t, p, "www.lab.test"), server(t, p, "elsewhere.lab.test")
	key := driver.Material{Public: driver.Public{SSH: []byte("key")}, Key: next.Key}
	mixed := driver.Material{Public: old.Public, Key: next.Key}
	full := errors.New("full")
	for what, row := range map[string]struct {
		next, old driver.Material
		keep      error
		kept      bool
		want      error
	}{
		"another":           {next, old, nil, true, nil},
		"nothing there":     {next, driver.Material{}, nil, false, nil},
		"the new one there": {next, driver.Material{Public: next.Public, Key: old.Key}, nil, false, nil},
		"not its own key":   {next, mixed, nil, true, nil},
		"other names":       {elsewhere, old, nil, false, tallystick.ErrInvalid},
		"no certificate":    {key, old, nil, false, tallystick.ErrInvalid},
		"two SSH keys":      {key, driver.Material{Public: driver.Public{SSH: []byte("old")}}, nil, true, nil},
		"an account":        {next, driver.Material{Public: driver.Public{Account: "account:a"}}, nil, true, nil},
		"cannot be kept":    {next, old, full, true, full},
	} {
		kept := false
		err := installing.Replaceable(driver.InstallRequest{New: row.next, Now: time.Now, Keep: func(m driver.Material) error {
			kept = true
			if !m.Is(row.old.Public) || what == "another" && m.Key == nil || what == "not its own key" && m.Key != nil {
				t.Errorf("%s: %v is kept, with a key: %v", what, m, m.Key != nil)
			}
			return row.keep
		}}, row.old)
		if kept != row.kept || !errors.Is(err, row.want) {
			t.Errorf("%s: kept %v, %v; want %v, %v", what, kept, err, row.kept, row.want)
		}
	}
}
