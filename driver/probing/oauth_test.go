// SPDX-License-Identifier: Apache-2.0

package probing_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"maps"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/host"
	"github.com/tallystick/tallystick/driver/probing"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/lab/entra"
)

// A tokenServer is the emulator of Entra ID with one tenant that lets alice in.
type tokenServer struct {
	world    *entra.World
	tenant   *entra.Tenant
	pki      *lab.PKI
	alice    driver.Material
	listener driver.Listener
}

func serveTokens(t *testing.T) *tokenServer {
	t.Helper()
	world, err := entra.New(entra.Config{})
	if err != nil {
		t.Fatal(err)
	}
	servers, err := world.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s := &tokenServer{world: world, pki: lab.NewPKI(t)}
	s.alice, s.tenant = s.material(t, "alice"), world.AddTenant(entra.TenantSpec{})
	app := s.tenant.AddApplication(entra.AppSpec{Certificates: [][]byte{s.alice.Chain[0]}})
	endpoint, err := url.Parse(servers.Login + "/" + s.tenant.ID + "/oauth2/v2.0/token")
	if err != nil {
		t.Fatal(err)
	}
	s.listener = driver.Listener{Address: endpoint.Host, Protocol: "oauth", Details: map[string]string{
		"token_endpoint": endpoint.String(), "client_id": app.Application.AppID, "scope": "https://graph.microsoft.com/.default", "roots": string(servers.CA),
	}}
	return s
}

// material makes a certificate with an RSA key, which is what Entra ID takes.
func (s *tokenServer) material(t *testing.T, name string) driver.Material {
	t.Helper()
	key := lab.NewRSAKey(t, 2048)
	c := s.pki.Sign(t, &x509.Certificate{Subject: pkix.Name{CommonName: name}}, &key.PublicKey)
	return driver.Material{Public: driver.Public{Chain: [][]byte{c.Raw}}, Key: key}
}

// with is the listener with one detail in place of its own.
func (s *tokenServer) with(name, value string) driver.Listener {
	l := s.listener
	l.Details = maps.Clone(l.Details)
	l.Details[name] = value
	return l
}

func TestTokensAreAskedFor(t *testing.T) {
	t.Parallel()
	s := serveTokens(t)
	held := probe(t, s.alice, nil, true, s.listener)
	want(t, "alice", held.Attempts, "fresh accepted")
	if len(held.Open)+len(held.Sessions) > 0 {
		t.Errorf("something of a token is kept: %+v", held)
	}
	a := held.Attempts[0]
	if signIns := s.tenant.SignIns(); len(signIns) != 1 || a.IDs["uti"] != signIns[0].UTI || a.IDs["request"] != signIns[0].ID || a.IDs["correlation"] != signIns[0].CorrelationID || a.Served == "" {
		t.Errorf("%+v, and the log has %+v", a, signIns)
	}
	stranger := probe(t, s.material(t, "stranger"), nil, false, s.listener).Attempts
	want(t, "a stranger", stranger, "fresh refused")
	if !strings.HasPrefix(stranger[0].Answer, "401 invalid_client AADSTS700027") {
		t.Errorf("the answer is %q", stranger[0].Answer)
	}
	want(t, "nobody's application", probe(t, s.alice, nil, false, s.with("client_id", s.tenant.ID)).Attempts, "fresh failed")
	want(t, "another scope", probe(t, s.alice, nil, false, s.with("scope", "https://nothing.example.com/.default")).Attempts, "fresh failed")
}

// An assertion goes to nobody but the endpoint that it is for.
func TestAssertionsGoNowhereElse(t *testing.T) {
	t.Parallel()
	s := serveTokens(t)
	for what, l := range map[string]driver.Listener{
		"an endpoint elsewhere": s.with("token_endpoint", "https://127.0.0.1:1/oauth2/v2.0/token"),
		"no TLS":                s.with("token_endpoint", "http://"+s.listener.Address+"/oauth2/v2.0/token"),
		"another root":          s.with("roots", lab.CertificatePEM(s.pki.Root.Raw)),
		"roots that are none":   s.with("roots", "x"),
		"no client":             s.with("client_id", ""),
	} {
		want(t, what, probe(t, s.alice, nil, false, l).Attempts, "fresh failed")
	}
	if n := len(s.tenant.SignIns()); n > 0 {
		t.Errorf("%d requests for tokens were made", n)
	}
	_, err := probing.Probe(t.Context(), driver.ProbeRequest{Host: host.Local(), Credential: lab.SSHKey(t), Listeners: []driver.Listener{s.listener}, Now: time.Now})
	if !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a key of SSH gives %v", err)
	}
}

// "Later" is waited for, and what stays so says nothing of the credential.
func TestTokensLater(t *testing.T) {
	t.Parallel()
	s := serveTokens(t)
	var asked, busy atomic.Int64
	answer := entra.Injected{Status: 429, RetryAfter: time.Second}
	s.world.SetFaults(func(f *entra.Faults) {
		f.Inject = func(entra.Attempt) *entra.Injected {
			if asked.Add(1) <= busy.Load() {
				return &answer
			}
			return nil
		}
	})
	busy.Store(1)
	want(t, "busy once", probe(t, s.alice, nil, false, s.listener).Attempts, "fresh accepted")
	for _, answer = range []entra.Injected{{Status: 429, RetryAfter: time.Hour}, {Status: 503}, {Status: 401, Body: "<html>"}, {Status: 200, Body: strings.Repeat(" ", 2<<20)}} {
		asked.Store(0)
		want(t, "busy", probe(t, s.alice, nil, false, s.listener).Attempts, "fresh failed")
		if asked.Load() != 1 {
			t.Errorf("%d: %d requests", answer.Status, asked.Load())
		}
	}
}
