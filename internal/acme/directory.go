// SPDX-License-Identifier: Apache-2.0

package acme

import "net/http"

// directory tells where everything is (RFC 8555 section 7.1.1, RFC 9773 section 3,
// draft-ietf-acme-profiles section 3).
func (x *exchange) directory() error {
	if _, err := x.signing(); err != nil {
		return err
	}
	profiles := map[string]string{}
	for _, name := range x.Profiles {
		profiles[name] = name
		if x.Describe != nil {
			profiles[name] = x.Describe(name)
		}
	}
	type meta struct {
		Terms    string            `json:"termsOfService,omitempty"`
		Website  string            `json:"website,omitempty"`
		External bool              `json:"externalAccountRequired,omitempty"`
		Profiles map[string]string `json:"profiles"`
	}
	return x.answer(http.StatusOK, struct {
		NewNonce    string `json:"newNonce"`
		NewAccount  string `json:"newAccount"`
		NewOrder    string `json:"newOrder"`
		RevokeCert  string `json:"revokeCert"`
		KeyChange   string `json:"keyChange"`
		RenewalInfo string `json:"renewalInfo"`
		Meta        meta   `json:"meta"`
	}{
		x.url("new-nonce"), x.url("new-account"), x.url("new-order"), x.url("revoke"), x.url("key-change"), x.url("renewal-info"),
		meta{x.Terms, x.Website, x.ExternalAccount, profiles},
	})
}

// newNonce gives out a nonce (RFC 8555 section 7.2).
func (x *exchange) newNonce() error {
	x.w.Header().Set("Cache-Control", "no-store")
	status := http.StatusNoContent
	if x.r.Method == http.MethodHead || x.r.Method == http.MethodPost {
		status = http.StatusOK
	}
	if x.r.Method != http.MethodPost {
		x.w.Header().Set("Replay-Nonce", x.nonces.issue())
	}
	return x.send(status, "", nil)
}
