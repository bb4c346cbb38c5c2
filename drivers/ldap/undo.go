// SPDX-License-Identifier: Apache-2.0

package ldap

import (
	"context"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
)

var _ driver.Undoer = (*LDAP)(nil)

// Undo takes back a change of an attribute that Watch reads, signed in as write-bind. It finds
// the entry by its entryUUID, wherever it has been moved to.
func (d *LDAP) Undo(ctx context.Context, request driver.UndoRequest) (driver.Undone, error) {
	if err := ldapdir.Undoable(request.Values); err != nil {
		return driver.Undone{}, err
	}
	if !slices.ContainsFunc(watched(), func(a string) bool { return strings.EqualFold(a, request.Values.Attribute) }) {
		return driver.Undone{}, invalid("%q is no attribute that is watched", request.Values.Attribute)
	}
	server, err := d.server(d.URL)
	if err != nil {
		return driver.Undone{}, err
	}
	if d.WriteBind != "" && !request.Try {
		server.Bind, server.PasswordFile, server.External = d.WriteBind, d.WritePasswordFile, false
	}
	s, err := d.lobby.Dial(ctx, server)
	if err != nil {
		return driver.Undone{}, err
	}
	defer s.Close()
	in, err := d.enter(ctx, server, s)
	if err != nil {
		return driver.Undone{}, err
	}
	base := request.Values.DN
	err = s.Each(ctx, ldapdir.Query{
		Base: in.base, Scope: ldap.ScopeWholeSubtree, Filter: "(entryUUID=" + ldap.EscapeFilter(request.Values.Object) + ")", Attributes: []string{"1.1"},
	}, func(e *ldap.Entry) error {
		base = e.DN
		return nil
	})
	if err != nil {
		return driver.Undone{}, err
	}
	undo := ldapdir.Undo{Session: s, Base: base, Request: request}
	if strings.EqualFold(request.Values.Attribute, "userCertificate") {
		undo.Stored = "userCertificate;binary" // RFC 4523 section 2.1: it is transferred in no other way
	}
	return undo.Do(ctx)
}
