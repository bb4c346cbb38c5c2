// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/installing"
)

// A cloud is what all that one Driver opens has in common, so that a door is cheap where
// there are thousands: connections, and tokens that are still good.
type cloud struct {
	mu         sync.Mutex
	transports map[string]*http.Transport // guarded by mu
	tokens     map[tokenKey]*slot         // guarded by mu
	// read has what was read last from files, by the SHA-256 of their text: checking an RSA
	// key takes as long as signing with it.
	read map[[sha256.Size]byte]driver.Material // guarded by mu
}

func newCloud() *cloud {
	return &cloud{transports: map[string]*http.Transport{}, tokens: map[tokenKey]*slot{}, read: map[[sha256.Size]byte]driver.Material{}}
}

// A hostKey is under what the context of a request has the machine that connects.
type hostKey struct{}

// transport returns what speaks HTTPS from a machine to whoever the roots (PEM, or nil for
// those of this machine) vouch for. It knows no proxy: one would see every token.
func (c *cloud) transport(h driver.Host, roots []byte) (*http.Transport, error) {
	sum := sha256.Sum256(roots)
	key := h.Name() + string(sum[:])
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.transports[key]; t != nil {
		return t, nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if roots != nil {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(roots) {
			return nil, invalid("option ca: there is no certificate in it")
		}
	}
	t := &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10, MaxIdleConnsPerHost: 32,
		IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 15 * time.Second, ResponseHeaderTimeout: time.Minute,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
			defer cancel()
			return ctx.Value(hostKey{}).(driver.Host).Dial(ctx, network, address)
		},
	}
	c.transports[key] = t
	return t, nil
}

// mostRead is how many credentials are remembered: doors of one vendor have one.
const mostRead = 16

// material reads a certificate and its key, PEM.
func (c *cloud) material(text []byte) (driver.Material, error) {
	sum := sha256.Sum256(text)
	c.mu.Lock()
	m, known := c.read[sum]
	c.mu.Unlock()
	if known {
		return m, nil
	}
	m, err := installing.ReadPEM(text)
	if err != nil {
		return m, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.read) >= mostRead {
		clear(c.read)
	}
	c.read[sum] = m
	return m, nil
}

// A tokenKey names a token: who was given it, where, for what, by which credential.
type tokenKey struct {
	login, tenant, application, scope string
	credential                        [sha256.Size]byte
}

// A slot holds one token. Whoever has put something into busy asks for it, or reads it.
type slot struct {
	busy  chan struct{}
	token driver.Secret
	ends  time.Time
}

// mostTokens is how many tokens are kept before those that have ended are thrown away.
const mostTokens = 1 << 12

// slot returns the slot of a token.
func (c *cloud) slot(key tokenKey, now time.Time) *slot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.tokens[key]; s != nil {
		return s
	}
	if len(c.tokens) >= mostTokens {
		for other, s := range c.tokens {
			select {
			case s.busy <- struct{}{}:
				if now.After(s.ends) {
					delete(c.tokens, other)
				}
				<-s.busy
			default: // somebody is asking
			}
		}
	}
	s := &slot{busy: make(chan struct{}, 1)}
	c.tokens[key] = s
	return s
}
