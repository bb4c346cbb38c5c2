// SPDX-License-Identifier: Apache-2.0

package ldap_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/drivers/ldap"
	"github.com/tallystick/tallystick/internal/lab"
)

func TestDirectory(t *testing.T) {
	t.Parallel()
	e := newEstate(t)
	drivertest.Run(t, drivertest.Suite{
		Driver: ldap.Driver(), Options: e.options(nil), Targets: []string{"ldaps://" + e.slapd.LDAPS + "/" + e.slapd.People},
		Want: []tallystick.Place{tallystick.LDAPPlace(e.slapd.LDAPS, e.dn("alice"))}, Bad: "ldaps://127.0.0.1:1", Secrets: []string{lab.SlapdPassword},
	})
	t.Run("finds", e.finds)
	t.Run("watches", e.watches)
	t.Run("undoes", e.undoes)
	t.Run("hostile", e.hostile)
	t.Run("signs in", e.signsIn)
	t.Run("turned away", e.turnedAway)
	t.Run("limit", e.limit)
	t.Run("referral", e.referral)
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, options := range []map[string]string{
		{"url": "http://ldap"}, {"url": "ldaps://ldap", "bind": "cn=x"}, {"url": "ldap://192.0.2.1", "plain": "true", "bind": "cn=x", "password-file": "/x"},
		{"filter": "(uid="}, {"every": "1ms"}, {"late": "48h"}, {"write-bind": "cn=x"}, {"url": "ldapi:///s", "external": "true", "bind": "cn=x", "password-file": "/x"},
	} {
		if _, err := ldap.Driver().Open(options); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%v gives %v, want ErrInvalid", options, err)
		}
	}
}

func (e *estate) finds(t *testing.T) {
	client := e.pki.Client(t, "alice")
	e.modify(t, "alice", func(r *wire.ModifyRequest) {
		r.Add("userCertificate;binary", []string{string(client.Chain[0])})
		r.Add("mail", []string{"alice@lab.test"})
		r.Add("manager", []string{e.dn("bob")})
	})
	group := wire.NewAddRequest("cn=operators,"+e.slapd.People, nil)
	group.Attribute("objectClass", []string{"groupOfNames"})
	group.Attribute("member", []string{e.dn("alice")})
	if err := e.admin.Add(group); err != nil {
		t.Fatal(err)
	}
	sink := drivertest.Find(t, ldap.Driver(), e.options(nil))
	forms := map[string]tallystick.AccountFacts{}
	for _, s := range sink.Sightings {
		if s.Place == tallystick.LDAPPlace(e.slapd.LDAPS, e.dn("alice")) {
			facts := *s.Facts.Account
			facts.Created = time.Time{}
			forms[facts.Form] = facts
		}
	}
	want := tallystick.AccountFacts{
		Directory: e.slapd.LDAPS, Account: "alice", Kind: "person", Groups: []string{"operators"}, Owners: []string{e.dn("bob")},
	}
	password, certificate := want, want
	password.Form, certificate.Form = tallystick.FormPassword, tallystick.FormCertificate
	if d := cmp.Diff(map[string]tallystick.AccountFacts{"password": password, "certificate": certificate}, forms); d != "" {
		t.Error(d)
	}
}

func texts(values [][]byte) []string {
	var list []string
	for _, value := range values {
		list = append(list, string(value))
	}
	return list
}

