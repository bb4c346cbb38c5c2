// SPDX-License-Identifier: Apache-2.0

package ad_test

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/internal/lab"
)

// descriptor makes a security descriptor that lets one in.
func descriptor(t *testing.T, sid string) string {
	t.Helper()
	var parts []uint32
	for _, text := range strings.Split(sid, "-")[3:] {
		var n uint32
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, n)
	}
	who := []byte{1, byte(len(parts)), 0, 0, 0, 0, 0, 5}
	for _, n := range parts {
		who = binary.LittleEndian.AppendUint32(who, n)
	}
	entry := append(binary.LittleEndian.AppendUint32([]byte{0, 0, byte(8 + len(who)), 0}, 0xf01ff), who...)
	list := append([]byte{2, 0, byte(8 + len(entry)), 0, 1, 0, 0, 0}, entry...)
	owner := []byte{1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0}
	head := []byte{1, 0, 4, 0x80, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(20 + len(owner)), 0, 0, 0}
	return string(append(append(head, owner...), list...))
}

func (e *estate) addToGroup(t *testing.T, name, group string) {
	t.Helper()
	request := ldap.NewModifyRequest(dn(group), nil)
	request.Add("member", []string{dn(name)})
	if err := e.admin.Modify(request); err != nil {
		t.Fatal(err)
	}
}

// of returns the record of an attribute.
func of(t *testing.T, records []driver.DirectoryRecord, attribute string) driver.DirectoryRecord {
	t.Helper()
	for _, r := range records {
		if r.Attribute == attribute {
			return r
		}
	}
	t.Fatalf("no change of %s among %+v", attribute, records)
	return driver.DirectoryRecord{}
}

func texts(values [][]byte) []string {
	var list []string
	for _, value := range values {
		list = append(list, string(value))
	}
	return list
}

func (e *estate) watches(t *testing.T) { e.watched(t, "svc3", nil) }

func (e *estate) watchesByUSN(t *testing.T) { e.watched(t, "svc4", map[string]string{"method": "usn"}) }

// watched sees each kind of change of an account, with what stood there before.
func (e *estate) watched(t *testing.T, name string, options map[string]string) {
	e.add(t, name, map[string][]string{"servicePrincipalName": {"HTTP/" + name + ".lab.test"}})
	d, b := e.open(t, options), &drivertest.Book{}
	if records := b.Watch(t, d); len(records) > 0 || len(b.Troubles) > 0 {
		t.Fatalf("the first round tells %+v %+v", records, b.Troubles)
	}
	if records := b.Watch(t, d); len(records) > 0 {
		t.Fatalf("nothing has changed, and it tells %+v", records)
	}
	value, _ := shadow(t, dn(name))
	began := time.Now()
	e.modify(t, name, func(r *ldap.ModifyRequest) {
		r.Add("msDS-KeyCredentialLink", []string{value})
		r.Replace("servicePrincipalName", []string{"HTTP/other-" + name + ".lab.test"})
		r.Replace("userAccountControl", []string{"4194816"})
		r.Add("msDS-AllowedToActOnBehalfOfOtherIdentity", []string{descriptor(t, "S-1-5-32-544")})
	})
	e.addToGroup(t, name, "Lab Operators")
	records := b.Watch(t, d)
	t.Logf("seen after %v", time.Since(began))
	services := of(t, records, "servicePrincipalName")
	if d := cmp.Diff([][]string{{"HTTP/other-" + name + ".lab.test"}, {"HTTP/" + name + ".lab.test"}}, [][]string{texts(services.Added), texts(services.Removed)}); d != "" {
		t.Error(d)
	}
	if services.Existing != 1 || services.Directory != "ad:lab.test" || services.Name != name || len(services.Accounts) != 2 || services.Accounts[0] != "account:ad/lab/"+name {
		t.Errorf("%+v", services)
	}
	if control := of(t, records, "userAccountControl"); texts(control.Added)[0] != "4194816" || texts(control.Removed)[0] != "512" {
		t.Errorf("%+v", control)
	}
	if keys := of(t, records, "msDS-KeyCredentialLink"); len(keys.Added) != 1 || !strings.EqualFold(string(keys.Added[0]), value) {
		t.Errorf("%+v", keys)
	}
	of(t, records, "msDS-AllowedToActOnBehalfOfOtherIdentity")
	if group := of(t, records, "member"); texts(group.Added)[0] != dn(name) || group.Name != "Lab Operators" {
		t.Errorf("%+v", group)
	}
	if records := b.Watch(t, d); len(records) > 0 {
		t.Errorf("a second look tells it again: %+v", records)
	}
	// What was deleted took its credentials along.
	if err := e.admin.Del(ldap.NewDelRequest(dn(name), nil)); err != nil {
		t.Fatal(err)
	}
	records = b.Watch(t, d)
	if gone := of(t, records, "servicePrincipalName"); len(gone.Added) > 0 || texts(gone.Removed)[0] != "HTTP/other-"+name+".lab.test" || gone.DN != dn(name) {
		t.Errorf("%+v", gone)
	}
}

