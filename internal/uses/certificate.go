// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"net/url"
	"strings"

	"github.com/tallystick/tallystick/parse"
)

// certificateNames returns every name of a certificate that a log holds whole:
// as PEM, PEM with URL escapes, or base64 of its DER. Of anything else it is nil.
func certificateNames(text string) []string {
	if strings.Contains(text, "%") {
		if plain, err := url.PathUnescape(text); err == nil {
			text = plain
		}
	}
	der := []byte(nil)
	if block, _ := pem.Decode([]byte(text)); block != nil {
		der = block.Bytes
	} else if raw, err := base64.StdEncoding.DecodeString(text); err == nil && len(raw) > 0 && raw[0] == 0x30 {
		der = raw
	}
	if der == nil {
		return nil
	}
	one, two := sha1.Sum(der), sha256.Sum256(der)
	names := []string{"x5t:" + hex.EncodeToString(one[:]), "cert-sha256:" + hex.EncodeToString(two[:])}
	if c, err := parse.Certificate(der); err == nil && c.Key.ID != "" {
		names = append(names, "spki-sha256:"+string(c.Key.ID))
	}
	return names
}
