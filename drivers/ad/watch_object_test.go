// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"strings"
	"testing"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick/driver/drivertest"
	"github.com/tallystick/tallystick/driver/ldapdir"
)

// A part of the values of an attribute is not compared, and that is told.
func TestAPartOfTheValues(t *testing.T) {
	b := &drivertest.Book{}
	w := &watching{Round: &ldapdir.Round{Sink: b}}
	o := ldapdir.Object{DN: "CN=all", Values: map[string][][]byte{}}
	part := ldap.NewEntryAttribute("member;range=0-1499", []string{"CN=x"})
	for range 2 {
		w.values(&o, &ldap.Entry{Attributes: []*ldap.EntryAttribute{part, {Name: "member"}}}, links())
	}
	if values, ok := o.Values[attrMember]; ok {
		t.Errorf("%q", values)
	}
	if len(b.Troubles) != 1 || b.Troubles[0].Do == "" || !strings.Contains(b.Troubles[0].Err.Error(), "member of") {
		t.Errorf("%+v", b.Troubles)
	}
}
