// SPDX-License-Identifier: Apache-2.0

package lint

import (
	"strings"

	zlint "github.com/zmap/zlint/v3/lint"
)

// A Choice says why a lint is run, or not.
type Choice struct{ Lint, Reason string }

// Reasons that several lints share.
const (
	suffixReason = "asks the list of public suffixes, which says nothing about private names; names-well-formed of the policy looks at all labels"
	keyReason    = "is about the quality of the key"
	formReason   = "is about encoding"
	caReason     = "keeps the certificate of a CA and one of a machine apart"
	nameReason   = "is about the form of names"
)

// LeftOut lists the lints of RFCs that are not run.
func LeftOut() []Choice {
	return []Choice{
		{"e_rfc_dnsname_hyphen_in_sld", suffixReason},
		{"e_rfc_dnsname_underscore_in_sld", suffixReason},
		{"w_rfc_dnsname_underscore_in_trd", suffixReason},
		{"e_ext_san_uri_host_not_fqdn_or_ip", "the trust domain of a SPIFFE ID is the host of a URI and need not be a full domain name (SPIFFE-ID section 2.1)"},
		{"e_empty_sct_list", "a private CA does not use Certificate Transparency"},
		{"e_precert_with_sct_list", "a private CA does not use Certificate Transparency"},
	}
}

// TakenOver lists the lints that were made for the public web and are run here too,
// because what they are about is the same for a private CA.
func TakenOver() []Choice {
	return []Choice{
		{"e_ca_is_ca", caReason},
		{"e_ca_key_cert_sign_not_set", caReason},
		{"e_ca_key_usage_missing", caReason},
		{"e_ca_key_usage_not_critical", caReason},
		{"e_dnsname_left_label_wildcard_correct", nameReason},
		{"e_dnsname_wildcard_only_in_left_label", nameReason},
		{"e_ec_improper_curves", keyReason},
		{"e_invalid_certificate_version", formReason},
		{"e_rsa_mod_less_than_2048_bits", keyReason},
		{"w_rsa_mod_not_odd", keyReason},
		{"e_rsa_public_exponent_not_odd", keyReason},
		{"e_rsa_public_exponent_too_small", keyReason},
		{"w_rsa_public_exponent_not_in_range", keyReason},
		{"e_sub_cert_key_usage_cert_sign_bit_set", caReason},
		{"e_sub_cert_key_usage_crl_sign_bit_set", caReason},
		{"e_sub_cert_not_is_ca", caReason},
		{"e_sub_cert_or_sub_ca_using_sha1", "is about the strength of the signature"},
		{"e_subject_rdns_correct_encoding", formReason},
		{"w_ext_san_critical_with_subject_dn", formReason},

		{"e_rsa_exp_negative", keyReason},
		{"e_rsa_no_public_key", keyReason},
		{"e_san_bare_wildcard", nameReason},
		{"e_san_dns_name_includes_null_char", nameReason},
		{"e_san_dns_name_starts_with_period", nameReason},
		{"e_san_wildcard_not_first", nameReason},
		{"e_utf8_latin1_mixup", formReason},
		{"e_validity_time_not_positive", formReason},
		{"w_subject_dn_leading_whitespace", nameReason},
		{"w_subject_dn_trailing_whitespace", nameReason},

		{"e_mp_authority_key_identifier_correct", formReason},
		{"e_mp_ecdsa_pub_key_encoding_correct", formReason},
		{"e_mp_ecdsa_signature_encoding_correct", formReason},
		{"e_mp_exponent_cannot_be_one", keyReason},
		{"e_mp_modulus_must_be_2048_bits_or_more", keyReason},
		{"e_mp_modulus_must_be_divisible_by_8", keyReason},
		{"e_mp_rsassa-pss_in_spki", formReason},
		{"e_mp_rsassa-pss_parameters_encoding_in_signature_algorithm_correct", formReason},
		{"e_prohibit_dsa_usage", keyReason},
	}
}

// taken returns the names of TakenOver.
func taken() map[string]bool {
	names := map[string]bool{}
	for _, c := range TakenOver() {
		names[c.Lint] = true
	}
	return names
}

// isTaken says whether a lint is run. Notices, whose names begin with n_, ask nobody to
// do anything.
func isTaken(m *zlint.LintMetadata) bool {
	if !strings.HasPrefix(string(m.Source), "RFC") {
		for _, c := range TakenOver() {
			if c.Lint == m.Name {
				return true
			}
		}
		return false
	}
	for _, c := range LeftOut() {
		if c.Lint == m.Name {
			return false
		}
	}
	return !strings.HasPrefix(m.Name, "n_")
}
