// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/policy"
)

// The examples of docs/policy.md are rules that can be used, and its tables have
// everything that rules can speak of.
func TestPolicyDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := 0
	for i, block := range strings.Split(string(text), "```yaml\n") {
		if i == 0 {
			continue
		}
		yaml, _, _ := strings.Cut(block, "```")
		c, err := config.Parse("policy.md", []byte(yaml))
		if err != nil {
			t.Errorf("example %d: %v", i, err)
			continue
		}
		if _, err := policyOf(c); err != nil {
			t.Errorf("example %d: %v", i, err)
		}
		notEvaded(t, c)
		examples += len(c.Issuing.Policies)
	}
	if examples < 10 {
		t.Errorf("%d examples", examples)
	}
	for _, v := range policy.Variables() {
		if line := fmt.Sprintf("\n| `%s` | %s | %s |\n", v.Name, v.Type, v.About); !strings.Contains(string(text), line) {
			t.Errorf("docs/policy.md lacks %s", line)
		}
	}
	for _, f := range policy.Functions() {
		if line := fmt.Sprintf("\n| `%s` | %s |\n", f.Example, f.About); !strings.Contains(string(text), line) {
			t.Errorf("docs/policy.md lacks %s", line)
		}
	}
	for _, r := range policy.BuiltIn() {
		if !strings.Contains(string(text), "\n| `"+r.Name+"` | ") {
			t.Errorf("docs/policy.md lacks %s", r.Name)
		}
	}
}

// The example of docs/config.md has policies that can be used.
func TestConfigExample(t *testing.T) {
	c, err := config.Load("../../internal/config/testdata/full.yaml", os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := policyOf(c); err != nil {
		t.Error(err)
	}
	notEvaded(t, c)
}

// notEvaded checks that clients for whom the policies grant something get that, and
// nothing that the policies did not mean.
func notEvaded(t *testing.T, c *config.Config) {
	t.Helper()
	rules, err := policyOf(c)
	if err != nil {
		t.Fatal(err)
	}
	try := func(who, profile, domain string, names policy.Request) bool {
		names.Who, names.Role, names.Via, names.Profile = who, "client", "api", profile
		names.KeyType, names.Lifetime, names.Now = "ecdsa-p256", time.Hour, time.Date(2026, time.November, 22, 0, 0, 0, 0, time.UTC)
		if domain != "" {
			names.DNS = append(names.DNS, "a."+domain)
		}
		return rules.Decide(names).Allowed
	}
	for who, domain := range map[string]string{"billing": "billing.lab.test", "shop-backend": "backend.shop.example.com"} {
		if !slices.ContainsFunc(c.Issuing.Policies, func(p config.Policy) bool { return p.Grants && strings.Contains(p.When, "'"+who+"'") }) {
			continue
		}
		if !try(who, "server", domain, policy.Request{}) {
			t.Errorf("%s does not get its own name", who)
		}
		if try(who, "ssh-host", "", policy.Request{Principals: []string{"a." + domain}}) {
			t.Errorf("%s gets its name for another profile", who)
		}
		for _, row := range []struct {
			profile string
			names   policy.Request
		}{
			{"postgresql", policy.Request{CommonName: "postgres"}},
			{"postgresql", policy.Request{CommonName: "postgres ." + domain}},
			{"spiffe", policy.Request{URIs: []string{"spiffe://prod.bank/admin"}}},
			{"spiffe", policy.Request{URIs: []string{"spiffe://prod.bank/admin/x." + domain}}},
			{"client", policy.Request{Emails: []string{"boss@" + domain}}},
			{"pkinit", policy.Request{Principals: []string{"administrator@" + strings.ToUpper(domain)}}},
			{"ssh-user", policy.Request{Principals: []string{"root"}}},
			{"server", policy.Request{IPs: []string{"10.0.0.1"}}},
			{"server", policy.Request{DNS: []string{"evil" + domain}}},
		} {
			if try(who, row.profile, "", row.names) || try(who, row.profile, domain, row.names) || try(who, "server", domain, row.names) {
				t.Errorf("%s gets %s %+v", who, row.profile, row.names)
			}
		}
	}
}
