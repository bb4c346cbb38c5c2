// SPDX-License-Identifier: Apache-2.0

package stepca

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/issuing"
)

// lifetime of a token; it is used at once.
const lifetime = 5 * time.Minute

// A claim is what a token asks for.
type claim struct {
	path    string // of the API
	id      string // taken once by the CA
	subject string
	names   []string
}

// token signs a token.
func (i *Issuer) token(ctx context.Context, client *issuing.Client, c claim, now time.Time) (string, error) {
	key := i.key
	if key == nil {
		var err error
		if key, err = i.unwrap(ctx, client); err != nil {
			return "", err
		}
	}
	algorithm, err := algorithmOf(key)
	if err != nil {
		return "", err
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return "", invalid("the provisioner's key cannot sign")
	}
	signed, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: i.options.Provisioner, Audience: jwt.Audience{i.base + c.path}, Subject: c.subject, ID: c.id,
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(lifetime)),
	}).Claims(struct {
		Names []string `json:"sans,omitempty"`
	}{c.names}).Serialize()
	if err != nil {
		return "", fmt.Errorf("couldn't sign a token with the provisioner's key: %w", err)
	}
	client.Hide(driver.NewSecret(signed))
	return signed, nil
}

func algorithmOf(key *jose.JSONWebKey) (jose.SignatureAlgorithm, error) {
	switch k := key.Key.(type) {
	case *ecdsa.PrivateKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return jose.ES256, nil
		case 384:
			return jose.ES384, nil
		default:
			return jose.ES512, nil
		}
	case ed25519.PrivateKey:
		return jose.EdDSA, nil
	case *rsa.PrivateKey:
		return jose.RS256, nil
	}
	return "", invalid("the provisioner's key is of a kind that signs no tokens")
}

// maxPages bounds how many pages of provisioners are read.
const maxPages = 50

// unwrap fetches the provisioner's key from the CA and opens it with the password.
func (i *Issuer) unwrap(ctx context.Context, client *issuing.Client) (*jose.JSONWebKey, error) {
	cursor := ""
	for range maxPages {
		query := url.Values{"limit": {"100"}, "cursor": {cursor}}
		status, body, err := client.Do(ctx, http.MethodGet, i.base+"/provisioners?"+query.Encode(), nil, nil)
		if err != nil {
			return nil, err
		}
		var page struct {
			Provisioners []struct {
				Type, Name, EncryptedKey string
			}
			NextCursor string
		}
		if status != http.StatusOK || json.Unmarshal(body, &page) != nil {
			return nil, fmt.Errorf("couldn't list the CA's provisioners: %w", client.Refused(status, message(body)))
		}
		for _, p := range page.Provisioners {
			if p.Type == "JWK" && p.Name == i.options.Provisioner && p.EncryptedKey != "" {
				return i.decrypt(p.EncryptedKey)
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	return nil, invalid("the CA keeps no key of a provisioner %q of type JWK; set the option key", i.options.Provisioner)
}

// decrypt opens a key that is wrapped with a password (RFC 7518 section 4.8). The
// library bounds the work that it may take.
func (i *Issuer) decrypt(wrapped string) (*jose.JSONWebKey, error) {
	sealed, err := jose.ParseEncryptedCompact(wrapped,
		[]jose.KeyAlgorithm{jose.PBES2_HS256_A128KW, jose.PBES2_HS384_A192KW, jose.PBES2_HS512_A256KW},
		[]jose.ContentEncryption{jose.A128GCM, jose.A256GCM, jose.A128CBC_HS256, jose.A256CBC_HS512})
	if err != nil {
		return nil, invalid("couldn't read the wrapped key of provisioner %q", i.options.Provisioner)
	}
	text, err := sealed.Decrypt([]byte(i.options.Password.Reveal()))
	if err != nil {
		return nil, invalid("option password: it does not open the key of provisioner %q", i.options.Provisioner)
	}
	defer clear(text)
	return readKey(text)
}
