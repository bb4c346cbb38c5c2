// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	zx509 "github.com/zmap/zcrypto/x509"
	zlint "github.com/zmap/zlint/v3/lint"

	"github.com/tallystick/tallystick"
)

func newLinter(t testing.TB) *Linter { return must[*Linter](t)(New()) }

// Certificates of all kinds, for keys of all sorts, signed by keys of all sorts, pass.
func TestGoodCertificates(t *testing.T) {
	l := newLinter(t)
	p256, p384, p521 := newECDSA(t, elliptic.P256()), newECDSA(t, elliptic.P384()), newECDSA(t, elliptic.P521())
	rsaKey, edKey := newRSA(t, 2048), newEd25519(t)
	subjects := map[string]crypto.Signer{"p256": p256, "p384": p384, "p521": p521, "rsa": rsaKey, "ed25519": edKey}
	for by, issuer := range map[string]crypto.Signer{"p256": newECDSA(t, elliptic.P256()), "p384": newECDSA(t, elliptic.P384()), "rsa": newRSA(t, 2048), "ed25519": newEd25519(t)} {
		ca := newAuthority(t, issuer)
		if problems, err := l.Lints(ca.certificate.Raw); len(problems) > 0 || err != nil {
			t.Errorf("root by %s: %v %v", by, problems, err)
		}
		for kind, change := range kinds() {
			for sort, key := range subjects {
				template := leaf(change)
				der := ca.sign(t, template, key.Public())
				if problems, err := l.Lints(der); len(problems) > 0 || err != nil {
					t.Errorf("%s, key %s by %s: %v %v", kind, sort, by, problems, err)
				}
				want := Expect{Issuer: ca.certificate, Usage: x509.KeyUsageDigitalSignature, Purposes: template.ExtKeyUsage, MorePurpose: template.UnknownExtKeyUsage}
				if problems, err := Check(der, want); len(problems) > 0 || err != nil {
					t.Errorf("%s, key %s by %s: %v %v", kind, sort, by, problems, err)
				}
			}
		}
	}
}

// A CA below another one, with all that may be in its certificate.
func TestGoodIntermediate(t *testing.T) {
	root := newAuthority(t, newECDSA(t, elliptic.P384()))
	key := newECDSA(t, elliptic.P256())
	template := rootTemplate(key)
	template.Subject = pkix.Name{CommonName: "Lab CA 1", Organization: []string{"Lab"}}
	template.NotAfter = template.NotBefore.Add(365 * 24 * time.Hour)
	template.MaxPathLenZero = true
	template.PermittedDNSDomainsCritical, template.PermittedDNSDomains = true, []string{"lab.test"}
	der := root.sign(t, template, key.Public())
	if problems, err := newLinter(t).Lints(der); len(problems) > 0 || err != nil {
		t.Errorf("%v %v", problems, err)
	}
	if problems, err := Check(der, Expect{Issuer: root.certificate, CA: true, Usage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}); len(problems) > 0 || err != nil {
		t.Errorf("%v %v", problems, err)
	}
}

