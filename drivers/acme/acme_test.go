// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/internal/lab"
)

// quick has Pebble look at challenges at once. Its refusal of one nonce in twenty
// stays.
var quick = []string{"PEBBLE_VA_NOSLEEP=1"}

// gone is a CA that nobody listens for.
func gone(t *testing.T, options map[string]string) map[string]string {
	other := maps.Clone(options)
	other["directory"] = "https://" + lab.Loopback(lab.FreePort(t)) + "/dir"
	return other
}

func suite(t *testing.T, p *lab.Pebble, options map[string]string, names ...string) drivertest.Suite {
	options["directory"], options["roots"], options["agree-terms"] = p.Directory, p.Roots, "true"
	return drivertest.Suite{
		Driver: Driver(), Options: options,
		Issuing: &drivertest.Issuing{
			Names: names, Refused: []string{"www.blocked.test"}, Made: p.Issued, Tells: true, Gone: gone(t, options),
			Revoked: driver.StandingUnknown, // ACME does not tell
		},
	}
}

func TestDriverByHTTP(t *testing.T) {
	t.Parallel()
	p := lab.StartPebble(t, lab.PebbleSettings{Environ: quick, Blocked: []string{"blocked.test"}})
	drivertest.Run(t, suite(t, p, map[string]string{"listen": lab.Loopback(p.HTTPPort)}, "www.lab.test", "lab.test", "127.0.0.1"))
}

func TestDriverByALPN(t *testing.T) {
	t.Parallel()
	p := lab.StartPebble(t, lab.PebbleSettings{Environ: quick, Blocked: []string{"blocked.test"}})
	drivertest.Run(t, suite(t, p, map[string]string{"challenge": "tls-alpn-01", "listen": lab.Loopback(p.TLSPort)}, "www.lab.test", "127.0.0.1"))
}

func TestDriverByDNS(t *testing.T) {
	t.Parallel()
	names := lab.StartNamed(t, "lab.test", "sub.lab.test")
	p := lab.StartPebble(t, lab.PebbleSettings{Environ: quick, Blocked: []string{"blocked.test"}, DNS: names.Address})
	s := suite(t, p, map[string]string{
		"challenge": "dns-01", "dns-server": names.Address, "dns-key-name": names.KeyName, "dns-key": names.Key,
	}, "lab.test", "*.lab.test", "www.sub.lab.test")
	s.Secrets = []string{names.Key}
	drivertest.Run(t, s)
	if left := txt(t, names.Address, "_acme-challenge.lab.test."); len(left) > 0 {
		t.Errorf("records were left behind: %q", left)
	}
}

// txt asks a name server.
func txt(t *testing.T, server, name string) []dns.RR {
	t.Helper()
	answer, err := dns.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeTXT), server)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Answer
}

func TestUpdateWithAWrongKeyIsRefused(t *testing.T) {
	t.Parallel()
	names := lab.StartNamed(t, "lab.test")
	u := opened(t, map[string]string{
		"directory": "https://127.0.0.1:1/dir", "challenge": "dns-01", "dns-server": names.Address, "dns-key-name": names.KeyName,
		"dns-key": base64.StdEncoding.EncodeToString([]byte("some other key of thirty-two by.")),
	}).solver.(*dnsSolver).records
	if err := u.add(t.Context(), "_acme-challenge.lab.test", "value"); err == nil {
		t.Error("the server took it")
	}
}

// opened opens the driver.
func opened(t *testing.T, options map[string]string) *Issuer {
	t.Helper()
	return drivertest.Open[*Issuer](t, Driver(), options)
}

