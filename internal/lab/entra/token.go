// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	mathrand "math/rand/v2"
	"net/http"
	"strings"
	"time"
)

// A tokenKey signs all tokens, and seals those that nobody is to read.
type tokenKey struct {
	key    *rsa.PrivateKey
	kid    string
	header string // of every token, encoded
	seal   cipher.AEAD
}

func newTokenKey(key *rsa.PrivateKey) (*tokenKey, error) {
	sum := sha256.Sum256(key.N.Bytes())
	kid := base64.RawURLEncoding.EncodeToString(sum[:20])
	secret := make([]byte, 32)
	rand.Read(secret)
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, fmt.Errorf("couldn't make the key for opaque tokens: %w", err)
	}
	seal, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("couldn't make the key for opaque tokens: %w", err)
	}
	header := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"RS256","x5t":"` + kid + `","kid":"` + kid + `"}`))
	return &tokenKey{key: key, kid: kid, header: header, seal: seal}, nil
}

// tokenClaims are those of a token as they are written: Microsoft's reference of
// access token claims, versions 1.0 and 2.0.
type tokenClaims struct {
	Audience string   `json:"aud"`
	Issuer   string   `json:"iss"`
	Issued   int64    `json:"iat"`
	Begins   int64    `json:"nbf"`
	Ends     int64    `json:"exp"`
	AppName  string   `json:"app_displayname,omitempty"`
	AppID    string   `json:"appid,omitempty"`
	AppACR   string   `json:"appidacr,omitempty"`
	AZP      string   `json:"azp,omitempty"`
	AZPACR   string   `json:"azpacr,omitempty"`
	IDP      string   `json:"idp,omitempty"`
	IDType   string   `json:"idtyp"`
	ObjectID string   `json:"oid"`
	Roles    []string `json:"roles,omitempty"`
	Subject  string   `json:"sub"`
	Tenant   string   `json:"tid"`
	UTI      string   `json:"uti"`
	Version  string   `json:"ver"`
	Emulator string   `json:"tallystick_emulator"`
}

// A grantOf is what a token is issued for.
type grantOf struct {
	tenant         *Tenant
	principal      *Object
	name, audience string
	method         string // 1 secret, 2 certificate
	roles          []string
	uti            guid
	issued         time.Time
	version2       bool
}

// issue makes a token. Its lifetime is drawn from 60 to 90 minutes, which is
// documented (access tokens, token lifetime).
func (w *World) issue(g grantOf) (token string, expires time.Duration, err error) {
	w.draw(func(r *mathrand.Rand) { expires = time.Hour + time.Duration(r.IntN(1800))*time.Second })
	c := tokenClaims{
		Audience: g.audience, Issuer: "https://sts.windows.net/" + g.tenant.ID + "/", Issued: g.issued.Add(-5 * time.Minute).Unix(),
		IDType: "app", ObjectID: g.principal.ID, Subject: g.principal.ID, Roles: g.roles, Tenant: g.tenant.ID, UTI: g.uti.uti(),
		Version: "1.0", AppName: g.name, AppID: g.principal.AppID, AppACR: g.method, Emulator: "entra",
	}
	c.Begins, c.Ends, c.IDP = c.Issued, g.issued.Add(expires).Unix(), c.Issuer
	if g.version2 {
		c.Issuer, c.Version = "https://login.microsoftonline.com/"+g.tenant.ID+"/v2.0", "2.0"
		c.AZP, c.AZPACR, c.AppID, c.AppACR, c.IDP, c.AppName = c.AppID, c.AppACR, "", "", "", ""
	}
	payload, err := json.Marshal(c)
	if err != nil {
		return "", 0, err
	}
	if w.faults.Load().OpaqueTokens {
		nonce := make([]byte, w.signing.seal.NonceSize())
		rand.Read(nonce)
		return opaquePrefix + base64.RawURLEncoding.EncodeToString(w.signing.seal.Seal(nonce, nonce, payload, nil)), expires, nil
	}
	signed := w.signing.header + "." + base64.RawURLEncoding.EncodeToString(payload)
	sum := sha256.Sum256([]byte(signed))
	signature, err := rsa.SignPKCS1v15(rand.Reader, w.signing.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", 0, fmt.Errorf("couldn't sign a token: %w", err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), expires, nil
}

// opaquePrefix is how tokens begin that are no JWT.
const opaquePrefix = "EwB"

// A tokenProblem is why a token was not taken.
type tokenProblem string

const (
	tokenMissing   tokenProblem = "missing"
	tokenMalformed tokenProblem = "malformed"
	tokenForged    tokenProblem = "signature"
	tokenExpired   tokenProblem = "expired"
	tokenAudience  tokenProblem = "audience" // it is for another API
	tokenTenant    tokenProblem = "tenant"   // of which there is none
)

// authenticate reads the bearer token of a request to an API of Microsoft. The problem is
// "" if the token is good. A token of a principal that was disabled, or of which a
// permission was taken away, stays good until it ends.
func (w *World) authenticate(r *http.Request, api string) (*Tenant, *Claims, tokenProblem) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, nil, tokenMissing
	}
	c, problem := w.readToken(strings.TrimSpace(token))
	if problem != "" {
		return nil, nil, problem
	}
	if c.API != api {
		return nil, nil, tokenAudience
	}
	if !w.Now().Before(c.Ends) {
		return nil, nil, tokenExpired
	}
	t := w.Tenant(c.Tenant)
	if t == nil {
		return nil, nil, tokenTenant
	}
	return t, c, ""
}

// readToken checks who wrote a token, and reads it.
func (w *World) readToken(token string) (*Claims, tokenProblem) {
	var payload []byte
	if sealed, ok := strings.CutPrefix(token, opaquePrefix); ok {
		raw, err := base64.RawURLEncoding.DecodeString(sealed)
		n := w.signing.seal.NonceSize()
		if err != nil || len(raw) < n {
			return nil, tokenMalformed
		}
		if payload, err = w.signing.seal.Open(nil, raw[:n], raw[n:], nil); err != nil {
			return nil, tokenForged
		}
	} else {
		var problem tokenProblem
		if payload, problem = w.signing.verify(token); problem != "" {
			return nil, problem
		}
	}
	var c tokenClaims
	if json.Unmarshal(payload, &c) != nil {
		return nil, tokenMalformed
	}
	claims := &Claims{
		Audience: c.Audience, Tenant: c.Tenant, AppID: c.AppID + c.AZP, ObjectID: c.ObjectID, Method: c.AppACR + c.AZPACR,
		Roles: c.Roles, UTI: c.UTI, Issued: time.Unix(c.Issued, 0).UTC(), Ends: time.Unix(c.Ends, 0).UTC(),
	}
	claims.API = claims.Audience
	if a := apiByURI(claims.Audience); a != nil {
		claims.API = a.appID
	}
	return claims, ""
}

// verify checks the signature of a JWT that this key signed.
func (k *tokenKey) verify(token string) ([]byte, tokenProblem) {
	dot := strings.LastIndexByte(token, '.')
	if strings.Count(token, ".") != 2 {
		return nil, tokenMalformed
	}
	header, payload, _ := strings.Cut(token[:dot], ".")
	signature, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		return nil, tokenMalformed
	}
	sum := sha256.Sum256([]byte(token[:dot]))
	if header != k.header || rsa.VerifyPKCS1v15(&k.key.PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return nil, tokenForged
	}
	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		return nil, tokenMalformed
	}
	return raw, ""
}
