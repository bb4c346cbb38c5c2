// SPDX-License-Identifier: Apache-2.0

package acme_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/caddyserver/certmagic"
	xacme "golang.org/x/crypto/acme"

	"github.com/tallystick/tallystick/internal/acme"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/ca/catest"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// tool runs a program of Debian's in a home of its own and returns what it wrote.
func tool(t *testing.T, home string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Fatalf("this test needs %s: apt-get install %s", name, name)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = home
	cmd.Env = append([]string{"HOME=" + home, "PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// must fails the test when a tool failed.
func must(t *testing.T, out string, err error) string {
	t.Helper()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return out
}

// read returns the certificates of a file.
func read(t *testing.T, path string) []*x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, text)
}

// revoked says whether a certificate is.
func (s *site) revoked(t *testing.T, c *x509.Certificate) bool {
	t.Helper()
	made, err := s.Find(t.Context(), ca.Serial(fmt.Sprintf("%032x", c.SerialNumber)))
	if err != nil {
		t.Fatal(err)
	}
	return made.Revocation != nil
}

// bind makes a binding and returns its id and its key as clients take it.
func (s *site) bind(t *testing.T, b store.ACMEBinding) (id, key string) {
	t.Helper()
	desk := acme.NewDesk(s.DB, gate.New(s.Audit, time.Now), s.secrets, time.Now)
	made, err := desk.AddBinding(t.Context(), catest.Admin, b)
	if err != nil {
		t.Fatal(err)
	}
	return made.ID, made.Key
}

// certbot runs Debian's certbot against a site.
func certbot(t *testing.T, s *site, home string, args ...string) (string, error) {
	t.Helper()
	args = append(args, "--server", s.directory, "--non-interactive", "--config-dir", home, "--work-dir", filepath.Join(home, "work"), "--logs-dir", filepath.Join(home, "logs"))
	return tool(t, home, []string{"REQUESTS_CA_BUNDLE=" + s.roots}, "certbot", args...)
}

func TestCertbot(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	home := t.TempDir()
	obtain := []string{"certonly", "--standalone", "--http-01-port", fmt.Sprint(s.httpPort), "--http-01-address", "127.0.0.1", "--agree-tos", "-m", "ops@lab.test", "--no-eff-email",
		"-d", "a.lab.test", "-d", "b.lab.test"}
	out, err := certbot(t, s, home, obtain...)
	must(t, out, err)
	chain := read(t, filepath.Join(home, "live", "a.lab.test", "fullchain.pem"))
	s.verify(t, chain, "b.lab.test")

	out, err = certbot(t, s, home, "renew", "--force-renewal", "--http-01-port", fmt.Sprint(s.httpPort), "--no-random-sleep-on-renew")
	must(t, out, err)
	renewed := read(t, filepath.Join(home, "live", "a.lab.test", "fullchain.pem"))
	if renewed[0].SerialNumber.Cmp(chain[0].SerialNumber) == 0 || bytes.Equal(renewed[0].RawSubjectPublicKeyInfo, chain[0].RawSubjectPublicKeyInfo) {
		t.Error("renewed and still the same certificate, or the same key")
	}

	live := filepath.Join(home, "live", "a.lab.test")
	out, err = certbot(t, s, home, "revoke", "--cert-name", "a.lab.test", "--reason", "keycompromise", "--no-delete-after-revoke")
	if err == nil || s.revoked(t, renewed[0]) {
		t.Errorf("an account says that a key is compromised without the key: %s", out)
	}
	out, err = certbot(t, s, home, "revoke", "--cert-path", filepath.Join(live, "cert.pem"), "--key-path", filepath.Join(live, "privkey.pem"), "--reason", "keycompromise", "--no-delete-after-revoke")
	must(t, out, err)
	if !s.revoked(t, renewed[0]) || s.revoked(t, chain[0]) {
		t.Error("what certbot revoked is not revoked, or something else is")
	}
}

func TestCertbotWithExternalAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *acme.Config) { c.ExternalAccount = true })
	id, key := s.bind(t, store.ACMEBinding{Note: "web team", Names: []string{"*.lab.test"}})
	home := t.TempDir()
	obtain := []string{"certonly", "--standalone", "--http-01-port", fmt.Sprint(s.httpPort), "--agree-tos", "-m", "ops@lab.test", "--no-eff-email"}
	external := append(slices.Clone(obtain), "--eab-kid", id, "--eab-hmac-key", key)
	out, err := certbot(t, s, t.TempDir(), append(obtain, "-d", "a.lab.test")...)
	if err == nil {
		t.Errorf("without a binding:\n%s", out)
	}
	out, err = certbot(t, s, home, append(external, "-d", "a.lab.test")...)
	must(t, out, err)
	_, err = certbot(t, s, home, append(obtain, "-d", "lab.test")...)
	// certbot 2.1 trips over its own error; what it was told is in its log.
	log, readErr := os.ReadFile(filepath.Join(home, "logs", "letsencrypt.log"))
	if err == nil || readErr != nil || !bytes.Contains(log, []byte("the external account is not for this name")) {
		t.Errorf("a name that the binding is not for: %v\n%s", readErr, log)
	}
	out, err = certbot(t, s, t.TempDir(), append(external, "-d", "a.lab.test")...)
	if err == nil {
		t.Errorf("a binding that was used:\n%s", out)
	}
}

