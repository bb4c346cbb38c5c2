// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
)

// A keyCredential is one key of an application or a service principal ("keyCredential resource
// type"). What PATCH sends back is what GET gave.
type keyCredential struct {
	CustomKeyIdentifier *string    `json:"customKeyIdentifier"`
	DisplayName         *string    `json:"displayName"`
	EndDateTime         *time.Time `json:"endDateTime,omitempty"`
	Key                 *string    `json:"key"` // base64; null but where one object is asked for with $select
	KeyID               string     `json:"keyId,omitempty"`
	StartDateTime       *time.Time `json:"startDateTime,omitempty"`
	Type                string     `json:"type"`
	Usage               string     `json:"usage"`
}

// Kinds and uses of keys.
const (
	typeCertificate = "AsymmetricX509Cert"
	usageVerify     = "Verify" // what it has signed lets in
)

// der returns the certificate, nil when it was not given.
func (k keyCredential) der() []byte {
	if k.Key == nil {
		return nil
	}
	der, err := base64.StdEncoding.DecodeString(*k.Key)
	if err != nil {
		return nil
	}
	return der
}

// x5t returns the SHA-1 of the certificate in hex, "" when nothing tells it. Microsoft writes
// customKeyIdentifier as 40 hexadecimal digits or as base64 of 20 bytes.
func (k keyCredential) x5t() string {
	if der := k.der(); der != nil {
		sum := sha1.Sum(der)
		return hex.EncodeToString(sum[:])
	}
	if k.CustomKeyIdentifier == nil {
		return ""
	}
	text := *k.CustomKeyIdentifier
	if raw, err := hex.DecodeString(text); err == nil && len(raw) == sha1.Size {
		return strings.ToLower(text)
	}
	if raw, err := base64.StdEncoding.DecodeString(text); err == nil && len(raw) == sha1.Size {
		return hex.EncodeToString(raw)
	}
	return ""
}

// is says whether a key is that of a certificate.
func (k keyCredential) is(p driver.Public) bool {
	if len(p.Chain) == 0 {
		return false
	}
	if der := k.der(); der != nil {
		return bytes.Equal(der, p.Chain[0])
	}
	return k.x5t() != "" && slices.Contains(p.Names(), "x5t:"+k.x5t())
}

// name returns the name that a view has for the key, "" when there is none.
func (k keyCredential) name() string {
	switch der := k.der(); {
	case der != nil:
		return "cert-sha256:" + string(tallystick.FingerprintOf(der))
	case k.x5t() != "":
		return "x5t:" + k.x5t()
	}
	return ""
}

// lets says whether the key lets somebody in at a time.
func (k keyCredential) lets(now time.Time) bool {
	return k.Usage == usageVerify && (k.StartDateTime == nil || !now.Before(*k.StartDateTime)) && (k.EndDateTime == nil || now.Before(*k.EndDateTime))
}

// marked says whether Trust of this driver has added the key.
func (k keyCredential) marked() bool { return k.DisplayName != nil && *k.DisplayName == mark }

// Display names of what this driver adds. By the first Withdraw knows what Trust has added.
const (
	mark   = "Added by Tallystick"
	lifted = "Put back by Tallystick"
)

// certificateKey is the key of a certificate as addKey and PATCH take it.
func certificateKey(p driver.Public, name string) keyCredential {
	key := base64.StdEncoding.EncodeToString(p.Chain[0])
	return keyCredential{Type: typeCertificate, Usage: usageVerify, Key: &key, DisplayName: &name}
}

// onlyCertificates refuses credentials that cannot be a key of an application.
func onlyCertificates(p driver.Public) error {
	if len(p.Chain) == 0 {
		return invalid("Entra ID takes certificates as keys, and this credential is none")
	}
	return nil
}

// An owner of keys is an application or a service principal.
type keyOwner struct {
	ID          string          `json:"id"`
	AppID       string          `json:"appId"`
	DisplayName string          `json:"displayName"`
	Keys        []keyCredential `json:"keyCredentials"`
	Passwords   []struct{}      `json:"passwordCredentials"`
}

// keysOf returns those keys of an owner that are of a certificate.
func (o *keyOwner) keysOf(p driver.Public) []keyCredential {
	var list []keyCredential
	for _, k := range o.Keys {
		if k.is(p) {
			list = append(list, k)
		}
	}
	return list
}

// A ring is the keys of the object that a door is, with who changes them.
type ring struct {
	*client
	path    string // of the object
	kind    string // of it in places: "applications"
	subject string // the client id of the application
}

func (e *Entra) ring(ctx context.Context, h driver.Host, now func() time.Time) (*ring, error) {
	if e.Tenant == "" || e.Application == "" {
		return nil, invalid("a door is one application of one tenant: set the options tenant and application")
	}
	c, err := e.client(ctx, h, e.Tenant, now)
	if err != nil {
		return nil, err
	}
	kind := e.kind()
	return &ring{client: c, subject: e.Application, kind: kind, path: fmt.Sprintf("/v1.0/%s(appId='%s')", kind, e.Application)}, nil
}

// kind is where keys and secrets are kept, as in places.
func (e *Entra) kind() string {
	if e.Object == "service-principal" {
		return "servicePrincipals"
	}
	return "applications"
}

// look reads the object with its keys. Asked for so, Microsoft gives the certificates too
// ("keyCredential resource type", property key).
func (r *ring) look(ctx context.Context) (*keyOwner, error) {
	var o keyOwner
	err := r.get(ctx, r.path, url.Values{"$select": {"id,appId,displayName,keyCredentials,passwordCredentials"}}, &o)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the keys of %s of the tenant %s: %w", path.Base(r.path), r.tenant, err)
	}
	if _, err := guid(o.ID); err != nil {
		return nil, fmt.Errorf("%w: an answer without the id of the application", tallystick.ErrUnavailable)
	}
	return &o, nil
}

// place names the object.
func (r *ring) place(o *keyOwner) string {
	return string(tallystick.EntraPlace(r.tenant, r.kind, o.ID))
}

// public is the certificate of a key.
func (k keyCredential) public() driver.Public { return driver.Public{Chain: [][]byte{k.der()}} }