// Bad certificates, each refused by the lint that is about it.
func TestBadCertificates(t *testing.T) {
	l, ca, key := newLinter(t), newAuthority(t, newECDSA(t, elliptic.P256())), newECDSA(t, elliptic.P256())
	extension := func(critical bool, value []byte, id ...int) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Critical: critical, Value: value})
		}
	}
	rsaKey := newRSA(t, 2048)
	for _, row := range []struct {
		lint   string
		change func(*x509.Certificate)
		public crypto.PublicKey
	}{
		{"e_ext_san_not_critical_without_subject", extension(false, []byte("\x30\x03\x82\x01a"), 2, 5, 29, 17), nil},
		{"e_subject_common_name_max_length", func(c *x509.Certificate) { c.Subject.CommonName = strings.Repeat("x", 65) }, nil},
		{"e_san_wildcard_not_first", func(c *x509.Certificate) { c.DNSNames = []string{"a.*.lab.test"} }, nil},
		{"e_san_bare_wildcard", func(c *x509.Certificate) { c.DNSNames = []string{"*"} }, nil},
		{"e_dnsname_left_label_wildcard_correct", func(c *x509.Certificate) { c.DNSNames = []string{"a*.lab.test"} }, nil},
		{"e_rfc_dnsname_empty_label", func(c *x509.Certificate) { c.DNSNames = []string{"a..lab.test"} }, nil},
		{"e_rfc_dnsname_label_too_long", func(c *x509.Certificate) { c.DNSNames = []string{strings.Repeat("x", 64) + ".lab.test"} }, nil},
		{"e_san_dns_name_starts_with_period", func(c *x509.Certificate) { c.DNSNames = []string{".lab.test"} }, nil},
		{"e_san_dns_name_includes_null_char", func(c *x509.Certificate) { c.DNSNames = []string{"a\x00.lab.test"} }, nil},
		{"e_ext_san_dns_name_too_long", func(c *x509.Certificate) { c.DNSNames = []string{strings.Repeat("x.", 130) + "test"} }, nil},
		{"e_ext_san_uri_relative", func(c *x509.Certificate) { c.URIs = append(c.URIs, mustURL("/ns/a")) }, nil},
		{"e_ecdsa_allowed_ku", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyEncipherment }, nil},
		{"e_ext_key_usage_cert_sign_without_ca", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, nil},
		{"e_rsa_allowed_ku_ee", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageKeyAgreement }, &rsaKey.PublicKey},
		{"e_key_usage_and_extended_key_usage_inconsistent", func(c *x509.Certificate) {
			c.KeyUsage = x509.KeyUsageKeyAgreement
			c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		}, nil},
		{"e_ext_subject_key_identifier_critical", extension(true, []byte("\x04\x01a"), 2, 5, 29, 14), nil},
		{"e_ext_name_constraints_not_in_ca", extension(true, []byte("\x30\x0a\xa0\x08\x30\x06\x82\x04test"), 2, 5, 29, 30), nil},
		{"e_ext_key_usage_without_bits", extension(true, []byte("\x03\x01\x00"), 2, 5, 29, 15), nil},
		{"e_ext_freshest_crl_marked_critical", extension(true, []byte("\x30\x00"), 2, 5, 29, 46), nil},
		{"e_subject_empty_without_san", func(c *x509.Certificate) { c.DNSNames = nil }, nil},
		{"e_validity_time_not_positive", func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(-time.Hour) }, nil},
		{"e_utf8_latin1_mixup", func(c *x509.Certificate) { c.Subject.Organization = []string{"BÃ¼cher"} }, nil},
		{"e_subject_organization_name_max_length", func(c *x509.Certificate) { c.Subject.Organization = []string{strings.Repeat("x", 65)} }, nil},
		{"e_mp_modulus_must_be_2048_bits_or_more", func(*x509.Certificate) {}, &newRSA(t, 1024).PublicKey},
		{"e_ec_improper_curves", func(*x509.Certificate) {}, &newECDSA(t, elliptic.P224()).PublicKey},
	} {
		public := row.public
		if public == nil {
			public = &key.PublicKey
		}
		template := leaf(row.change)
		template.SubjectKeyId = keyIdentifier(public)
		der, err := x509.CreateCertificate(rand.Reader, template, ca.certificate, public, ca.key)
		if err != nil {
			t.Errorf("%s: %v", row.lint, err)
			continue
		}
		problems, err := l.Lints(der)
		found := slices.ContainsFunc(problems, func(p Problem) bool { return p.Lint == row.lint && p.Error && p.Citation != "" })
		if !found || !errors.Is(err, ErrRefused) || !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), row.lint) {
			t.Errorf("%s: %v; %v", row.lint, problems, err)
		}
	}
}

// Warnings are told and stop nothing.
func TestWarnings(t *testing.T) {
	ca, key := newAuthority(t, newECDSA(t, elliptic.P256())), newECDSA(t, elliptic.P256())
	template := leaf(func(c *x509.Certificate) { c.Subject.Organization = []string{" Lab"} })
	problems, err := newLinter(t).Lints(ca.sign(t, template, &key.PublicKey))
	if err != nil || len(problems) != 1 || problems[0].Lint != "w_subject_dn_leading_whitespace" || problems[0].Error {
		t.Errorf("%v %v", problems, err)
	}
}

// What cannot be read is refused.
func TestUnreadable(t *testing.T) {
	l := newLinter(t)
	for _, der := range [][]byte{nil, []byte("x"), make([]byte, MaxSize+1), []byte("\x30\x80\x00\x00")} {
		if _, err := l.Lints(der); !errors.Is(err, ErrRefused) {
			t.Errorf("%d bytes: %v", len(der), err)
		}
		if _, err := Check(der, Expect{}); !errors.Is(err, ErrRefused) {
			t.Errorf("%d bytes: %v", len(der), err)
		}
	}
}

// corpus returns zlint's own certificates.
func corpus(t *testing.T) map[string][]byte {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/zmap/zlint/v3").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "testdata")
	certificates := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			continue
		}
		if block, _ := pem.Decode(text); block != nil && block.Type == "CERTIFICATE" {
			certificates[entry.Name()] = block.Bytes
		}
	}
	if len(certificates) < 1000 {
		t.Fatalf("%d certificates in %s", len(certificates), dir)
	}
	return certificates
}

