// SPDX-License-Identifier: Apache-2.0

package ad_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/internal/lab"
	"github.com/tallystick/tallystick/internal/uses"
)

// changes keeps what logs say of changes.
type changes []tallystick.Change

func (c *changes) Use(*tallystick.Use)              {}
func (c *changes) Close(tallystick.ClosingMark)     {}
func (c *changes) Lost(*tallystick.Use)             {}
func (c *changes) Change(change *tallystick.Change) { *c = append(*c, uses.KeepChange(change)) }

func read(t *testing.T, format string, lines []string) (found changes) {
	t.Helper()
	stream, err := uses.NewStream(format, uses.Settings{Side: tallystick.SideRelying})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if err := stream.Read(line, &found); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	return found
}

// The audit log of the domain controller and the watch tell of one change in the same words, so
// that the one can say who made it and the other what stood there before.
func (e *estate) who(t *testing.T) {
	e.add(t, "svc9", map[string][]string{"servicePrincipalName": {"HTTP/before"}})
	d, b := e.open(t, nil), &drivertest.Book{}
	b.Watch(t, d)
	conn, err := ldap.DialURL("ldaps://"+e.samba.LDAPS, ldap.DialWithTLSConfig(&tls.Config{InsecureSkipVerify: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Bind(lab.SambaAdmin, lab.SambaPassword); err != nil {
		t.Fatal(err)
	}
	request := ldap.NewModifyRequest(dn("svc9"), nil)
	request.Add("altSecurityIdentities", []string{"X509:<S>CN=mallory"})
	if err := conn.Modify(request); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(b.Watch(t, d)[0])
	if err != nil {
		t.Fatal(err)
	}
	seen := read(t, "directory", []string{string(text)})[0]
	var told *tallystick.Change
	for began := time.Now(); told == nil && time.Since(began) < time.Minute; time.Sleep(50 * time.Millisecond) {
		log, err := os.ReadFile(filepath.Join(e.samba.Dir, "audit.json"))
		if err != nil {
			t.Fatal(err)
		}
		whole := log[:bytes.LastIndexByte(log, '\n')+1] // it may be in the middle of a line
		for _, c := range read(t, "samba", strings.Split(strings.TrimSpace(string(whole)), "\n")) {
			if c.Target == seen.Target && c.Detail == seen.Detail {
				told = &c
			}
		}
	}
	if told == nil {
		t.Fatalf("the audit log does not tell of %+v", seen)
	}
	if told.Kind != seen.Kind || told.After != seen.After || told.Accounts[0] != seen.Accounts[0] || told.Time.Sub(seen.Time).Abs() > 10*time.Second {
		t.Errorf("the watch tells\n%+v\nand the audit log\n%+v", seen, *told)
	}
	if !strings.HasPrefix(told.Address, "127.") || !strings.HasPrefix(told.Actor, "account:sid/") || told.Correlation == "" {
		t.Errorf("who did it, from where and in which session: %+v", *told)
	}
}
