// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
)

// valued are the attributes that are compared with what is remembered.
func valued() []string {
	return []string{
		attrControl, attrPasswordSet, attrCertificate, attrMapping, attrServices, attrDelegateTo, attrActedFor, attrReaders, attrPartner, attrKeys,
	}
}

// links are the attributes whose values are told one by one.
func links() []string { return []string{attrMember, attrSuperseded} }

// watched are the attributes that a watch reads.
func watched() []string {
	return append(slices.Concat(valued(), links()), attrName, attrSID, attrGUID, attrClass, "uSNChanged", "isDeleted")
}

// saw takes an entry of DirSync: all of it the first time, and later what has changed, of which
// the rest is read from the entry itself.
func (w *watching) saw(ctx context.Context, e *ldap.Entry, whole bool) error {
	if whole {
		return w.sawWhole(ctx, e, false)
	}
	o := w.object(e)
	if o.Key == "" {
		return nil
	}
	if !o.Gone {
		now, err := w.Session.One(ctx, ldapdir.Query{Base: "<GUID=" + o.Key + ">", Attributes: append(watched(), "replPropertyMetaData")})
		switch {
		case errors.Is(err, tallystick.ErrNotFound):
			o.Gone = true // a moment ago, or the account may not see it any more
		case err != nil:
			return err
		default:
			links := o
			o = w.object(now)
			w.values(&o, now, valued())
			o.Added, o.Removed = links.Added, links.Removed
		}
	}
	return w.out.Saw(ctx, o)
}

// sawWhole takes an entry with all of its watched attributes.
func (w *watching) sawWhole(ctx context.Context, e *ldap.Entry, members bool) error {
	o := w.object(e)
	if o.Key == "" {
		return nil
	}
	if !o.Gone {
		attributes := valued()
		if members {
			attributes = append(attributes, links()...)
		}
		w.values(&o, e, attributes)
	}
	o.Added, o.Removed = nil, nil
	return w.out.Saw(ctx, o)
}

// object reads who an entry is, and the values of links of which it tells what became of them.
func (w *watching) object(e *ldap.Entry) ldapdir.Object {
	o := ldapdir.Object{
		DN: plainDN(e.DN), Name: ldapdir.Text(e, attrName), Values: map[string][][]byte{}, Added: map[string][][]byte{}, Removed: map[string][][]byte{},
		Gone: strings.EqualFold(ldapdir.Text(e, "isDeleted"), "TRUE"), Stamp: ldapdir.Text(e, "uSNChanged"),
	}
	if raw := ldapdir.Raw(e, attrGUID); len(raw) == 1 {
		o.Key = adbytes.GUID(raw[0])
	}
	if o.Gone { // it is called otherwise now, and what is remembered of it is what people know
		o.DN, o.Name = "", ""
		return o
	}
	o.Kind = kindOf(e)
	for _, class := range ldapdir.Texts(e, attrClass) {
		if strings.EqualFold(class, "group") || strings.EqualFold(class, "trustedDomain") {
			o.Kind = strings.ToLower(class)
		}
	}
	if o.Kind != "group" && o.Kind != "trusteddomain" {
		var sid []byte
		if raw := ldapdir.Raw(e, attrSID); len(raw) == 1 {
			sid = raw[0]
		}
		o.Accounts = w.accounts(o.Name, sid)
	}
	for _, a := range e.Attributes {
		name, option, _ := strings.Cut(a.Name, ";")
		if name != attrMember && name != attrSuperseded {
			continue
		}
		switch option { // [MS-ADTS] section 3.1.1.3.4.1.3: added values, and removed ones
		case "range=1-1":
			o.Added[name] = plainDNs(a.ByteValues)
		case "range=0-0":
			o.Removed[name] = plainDNs(a.ByteValues)
		}
	}
	o.When = w.when(ldapdir.Raw(e, "replPropertyMetaData"))
	return o
}

// values reads attributes as they are now.
func (w *watching) values(o *ldapdir.Object, e *ldap.Entry, attributes []string) {
	for _, attribute := range attributes {
		o.Values[attribute] = [][]byte{}
	}
	var parts []string
	for _, a := range e.Attributes {
		name, option, _ := strings.Cut(a.Name, ";")
		if !slices.Contains(attributes, name) {
			continue
		}
		switch {
		case option == "range=0-0": // what was removed before
		case strings.HasPrefix(option, "range=") && option != "range=1-1":
			parts = append(parts, name)
		case name == attrKeys || name == attrMember || name == attrSuperseded:
			o.Values[name] = plainDNs(a.ByteValues)
		default:
			o.Values[name] = append(o.Values[name], a.ByteValues...)
		}
	}
	for _, name := range parts { // the answer has the attribute without values as well
		delete(o.Values, name)
		w.partly(o.DN, name)
	}
}

// partly tells, of the first in a round, that a part of an attribute was read, which cannot be compared.
func (w *watching) partly(dn, attribute string) {
	if w.parts {
		return
	}
	w.parts = true
	trouble := driver.WatchTrouble{
		Log: ldapdir.Log,
		Err: fmt.Errorf("%w: %s of %s has more values than one answer holds: what changes of it, and of others like it, is not seen", tallystick.ErrUnavailable, attribute, network.Quote(dn)),
	}
	if slices.Contains(links(), attribute) {
		trouble.Do = "Let the account read by DirSync (the right Replicating Directory Changes), which tells each of its values by itself"
	}
	w.Sink.Trouble(trouble)
}

// when says when attributes were last changed, as the metadata of replication tell.
func (w *watching) when(raw [][]byte) func(string) (time.Time, string) {
	if len(raw) != 1 {
		return nil
	}
	metadata, err := adbytes.ReadMetadata(raw[0])
	if err != nil {
		return nil // it only dates changes
	}
	return func(attribute string) (time.Time, string) {
		change, ok := metadata[adbytes.IDOf(attribute)]
		if !ok || adbytes.IDOf(attribute) == 0 {
			return time.Time{}, ""
		}
		return change.At, versionOf(change)
	}
}

// plainDN drops what DirSync writes before a DN: "<GUID=...>;<SID=...>;CN=...".
func plainDN(text string) string {
	for strings.HasPrefix(text, "<") {
		_, rest, ok := strings.Cut(text, ">;")
		if !ok {
			return text
		}
		text = rest
	}
	return text
}

// plainDNs does so with values, also with those that have bytes before the DN.
func plainDNs(values [][]byte) [][]byte {
	plain := make([][]byte, len(values))
	for i, value := range values {
		text := string(value)
		if head, rest, ok := strings.Cut(text, ":<"); ok && strings.HasPrefix(text, "B:") {
			text = head + ":" + plainDN("<"+rest)
		}
		plain[i] = []byte(plainDN(text))
	}
	return plain
}
