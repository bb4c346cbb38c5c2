// SPDX-License-Identifier: Apache-2.0

package ldapdir

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/network"
)

// An Undo takes back the change of one attribute.
type Undo struct {
	Session *Session
	Base    string // of the entry, by which it is found wherever it has been moved to
	Request driver.UndoRequest
	// Stored is how the directory names the attribute in a modification, such as
	// "userCertificate;binary"; "" is its name.
	Stored string
	// Plain makes a value comparable that is read in several forms; nil compares bytes.
	Plain func([]byte) []byte
	// Shown writes a value for people; nil shows text.
	Shown func([]byte) string
}

// Do looks, takes the change back, and looks again.
func (u *Undo) Do(ctx context.Context) (driver.Undone, error) {
	before, dn, err := u.look(ctx)
	if err != nil {
		return driver.Undone{}, err
	}
	undone := driver.Undone{DN: dn, Before: u.show(before)}
	remove := u.among(u.Request.Values.Added, before)
	put := u.missing(u.Request.Values.Removed, before)
	after := append(without(u.plain(before), u.plain(remove)), u.plain(put)...)
	undone.Changed = len(remove)+len(put) > 0
	if !undone.Changed || u.Request.Try {
		undone.Now = u.show(after)
		return undone, nil
	}
	name := u.Request.Values.Attribute
	if u.Stored != "" {
		name = u.Stored
	}
	change := ldap.NewModifyRequest(dn, nil)
	// By the values: what somebody has added meanwhile stays.
	if len(remove) > 0 {
		change.Delete(name, texts(remove))
	}
	if len(put) > 0 {
		change.Add(name, texts(put))
	}
	stop := context.AfterFunc(ctx, func() { u.Session.Conn.Close() })
	failed := u.Session.Modify(change)
	stop()
	now, _, err := u.look(ctx) // an answer that was lost says nothing about whether it happened
	if err != nil {
		return undone, err
	}
	undone.Now = u.show(now)
	if len(without(u.plain(now), u.plain(after)))+len(without(u.plain(after), u.plain(now))) == 0 {
		return undone, nil
	}
	if failed != nil {
		return undone, Answered("couldn't change "+network.Quote(dn), failed)
	}
	return undone, fmt.Errorf("%w: %s of %s is not as it was: somebody changes it at the same time", tallystick.ErrUnavailable, name, network.Quote(dn))
}

// look reads the attribute as it is now.
func (u *Undo) look(ctx context.Context) (values [][]byte, dn string, err error) {
	entry, err := u.Session.One(ctx, Query{Base: u.Base, Attributes: []string{u.Request.Values.Attribute}})
	if err != nil {
		return nil, "", err
	}
	return Raw(entry, u.Request.Values.Attribute), entry.DN, nil
}

// among returns those of the values that are there, as they are written there.
func (u *Undo) among(values, there [][]byte) [][]byte {
	wanted := setOf(u.plain(values))
	var found [][]byte
	for _, value := range there {
		if wanted[hashOf(u.plain([][]byte{value})[0])] {
			found = append(found, value)
		}
	}
	return found
}

// missing returns those of the values that are not there, as they were written.
func (u *Undo) missing(values, there [][]byte) [][]byte {
	had := setOf(u.plain(there))
	var left [][]byte
	for i, plain := range u.plain(values) {
		if !had[hashOf(plain)] {
			left = append(left, values[i])
		}
	}
	return left
}

func (u *Undo) plain(values [][]byte) [][]byte {
	if u.Plain == nil {
		return values
	}
	plain := make([][]byte, len(values))
	for i, value := range values {
		plain[i] = u.Plain(value)
	}
	return plain
}

func (u *Undo) show(values [][]byte) []string {
	var shown []string
	for _, value := range values {
		switch {
		case u.Shown != nil:
			shown = append(shown, network.Clean(u.Shown(value)))
		case utf8.Valid(value):
			shown = append(shown, network.Clean(string(value)))
		default:
			shown = append(shown, fmt.Sprintf("%d bytes, SHA-256 %s", len(value), tallystick.FingerprintOf(value).Short()))
		}
	}
	return shown
}

func texts(values [][]byte) []string {
	list := make([]string, len(values))
	for i, value := range values {
		list[i] = string(value)
	}
	return list
}

// Undoable refuses what cannot be put back.
func Undoable(values tallystick.ChangedValues) error {
	switch strings.ToLower(values.Attribute) {
	case "pwdlastset", "pwdchangedtime", "krblastpwdchange", "unicodepwd", "userpassword":
		return invalid("a password cannot be put back: set a new one")
	}
	if values.Object == "" || values.Attribute == "" || strings.ContainsAny(values.Attribute, "()*\\\x00") || len(values.Added)+len(values.Removed) == 0 {
		return invalid("the change does not say what stood there before")
	}
	return nil
}
