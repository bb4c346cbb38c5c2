// SPDX-License-Identifier: Apache-2.0

package revocation

import (
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/internal/store"
)

// prefix is where everything is published.
const prefix = "/pki/"

// ListURL returns where a list is: of a shard, or the complete one of an authority.
func ListURL(base, authority string, shard int64) string {
	if shard == store.CompleteList {
		return strings.TrimSuffix(base, "/") + prefix + authority + ".crl"
	}
	return strings.TrimSuffix(base, "/") + prefix + authority + "/" + strconv.FormatInt(shard, 10) + ".crl"
}

// CertificateURL returns where the certificate of an authority is (RFC 5280 section 4.2.2.1).
func CertificateURL(base, authority string) string {
	return strings.TrimSuffix(base, "/") + prefix + authority + ".crt"
}

// OCSPURL returns where an authority answers OCSP requests.
func OCSPURL(base, authority string) string {
	return strings.TrimSuffix(base, "/") + prefix + authority + "/ocsp"
}

// ShardFor chooses the part of the list that a new certificate names; CompleteList when there are
// no parts. Certificates of CAs name the complete list: the parts leave them out.
func ShardFor(serial []byte, shards int) int64 {
	if shards <= 1 || len(serial) < 2 {
		return store.CompleteList
	}
	last := int64(serial[len(serial)-2])<<8 | int64(serial[len(serial)-1])
	return last % int64(min(shards, MaxShards))
}
