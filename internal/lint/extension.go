// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"strings"

	"github.com/zmap/zcrypto/encoding/asn1"
	"github.com/zmap/zcrypto/x509"
)

// extensions is a set: bit n stands for 2.5.29.n (RFC 5280 section 4.2.1), and two of
// those that are not used there for extensions of PKIX (section 4.2.2).
type extensions uint64

const (
	bitAIA = 62 // 1.3.6.1.5.5.7.1.1
	bitSIA = 63 // 1.3.6.1.5.5.7.1.11
)

// extensionsOf returns what a certificate has.
func extensionsOf(c *x509.Certificate) (has extensions) {
	for i := range c.Extensions {
		has |= extensionBit(c.Extensions[i].Id)
	}
	return has
}

func extensionBit(id asn1.ObjectIdentifier) extensions {
	switch {
	case len(id) == 4 && id[0] == 2 && id[1] == 5 && id[2] == 29 && id[3] >= 0 && id[3] < bitAIA:
		return 1 << id[3]
	case id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 1}):
		return 1 << bitAIA
	case id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 11}):
		return 1 << bitSIA
	}
	return 0
}

// aboutExtension says by the beginnings of their names which lints have nothing to
// say of a certificate that lacks an extension. They would find that out themselves,
// each with a look-up that costs more than all of this; that nothing is lost is
// tested with zlint's own certificates.
var aboutExtension = [...]struct {
	prefix string
	bit    int
}{
	{"e_ext_cert_policy_", 32}, {"w_ext_cert_policy_", 32},
	{"e_ext_ian_", 18}, {"w_ext_ian_", 18},
	{"e_ext_policy_map", 33}, {"w_ext_policy_map", 33},
	{"e_ext_policy_constraints_", 36}, {"e_inhibit_any_policy_", 54},
	{"e_name_constraint_", 30}, {"w_name_constraint_", 30}, {"e_ext_name_constraints_", 30},
	{"e_ext_freshest_crl_", 46}, {"w_ext_crl_distribution_", 31}, {"e_distribution_point_", 31}, {"w_distribution_point_", 31},
	{"e_ext_aia_", bitAIA}, {"w_ext_aia_", bitAIA}, {"e_subject_info_access_", bitSIA}, {"e_ext_subject_directory_attr_", 9},
	{"e_ext_san_", 17}, {"e_san_", 17},
}

// needs returns the extension that a lint is about.
func needs(name string) extensions {
	for _, about := range aboutExtension {
		if strings.HasPrefix(name, about.prefix) {
			return 1 << about.bit
		}
	}
	return 0
}
