// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/adbytes"
)

// directoryFormat is what a watcher of a directory found changed, one attribute of one object a
// line (driver.DirectoryRecord). It knows what stood there before, and not who changed it.
func directoryFormat() Format {
	return Format{
		Name: "directory", layout: byLine,
		is: func(record string) bool {
			return hasMembers(record, "type", "directory", "attribute") && strings.Contains(record, `"`+driver.DirectoryChange+`"`)
		},
		reader: stateless(readDirectory),
	}
}

func readDirectory(record string, sink Sink) error {
	if !wantsChanges(sink) {
		return nil
	}
	if err := shallow(record); err != nil {
		return err
	}
	var r driver.DirectoryRecord
	if json.Unmarshal([]byte(record), &r) != nil || r.Type != driver.DirectoryChange || r.Attribute == "" || !strings.Contains(r.Directory, ":") {
		return errors.New("expected a change of an attribute of a directory")
	}
	at, err := readTime(r.Time)
	if err != nil {
		return err
	}
	d := directoryRecord{&r}
	for _, c := range d.changes() {
		c.ID, c.Source, c.Time, c.Existing, c.Operation = r.ID, "directory", at, r.Existing, r.Detail
		tell(sink, c)
	}
	return nil
}

type directoryRecord struct{ *driver.DirectoryRecord }

// changes says what the record means.
func (r directoryRecord) changes() []*tallystick.Change {
	switch strings.ToLower(r.Attribute) {
	case "pwdlastset", "pwdchangedtime", "krblastpwdchange":
		if len(r.Removed) == 0 || len(r.Added) == 0 {
			return nil // the account was made, or deleted
		}
		return r.about(&tallystick.Change{Kind: tallystick.ChangeCredentialAltered, Detail: "password set"})
	case "useraccountcontrol":
		return r.control()
	case "msds-allowedtoactonbehalfofotheridentity", "msds-groupmsamembership":
		return r.descriptor()
	}
	if isMembers(r.Attribute) {
		return append(r.members(), r.lost()...)
	}
	var all []*tallystick.Change
	for _, side := range []struct {
		values [][]byte
		added  bool
	}{{r.Removed, false}, {r.Added, true}} {
		for _, value := range side.values {
			c := valueChange(r.Attribute, value, side.added)
			if c == nil {
				continue
			}
			c.Values = &tallystick.ChangedValues{Object: r.Object, DN: r.DN, Attribute: r.Attribute}
			if side.added {
				c.Values.Added = [][]byte{value}
			} else {
				c.Values.Removed = [][]byte{value}
			}
			all = append(all, r.about(c)...)
		}
	}
	return append(all, r.lost()...)
}

// lost are the changes of values that the record only counts: who adds one that is too large to
// be told, or many, would not be seen otherwise.
func (r directoryRecord) lost() []*tallystick.Change {
	var all []*tallystick.Change
	for _, side := range []struct {
		values int
		added  bool
	}{{r.LostRemoved, false}, {r.Lost - r.LostRemoved, true}} {
		c := valueChange(r.Attribute, nil, side.added)
		if isMembers(r.Attribute) {
			c = r.memberChange(side.added)
		}
		if side.values <= 0 || c == nil {
			continue
		}
		text := strconv.Itoa(side.values) + " values too large or too many to be told"
		if side.added {
			c.After = text
		} else {
			c.Before = text
		}
		all = append(all, r.about(c)...)
	}
	return all
}

// isMembers says whether the values of an attribute are the members of a group.
func isMembers(attribute string) bool {
	return slices.Contains([]string{"member", "uniquemember", "memberuid"}, strings.ToLower(attribute))
}

// memberChange says that a group has a member, or has one no more.
func (r directoryRecord) memberChange(added bool) *tallystick.Change {
	c := &tallystick.Change{Kind: tallystick.ChangeGrantRemoved, Detail: "member of a group", Grants: []string{r.Name}}
	if added {
		c.Kind = tallystick.ChangeGrantAdded
	}
	return c
}

// about says which object a change is of.
func (r directoryRecord) about(list ...*tallystick.Change) []*tallystick.Change {
	for _, c := range list {
		c.Target, c.TargetName, c.Accounts = r.Directory+"/"+strings.ToLower(r.DN), r.Name, r.Accounts
	}
	return list
}

// whole is what undoes a change of an attribute that is replaced as a whole.
func (r directoryRecord) whole() *tallystick.ChangedValues {
	return &tallystick.ChangedValues{Object: r.Object, DN: r.DN, Attribute: r.Attribute, Added: r.Added, Removed: r.Removed}
}

// valueChange says what one value means, nil when it decides nothing.
func valueChange(attribute string, value []byte, added bool) *tallystick.Change {
	kinds := func(add, remove tallystick.ChangeKind) *tallystick.Change {
		c := &tallystick.Change{Kind: remove, Detail: attribute}
		if added {
			c.Kind, c.After = add, readable(value)
		} else {
			c.Before = readable(value)
		}
		return c
	}
	switch strings.ToLower(attribute) {
	case "usercertificate":
		return directoryChange(attribute, base64.StdEncoding.EncodeToString(value), added)
	case "sshpublickey":
		c := kinds(tallystick.ChangeCredentialAdded, tallystick.ChangeCredentialRemoved)
		c.Credential = sshKeyNames(string(value))
		return c
	case "authzto", "authzfrom", "krballowedtodelegateto": // who may act as others (slapd.conf(5), authz-policy)
		return kinds(tallystick.ChangeTrustAdded, tallystick.ChangeTrustRemoved)
	case "trustpartner":
		c := kinds(tallystick.ChangeTrustAdded, tallystick.ChangeTrustRemoved)
		c.Detail = "trustedDomain"
		return c
	case "krbprincipalname":
		return kinds(tallystick.ChangeSetting, tallystick.ChangeSetting)
	}
	return directoryChange(attribute, readable(value), added)
}