// A change is taken back, and nothing else with it.
func (e *estate) undoes(t *testing.T) {
	e.add(t, "svc5", map[string][]string{"servicePrincipalName": {"HTTP/a", "HTTP/b"}})
	d, b := e.open(t, nil), &drivertest.Book{}
	// Who may act for others towards an account, Samba lets only itself write.
	system := e.open(t, map[string]string{"url": "ldapi://" + e.samba.Socket, "bind": "", "password-file": ""})
	b.Watch(t, d)
	value, _ := shadow(t, dn("svc5"))
	e.modify(t, "svc5", func(r *ldap.ModifyRequest) {
		r.Add("msDS-KeyCredentialLink", []string{value})
		r.Delete("servicePrincipalName", []string{"HTTP/b"})
		r.Add("servicePrincipalName", []string{"HTTP/c"})
		r.Add("msDS-AllowedToActOnBehalfOfOtherIdentity", []string{descriptor(t, "S-1-5-32-544")})
		r.Replace("userAccountControl", []string{"524800"})
	})
	records := b.Watch(t, d)
	// Somebody adds one more before it is taken back: that one stays.
	e.modify(t, "svc5", func(r *ldap.ModifyRequest) { r.Add("servicePrincipalName", []string{"HTTP/d"}) })
	for _, attribute := range []string{"msDS-KeyCredentialLink", "servicePrincipalName", "msDS-AllowedToActOnBehalfOfOtherIdentity", "userAccountControl"} {
		r := of(t, records, attribute)
		d := d
		if attribute == "msDS-AllowedToActOnBehalfOfOtherIdentity" {
			d = system
		}
		request := driver.UndoRequest{Values: tallystick.ChangedValues{Object: r.Object, DN: r.DN, Attribute: attribute, Added: r.Added, Removed: r.Removed}, Try: true}
		before := e.values(t, "svc5", attribute)
		undone, err := d.Undo(t.Context(), request)
		if err != nil || !undone.Changed {
			t.Fatalf("%s: %+v %v", attribute, undone, err)
		}
		if d := cmp.Diff(before, e.values(t, "svc5", attribute)); d != "" {
			t.Errorf("a try changed %s:\n%s", attribute, d)
		}
		request.Try = false
		if undone, err = d.Undo(t.Context(), request); err != nil || !undone.Changed {
			t.Fatalf("%s: %+v %v", attribute, undone, err)
		}
		if undone, err = d.Undo(t.Context(), request); err != nil || undone.Changed {
			t.Errorf("%s again: %+v %v", attribute, undone, err)
		}
	}
	if d := cmp.Diff([]string{"HTTP/a", "HTTP/b", "HTTP/d"}, slices.Sorted(slices.Values(e.values(t, "svc5", "servicePrincipalName")))); d != "" {
		t.Error(d)
	}
	if keys := e.values(t, "svc5", "msDS-KeyCredentialLink"); len(keys) > 0 {
		t.Errorf("%q", keys)
	}
	if control := e.values(t, "svc5", "userAccountControl"); control[0] != "512" {
		t.Error(control)
	}
	// A key that was taken away is put back.
	e.modify(t, "svc5", func(r *ldap.ModifyRequest) { r.Add("msDS-KeyCredentialLink", []string{value}) })
	b.Watch(t, d)
	e.modify(t, "svc5", func(r *ldap.ModifyRequest) { r.Delete("msDS-KeyCredentialLink", []string{value}) })
	r := of(t, b.Watch(t, d), "msDS-KeyCredentialLink")
	key := driver.UndoRequest{Values: tallystick.ChangedValues{Object: r.Object, DN: r.DN, Attribute: r.Attribute, Added: r.Added, Removed: r.Removed}}
	if undone, err := d.Undo(t.Context(), key); err != nil || !undone.Changed || len(e.values(t, "svc5", r.Attribute)) != 1 {
		t.Errorf("%+v %v", undone, err)
	}
	key.Values.Attribute = "description"
	if _, err := d.Undo(t.Context(), key); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("an attribute that is not watched: %v", err)
	}
	password := driver.UndoRequest{Values: tallystick.ChangedValues{Object: records[0].Object, Attribute: "pwdLastSet", Added: [][]byte{{'1'}}}}
	if _, err := d.Undo(t.Context(), password); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a password is put back: %v", err)
	}
}