// A hook that keeps what it is told, and hands it to the CA's name server, is
// enough for dns-01.
func TestHook(t *testing.T) {
	t.Parallel()
	names, dir := lab.StartNamed(t, "lab.test"), t.TempDir()
	p := lab.StartPebble(t, lab.PebbleSettings{Environ: quick, DNS: names.Address})
	host, port, _ := net.SplitHostPort(names.Address)
	script := filepath.Join(dir, "hook")
	text := fmt.Sprintf("#!/bin/sh -e\nenv >>%s/env\n"+
		"case $TALLYSTICK_ACTION in add) do=\"add $TALLYSTICK_NAME. 1 TXT $TALLYSTICK_VALUE\" ;; remove) do=\"delete $TALLYSTICK_NAME. TXT $TALLYSTICK_VALUE\" ;; esac\n"+
		"printf 'server %s %s\\nzone lab.test\\nupdate %%s\\nsend\\n' \"$do\" | nsupdate -y hmac-sha256:%s:%s\n", dir, host, port, names.KeyName, names.Key)
	if err := os.WriteFile(script, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	i := opened(t, map[string]string{"directory": p.Directory, "roots": p.Roots, "agree-terms": "true", "challenge": "dns-01", "hook": script})
	obtain(t, i, request(t, "www.lab.test"))
	seen, err := os.ReadFile(filepath.Join(dir, "env"))
	if err != nil || !strings.Contains(string(seen), "TALLYSTICK_NAME=_acme-challenge.www.lab.test\n") {
		t.Errorf("the hook was told %q (%v)", seen, err)
	}
	for line := range strings.Lines(string(seen)) {
		name, _, _ := strings.Cut(line, "=")
		if !slices.Contains([]string{"PATH", "PWD", "_", "TALLYSTICK_ACTION", "TALLYSTICK_NAME", "TALLYSTICK_VALUE"}, name) {
			t.Errorf("the hook was told %s, which is none of its business", name)
		}
	}
	if left := txt(t, names.Address, "_acme-challenge.www.lab.test."); len(left) > 0 {
		t.Errorf("records were left behind: %q", left)
	}
}

func TestHookThatFailsIsQuoted(t *testing.T) {
	t.Parallel()
	h := hook{command: lab.File(t, "hook", "#!/bin/sh\necho no such zone\nexit 3\n")}
	if err := os.Chmod(h.command, 0o700); err != nil {
		t.Fatal(err)
	}
	err := h.add(t.Context(), "_acme-challenge.lab.test", "value")
	if err == nil || !strings.Contains(err.Error(), "no such zone") {
		t.Errorf("it says %v", err)
	}
}

// An opaque key is one of a device: the library knows nothing of its kind, and two
// of them cannot be compared.
type opaque struct {
	crypto.Signer
	_ []byte
}

// request asks for names with a new key, and keeps nothing.
func request(t *testing.T, names ...string) driver.IssueRequest {
	t.Helper()
	csr, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, lab.NewKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return driver.IssueRequest{Order: "one", CSR: csr, Account: opaque{Signer: lab.NewKey(t)}, Now: time.Now, Keep: func(string) error { return nil }}
}

func obtain(t *testing.T, i *Issuer, r driver.IssueRequest) [][]byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	issued, err := i.Issue(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	if len(issued.Chain) == 0 {
		t.Fatalf("there is no certificate; again at %v", issued.Retry)
	}
	return issued.Chain
}

func pemOf(t *testing.T, text string) []byte {
	t.Helper()
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatal("there is no PEM")
	}
	return block.Bytes
}

func byHTTP(t *testing.T, p *lab.Pebble, more ...string) *Issuer {
	options := map[string]string{"directory": p.Directory, "roots": p.Roots, "agree-terms": "true", "listen": lab.Loopback(p.HTTPPort)}
	for n := 0; n < len(more); n += 2 {
		options[more[n]] = more[n+1]
	}
	return opened(t, options)
}

func TestExternalAccountProfileAndChain(t *testing.T) {
	t.Parallel()
	key := base64.RawURLEncoding.EncodeToString([]byte("a key of the CA's customer, long"))
	p := lab.StartPebble(t, lab.PebbleSettings{
		Environ: quick, EAB: map[string]string{"customer-7": key}, Profiles: map[string]string{"shortlived": "six days"}, Chains: 2,
	})
	r := request(t, "www.lab.test")
	if _, err := byHTTP(t, p).Issue(t.Context(), r); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("without the binding the CA says %v", err)
	}
	r.Profile = "no-such"
	if _, err := byHTTP(t, p, "eab-key-id", "customer-7", "eab-key", key).Issue(t.Context(), r); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("an unknown profile gives %v", err)
	}
	r.Profile = "shortlived"
	first := obtain(t, byHTTP(t, p, "eab-key-id", "customer-7", "eab-key", key), r)
	leaf, _ := x509.ParseCertificate(first[0])
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 7*24*time.Hour {
		t.Errorf("of the short-lived profile: %v", life)
	}
	// Each further root has signed the intermediate, so that the top of the chain tells them apart.
	roots := map[string]bool{}
	for n := range 3 {
		root, err := x509.ParseCertificate(pemOf(t, p.Root(t, n)))
		if err != nil {
			t.Fatal(err)
		}
		i := byHTTP(t, p, "eab-key-id", "customer-7", "eab-key", key, "chain", root.Subject.CommonName)
		chain := obtain(t, i, r)
		top, _ := x509.ParseCertificate(chain[len(chain)-1])
		if top.CheckSignatureFrom(root) != nil {
			t.Errorf("the chain does not lead to %s, but to %s", root.Subject.CommonName, top.Issuer.CommonName)
		}
		roots[top.Issuer.CommonName] = true
	}
	if len(roots) != 3 {
		t.Errorf("the preferred chains lead to %v", roots)
	}
}