// Changes are seen with what stood there before, over StartTLS as well.
func (e *estate) watches(t *testing.T) {
	d, b := e.open(t, map[string]string{"url": "ldap://" + e.slapd.LDAP}), &drivertest.Book{}
	if records := b.Watch(t, d); len(records)+len(b.Troubles) > 0 {
		t.Fatalf("%+v %+v", records, b.Troubles)
	}
	one, two := e.pki.Client(t, "bob").Chain[0], e.pki.Client(t, "bob").Chain[0]
	e.modify(t, "bob", func(r *wire.ModifyRequest) { r.Add("userCertificate;binary", []string{string(one)}) })
	records := b.Watch(t, d)
	if len(records) != 1 || records[0].Attribute != "userCertificate" || records[0].Directory != "ldap:"+e.slapd.LDAP || records[0].Existing != 0 ||
		records[0].Accounts[0] != tallystick.NormalName("account:ldap/"+e.dn("bob")) {
		t.Fatalf("%+v", records)
	}
	e.modify(t, "bob", func(r *wire.ModifyRequest) { r.Replace("userCertificate;binary", []string{string(two)}) })
	records = b.Watch(t, d)
	if len(records) != 1 || records[0].Existing != 1 {
		t.Fatalf("%+v", records)
	}
	if d := cmp.Diff([][]string{{string(two)}, {string(one)}}, [][]string{texts(records[0].Added), texts(records[0].Removed)}); d != "" {
		t.Error(d)
	}
	if records := b.Watch(t, d); len(records) > 0 {
		t.Errorf("a second look tells it again: %+v", records)
	}
	// Without what is remembered everything that is read again is new, and no more than that.
	b.Memory = nil
	e.modify(t, "bob", func(r *wire.ModifyRequest) { r.Replace("mail", []string{"bob@lab.test"}) })
	if records := b.Watch(t, d); len(records) == 0 || records[0].Removed != nil {
		t.Errorf("%+v", records)
	}
}

func (e *estate) undoes(t *testing.T) {
	d, b := e.open(t, nil), &drivertest.Book{}
	before := e.pki.Client(t, "bob").Chain[0]
	e.modify(t, "bob", func(r *wire.ModifyRequest) { r.Replace("userCertificate;binary", []string{string(before)}) })
	b.Watch(t, d)
	e.modify(t, "bob", func(r *wire.ModifyRequest) {
		r.Replace("userCertificate;binary", []string{string(e.pki.Client(t, "bob").Chain[0])})
	})
	r := b.Watch(t, d)[0]
	// It is found by what the directory calls it, also when it has another name by now.
	if err := e.admin.ModifyDN(wire.NewModifyDNRequest(e.dn("bob"), "uid=robert", false, "")); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.admin.ModifyDN(wire.NewModifyDNRequest(e.dn("robert"), "uid=bob", true, "")); err != nil {
			t.Error(err)
		}
	}()
	request := driver.UndoRequest{Values: tallystick.ChangedValues{Object: r.Object, DN: r.DN, Attribute: r.Attribute, Added: r.Added, Removed: r.Removed}}
	undone, err := d.Undo(t.Context(), request)
	if err != nil || !undone.Changed || undone.DN != e.dn("robert") || !strings.Contains(fmt.Sprint(undone.Now), tallystick.FingerprintOf(before).Short()) {
		t.Errorf("%+v %v", undone, err)
	}
	if undone, err = d.Undo(t.Context(), request); err != nil || undone.Changed {
		t.Errorf("again: %+v %v", undone, err)
	}
	// An entry that has the name of one that is gone is somebody else.
	gone := request
	gone.Values.Object, gone.Values.DN, gone.Values.Added, gone.Values.Removed = "8f1c2f0e-5b0a-4f0e-9d0a-6a1f7d1c5e11", e.dn("robert"), r.Removed, nil
	if undone, err := d.Undo(t.Context(), gone); !errors.Is(err, tallystick.ErrNotFound) || undone.Changed {
		t.Errorf("an entry of the same name: %+v %v", undone, err)
	}
	request.Values.Attribute = "sn"
	if _, err := d.Undo(t.Context(), request); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("an attribute that is not watched: %v", err)
	}
	// Who may not write is told so, and nothing has changed.
	other := e.open(t, map[string]string{"bind": e.dn("alice")})
	request.Values.Attribute, request.Values.Added, request.Values.Removed = r.Attribute, r.Removed, nil
	if _, err := other.Undo(t.Context(), request); !errors.Is(err, tallystick.ErrDenied) {
		t.Errorf("%v", err)
	}
}

