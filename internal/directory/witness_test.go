// SPDX-License-Identifier: Apache-2.0

package directory_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/directory"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// ofAccount is a change of an account, as a watch of its directory saw it.
func ofAccount(at time.Time) tallystick.Change {
	return tallystick.Change{
		ID: "guid/userCertificate/v1", Source: "domain", Time: at, Kind: tallystick.ChangeCredentialAdded, Target: "ad:lab.test/cn=svc1", TargetName: "svc1",
		Accounts: []string{"account:ad/lab/svc1"}, Credential: []string{"cert-sha256:" + strings.Repeat("ab", 32)}, Detail: "userCertificate",
		Values: &tallystick.ChangedValues{Object: "guid", Attribute: "userCertificate", Added: [][]byte{{1}}},
	}
}

func list(t *testing.T, d *directory.Directory, db *store.DB) map[string]store.AccessChange {
	t.Helper()
	page, _, err := d.Changes(t.Context(), gate.Actor{Name: "ada", Role: gate.Viewer}, store.AccessFilter{}, store.PageRequest{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	bySource := map[string]store.AccessChange{}
	for _, c := range page.Items {
		bySource[c.Source] = c
	}
	return bySource
}

// Who made a change, the audit log says, and what stood there before, the watch: in any order,
// and of that change alone.
func TestTheAuditLogSaysWho(t *testing.T) {
	audited := ofAccount(noon.Add(-time.Second))
	audited.ID, audited.Source, audited.Values = "transaction", "samba", nil
	audited.Actor, audited.Address, audited.Correlation = "account:sid/s-1-5-21-1-2-3-1104", "192.0.2.66", "session"
	other := audited
	other.ID, other.Source, other.Detail, other.Actor = "other", "other", "servicePrincipalName", "account:sid/s-1-5-21-1-2-3-1105"
	long := audited
	long.ID, long.Source, long.Time, long.Actor = "long ago", "long", noon.Add(-time.Minute), "account:sid/s-1-5-21-1-2-3-1106"
	for name, order := range map[string][]tallystick.Change{
		"audit first": {other, long, audited, ofAccount(noon)}, "watch first": {ofAccount(noon), audited, long, other},
	} {
		embedded(t, func(t *testing.T, db *store.DB) {
			d := newDirectory(t, db)
			for _, c := range order {
				take(t, d, c)
			}
			got := list(t, d, db)["domain"]
			if got.Actor != audited.Actor || got.Address != audited.Address || got.Correlation != "session" || got.Values == nil {
				t.Errorf("%s: %+v", name, got)
			}
		})
	}
}

// A certificate that was issued here for the account explains that it was added; one for
// somebody else, or for that name in another domain, explains nothing.
func TestAnIssuedCertificateIsExpected(t *testing.T) {
	for name, one := range map[string]struct {
		names, target, account string
		expected               bool
	}{
		"common name":             {names: `{"common_name":"svc1"}`, expected: true},
		"mail":                    {names: `{"emails":["svc1@Lab.test"],"ips":["192.0.2.1"]}`, expected: true},
		"principal":               {names: `{"principals":["SVC1@LAB.TEST"]}`, expected: true},
		"bare principal":          {names: `{"principals":["svc1"]}`, expected: true},
		"computer":                {names: `{"dns":["web1.lab.test"]}`, account: "WEB1$", expected: true},
		"bare computer":           {names: `{"common_name":"web1"}`, account: "WEB1$", expected: true},
		"by the DN":               {names: `{"emails":["svc1@lab.test"]}`, target: "ldap:[::1]:636/uid=svc1,ou=people,dc=lab,dc=test", expected: true},
		"somebody else":           {names: `{"common_name":"mallory","dns":["svc2"]}`},
		"a prefix":                {names: `{"common_name":"svc10"}`},
		"a comma":                 {names: `{"common_name":"printer7, CN=svc1"}`},
		"mail of another domain":  {names: `{"emails":["svc1@guests.example"]}`},
		"another realm":           {names: `{"principals":["svc1@GUESTS.EXAMPLE"]}`},
		"host of another domain":  {names: `{"dns":["web1.guests.example"]}`, account: "WEB1$"},
		"host that is no account": {names: `{"dns":["svc1.lab.test","svc1"]}`},
		"subdomain":               {names: `{"common_name":"web1.guests.lab.test"}`, account: "WEB1$"},
		"no domain":               {names: `{"emails":["svc1@","svc1@lab.test"]}`, target: "ldap:[::1]:636/uid=svc1,o=lab"},
		"DN of another domain":    {names: `{"emails":["svc1@lab.test"]}`, target: "ldap:[::1]:636/uid=svc1,dc=lab,dc=test,dc=example"},
		"a comma in the DN":       {names: `{"emails":["svc1@guests.test"]}`, target: `ldap:[::1]:636/cn=svc1\,dc=guests,dc=test`},
	} {
		embedded(t, func(t *testing.T, db *store.DB) {
			key, certificate := sha256.Sum256([]byte("key")), sha256.Sum256([]byte("certificate"))
			authority, err := db.AddAuthority(t.Context(), store.Authority{Name: "lab", Kind: "x509", State: "active", Settings: "{}", Certificate: []byte{0}, Created: noon})
			if err != nil {
				t.Fatal(err)
			}
			if err := db.AddIssued(t.Context(), store.Issued{
				Serial: []byte("0123456789abcdef"), Authority: authority.ID, Profile: "client", Via: "api", Requester: "olga", Subject: "CN=svc1", Names: one.names,
				SPKI: key[:], SHA256: certificate[:], Certificate: []byte{0}, IssuedAt: noon, NotBefore: noon, NotAfter: noon.Add(time.Hour), Replaces: []byte{},
			}, "active"); err != nil {
				t.Fatal(err)
			}
			d := newDirectory(t, db)
			c := ofAccount(noon)
			c.Target, c.TargetName = cmp.Or(one.target, c.Target), cmp.Or(one.account, c.TargetName)
			c.Credential = []string{"cert-sha256:" + hex.EncodeToString(certificate[:]), "spki-sha256:" + hex.EncodeToString(key[:])}
			take(t, d, c)
			if got := list(t, d, db)["domain"]; (got.Expected != "") != one.expected {
				t.Errorf("%s: it is expected by %q", name, got.Expected)
			}
			if open := findings(t, db); (len(open) == 0) != one.expected {
				t.Errorf("%s: %q", name, open)
			}
		})
	}
}