// An order that names what it replaces is made, and so is one whose predecessor
// was replaced before or is of another account. The CA says when to renew.
func TestRenewalInformation(t *testing.T) {
	t.Parallel()
	p := lab.StartPebble(t, lab.PebbleSettings{Environ: quick, Retry: 1})
	i, r := byHTTP(t, p), request(t, "www.lab.test")
	chain := obtain(t, i, r)
	standing, err := i.LookStanding(t.Context(), driver.StandingRequest{Certificate: chain[0], Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	if !standing.WindowStart.After(time.Now()) || !standing.WindowEnd.After(standing.WindowStart) || !standing.Again.After(time.Now().Add(time.Hour)) {
		t.Errorf("a new certificate: %+v", standing)
	}
	for _, who := range []string{"its account", "its account again", "another account"} {
		next := request(t, "www.lab.test")
		next.Replaces = chain[0]
		if who != "another account" {
			next.Account = r.Account
		}
		if got := obtain(t, i, next); len(got) == 0 {
			t.Errorf("replaced by %s: no certificate", who)
		}
	}
	if !strings.Contains(p.Log(), "replac") {
		t.Error("the CA heard of no replacement")
	}
	if err := i.Revoke(t.Context(), driver.RevokeRequest{Certificate: chain[0], Reason: 1, Account: r.Account, Now: time.Now}); err != nil {
		t.Fatal(err)
	}
	standing, err = i.LookStanding(t.Context(), driver.StandingRequest{Certificate: chain[0], Now: time.Now})
	if err != nil || standing.WindowEnd.After(time.Now()) {
		t.Errorf("a revoked certificate is to be renewed by %v (%v)", standing.WindowEnd, err)
	}
}

func TestRevokingByTheCertificatesKey(t *testing.T) {
	t.Parallel()
	p := lab.StartPebble(t, lab.PebbleSettings{Environ: quick})
	i, key := byHTTP(t, p), lab.NewKey(t)
	r := request(t, "www.lab.test")
	var err error
	if r.CSR, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"www.lab.test"}}, key); err != nil {
		t.Fatal(err)
	}
	revoke := driver.RevokeRequest{Certificate: obtain(t, i, r)[0], Reason: 1, Account: opaque{Signer: lab.NewKey(t)}, Now: time.Now}
	if err := i.Revoke(t.Context(), revoke); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("by a stranger: %v", err)
	}
	revoke.Key = opaque{Signer: key}
	if err := i.Revoke(t.Context(), revoke); err != nil {
		t.Errorf("by a stranger with the key: %v", err)
	}
}

// Orders of one issuer at the same time share its port, which is free when the
// last has ended.
func TestOrdersShareThePort(t *testing.T) {
	t.Parallel()
	p := lab.StartPebble(t, lab.PebbleSettings{Environ: quick})
	i, done := byHTTP(t, p), make(chan error)
	account := request(t, "www.lab.test").Account
	for n := range 6 {
		r := request(t, fmt.Sprintf("n%d.lab.test", n))
		r.Account = account
		go func() {
			_, err := i.Issue(t.Context(), r)
			done <- err
		}()
	}
	for range 6 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	lab.Listen(t, lab.Loopback(p.HTTPPort)).Close() // it is free again
	if p.Issued() != 6 {
		t.Errorf("%d certificates", p.Issued())
	}
}

// The port that the CA looks at is taken: that passes.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	p := lab.StartPebble(t, lab.PebbleSettings{Environ: quick})
	defer lab.Listen(t, lab.Loopback(p.HTTPPort)).Close()
	if _, err := byHTTP(t, p).Issue(t.Context(), request(t, "www.lab.test")); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("it says %v", err)
	}
}

// What was kept leads to an order that the CA has lost: a new one is made.
func TestLostOrderIsMadeAnew(t *testing.T) {
	t.Parallel()
	p := lab.StartPebble(t, lab.PebbleSettings{Environ: quick})
	r := request(t, "www.lab.test")
	for _, lost := range []string{"/my-order/lost", "/my-order/"} {
		r.State = fmt.Sprintf(`{"account":"%s/my-account/lost","order":"%[1]s%s"}`, strings.TrimSuffix(p.Directory, "/dir"), lost)
		obtain(t, byHTTP(t, p), r)
	}
}

// An unproven name is refused with the CA's reason.
func TestUnprovenNameIsRefused(t *testing.T) {
	t.Parallel()
	p := lab.StartPebble(t, lab.PebbleSettings{Environ: quick})
	i := byHTTP(t, p, "listen", lab.Loopback(lab.FreePort(t)))
	_, err := i.Issue(t.Context(), request(t, "www.lab.test"))
	if !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "www.lab.test") {
		t.Errorf("it says %v", err)
	}
}