// lego runs Debian's lego against a site.
func lego(t *testing.T, s *site, home string, env []string, args ...string) (string, error) {
	t.Helper()
	args = append([]string{"--server", s.directory, "--email", "ops@lab.test", "--accept-tos", "--path", home}, args...)
	return tool(t, home, append(env, "LEGO_CA_CERTIFICATES="+s.roots), "lego", args...)
}

func TestLego(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	home := t.TempDir()
	out, err := lego(t, s, home, nil, "--domains", "web.lab.test", "--http", "--http.port", fmt.Sprintf("127.0.0.1:%d", s.httpPort), "run")
	must(t, out, err)
	chain := read(t, filepath.Join(home, "certificates", "web.lab.test.crt"))
	s.verify(t, chain, "web.lab.test")
	out, err = lego(t, s, home, nil, "--domains", "web.lab.test", "revoke")
	must(t, out, err)
	if !s.revoked(t, chain[0]) {
		t.Error("what lego revoked is not revoked")
	}
	out, err = lego(t, s, home, nil, "--domains", "mail.lab.test", "--tls", "--tls.port", fmt.Sprintf("127.0.0.1:%d", s.tlsPort), "--key-type", "rsa2048", "run")
	must(t, out, err)
	s.verify(t, read(t, filepath.Join(home, "certificates", "mail.lab.test.crt")), "mail.lab.test")
	out, err = lego(t, s, home, []string{"RFC2136_NAMESERVER=" + s.dns.address, "RFC2136_PROPAGATION_TIMEOUT=5", "RFC2136_POLLING_INTERVAL=1"},
		"--domains", "*.lab.test", "--dns", "rfc2136", "--dns.resolvers", s.dns.address, "--dns.disable-cp", "run")
	must(t, out, err)
	s.verify(t, read(t, filepath.Join(home, "certificates", "_.lab.test.crt")), "any.lab.test")
}

func TestLegoWithExternalAccount(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *acme.Config) { c.ExternalAccount = true })
	id, key := s.bind(t, store.ACMEBinding{})
	out, err := lego(t, s, t.TempDir(), nil, "--eab", "--kid", id, "--hmac", key, "--domains", "web.lab.test", "--http", "--http.port", fmt.Sprintf("127.0.0.1:%d", s.httpPort), "run")
	must(t, out, err)
}

