// SPDX-License-Identifier: Apache-2.0

package ldapdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/drivertest"
)

// A group that is too large to be kept is compared by hashes: what came is told, and of what
// went how many.
func TestLargeGroups(t *testing.T) {
	var members [][]byte
	for i := range 20_000 {
		members = append(members, fmt.Appendf(nil, "CN=person %05d,OU=people,DC=lab,DC=test", i))
	}
	b := &drivertest.Book{}
	saw := func(first bool, values [][]byte) []driver.DirectoryRecord {
		t.Helper()
		b.Records = nil
		o := Observer{Sink: b, Memory: b, Directory: "ad:lab.test", Log: Log, First: first, Now: time.Now}
		if err := o.Saw(t.Context(), Object{Key: "1", DN: "CN=all", Name: "all", Values: map[string][][]byte{"member": values}}); err != nil {
			t.Fatal(err)
		}
		if err := o.End(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
		return b.Records
	}
	if records := saw(true, members); len(records) > 0 {
		t.Fatalf("%+v", records)
	}
	if kept := len(b.Memory["1"]); kept > 20*len(members) {
		t.Errorf("%d bytes are kept of %d members", kept, len(members))
	}
	records := saw(false, append(slices.Clone(members[2:]), []byte("CN=new")))
	if len(records) != 1 || records[0].Existing != len(members) || records[0].Lost != 2 || records[0].LostRemoved != 2 || len(records[0].Added) != 1 || string(records[0].Added[0]) != "CN=new" {
		t.Errorf("%+v", records)
	}
	if records := saw(false, append(slices.Clone(members[2:]), []byte("CN=new"))); len(records) > 0 {
		t.Errorf("the same again: %+v", records)
	}
}

// A value that is larger than a record holds is counted, and the rest is told.
func TestLargeValues(t *testing.T) {
	b := &drivertest.Book{}
	o := Observer{Sink: b, Memory: b, Directory: "ldap:x", Log: Log, Now: time.Now}
	values := [][]byte{bytes.Repeat([]byte("x"), maxValue+1), []byte("small")}
	if err := o.Saw(t.Context(), Object{Key: "1", DN: "CN=x", Values: map[string][][]byte{"userCertificate": values}}); err != nil {
		t.Fatal(err)
	}
	if err := o.End(t.Context(), "1"); err != nil {
		t.Fatal(err)
	}
	if len(b.Records) != 1 || b.Records[0].Lost != 1 || b.Records[0].LostRemoved != 0 || string(b.Records[0].Added[0]) != "small" {
		t.Errorf("%d records", len(b.Records))
	}
}

// A message that says that it is a gigabyte ends the connection before a byte of it is kept.
func TestMessagesAreBounded(t *testing.T) {
	for name, head := range map[string]string{
		"large": "\x30\x84\x40\x00\x00\x00", "endless": "\x30\x80", "absurd": "\x30\x88\xff\xff\xff\xff\xff\xff\xff\xff",
	} {
		client, server := net.Pipe()
		go func() {
			defer server.Close()
			for _, part := range []string{head, strings.Repeat("x", 100)} {
				if _, err := server.Write([]byte(part)); err != nil {
					return
				}
			}
		}()
		conn := &bounded{Conn: client}
		if _, err := conn.Read(make([]byte, 10)); err != errTooLarge {
			t.Errorf("%s gives %v", name, err)
		}
		client.Close()
	}
}

// An answer that goes on and on ends the session, and a session that has ended finds not nothing.
func TestAnswersAreBounded(t *testing.T) {
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		if _, err := server.Read(make([]byte, 1000)); err != nil {
			return
		}
		for {
			if _, err := server.Write([]byte("\x30\x0d\x02\x01\x01\x64\x08\x04\x04cn=x\x30\x00")); err != nil {
				return
			}
		}
	}()
	s := &Session{Conn: ldap.NewConn(client, false), Host: "x"}
	s.Start()
	q := Query{Filter: "(objectClass=*)"}
	if _, err := s.bounded(t.Context(), q, nil, 10_000); !errors.Is(err, tallystick.ErrUnavailable) || !strings.Contains(err.Error(), "more than 10000 bytes") {
		t.Errorf("it gives %v", err)
	}
	if found, err := s.search(t.Context(), q, nil); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("behind its end it gives %+v %v", found, err)
	}
}

// What is put back is what stood there, however values are compared.
func TestUndoPutsBackWhatWasThere(t *testing.T) {
	u := Undo{Plain: bytes.ToLower}
	if put := u.missing([][]byte{[]byte("B:4:00FF:CN=One"), []byte("B:4:00FF:CN=Two")}, [][]byte{[]byte("b:4:00ff:cn=two")}); len(put) != 1 || string(put[0]) != "B:4:00FF:CN=One" {
		t.Errorf("%q", put)
	}
}

// What a directory says in an error reaches no terminal as it is.
func TestAnswersAreClean(t *testing.T) {
	err := Answered("couldn't search x", ldap.NewError(ldap.LDAPResultOther, fmt.Errorf("\x1b[2J\x07")))
	if strings.ContainsAny(err.Error(), "\x1b\x07") {
		t.Errorf("%q", err)
	}
}

func FuzzState(f *testing.F) {
	f.Add([]byte(`{"v":{"a":["eA=="]},"h":{"member":["AAAA"]}}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, text []byte) {
		before := decodeState(text)
		object := Object{Key: "1", Values: map[string][][]byte{"a": {[]byte("x")}, "member": {[]byte("y")}}}
		after, _ := compare(&object, before, nil)
		if _, again := compare(&object, after, nil); len(again) > 0 {
			t.Errorf("what was just remembered differs: %+v", again)
		}
	})
}

// Who waits while somebody signs in with the same password goes with their context, or when there was
// time for an answer, and is not taken for somebody who was turned away.
func TestWaitForASignIn(t *testing.T) {
	t.Parallel()
	var l Lobby
	leave, err := l.turns.Take(t.Context(), "a password")
	if err != nil {
		t.Fatal(err)
	}
	defer leave()
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.signIn(gone, Server{Bind: "x", Timeout: time.Hour}, "a password", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("of nobody any more: %v", err)
	}
	if err := l.signIn(t.Context(), Server{Bind: "x", Timeout: time.Millisecond}, "a password", nil); !errors.Is(err, tallystick.ErrUnavailable) {
		t.Errorf("after its time: %v", err)
	}
	if l.isTurned("a password") {
		t.Error("it counts as wrong, and nobody has tried it")
	}
}

// A directory that repeats a password does not have it printed, and its code stays.
func TestWithheld(t *testing.T) {
	t.Parallel()
	password := driver.NewSecret("open sesame")
	err := Withheld(ldap.NewError(ldap.LDAPResultConstraintViolation, errors.New("too simple: open sesame, again")), driver.Secret{}, password)
	if said := err.Error(); strings.Contains(said, "sesame") || !strings.Contains(said, "too simple") || !ldap.IsErrorWithCode(err, ldap.LDAPResultConstraintViolation) {
		t.Errorf("it says %v", err)
	}
	for _, plain := range []error{ldap.NewError(ldap.LDAPResultConstraintViolation, errors.New("too short")), &ldap.Error{ResultCode: 1}, net.ErrClosed, nil} {
		if got := Withheld(plain, password); got != plain {
			t.Errorf("%v became %v", plain, got)
		}
	}
}