// A directory that leads elsewhere is not followed, and neither is a redirect.
func TestNoHostThatNobodyNamed(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	inner := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }))
	t.Cleanup(inner.Close)
	outer := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/dir":
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(map[string]any{"newNonce": inner.URL + "/nonce", "newAccount": inner.URL + "/account", "newOrder": inner.URL + "/order", "renewalInfo": inner.URL + "/ari"})
		default:
			http.Redirect(w, r, inner.URL+"/redirected", http.StatusTemporaryRedirect)
		}
	}))
	t.Cleanup(outer.Close)
	roots := lab.File(t, "roots.pem", lab.CertificatePEM(outer.Certificate().Raw))
	for _, path := range []string{"/dir", "/elsewhere"} {
		i := opened(t, map[string]string{"directory": outer.URL + path, "roots": roots})
		_, err := i.Issue(t.Context(), request(t, "www.lab.test"))
		if err == nil || path == "/dir" && (!errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "option hosts")) {
			t.Errorf("%s gives %v", path, err)
		}
	}
	select {
	case path := <-asked:
		t.Errorf("the inner server was asked for %s", path)
	default:
	}
}

// Answers without end are not taken in.
func TestAnswerWithoutEnd(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"newNonce":"`)
		for {
			if _, err := w.Write([]byte(strings.Repeat("a", 1<<16))); err != nil {
				return
			}
		}
	}))
	t.Cleanup(server.Close)
	i := opened(t, map[string]string{"directory": server.URL, "roots": lab.File(t, "roots.pem", lab.CertificatePEM(server.Certificate().Raw))})
	if _, err := i.Issue(t.Context(), request(t, "www.lab.test")); err == nil || len(err.Error()) > 1000 {
		t.Errorf("it says %.200v", err)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, bad := range []map[string]string{
		{}, {"directory": "http://ca.example/dir"}, {"directory": "https://user@ca.example"},
		{"directory": "https://ca.example", "challenge": "mail"}, {"directory": "https://ca.example", "challenge": "dns-01"},
		{"directory": "https://ca.example", "challenge": "dns-01", "hook": "hook"},
		{"directory": "https://ca.example", "eab-key-id": "1"}, {"directory": "https://ca.example", "eab-key-id": "1", "eab-key": "s e c r e t"},
		{"directory": "https://ca.example", "challenge": "dns-01", "dns-server": "127.0.0.1:53", "dns-key-name": "k", "dns-key": "s e c r e t"},
	} {
		_, err := Driver().Open(bad)
		if !errors.Is(err, tallystick.ErrInvalid) || strings.Contains(fmt.Sprint(err), "s e c r e t") {
			t.Errorf("%v gives %v", bad, err)
		}
	}
}

// A CA that wants a record, or a page, for a name that it was not asked about would
// have us prove that name to whoever is behind it.
func TestProofForAnotherNameIsNotGiven(t *testing.T) {
	t.Parallel()
	var server *httptest.Server
	server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		at := func(path string) string { return server.URL + path }
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Replay-Nonce", rand.Text())
		w.Header().Set("Location", at("/it"))
		json.NewEncoder(w).Encode(map[string]any{
			"/dir":     map[string]any{"newNonce": at("/nonce"), "newAccount": at("/account"), "newOrder": at("/order")},
			"/account": map[string]any{"status": "valid"},
			"/order":   map[string]any{"status": "pending", "authorizations": []string{at("/authorization")}, "finalize": at("/finalize")},
			"/authorization": map[string]any{
				"status": "pending", "identifier": map[string]string{"type": "dns", "value": "bank.example.com"},
				"challenges": []any{map[string]string{"type": "dns-01", "url": at("/challenge"), "token": "token", "status": "pending"}},
			},
		}[r.URL.Path])
	}))
	t.Cleanup(server.Close)
	dir := t.TempDir()
	script := filepath.Join(dir, "hook")
	if err := os.WriteFile(script, []byte("#!/bin/sh\ntouch "+dir+"/ran\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	i := opened(t, map[string]string{
		"directory": server.URL + "/dir", "roots": lab.File(t, "roots.pem", lab.CertificatePEM(server.Certificate().Raw)), "challenge": "dns-01", "hook": script,
	})
	_, err := i.Issue(t.Context(), request(t, "www.lab.test"))
	if !errors.Is(err, tallystick.ErrDenied) || !strings.Contains(err.Error(), "bank.example.com") {
		t.Errorf("it says %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("the hook ran")
	}
}