// TestCertmagic has certmagic keep a certificate, recalls it, and sees to it that
// certmagic takes another one, with another key, as soon as it asks.
func TestCertmagic(t *testing.T) {
	t.Parallel()
	s := newSite(t, func(c *acme.Config) { c.Poll = time.Second })
	roots := x509.NewCertPool()
	roots.AddCert(s.http.Certificate())
	storage := &certmagic.FileStorage{Path: t.TempDir()}
	var config *certmagic.Config
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert:   func(certmagic.Certificate) (*certmagic.Config, error) { return config, nil },
		RenewCheckInterval: 500 * time.Millisecond, OCSPCheckInterval: time.Hour,
	})
	defer cache.Stop()
	config = certmagic.New(cache, certmagic.Config{Storage: storage, OCSP: certmagic.OCSPConfig{DisableStapling: true}})
	config.Issuers = []certmagic.Issuer{certmagic.NewACMEIssuer(config, certmagic.ACMEIssuer{
		CA: s.directory, Email: "ops@lab.test", Agreed: true, TrustedRoots: roots, AltHTTPPort: s.httpPort, ListenHost: "127.0.0.1", DisableTLSALPNChallenge: true,
	})}
	if err := config.ManageSync(t.Context(), []string{"web.lab.test"}); err != nil {
		t.Fatal(err)
	}
	first, err := config.CacheManagedCertificate(t.Context(), "web.lab.test")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recall(t.Context(), catest.Admin, []ca.Serial{ca.Serial(fmt.Sprintf("%032x", first.Leaf.SerialNumber))}, ""); err != nil {
		t.Fatal(err)
	}
	second := first
	for deadline := time.Now().Add(30 * time.Second); second.Leaf.SerialNumber.Cmp(first.Leaf.SerialNumber) == 0; time.Sleep(200 * time.Millisecond) {
		// The key and the certificate are two files: between them it cannot be read.
		next, err := config.CacheManagedCertificate(t.Context(), "web.lab.test")
		if err == nil {
			second = next
		}
		if time.Now().After(deadline) {
			t.Fatalf("a recalled certificate was not renewed: %v", err)
		}
	}
	if bytes.Equal(second.Leaf.RawSubjectPublicKeyInfo, first.Leaf.RawSubjectPublicKeyInfo) {
		t.Error("the new certificate has the old key")
	}
	made, err := s.Find(t.Context(), ca.Serial(fmt.Sprintf("%032x", first.Leaf.SerialNumber)))
	if err != nil || made.Replaced.IsZero() {
		t.Errorf("the recalled certificate is not marked as replaced: %v", err)
	}
}

// TestGoClient is golang.org/x/crypto/acme, which knows nothing newer than RFC 8555.
func TestGoClient(t *testing.T) {
	s := newSite(t)
	ctx := t.Context()
	c := &xacme.Client{Key: newKey(t), DirectoryURL: s.directory, HTTPClient: s.http.Client()}
	if _, err := c.Register(ctx, &xacme.Account{Contact: []string{"mailto:ops@lab.test"}}, xacme.AcceptTOS); err != nil {
		t.Fatal(err)
	}
	order, err := c.AuthorizeOrder(ctx, xacme.DomainIDs("a.lab.test"))
	if err != nil {
		t.Fatal(err)
	}
	authorization, err := c.GetAuthorization(ctx, order.AuthzURLs[0])
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(authorization.Challenges, func(c *xacme.Challenge) bool { return c.Type == "http-01" })
	challenge := authorization.Challenges[i]
	proof, err := c.HTTP01ChallengeResponse(challenge.Token)
	if err != nil {
		t.Fatal(err)
	}
	s.serveHTTP01(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, proof) }))
	if _, err := c.Accept(ctx, challenge); err != nil {
		t.Fatal(err)
	}
	if order, err = c.WaitOrder(ctx, order.URI); err != nil {
		t.Fatal(err)
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "a.lab.test"}, DNSNames: []string{"a.lab.test"}}, newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	chain, _, err := c.CreateOrderCert(ctx, order.FinalizeURL, csr, true)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil || len(chain) != 2 || leaf.DNSNames[0] != "a.lab.test" {
		t.Errorf("%d certificates, %v", len(chain), err)
	}
	if err := c.RevokeCert(ctx, nil, chain[0], xacme.CRLReasonUnspecified); err != nil {
		t.Error(err)
	}
	if err := c.DeactivateReg(ctx); err != nil {
		t.Error(err)
	}
}
