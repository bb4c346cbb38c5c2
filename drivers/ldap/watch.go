// SPDX-License-Identifier: Apache-2.0

package ldap

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
)

var _ driver.Watcher = (*LDAP)(nil)

// watched are the attributes that say who gets in. A password and its hash are not among them:
// that it was set, the password policy tells.
func watched() []string {
	return []string{
		"userCertificate", "sshPublicKey", "authzTo", "authzFrom", "member", "uniqueMember", "memberUid", "krbPrincipalName",
		"krbAllowedToDelegateTo", "pwdChangedTime", "krbLastPwdChange",
	}
}

// A position is how far the changes of a directory were read, as it is stored.
type position struct {
	ldapdir.Standing
	Base string `json:"base,omitempty"`
	// Stamp is the newest entryCSN, or modifyTimestamp, that was read.
	Stamp string `json:"stamp,omitempty"`
}

// A watching is one round.
type watching struct {
	*LDAP
	*ldapdir.Round
	in  directory
	at  *position
	out *ldapdir.Observer
	by  string // the attribute that tells what is new
}

// The attributes that say when an entry was last changed.
const (
	byCSN  = "entryCSN"
	byTime = "modifyTimestamp"
)

// Watch reads the entries that have changed since the last round, and a little further back: in
// a directory of several servers a change may come late from another one. What comes twice is
// no change. The first round reads everything and tells nothing. That an entry was deleted, a
// directory does not tell.
func (d *LDAP) Watch(ctx context.Context, request driver.WatchRequest, sink driver.WatchSink) (time.Duration, error) {
	at := &position{}
	if err := ldapdir.ReadPosition(request.Position, at); err != nil {
		return 0, err
	}
	server, err := d.server(d.URL)
	if err != nil {
		return 0, fmt.Errorf("option url: %w", err)
	}
	w := &watching{LDAP: d, at: at, Round: &ldapdir.Round{
		Lobby: d.lobby, Keeper: d.keeper, Server: server, Sink: sink, Every: d.Every, Now: request.Now, At: &at.Standing, Stored: at, Memory: request.Memory,
	}}
	return w.Run(ctx, w.read)
}

func (w *watching) read(ctx context.Context) error {
	var err error
	if w.in, err = w.enter(ctx, w.Server, w.Session); err != nil {
		return err
	}
	if w.at.Base != w.in.base {
		*w.at = position{Base: w.in.base}
	}
	top, err := w.Session.One(ctx, ldapdir.Query{Base: w.in.base, Attributes: []string{byCSN, byTime}})
	if err != nil {
		return err
	}
	w.by = byCSN
	if ldapdir.Text(top, byCSN) == "" {
		w.by = byTime
	}
	w.out = &ldapdir.Observer{
		Sink: w.Sink, Memory: w.Memory, Directory: "ldap:" + w.Session.Host, Log: ldapdir.Log, First: !w.at.Based, Since: w.at.At, Now: w.Now,
	}
	began, newest := w.Now(), w.at.Stamp
	err = w.Session.Each(ctx, ldapdir.Query{
		Base: w.in.base, Scope: ldap.ScopeWholeSubtree, Filter: w.filter(), Attributes: append(watched(), "entryUUID", "uid", "cn", "structuralObjectClass", w.by),
	}, func(e *ldap.Entry) error {
		// One that is of the future would keep all others from being read.
		if stamp := ldapdir.Text(e, w.by); stamp > newest && stampTime(stamp).Before(began.Add(time.Minute)) {
			newest = stamp
		}
		return w.out.Saw(ctx, w.object(e))
	})
	if err != nil {
		return err
	}
	if w.at.Based && newest == w.at.Stamp && w.out.Changes == 0 {
		return nil
	}
	w.at.Stamp = newest
	return w.End(ctx, w.out, began)
}

// filter finds what has changed since the last round.
func (w *watching) filter() string {
	since := stampTime(w.at.Stamp)
	if !w.at.Based || since.IsZero() {
		return w.Filter
	}
	since = since.Add(-w.Late)
	stamp := since.UTC().Format("20060102150405Z")
	if w.by == byCSN { // [draft-ietf-ldup-model] and slapd(8): time, count, server, modification
		stamp = since.UTC().Format("20060102150405.000000Z") + "#000000#000#000000"
	}
	return "(&(" + w.by + ">=" + ldap.EscapeFilter(stamp) + ")" + w.Filter + ")"
}

// stampTime is when a change was made, by its entryCSN or modifyTimestamp.
func stampTime(stamp string) time.Time {
	text, _, _ := strings.Cut(stamp, "#")
	return ldapdir.Time(text)
}

// objectOf names an entry to which the directory gives nothing but a name.
func objectOf(dn string) string { return tallystick.NormalName("dn:" + dn) }

// object reads an entry.
func (w *watching) object(e *ldap.Entry) ldapdir.Object {
	o := ldapdir.Object{
		Key: ldapdir.Text(e, "entryUUID"), DN: e.DN, Name: ldapdir.Text(e, "uid"), Kind: strings.ToLower(ldapdir.Text(e, "structuralObjectClass")),
		Accounts: []string{tallystick.NormalName("account:ldap/" + e.DN)}, Values: map[string][][]byte{}, Stamp: ldapdir.Text(e, w.by),
	}
	if o.Key == "" {
		o.Key = objectOf(e.DN)
	}
	if o.Name == "" {
		o.Name = ldapdir.Text(e, "cn")
	}
	for _, attribute := range watched() {
		o.Values[attribute] = slices.Clone(ldapdir.Raw(e, attribute))
	}
	at := stampTime(o.Stamp)
	o.When = func(string) (time.Time, string) { return at, "" }
	return o
}
