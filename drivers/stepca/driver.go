// SPDX-License-Identifier: Apache-2.0

// Package stepca is the driver that has certificates made by step-ca, through its
// own API and a provisioner of type JWK.
//
// Whoever has the provisioner's key may have any certificate that its policy
// allows: for each request the driver signs a one-time token (RFC 7519) with it
// that names what is asked for. The key is an option, or lies with the CA, wrapped
// with a password, as `step ca init` leaves it.
//
// The CA takes a token once, and cannot be asked what became of it. So the number
// of attempts is kept before each of them: two callers of one order cannot both
// succeed, but a certificate whose answer was lost stays with the CA, unknown.
package stepca

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// Options are what can be set.
type Options struct {
	URL         string        `option:"url" help:"URL of the CA, such as https://ca.example.com:9000"`
	Provisioner string        `option:"provisioner" help:"name of a provisioner of type JWK"`
	Key         driver.Secret `option:"key" help:"the provisioner's private key, a JWK"`
	Password    driver.Secret `option:"password" help:"in place of key: what the key is wrapped with that the CA keeps"`
	Fingerprint string        `option:"fingerprint" help:"SHA-256 of the CA's root, in hex, as step ca init prints it: the CA is known by it"`
	Roots       string        `option:"roots" help:"in place of fingerprint: PEM bundle to verify the CA's server against; without either, what this machine trusts"`
}

// Driver describes the driver.
func Driver() driver.Driver {
	return driver.New("stepca", "step-ca, by a provisioner of type JWK: has certificates made, reads its revocation list, and revokes", open)
}

// Issuer has certificates made by one step-ca.
type Issuer struct {
	options     Options
	settings    issuing.Settings
	base        string // URL of the API
	key         *jose.JSONWebKey
	fingerprint []byte
}

var (
	_ driver.Issuer         = (*Issuer)(nil)
	_ driver.StandingLooker = (*Issuer)(nil)
	_ driver.Revoker        = (*Issuer)(nil)
)

func open(o Options) (*Issuer, error) {
	i := &Issuer{options: o, settings: issuing.Settings{URL: o.URL, Roots: o.Roots, Secrets: []driver.Secret{o.Key, o.Password}}}
	base, err := i.settings.Base()
	if err != nil {
		return nil, fmt.Errorf("option url: %w", err)
	}
	i.base = base.String() + "/1.0"
	if o.Provisioner == "" || o.Key.IsZero() == o.Password.IsZero() {
		return nil, invalid("the option provisioner is needed, and one of key and password")
	}
	if !o.Key.IsZero() {
		if i.key, err = readKey([]byte(o.Key.Reveal())); err != nil {
			return nil, fmt.Errorf("option key: %w", err)
		}
	}
	if o.Fingerprint != "" {
		i.fingerprint, err = hex.DecodeString(strings.ReplaceAll(o.Fingerprint, ":", ""))
		if err != nil || len(i.fingerprint) != sha256.Size {
			return nil, invalid("option fingerprint: %q is not a SHA-256 in hex", o.Fingerprint)
		}
		if o.Roots != "" {
			return nil, invalid("option roots: fingerprint names the root already")
		}
	}
	return i, nil
}

// readKey reads a private JWK. Its errors tell nothing of it.
func readKey(text []byte) (*jose.JSONWebKey, error) {
	key := &jose.JSONWebKey{}
	if err := key.UnmarshalJSON(text); err != nil || !key.Valid() || key.IsPublic() {
		return nil, invalid("it is not a private JWK")
	}
	return key, nil
}

// client opens a conversation with the CA. With a fingerprint, the root is fetched
// first, from anybody: it is the one or it is not.
func (i *Issuer) client(ctx context.Context) (*issuing.Client, error) {
	client, err := i.settings.Client()
	if err != nil || i.fingerprint == nil {
		return client, err
	}
	client.Trust(func(c *tls.Config) { c.InsecureSkipVerify = true })
	defer client.Close()
	status, body, err := client.Do(ctx, http.MethodGet, i.base+"/root/"+hex.EncodeToString(i.fingerprint), nil, nil)
	if err != nil {
		return nil, fmt.Errorf("couldn't fetch the CA's root: %w", err)
	}
	var answer struct {
		CA string `json:"ca"`
	}
	if status/100 != 2 || json.Unmarshal(body, &answer) != nil {
		return nil, fmt.Errorf("couldn't fetch the CA's root: %w", client.Refused(status, message(body)))
	}
	block, _ := pem.Decode([]byte(answer.CA))
	if block == nil || sha256.Sum256(block.Bytes) != [sha256.Size]byte(i.fingerprint) {
		return nil, fmt.Errorf("%w: the CA's root is not the one with the fingerprint %s", tallystick.ErrDenied, i.options.Fingerprint)
	}
	root, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the CA's root: %w", err)
	}
	if client, err = i.settings.Client(); err != nil {
		return nil, err
	}
	client.Trust(func(c *tls.Config) {
		c.RootCAs = x509.NewCertPool()
		c.RootCAs.AddCert(root)
	})
	return client, nil
}

// message takes the sentence out of an answer that is an error.
func message(body []byte) string {
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &answer) == nil && answer.Message != "" {
		return answer.Message
	}
	return string(body)
}

// post sends JSON and reads JSON, with what failed in words.
func (i *Issuer) post(ctx context.Context, client *issuing.Client, path string, question, answer any) (status int, says string, err error) {
	text, err := json.Marshal(question)
	if err != nil {
		return 0, "", err
	}
	status, body, err := client.Do(ctx, http.MethodPost, i.base+path, http.Header{"Content-Type": {"application/json"}}, text)
	if err != nil {
		return 0, "", err
	}
	if status/100 != 2 {
		return status, message(body), nil
	}
	return status, "", json.Unmarshal(body, answer)
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", tallystick.ErrInvalid, fmt.Sprintf(format, args...))
}
