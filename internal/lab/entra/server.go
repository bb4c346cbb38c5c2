// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"
)

// The services of a world, as Start serves them.
const (
	ServiceLogin      = "login"
	ServiceGraph      = "graph"
	ServiceOutlook    = "outlook"
	ServiceManagement = "management"
)

// EmulatorHeader stands in every answer, so that nobody takes the emulator for the
// cloud. Its value is "entra".
const EmulatorHeader = "X-Tallystick-Emulator"

// Servers are the services of a world on loopback.
type Servers struct {
	Login, Graph string // base URLs without a slash at the end
	// URLs has those of every service by its name, also of those that were mounted.
	URLs map[string]string
	// CA is the certificate of the authority that was made for these servers, PEM.
	CA []byte

	roots *x509.CertPool
}

// A mount makes the handler of a further service.
type mount func(*World) http.Handler

// Mount adds a service that Start serves on an address of its own. It must come before Start.
func (w *World) Mount(service string, handler http.Handler) {
	w.mounts[service] = func(*World) http.Handler { return handler }
}

// Start serves every service over HTTPS on a free port of 127.0.0.1 until ctx ends.
func (w *World) Start(ctx context.Context) (*Servers, error) {
	// Clients look at the real time when they judge it, and not at the world's.
	certificate, ca, err := serverCertificate(time.Now())
	if err != nil {
		return nil, err
	}
	s := &Servers{URLs: map[string]string{}, CA: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw}), roots: x509.NewCertPool()}
	s.roots.AddCert(ca)
	handlers := map[string]http.Handler{ServiceLogin: w.LoginHandler(), ServiceGraph: w.GraphHandler()}
	for name, m := range w.mounts {
		handlers[name] = m(w)
	}
	for name, handler := range handlers {
		if s.URLs[name], err = serve(ctx, certificate, handler); err != nil {
			return nil, fmt.Errorf("couldn't start the service %s: %w", name, err)
		}
	}
	s.Login, s.Graph = s.URLs[ServiceLogin], s.URLs[ServiceGraph]
	return s, nil
}

func serve(ctx context.Context, certificate tls.Certificate, handler http.Handler) (string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		// A client that hangs up in the middle is nothing to write home about.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go server.ServeTLS(listener, "", "") // returns when the listener is closed
	context.AfterFunc(ctx, func() { server.Close() })
	return "https://" + listener.Addr().String(), nil
}

// Roots returns a pool with the authority of these servers.
func (s *Servers) Roots() *x509.CertPool { return s.roots.Clone() }

// Client returns a client that trusts the authority and connects from an address
// of loopback, such as 127.0.1.66; "" is any. See PublicAddress for what the logs show.
func (s *Servers) Client(from string) *http.Client {
	dialer := &net.Dialer{Timeout: 30 * time.Second}
	if from != "" {
		dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	return &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		DialContext: dialer.DialContext, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute,
		TLSClientConfig: &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS12},
	}}
}

// serverCertificate makes an authority and a certificate of it for loopback, and for the names
// of the real hosts, so that a client may also be told to dial those names here.
func serverCertificate(now time.Time) (tls.Certificate, *x509.Certificate, error) {
	fail := func(err error) (tls.Certificate, *x509.Certificate, error) {
		return tls.Certificate{}, nil, fmt.Errorf("couldn't make the certificate of the emulator: %w", err)
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fail(err)
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Emulator of Microsoft's cloud"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 0, 7), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, authority, authority, &caKey.PublicKey, caKey)
	if err != nil {
		return fail(err)
	}
	ca, err := x509.ParseCertificate(der)
	if err != nil {
		return fail(err)
	}
	leaf, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "localhost"}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 0, 7),
		DNSNames:    []string{"localhost", "login.microsoftonline.com", "graph.microsoft.com", "outlook.office365.com", "manage.office.com"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, ca, &key.PublicKey, caKey)
	if err != nil {
		return fail(err)
	}
	return tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: key}, ca, nil
}