// Bytes that are no text, names that are long or look like something else are read as they are.
func (e *estate) hostile(t *testing.T) {
	name := "evil\x1b[2J" + strings.Repeat("x", 200)
	request := wire.NewAddRequest("cn="+wire.EscapeDN(name)+","+e.slapd.People, nil)
	request.Attribute("objectClass", []string{"inetOrgPerson"})
	request.Attribute("sn", []string{"\u202eevil"})
	request.Attribute("uid", []string{"a\u202eb\x07"})
	request.Attribute("userPKCS12", []string{"\x00\xff"})
	if err := e.admin.Add(request); err != nil {
		t.Fatal(err)
	}
	sink := drivertest.Find(t, ldap.Driver(), e.options(nil))
	found := false
	for _, s := range sink.Sightings {
		found = found || strings.Contains(string(s.Place), "evil")
		if strings.ContainsAny(s.Facts.Account.Account+s.Credential.Subject, "\x1b\x07") {
			t.Errorf("%q has control characters", s.Facts.Account.Account)
		}
	}
	if !found {
		t.Error("the account with an odd name is not told")
	}
	b := &drivertest.Book{}
	if b.Watch(t, e.open(t, nil)); len(b.Troubles) > 0 {
		t.Errorf("%+v", b.Troubles)
	}
}

// Everybody signs in as the directory lets them: at its socket, by certificate, or not at all.
func (e *estate) signsIn(t *testing.T) {
	chain, key := lab.MaterialPEM(t, e.pki.Client(t, "alice"))
	for name, options := range map[string]map[string]string{
		"socket":      {"url": "ldapi://" + e.slapd.Socket, "external": "true", "bind": "", "password-file": "", "ca": "", "server-name": ""},
		"certificate": {"external": "true", "certificate": e.write(t, "alice.pem", chain+key), "bind": "", "password-file": ""},
		"start tls":   {"url": "ldap://" + e.slapd.LDAP},
		"plain":       {"url": "ldap://" + e.slapd.LDAP, "plain": "true", "ca": "", "server-name": ""},
	} {
		sink := drivertest.Find(t, ldap.Driver(), e.options(options))
		if len(sink.Sightings) == 0 || len(sink.Misses) > 0 {
			t.Errorf("%s: %d sightings, %+v", name, len(sink.Sightings), sink.Misses)
		}
	}
	nobody := drivertest.Find(t, ldap.Driver(), e.options(map[string]string{"bind": "", "password-file": ""}))
	if len(nobody.Misses) != 1 || len(nobody.Sightings) > 0 {
		t.Errorf("who does not sign in sees %d accounts, and %+v", len(nobody.Sightings), nobody.Misses)
	}
	other := drivertest.Find(t, ldap.Driver(), e.options(map[string]string{"ca": e.write(t, "other.pem", lab.CertificatePEM(lab.NewPKI(t).Root.Raw))}))
	if len(other.Misses) != 1 || other.Misses[0].Error != "unavailable" || !strings.Contains(other.Misses[0].Detail, "give its roots in the option ca") {
		t.Errorf("a directory that shows a certificate of another CA: %+v", other.Misses)
	}
}

