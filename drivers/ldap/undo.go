// SPDX-License-Identifier: Apache-2.0

package ldap

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
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
	base, err := entryOf(ctx, s, in.base, request.Values)
	if err != nil {
		return driver.Undone{}, err
	}
	undo := ldapdir.Undo{Session: s, Base: base, Request: request}
	if strings.EqualFold(request.Values.Attribute, "userCertificate") {
		undo.Stored = "userCertificate;binary" // RFC 4523 section 2.1: it is transferred in no other way
	}
	return undo.Do(ctx)
}

// entryOf returns the DN of the entry that was changed, as it is now. What has its name by now
// may be somebody else: the name is good only where the directory gives entries nothing else.
func entryOf(ctx context.Context, s *ldapdir.Session, base string, values tallystick.ChangedValues) (string, error) {
	if strings.HasPrefix(values.Object, "dn:") {
		if objectOf(values.DN) != values.Object {
			return "", invalid("the change is not of %s", network.Quote(values.DN))
		}
		return values.DN, nil
	}
	dn := ""
	err := s.Each(ctx, ldapdir.Query{
		Base: base, Scope: ldap.ScopeWholeSubtree, Filter: "(entryUUID=" + ldap.EscapeFilter(values.Object) + ")", Attributes: []string{"1.1"},
	}, func(e *ldap.Entry) error {
		dn = e.DN
		return nil
	})
	if err == nil && dn == "" {
		err = fmt.Errorf("%w: the entry that was %s is gone; what has its name by now is another one", tallystick.ErrNotFound, network.Quote(values.DN))
	}
	return dn, err
}
