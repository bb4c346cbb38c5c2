// SPDX-License-Identifier: Apache-2.0

package custody

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"

	"github.com/tallystick/tallystick"
)

// pkcs11Options say where a token is.
type pkcs11Options struct {
	Module, Token, PINFile, Key string
	Data                        string // the data directory, which is no place for a PIN
}

// A tokenKey is a key pair in a token, written as a PKCS #11 URI (RFC 7512).
type tokenKey struct {
	token string // label
	id    []byte // CKA_ID
}

// maxURI is the length of the longest URI of a key, in bytes.
const maxURI = 1 << 10

// String writes the URI. Everything but letters and digits is percent-encoded, which
// section 2.3 permits, so that each key has one URI.
func (k tokenKey) String() string {
	var id strings.Builder
	for _, b := range k.id {
		fmt.Fprintf(&id, "%%%02x", b)
	}
	var token strings.Builder
	for _, b := range []byte(k.token) {
		if b >= '0' && b <= '9' || b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' {
			token.WriteByte(b)
		} else {
			fmt.Fprintf(&token, "%%%02x", b)
		}
	}
	return "pkcs11:token=" + token.String() + ";id=" + id.String() + ";type=private"
}

// parseTokenKey reads what String writes; anything else is ErrDamaged.
func parseTokenKey(uri string) (tokenKey, error) {
	bad := fmt.Errorf("%w: it is not the URI of a key in a token", tallystick.ErrDamaged)
	rest, ok := strings.CutPrefix(uri, "pkcs11:token=")
	if !ok || len(uri) > maxURI {
		return tokenKey{}, bad
	}
	token, rest, ok := strings.Cut(rest, ";id=")
	if !ok {
		return tokenKey{}, bad
	}
	id, ok := strings.CutSuffix(rest, ";type=private")
	if !ok {
		return tokenKey{}, bad
	}
	k := tokenKey{}
	var err error
	if k.token, err = url.PathUnescape(token); err != nil {
		return tokenKey{}, bad
	}
	if k.id, err = hex.DecodeString(strings.ReplaceAll(id, "%", "")); err != nil || len(k.id) == 0 || k.String() != uri {
		return tokenKey{}, bad
	}
	return k, nil
}
