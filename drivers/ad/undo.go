// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/driver/ldapdir"
)

var _ driver.Undoer = (*AD)(nil)

// Undo takes back a change of an attribute that Watch reads, signed in as write-bind.
func (d *AD) Undo(ctx context.Context, request driver.UndoRequest) (driver.Undone, error) {
	if err := ldapdir.Undoable(request.Values); err != nil {
		return driver.Undone{}, err
	}
	if !slices.Contains(slices.Concat(valued(), links()), request.Values.Attribute) {
		return driver.Undone{}, invalid("%q is no attribute that is watched", request.Values.Attribute)
	}
	id, err := uuid.Parse(request.Values.Object)
	if err != nil {
		return driver.Undone{}, invalid("the change does not name its object")
	}
	server, err := d.server(d.URL)
	if err != nil {
		return driver.Undone{}, err
	}
	if d.WriteBind != "" && !request.Try {
		server.Bind, server.PasswordFile = d.WriteBind, d.WritePasswordFile
	}
	s, err := d.lobby.Dial(ctx, server)
	if err != nil {
		return driver.Undone{}, err
	}
	defer s.Close()
	undo := ldapdir.Undo{Session: s, Base: "<GUID=" + id.String() + ">", Request: request}
	switch request.Values.Attribute {
	case attrKeys, attrMember, attrSuperseded:
		undo.Plain = func(value []byte) []byte { return []byte(strings.ToLower(string(plainDNs([][]byte{value})[0]))) }
	case attrActedFor, attrReaders:
		undo.Shown = shownDescriptor
	}
	return undo.Do(ctx)
}

// shownDescriptor names whom a security descriptor lets in.
func shownDescriptor(value []byte) string {
	d, err := adbytes.ReadDescriptor(value)
	if err != nil {
		return "what cannot be read"
	}
	var names []string
	for _, who := range d.Allowed() {
		names = append(names, string(who))
	}
	return strings.Join(names, ", ")
}
