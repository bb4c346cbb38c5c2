// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// PebbleSettings are what a test may want of its Pebble. The zero value is the
// CA as it comes: it refuses one nonce in twenty, and waits at random before it
// looks at a challenge.
type PebbleSettings struct {
	DNS      string            // the name server that it asks; "" starts a pebble-challtestsrv
	EAB      map[string]string // key ids with MAC keys (base64url); not empty asks for them
	Blocked  []string          // domains that it never certifies
	Chains   int               // further roots, so that certificates have that many more chains
	Environ  []string          // such as PEBBLE_VA_NOSLEEP=1
	Profiles map[string]string // beside "default": name and description
	Retry    int               // the seconds of its Retry-After; 0 is none
}

// A Pebble is an ACME CA that keeps nothing.
type Pebble struct {
	*Process
	Directory string // URL
	Roots     string // file with the root of its own TLS certificate
	HTTPPort  int    // where it looks for http-01
	TLSPort   int    // where it looks for tls-alpn-01
	admin     string
}

// StartPebble starts one.
func StartPebble(t TB, s PebbleSettings) *Pebble {
	t.Helper()
	pki, dir := NewPKI(t), t.TempDir()
	chain, key := pki.Server(t)
	acme, admin := FreePort(t), FreePort(t)
	p := &Pebble{
		Directory: "https://" + Loopback(acme) + "/dir", Roots: pki.RootFile,
		HTTPPort: FreePort(t), TLSPort: FreePort(t), admin: "https://" + Loopback(admin),
	}
	profiles := map[string]any{"default": map[string]any{"description": "as it comes", "validityPeriod": 7776000}}
	for name, description := range s.Profiles {
		profiles[name] = map[string]any{"description": description, "validityPeriod": 518400}
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": Loopback(acme), "managementListenAddress": Loopback(admin), "certificate": chain, "privateKey": key,
		"httpPort": p.HTTPPort, "tlsPort": p.TLSPort, "externalAccountBindingRequired": len(s.EAB) > 0, "externalAccountMACKeys": s.EAB,
		"domainBlocklist": s.Blocked, "retryAfter": map[string]int{"authz": s.Retry, "order": s.Retry}, "keyAlgorithm": "ecdsa", "profiles": profiles,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if s.DNS == "" {
		s.DNS = StartChalltestsrv(t).DNS
	}
	env := append(s.Environ, fmt.Sprintf("PEBBLE_ALTERNATE_ROOTS=%d", s.Chains))
	p.Process = Start(t, dir, env, []string{Program(t, "pebble"), "-config", write(t, dir, "pebble.json", string(config)), "-dnsserver", s.DNS},
		Loopback(acme), Loopback(admin))
	return p
}

// Issued counts the certificates that it has made.
func (p *Pebble) Issued() int { return strings.Count(p.Log(), "Issued certificate serial") }

// Root returns the n-th root, from 0, that its certificates lead to, PEM.
func (p *Pebble) Root(t TB, n int) string { return p.get(t, fmt.Sprintf("/roots/%d", n)) }

// get asks the management interface.
func (p *Pebble) get(t TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(p.Roots)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableKeepAlives: true}}
	response, err := client.Get(p.admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("pebble answers %s with %s (%v)", path, response.Status, err)
	}
	return string(body)
}

// A Challtestsrv is a name server that gives every name the address 127.0.0.1.
type Challtestsrv struct {
	*Process
	DNS        string // host:port
	Management string // URL of the API that sets records
}

// StartChalltestsrv starts one. Nothing but its DNS and its API are on.
func StartChalltestsrv(t TB) *Challtestsrv {
	t.Helper()
	dns, api := Loopback(FreePort(t)), Loopback(FreePort(t))
	s := &Challtestsrv{DNS: dns, Management: "http://" + api}
	s.Process = Start(t, t.TempDir(), nil, []string{Program(t, "pebble-challtestsrv"), "-dnsserver", dns, "-management", api,
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""}, dns, api)
	return s
}