func readable(value []byte) string {
	if utf8.Valid(value) {
		return string(value)
	}
	return base64.StdEncoding.EncodeToString(value)
}

// sshKeyNames names the key of a line of authorized_keys.
func sshKeyNames(line string) []string {
	for _, word := range strings.Fields(line) {
		blob, err := base64.StdEncoding.DecodeString(word)
		if err == nil && len(blob) > 40 && blob[0] == 0 { // it begins with the length of a name
			sum := sha256.Sum256(blob)
			return []string{"ssh:" + hex.EncodeToString(sum[:])}
		}
	}
	return nil
}

func controlOf(values [][]byte) []string {
	if len(values) != 1 {
		return nil
	}
	n, err := strconv.ParseInt(string(values[0]), 10, 64) // it is signed
	if err != nil {
		return nil
	}
	words := adbytes.Control(n).Opening()
	if adbytes.Control(n).Has(adbytes.Disabled) {
		words = append(words, "disabled")
	}
	return words
}

// control compares what the bits of an account let others do.
func (r directoryRecord) control() []*tallystick.Change {
	if len(r.Added) == 0 || len(r.Removed) == 0 {
		return nil // the account was made or deleted
	}
	before, after := controlOf(r.Removed), controlOf(r.Added)
	added, removed := addedAndRemoved(before, after)
	if len(added)+len(removed) == 0 {
		return nil
	}
	change := func(kind tallystick.ChangeKind, grants []string) *tallystick.Change {
		return &tallystick.Change{
			Kind: kind, Detail: r.Attribute, Grants: grants, Values: r.whole(), Before: strings.Join(before, ", "), After: strings.Join(after, ", "),
		}
	}
	isDelegation := func(word string) bool { return strings.HasPrefix(word, "delegation ") }
	isOther := func(word string) bool { return !isDelegation(word) }
	var all []*tallystick.Change
	if slices.ContainsFunc(added, isDelegation) {
		all = append(all, change(tallystick.ChangeGrantAdded, slices.DeleteFunc(slices.Clone(added), isOther)))
	}
	if slices.ContainsFunc(removed, isDelegation) {
		all = append(all, change(tallystick.ChangeGrantRemoved, slices.DeleteFunc(slices.Clone(removed), isOther)))
	}
	if slices.ContainsFunc(slices.Concat(added, removed), isOther) {
		all = append(all, change(tallystick.ChangeSetting, nil))
	}
	return r.about(all...)
}

// descriptor compares whom two lists of access let in.
func (r directoryRecord) descriptor() []*tallystick.Change {
	const unread = "what cannot be read"
	allowed := func(values [][]byte, lost int) []string {
		var list []string
		if lost > 0 {
			list = append(list, unread)
		}
		for _, value := range values {
			d, err := adbytes.ReadDescriptor(value)
			if err != nil {
				list = append(list, unread)
				continue
			}
			for _, who := range d.Allowed() {
				text := string(who)
				if name := who.WellKnown(); name != "" {
					text += " (" + name + ")"
				}
				list = append(list, text)
			}
		}
		return list
	}
	before, after := allowed(r.Removed, r.LostRemoved), allowed(r.Added, r.Lost-r.LostRemoved)
	added, removed := addedAndRemoved(before, after)
	c := &tallystick.Change{Kind: tallystick.ChangeTrustAdded, Detail: r.Attribute, Before: strings.Join(before, ", "), After: strings.Join(after, ", ")}
	if r.Lost == 0 { // else a half of what undoes it is not known
		c.Values = r.whole()
	}
	switch {
	case slices.Contains(after, unread): // it may let in anybody
	case len(added)+len(removed) == 0:
		c.Kind = tallystick.ChangeSetting
	case len(added) == 0:
		c.Kind = tallystick.ChangeTrustRemoved
	}
	return r.about(c)
}

// members are grants to whoever is in the group.
func (r directoryRecord) members() []*tallystick.Change {
	var all []*tallystick.Change
	kind, domain, _ := strings.Cut(r.Directory, ":")
	for _, side := range []struct {
		values [][]byte
		added  bool
	}{{r.Removed, false}, {r.Added, true}} {
		for _, value := range side.values {
			c := r.memberChange(side.added)
			c.Values = &tallystick.ChangedValues{Object: r.Object, DN: r.DN, Attribute: r.Attribute}
			if side.added {
				c.Values.Added = [][]byte{value}
			} else {
				c.Values.Removed = [][]byte{value}
			}
			member := readable(value)
			toDirectory(c, member, domain)
			if kind != "ad" {
				c.Target, c.Accounts = r.Directory+"/"+strings.ToLower(member), []string{tallystick.NormalName("account:ldap/" + member)}
			}
			all = append(all, c)
		}
	}
	return all
}
