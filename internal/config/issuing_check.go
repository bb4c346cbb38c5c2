// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Bounds of what is set about issuing.
const (
	maxExpression = 2000 // bytes of a CEL expression; policy.Compile has the same
	maxShards     = 4096
	shortestCRL   = time.Minute
	longestCRL    = 366 * 24 * time.Hour
	dayForm       = "2006-01-02"
)

// custodyKinds are where a wrapping key can be.
func custodyKinds() []string { return []string{"file", "passphrase", "tpm", "pkcs11", "transit"} }

// keyKinds are the sorts of keys that a profile may name.
func keyKinds() []string {
	return []string{"ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"}
}

// checkIssuing notes what makes no sense about custody, issuing and issuers.
func (c *Config) checkIssuing(d *decoder) {
	c.Custody.check(d)
	c.Issuing.check(d)
	c.checkIssuers(d)
	c.checkRenewals(d)
}

func (c Custody) check(d *decoder) {
	if c.Kind != "" && !slices.Contains(custodyKinds(), c.Kind) {
		d.wrong("custody.kind", "it is one of %s", strings.Join(custodyKinds(), ", "))
	}
	if c.File != "" && c.Kind != "" && c.Kind != "file" && c.Kind != "passphrase" {
		d.wrong("custody.file", "it goes with the kinds file and passphrase; what %s takes stands under options", c.Kind)
	}
}

func (i *Issuing) check(d *decoder) {
	if i.URL != "" && !isPublishURL(i.URL) {
		d.wrong("issuing.url", "it begins with http:// or https:// and a host, and ends before any ? or #")
	}
	if i.HTTP != "" && !isAddress(i.HTTP) {
		d.wrong("issuing.http", "it is an address and a port, such as 0.0.0.0:80")
	}
	n := newNames()
	for at, profile := range i.Profiles {
		path := fmt.Sprintf("issuing.profiles[%d]", at)
		n.check(d, path+".name", "profile", profile.Name)
		profile.check(d, path)
	}
	n = newNames()
	for at, policy := range i.Policies {
		path := fmt.Sprintf("issuing.policies[%d]", at)
		n.check(d, path+".name", "policy", policy.Name)
		policy.check(d, path)
	}
	i.ACME.check(d)
	i.EST.check(d)
	i.SPIFFE.check(d)
	i.Revocation.check(d)
}

// isPublishURL says whether a text can be written into certificates as the
// beginning of where things are published.
func isPublishURL(text string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && !strings.ContainsAny(text, "?#")
}

func (p Profile) check(d *decoder, path string) {
	if p.Lifetime < 0 || p.Lifetime > 0 && p.Lifetime < time.Minute {
		d.wrong(path+".lifetime", "it is at least 1m")
	}
	if p.MaxLifetime < 0 || p.MaxLifetime > 0 && p.MaxLifetime < max(p.Lifetime, time.Minute) {
		d.wrong(path+".max_lifetime", "it is at least 1m, and no less than lifetime")
	}
	for i, key := range p.Keys {
		if !slices.Contains(keyKinds(), key) {
			d.wrong(fmt.Sprintf("%s.keys[%d]", path, i), "there is no such sort of key%s", suggest(key, keyKinds()))
		}
	}
}

func (p Policy) check(d *decoder, path string) {
	if strings.TrimSpace(p.Require) == "" && !p.Approve {
		d.wrong(path+".require", "it is a CEL expression that must be true; without one the rule asks for approve: true")
	}
	if p.Grants && p.When == "" && p.Require == "" {
		d.wrong(path+".grants", "the rule grants every name to everybody: say in when or require who may have which")
	}
	for _, expression := range []struct{ key, text string }{{"when", p.When}, {"require", p.Require}} {
		if len(expression.text) > maxExpression {
			d.wrong(path+"."+expression.key, "an expression has at most %d bytes; split it into several rules", maxExpression)
		}
	}
	if p.From != "" {
		if _, err := time.Parse(dayForm, p.From); err != nil {
			d.wrong(path+".from", "it is a day such as 2026-03-15")
		}
	}
}

func (r Revocation) check(d *decoder) {
	if r.Shards < 0 || r.Shards > maxShards {
		d.wrong("issuing.revocation.shards", "it is between 1 and %d", maxShards)
	}
	if r.Lifetime != 0 && (r.Lifetime < shortestCRL || r.Lifetime > longestCRL) {
		d.wrong("issuing.revocation.lifetime", "it is between 1m and 8784h")
	}
}

func (c *Config) checkIssuers(d *decoder) {
	n := newNames()
	for i, issuer := range c.Issuers {
		path := fmt.Sprintf("issuers[%d]", i)
		n.check(d, path+".name", "issuer", issuer.Name)
		if issuer.Driver == "" {
			d.wrong(path+".driver", "it says which driver talks to the CA")
		}
		if issuer.PerHour < 0 {
			d.wrong(path+".per_hour", "it is 0 or more")
		}
		if issuer.PerWeek < 0 {
			d.wrong(path+".per_week", "it is 0 or more")
		}
	}
}

// names are those of one list, each of which may be taken once.
type names map[string]bool

func newNames() names { return names{} }

func (n names) check(d *decoder, path, what, name string) {
	switch {
	case !jobName.MatchString(name):
		d.wrong(path, "it has lower-case letters, digits and hyphens, and at most 63 of them")
	case n[name]:
		d.wrong(path, "another %s is called %s too", what, name)
	}
	n[name] = true
}

// FromDay returns the beginning of the day from which the policy holds, in UTC;
// the zero time when it names none.
func (p Policy) FromDay() time.Time {
	day, err := time.Parse(dayForm, p.From)
	if err != nil {
		return time.Time{}
	}
	return day
}
