// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"time"
)

// An Issuer is a provider of identities that a thief runs: an application that
// trusts it by a federated credential lets in whoever it says. It speaks HTTP on
// loopback; Config.Federation is the client by which the cloud reads its keys.
type Issuer struct {
	URL string

	key *rsa.PrivateKey
	now func() time.Time
}

// NewIssuer serves one until ctx ends.
func (w *World) NewIssuer(ctx context.Context) (*Issuer, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, fmt.Errorf("couldn't make the key of an issuer: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("couldn't start an issuer: %w", err)
	}
	i := &Issuer{URL: "http://" + listener.Addr().String(), key: key, now: w.Now}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(rw http.ResponseWriter, _ *http.Request) {
		answerJSON(rw, http.StatusOK, map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(rw http.ResponseWriter, _ *http.Request) {
		answerJSON(rw, http.StatusOK, map[string]any{"keys": []map[string]any{{
			"kty": "RSA", "use": "sig", "kid": "1", "n": base64.RawURLEncoding.EncodeToString(key.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(key.E)).Bytes()),
		}}})
	})
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 30 * time.Second}
	go server.Serve(listener) // returns when the listener is closed
	context.AfterFunc(ctx, func() { server.Close() })
	return i, nil
}

// Token is one for a subject, good for ten minutes.
func (i *Issuer) Token(subject string) (string, error) {
	now := i.now()
	return signJWT(i.key, map[string]any{"kid": "1"}, map[string]any{
		"iss": i.URL, "sub": subject, "aud": "api://AzureADTokenExchange", "jti": freshID(),
		"nbf": now.Unix(), "iat": now.Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	})
}
