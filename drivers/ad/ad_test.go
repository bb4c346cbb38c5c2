// SPDX-License-Identifier: Apache-2.0

package ad_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/drivers/ad"
	"github.com/tallystick/tallystick/internal/lab"
)

// One domain controller serves all of what changes accounts only.
func TestDomain(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	e.add(t, "svc1", map[string][]string{"servicePrincipalName": {"HTTP/web1.lab.test"}})
	drivertest.Run(t, drivertest.Suite{
		Driver: ad.Driver(), Options: e.options(nil), Targets: []string{"ldaps://" + e.samba.LDAPS},
		Want: []tallystick.Place{tallystick.ADPlace("lab.test", dn("svc1"))}, Bad: "ldaps://127.0.0.1:1", Secrets: []string{lab.SambaPassword},
	})
	t.Run("finds", e.finds)
	t.Run("watches", e.watches)
	t.Run("usn", e.watchesByUSN)
	t.Run("undoes", e.undoes)
	t.Run("cookie", e.badCookie)
	t.Run("lies", e.lies)
	t.Run("turned away", e.turnedAway)
	t.Run("not privileged", e.notPrivileged)
	t.Run("who", e.who)
	t.Run("detects", e.detects)
	t.Run("gone", e.gone)
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, options := range []map[string]string{
		{"url": "https://dc1"}, {"url": "ldaps://user:secret@dc1"}, {"url": "ldaps://dc1", "bind": "CN=x"}, {"url": "ldaps://dc1", "password-file": "/x"},
		{"method": "notify"}, {"every": "1ms"}, {"write-bind": "CN=x"}, {"url": "ldap://192.0.2.1", "plain": "true", "bind": "CN=x", "password-file": "/x"},
		{"url": "ldaps://dc1", "timeout": "1h"},
	} {
		if _, err := ad.Driver().Open(options); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v, want ErrInvalid", options, err)
		}
	}
}

// factsOf returns what a look says of an account, by form.
func factsOf(sink *drivertest.Recorder, account string) map[string][]tallystick.Sighting {
	forms := map[string][]tallystick.Sighting{}
	for _, s := range sink.Sightings {
		if s.Facts.Account.Account == account {
			forms[s.Facts.Account.Form] = append(forms[s.Facts.Account.Form], s)
		}
	}
	return forms
}

func (e *estate) finds(t *testing.T) {
	logons := e.samba.Accounts.Client(t, "svc2@lab.test")
	value, id := shadow(t, dn("svc2"))
	e.add(t, "svc2", map[string][]string{
		"servicePrincipalName": {"HTTP/web9.lab.test"}, "info": {"platform team"}, "userCertificate": {string(logons.Chain[0]), "\x30\x03hi\xff"},
		"altSecurityIdentities":    {"X509:<S>CN=svc2", "X509:<I>CN=ca<SR>0102", "Kerberos:svc2@lab.test"},
		"msDS-AllowedToDelegateTo": {"cifs/files.lab.test"},
	})
	e.modify(t, "svc2", func(r *ldap.ModifyRequest) {
		r.Add("msDS-KeyCredentialLink", []string{value})
		r.Replace("userAccountControl", []string{"21037568"}) // a person, never old, no pre-authentication, delegation without a sign-in
		r.Add("msDS-AllowedToActOnBehalfOfOtherIdentity", []string{descriptor(t, "S-1-5-32-544")})
	})
	e.add(t, "alice", map[string][]string{"givenName": {"Alice"}, "sn": {"Example"}})
	e.addToGroup(t, "svc2", "Domain Admins")
	sink := drivertest.Find(t, ad.Driver(), e.options(nil))
	forms := factsOf(sink, "svc2")
	if len(forms[tallystick.FormPassword]) != 1 || len(forms[tallystick.FormCertificate]) != 1 || len(forms[tallystick.FormMapping]) != 2 || len(forms[tallystick.FormKey]) != 1 {
		t.Fatalf("%+v", forms)
	}
	got := *forms[tallystick.FormKey][0].Facts.Account
	if got.PasswordSet.IsZero() || got.Created.IsZero() {
		t.Errorf("it is not known when its password was set: %+v", got)
	}
	got.PasswordSet, got.Created = tallystick.AccountFacts{}.PasswordSet, tallystick.AccountFacts{}.Created
	want := tallystick.AccountFacts{
		Directory: "lab.test", Account: "svc2", Kind: "service", Form: "key", KeyID: id, Services: []string{"HTTP/web9.lab.test"}, NeverExpires: true,
		NoProof: true, Delegation: []string{"anybody at cifs/files.lab.test without their sign-in"}, ActedFor: []string{"Administrators"},
		Groups: []string{"Administrators", "Denied RODC Password Replication Group", "Domain Admins", "Domain Users", "Users"}, Owners: []string{"platform team"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var strengths []string
	for _, s := range forms[tallystick.FormMapping] {
		strengths = append(strengths, s.Facts.Account.Mapping+" "+s.Credential.Subject)
	}
	slices.Sort(strengths)
	if d := cmp.Diff([]string{"strong X509:<I>CN=ca<SR>0102", "weak X509:<S>CN=svc2"}, strengths); d != "" {
		t.Error(d)
	}
	if key := forms[tallystick.FormKey][0].Credential; key.Kind != tallystick.KindKey || key.Key.Algorithm != "rsa-2048" {
		t.Errorf("%+v", key)
	}
	if d := cmp.Diff([]string{"malformed"}, sink.Words()); d != "" {
		t.Errorf("a certificate that is none: %s", d)
	}
	if person := factsOf(sink, "alice")[tallystick.FormPassword]; len(person) != 1 || person[0].Facts.Account.Kind != "person" {
		t.Errorf("%+v", person)
	}
}