// A position that the domain controller does not know has everything read again, and what
// happened meanwhile is found by what is remembered.
func (e *estate) badCookie(t *testing.T) {
	e.add(t, "svc6", nil)
	d, b := e.open(t, nil), &drivertest.Book{}
	b.Watch(t, d)
	for _, cookie := range [][]byte{[]byte("no cookie"), {0}} {
		var at map[string]any
		if err := json.Unmarshal([]byte(b.Position), &at); err != nil {
			t.Fatal(err)
		}
		at["cookie"] = cookie
		text, err := json.Marshal(at)
		if err != nil {
			t.Fatal(err)
		}
		b.Position = string(text)
		mapping := "X509:<I>CN=ca<SR>0" + fmt.Sprint(len(cookie))
		e.modify(t, "svc6", func(r *ldap.ModifyRequest) { r.Add("altSecurityIdentities", []string{mapping}) })
		records := b.Watch(t, d)
		if len(records) != 1 || texts(records[0].Added)[0] != mapping || len(b.Troubles) != 1 {
			t.Errorf("%+v %+v", records, b.Troubles)
		}
		if records := b.Watch(t, d); len(records)+len(b.Troubles) > 0 {
			t.Errorf("%+v %+v", records, b.Troubles)
		}
	}
	b.Position = "{"
	if _, err := d.Watch(t.Context(), driver.WatchRequest{Position: b.Position, Now: time.Now, Memory: b}, b); !errors.Is(err, tallystick.ErrDamaged) {
		t.Errorf("a damaged position: %v", err)
	}
}

// Metadata that claim another time than can be are not believed.
func (e *estate) lies(t *testing.T) {
	e.add(t, "svc7", nil)
	d, b := e.open(t, nil), &drivertest.Book{}
	b.Watch(t, d)
	e.modify(t, "svc7", func(r *ldap.ModifyRequest) { r.Add("altSecurityIdentities", []string{"X509:<S>CN=x"}) })
	later := time.Now().Add(240 * time.Hour) // to whom all of it was ten days ago
	request := driver.WatchRequest{Position: strings.ReplaceAll(b.Position, `"at":"2`, `"at":"3`), Now: func() time.Time { return later }, Memory: b}
	b.Records = nil
	if _, err := d.Watch(t.Context(), request, b); err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339Nano, of(t, b.Records, "altSecurityIdentities").Time)
	if err != nil || !at.Equal(later.UTC()) || !strings.Contains(b.Records[0].Detail, "was seen only now") {
		t.Errorf("%+v %v", b.Records, err)
	}
}

