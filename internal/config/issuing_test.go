// SPDX-License-Identifier: Apache-2.0

package config_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/config"
)

// fullIssuing is what testdata/full.yaml says of issuing.
func fullIssuing() config.Issuing {
	return config.Issuing{
		URL: "http://pki.example.com", HTTP: "10.0.0.5:80",
		Profiles: []config.Profile{
			{Name: "short", Like: "server", Lifetime: 24 * time.Hour, MaxLifetime: 72 * time.Hour, Keys: []string{"ecdsa-p256", "ed25519"}},
			{Name: "vpn", Like: "client", Authority: "people", Approval: true},
		},
		Policies: []config.Policy{
			{Name: "our-names", When: "role == 'client'", Require: "names.all(n, under(n, 'shop.example.com'))",
				Because: "names must end in .shop.example.com", Citation: "Certificate policy of the shop, section 3.2"},
			{Name: "shop-backend", When: "who == 'shop-backend' && profile == 'server'", Grants: true,
				Require: "names.all(n, under(n, 'backend.shop.example.com')) && lifetime <= duration('24h')"},
			{Name: "ca-for-partners", When: "binding.startsWith('partner-')", Approve: true},
			{Name: "short-lives", Require: "lifetime <= duration('72h')", Because: "certificates live for three days at most", From: "2027-03-15"},
		},
		ACME: config.ACME{
			On: true, URL: "https://acme.example.com", Profiles: []string{"server", "short"}, ExternalAccount: true, Terms: "https://pki.example.com/terms", Website: "https://pki.example.com",
			Allow: []string{"10.0.0.0/8", "2001:db8::/32"}, Resolver: "10.0.0.53:53", Challenges: []string{"http-01", "dns-01"}, Timeout: 5 * time.Second, Reuse: 8 * time.Hour,
			Poll: 15 * time.Minute, Limits: config.ACMELimits{OrdersPerHour: 1000, Names: 20},
		},
		EST:        config.EST{Listen: "127.0.0.1:8444"},
		Revocation: config.Revocation{Shards: 16, Lifetime: 24 * time.Hour, OCSP: true},
	}
}

func fullIssuers() []config.Issuer {
	return []config.Issuer{{Name: "letsencrypt", Driver: "acme",
		Options:  map[string]driver.Secret{"directory": driver.NewSecret("https://acme-v02.api.letsencrypt.org/directory")},
		Profiles: map[string]string{"short": "shortlived"}, PerHour: 50, PerWeek: 500}}
}

func TestMistakesOfIssuing(t *testing.T) {
	for _, row := range []struct{ text, want string }{
		{"custody: {kind: hsm}\n", `1:17: custody.kind: it is one of file, passphrase, tpm, pkcs11, transit`},
		{"custody: {kind: tpm, file: /x}\n", `1:28: custody.file: it goes with the kinds file and passphrase; what tpm takes stands under options`},
		{"issuing: {url: pki.example.com}\n", `1:16: issuing.url: it begins with http:// or https:// and a host, and ends before any ? or #`},
		{"issuing: {url: 'https://hunter2@x/'}\n", `1:16: issuing.url: it begins with http:// or https:// and a host, and ends before any ? or #`},
		{"issuing: {http: '80'}\n", `1:17: issuing.http: it is an address and a port, such as 0.0.0.0:80`},
		{"issuing:\n  profiles:\n    - like: server\n", `3:7: issuing.profiles[0].name: it has lower-case letters, digits and hyphens, and at most 63 of them`},
		{"issuing:\n  profiles: [{name: a}, {name: a}]\n", `2:32: issuing.profiles[1].name: another profile is called a too`},
		{"issuing:\n  profiles:\n    - {name: a, lifetime: 48h, max_lifetime: 24h}\n", `3:46: issuing.profiles[0].max_lifetime: it is at least 1m, and no less than lifetime`},
		{"issuing:\n  profiles:\n    - {name: a, lifetime: -48h}\n", `3:27: issuing.profiles[0].lifetime: it is at least 1m`},
		{"issuing:\n  profiles:\n    - name: a\n      keys: [ecdsa-p265]\n", `4:14: issuing.profiles[0].keys[0]: there is no such sort of key: did you mean "ecdsa-p256"?`},
		{"issuing:\n  policies:\n    - name: a\n      when: proven\n", `3:7: issuing.policies[0].require: it is a CEL expression that must be true; without one the rule asks for approve: true`},
		{"issuing:\n  policies: [{name: a, approve: true}, {name: a, approve: true}]\n", `2:47: issuing.policies[1].name: another policy is called a too`},
		{"issuing:\n  policies:\n    - {name: a, approve: true, grants: true}\n",
			`3:40: issuing.policies[0].grants: the rule grants every name to everybody: say in when or require who may have which`},
		{"issuing:\n  policies:\n    - {name: a, require: proven, from: tomorrow}\n", `3:40: issuing.policies[0].from: it is a day such as 2026-03-15`},
		{"issuing:\n  policies:\n    - {name: a, require: '" + strings.Repeat("x", 2001) + "'}\n",
			`3:26: issuing.policies[0].require: an expression has at most 2000 bytes; split it into several rules`},
		{"issuing:\n  policies:\n    - {name: a, requires: proven}\n", `3:17: unknown key "requires": did you mean "require"?`},
		{"issuing: {revocation: {shards: 5000}}\n", `1:32: issuing.revocation.shards: it is between 1 and 4096`},
		{"issuing: {revocation: {lifetime: 1s}}\n", `1:34: issuing.revocation.lifetime: it is between 1m and 8784h`},
		{"issuers: [{name: A, driver: acme}]\n", `1:18: issuers[0].name: it has lower-case letters, digits and hyphens, and at most 63 of them`},
		{"issuers: [{name: a}]\n", `1:11: issuers[0].driver: it says which driver talks to the CA`},
		{"issuers:\n  - {name: a, driver: acme, per_hour: -1}\n", `2:39: issuers[0].per_hour: it is 0 or more`},
	} {
		_, err := config.Parse("c.yaml", []byte(row.text))
		if err == nil {
			t.Errorf("%.80q: there is no error", row.text)
			continue
		}
		if diff := cmp.Diff("invalid input: c.yaml:"+row.want, err.Error()); diff != "" {
			t.Errorf("%.80q: %s", row.text, diff)
		}
	}
}

func TestFromDay(t *testing.T) {
	if day := (config.Policy{From: "2027-03-15"}).FromDay(); !day.Equal(time.Date(2027, time.March, 15, 0, 0, 0, 0, time.UTC)) {
		t.Error(day)
	}
	if day := (config.Policy{}).FromDay(); !day.IsZero() {
		t.Error(day)
	}
}
