// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/doors"
)

const (
	// authorityKey is what the key of the CA is kept under.
	authorityKey = "agents/ca"
	// serverName is in the certificate that the server shows to agents. They know it by its
	// CA; the name tells it from the certificates of agents.
	serverName = "server.agents.tallystick.internal"

	// CertificateLife is how long the certificate of an agent is good. It is renewed when half
	// of that has passed; an agent that was away for longer enrols again.
	CertificateLife = 30 * 24 * time.Hour

	serverLife = 7 * 24 * time.Hour
	backdated  = time.Hour // for clocks that are behind
)

// An Authority is the CA of agents. It signs for them and for the port that they come
// to, and for nothing else: nobody trusts it but those that have its key from a token. Its
// key is all that is kept of it, and is made when it is first needed.
type Authority struct {
	Keys doors.Keys
	Now  func() time.Time

	mu     sync.Mutex
	ca     *x509.Certificate // guarded by mu; nil before it was needed
	key    crypto.Signer     // guarded by mu
	server *tls.Certificate  // guarded by mu
}

// open returns the CA with its key. Its certificate is written anew by each process:
// only the key in it counts.
func (a *Authority) open(ctx context.Context) (*x509.Certificate, crypto.Signer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ca != nil {
		return a.ca, a.key, nil
	}
	key, err := a.Keys.Make(ctx, authorityKey, "ecdsa-p256")
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't open the key of the CA of agents: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Agents of Tallystick"},
		NotBefore: a.Now().Add(-backdated), NotAfter: a.Now().AddDate(10, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't make the CA of agents: %w", err)
	}
	if a.ca, err = x509.ParseCertificate(der); err != nil {
		return nil, nil, fmt.Errorf("couldn't make the CA of agents: %w", err)
	}
	a.key = key
	return a.ca, a.key, nil
}

// pin is what the CA is known by.
func (a *Authority) pin(ctx context.Context) (string, error) {
	ca, _, err := a.open(ctx)
	if err != nil {
		return "", err
	}
	return string(tallystick.KeyIDOf(ca.RawSubjectPublicKeyInfo)), nil
}

// sign makes a certificate for a key.
func (a *Authority) sign(ctx context.Context, template *x509.Certificate, public crypto.PublicKey, life time.Duration) ([]byte, error) {
	ca, key, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, fmt.Errorf("couldn't make a serial number: %w", err)
	}
	template.NotBefore, template.NotAfter = a.Now().Add(-backdated), a.Now().Add(life)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, ca, public, key)
	if err != nil {
		return nil, fmt.Errorf("%w: couldn't make a certificate for the key: %w", tallystick.ErrInvalid, err)
	}
	return der, nil
}

// signAgent makes the certificate of an agent.
func (a *Authority) signAgent(ctx context.Context, name string, public crypto.PublicKey) ([]byte, error) {
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	return a.sign(ctx, template, public, CertificateLife)
}

// checkAgent returns the name in the certificate that an agent has shown, when it is
// of this CA and valid now.
func (a *Authority) checkAgent(ctx context.Context, c *x509.Certificate) (string, error) {
	ca, _, err := a.open(ctx)
	if err != nil {
		return "", err
	}
	if err := checkSigned(c, ca, x509.ExtKeyUsageClientAuth, a.Now()); err != nil {
		return "", fmt.Errorf("%w: the certificate of the agent is not good: %w", tallystick.ErrUnsigned, err)
	}
	return c.Subject.CommonName, nil
}

// checkSigned says what is wrong with a certificate that a CA should have signed. There
// is nothing between the two.
func checkSigned(c, ca *x509.Certificate, use x509.ExtKeyUsage, now time.Time) error {
	if err := c.CheckSignatureFrom(ca); err != nil {
		return err
	}
	if !slices.Contains(c.ExtKeyUsage, use) {
		return fmt.Errorf("%w: it is for something else", tallystick.ErrInvalid)
	}
	if now.Before(c.NotBefore) || now.After(c.NotAfter) {
		return fmt.Errorf("%w: it is valid from %s to %s", tallystick.ErrInvalid, c.NotBefore.Format(time.RFC3339), c.NotAfter.Format(time.RFC3339))
	}
	return nil
}

// Certificate returns what the server shows to agents, with a key that stays in memory:
// for tls.Config.GetCertificate of a listener that asks for client certificates.
func (a *Authority) Certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	ctx := hello.Context()
	ca, _, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	have := a.server
	a.mu.Unlock()
	if have != nil && a.Now().Before(have.Leaf.NotAfter.Add(-serverLife/2)) {
		return have, nil
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: serverName}, DNSNames: []string{serverName}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := a.sign(ctx, template, key.Public(), serverLife)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	next := &tls.Certificate{Certificate: [][]byte{der, ca.Raw}, PrivateKey: key, Leaf: leaf}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.server = next
	return next, nil
}

// pinned returns a check that a connection is to the server of a pin.
func pinned(pin string, now func() time.Time) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		shown := state.PeerCertificates
		if len(shown) != 2 || string(tallystick.KeyIDOf(shown[1].RawSubjectPublicKeyInfo)) != pin {
			return fmt.Errorf("%w: it is not the server that the token was made for", tallystick.ErrDenied)
		}
		if err := checkSigned(shown[0], shown[1], x509.ExtKeyUsageServerAuth, now()); err != nil {
			return fmt.Errorf("%w: the server shows a certificate that is not good: %w", tallystick.ErrDenied, err)
		}
		return shown[0].VerifyHostname(serverName)
	}
}