// Whatever is done to be quick changes no answer: zlint's own way of running the same
// lints says the same of all its certificates.
func TestQuickIsTheSame(t *testing.T) {
	l := newLinter(t)
	said := map[string]bool{}
	for name, der := range corpus(t) {
		c, err := zx509.ParseCertificate(der)
		if err != nil {
			if _, err := l.Lints(der); !errors.Is(err, ErrRefused) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		var want []string
		for i := range l.lints {
			if r := l.lints[i].Execute(c, zlint.NewEmptyConfig()); r.Status >= zlint.Warn {
				want = append(want, l.lints[i].Name)
			}
		}
		problems, _ := l.Lints(der)
		var got []string
		for _, p := range problems {
			got = append(got, p.Lint)
			said[p.Lint] = true
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	if len(said) < 80 {
		t.Errorf("only %d lints have said anything", len(said))
	}
}

// Our own checks, each with a certificate that it refuses.
func TestCheck(t *testing.T) {
	ca, key := newAuthority(t, newECDSA(t, elliptic.P256())), newECDSA(t, elliptic.P256())
	good := Expect{Issuer: ca.certificate, Usage: x509.KeyUsageDigitalSignature, Purposes: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, MaxLifetime: 25 * time.Hour}
	for _, row := range []struct {
		lint   string
		change func(*x509.Certificate)
		expect func(*Expect)
	}{
		{"", nil, nil},
		{"serial-guessable", func(c *x509.Certificate) { c.SerialNumber.SetInt64(7) }, nil},
		{"validity-order", func(c *x509.Certificate) { c.NotAfter = c.NotBefore }, nil},
		{"validity-long", func(c *x509.Certificate) { c.NotAfter = c.NotAfter.Add(time.Second) }, nil},
		{"validity-issuer", func(c *x509.Certificate) { c.NotBefore = ca.certificate.NotBefore.Add(-time.Second) }, func(e *Expect) { e.MaxLifetime = 0 }},
		{"authority-key-identifier", nil, func(e *Expect) { other := *ca.certificate; other.SubjectKeyId = []byte("x"); e.Issuer = &other }},
		{"issuer-name", nil, func(e *Expect) { other := *ca.certificate; other.RawSubject = []byte("x"); e.Issuer = &other }},
		{"issuer-is-ca", nil, func(e *Expect) { other := *ca.certificate; other.IsCA = false; e.Issuer = &other }},
		{"issuer-name", nil, func(e *Expect) { e.Issuer = nil }},
		{"basic-constraints key-usage-sign", nil, func(e *Expect) { e.CA = true }},
		{"key-usage", func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageDataEncipherment }, nil},
		{"extended-key-usage", func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageClientAuth) }, nil},
		{"extended-key-usage any-purpose", func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageAny) }, nil},
		{"extended-key-usage", nil, func(e *Expect) { e.MorePurpose = []asn1.ObjectIdentifier{{1, 2, 3}} }},
		{"critical", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{2, 5, 29, 17}, Value: []byte("\x30\x03\x82\x01a")}}
		}, nil},
		{"critical-unknown", func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte("\x05\x00")}}
		}, nil},
	} {
		template, expect := leaf(), good
		if row.change != nil {
			row.change(template)
		}
		if row.expect != nil {
			row.expect(&expect)
		}
		problems, err := Check(ca.sign(t, template, &key.PublicKey), expect)
		var got []string
		for _, p := range problems {
			got = append(got, p.Lint)
		}
		if diff := cmp.Diff(row.lint, strings.Join(got, " ")); diff != "" || (err == nil) != (row.lint == "") {
			t.Errorf("%q: %s %v", row.lint, diff, err)
		}
	}
}

// FuzzLints looks at what a stranger made.
func FuzzLints(f *testing.F) {
	l, ca := newLinter(f), newAuthority(f, newECDSA(f, elliptic.P256()))
	key := newECDSA(f, elliptic.P256())
	for _, change := range kinds() {
		f.Add(ca.sign(f, leaf(change), &key.PublicKey))
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		begin := time.Now()
		for _, err := range []error{second(l.Lints(der)), second(Check(der, Expect{Issuer: ca.certificate}))} {
			if err != nil && !errors.Is(err, ErrRefused) {
				t.Error(err)
			}
		}
		if took := time.Since(begin); took > 5*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func second(_ []Problem, err error) error { return err }