// One wrong try is all that an account gets, whatever is asked of the driver.
func (e *estate) turnedAway(t *testing.T) {
	policy := ldap.NewModifyRequest(lab.SambaBase, nil)
	policy.Replace("lockoutThreshold", []string{"10"}) // without one nothing is counted
	if err := e.admin.Modify(policy); err != nil {
		t.Fatal(err)
	}
	e.add(t, "reader", nil)
	options := map[string]string{"bind": dn("reader"), "password-file": e.write(t, "wrong", "not the password\n")}
	d, b := e.open(t, options), &drivertest.Book{}
	for range 3 {
		if b.Watch(t, d); len(b.Troubles) != 1 || !errors.Is(b.Troubles[0].Err, tallystick.ErrDenied) || b.Troubles[0].Do == "" {
			t.Fatalf("%+v", b.Troubles)
		}
	}
	b.Watch(t, e.open(t, options)) // as after a restart: only the position remembers
	if err := d.Find(t.Context(), driver.FindRequest{Now: time.Now}, &drivertest.Recorder{}); err != nil {
		t.Fatal(err)
	}
	if count := e.values(t, "reader", "badPwdCount"); len(count) != 1 || count[0] != "1" {
		t.Errorf("the account counts %v wrong tries", count)
	}
	if strings.Contains(fmt.Sprint(b.Troubles, b.Position), "not the password") {
		t.Error("a password is told")
	}
	// The right one is tried as soon as it is there.
	e.write(t, "wrong", lab.SambaPassword+"\n")
	if b.Watch(t, d); len(b.Troubles) > 0 {
		t.Errorf("%+v", b.Troubles)
	}
}

// An account without the right to replicate sees what it may read.
func (e *estate) notPrivileged(t *testing.T) {
	e.add(t, "plain", nil)
	e.add(t, "svc8", nil)
	d, b := e.open(t, map[string]string{"bind": dn("plain")}), &drivertest.Book{}
	if records := b.Watch(t, d); len(records)+len(b.Troubles) > 0 {
		t.Fatalf("%+v %+v", records, b.Troubles)
	}
	e.modify(t, "svc8", func(r *ldap.ModifyRequest) { r.Add("servicePrincipalName", []string{"HTTP/svc8"}) })
	if records := b.Watch(t, d); len(records) != 1 || records[0].Attribute != "servicePrincipalName" {
		t.Errorf("%+v %+v; it stood at %s", records, b.Troubles, b.Position)
	}
	t.Logf("it stands at %s", b.Position)
}

// A domain controller that is gone is waited for, and what happened meanwhile is read.
func (e *estate) gone(t *testing.T) {
	d, b := e.open(t, nil), &drivertest.Book{}
	b.Watch(t, d)
	e.modify(t, "svc1", func(r *ldap.ModifyRequest) { r.Add("servicePrincipalName", []string{"HTTP/meanwhile"}) })
	e.restart(t)
	records := b.Watch(t, d) // the session that was kept is dead, and a new one is made now or next time
	if len(records) == 0 {
		records = b.Watch(t, d)
	}
	if len(records) != 1 || texts(records[0].Added)[0] != "HTTP/meanwhile" {
		t.Errorf("%+v %+v", records, b.Troubles)
	}
	full := errors.New("the sink is full")
	b.Fail = full
	e.modify(t, "svc1", func(r *ldap.ModifyRequest) { r.Add("servicePrincipalName", []string{"HTTP/full"}) })
	if _, err := d.Watch(t.Context(), driver.WatchRequest{Position: b.Position, Now: time.Now, Memory: b}, b); !errors.Is(err, full) {
		t.Errorf("a failing sink gives %v", err)
	}
	b.Fail = nil
	if records := b.Watch(t, d); len(records) != 1 || texts(records[0].Added)[0] != "HTTP/full" {
		t.Errorf("what the sink did not take comes again: %+v", records)
	}
}