func (e *estate) turnedAway(t *testing.T) {
	d, b := e.open(t, map[string]string{"bind": e.dn("alice"), "password-file": e.write(t, "wrong", "wrong\n")}), &drivertest.Book{}
	for range 3 {
		if b.Watch(t, d); len(b.Troubles) != 1 || !errors.Is(b.Troubles[0].Err, tallystick.ErrDenied) {
			t.Fatalf("%+v", b.Troubles)
		}
	}
	tries := 0
	for range 300 {
		if tries = strings.Count(e.slapd.Log(), "err=49"); tries > 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if tries != 1 {
		t.Errorf("it was tried %d times", tries)
	}
}

// TestTurnedAwayAtOnce has several sign in at the same time with a password that the directory does not
// take: one of them does. It may have been right before.
func TestTurnedAwayAtOnce(t *testing.T) {
	t.Parallel()
	e := newRotation(t, mayWrite)
	e.add(t, e.dn("bound"), "first password")
	e.add(t, e.dn("svc"), oldText)
	opener := ldap.Driver() // of one process
	atOnce := func(file string, want error) {
		t.Helper()
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				opened, err := opener.Open(e.options(map[string]string{"bind": e.dn("bound"), "password-file": file}))
				if err == nil {
					_, err = opened.(driver.Rotator).LookAccount(t.Context(), driver.AccountRequest{Account: e.dn("svc"), Now: time.Now})
				}
				if !errors.Is(err, want) {
					t.Errorf("%v, want %v", err, want)
				}
			})
		}
		group.Wait()
	}
	refused := func(want int) {
		t.Helper()
		e.signIn(t, e.dn("svc"), driver.NewSecret("wrong")) // which is in the log behind all that was before
		const line = "RESULT tag=97 err=49"
		log := e.slapd.Log()
		for end := time.Now().Add(30 * time.Second); !strings.Contains(log, line) || strings.Count(log, line) < want+1 && time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
			log = e.slapd.Log()
		}
		if n := strings.Count(log, line); n != want+1 {
			t.Errorf("%d wrong passwords are sent, want %d", n-1, want)
		}
	}
	atOnce(e.write(t, "wrong", "wrong"), tallystick.ErrDenied)
	refused(1)
	right := e.write(t, "right", "first password")
	atOnce(right, nil)
	e.modify(t, "bound", func(r *wire.ModifyRequest) { r.Replace("userPassword", []string{"second password"}) })
	atOnce(right, tallystick.ErrDenied)
	refused(3) // with the one of refused before
}

// A directory that gives a part and no more has not been read.
func (e *estate) limit(t *testing.T) {
	config := wire.NewModifyRequest("olcDatabase={2}mdb,cn=config", nil)
	config.Replace("olcLimits", []string{`dn.exact="` + e.dn("alice") + `" size=1`})
	if err := e.admin.Modify(config); err != nil {
		t.Fatal(err)
	}
	options := map[string]string{"bind": e.dn("alice")}
	sink := drivertest.Find(t, ldap.Driver(), e.options(options))
	if d := cmp.Diff([]string{"too-many"}, sink.Words()); d != "" {
		t.Errorf("%s %+v", d, sink.Misses)
	}
	b := &drivertest.Book{}
	if b.Watch(t, e.open(t, options)); len(b.Troubles) != 1 || b.Troubles[0].Do == "" || strings.Contains(b.Position, "based") {
		t.Errorf("%+v, it stands at %s", b.Troubles, b.Position)
	}
}

// No server but the one that was named is ever spoken to.
func (e *estate) referral(t *testing.T) {
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	visited := make(chan bool, 1)
	go func() {
		if conn, err := other.Accept(); err == nil {
			conn.Close()
			visited <- true
		}
	}()
	request := wire.NewAddRequest("ou=elsewhere,"+e.slapd.Suffix, []wire.Control{wire.NewControlManageDsaIT(true)})
	request.Attribute("objectClass", []string{"referral", "extensibleObject"})
	request.Attribute("ref", []string{"ldap://" + other.Addr().String() + "/ou=elsewhere,dc=lab,dc=test"})
	if err := e.admin.Add(request); err != nil {
		t.Fatal(err)
	}
	if sink := drivertest.Find(t, ldap.Driver(), e.options(nil)); len(sink.Sightings) == 0 || len(sink.Misses) > 0 {
		t.Errorf("%d sightings, %+v", len(sink.Sightings), sink.Misses)
	}
	sink := drivertest.Find(t, ldap.Driver(), e.options(nil), "ldaps://"+e.slapd.LDAPS+"/ou=elsewhere,dc=lab,dc=test")
	if len(sink.Misses) != 1 || !strings.Contains(sink.Misses[0].Detail, "not followed") {
		t.Errorf("%+v", sink.Misses)
	}
	select {
	case <-visited:
		t.Error("the other server was visited")
	default:
	}
}
