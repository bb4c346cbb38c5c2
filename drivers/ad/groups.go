// SPDX-License-Identifier: Apache-2.0

package ad

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick/driver/adbytes"
	"github.com/tallystick/tallystick/driver/ldapdir"
	"github.com/tallystick/tallystick/driver/network"
)

// groups are those of a domain, by their DNs in lower case. They are read once: to ask the
// domain controller for the groups of each account, also by way of others (the rule
// 1.2.840.113556.1.4.1941), would have it search for every account.
type groups struct {
	byDN  map[string]*group
	byRID map[string]*group
}

type group struct {
	name    string
	parents []string
}

// maxGroups bounds the groups of a domain that are kept; of an account in others, those that
// name it are told and no more.
const maxGroups = 200_000

func readGroups(ctx context.Context, s *ldapdir.Session, base string) (*groups, error) {
	g := &groups{byDN: map[string]*group{}, byRID: map[string]*group{}}
	err := s.Each(ctx, ldapdir.Query{
		Base: base, Scope: ldap.ScopeWholeSubtree, Filter: "(objectClass=group)", Attributes: []string{attrName, attrSID, "memberOf"},
	}, func(e *ldap.Entry) error {
		if len(g.byDN) >= maxGroups {
			return nil
		}
		one := &group{name: network.Clean(ldapdir.Text(e, attrName)), parents: lower(ldapdir.Texts(e, "memberOf"))}
		g.byDN[strings.ToLower(e.DN)] = one
		if raw := ldapdir.Raw(e, attrSID); len(raw) == 1 {
			if sid, _, err := adbytes.ReadSID(raw[0]); err == nil {
				g.byRID[string(sid)[strings.LastIndexByte(string(sid), '-')+1:]] = one
			}
		}
		return nil
	})
	return g, err
}

func lower(texts []string) []string {
	for i := range texts {
		texts[i] = strings.ToLower(texts[i])
	}
	return texts
}

// of returns the names of the groups that an account is in, sorted; also by way of others.
func (g *groups) of(e *ldap.Entry) []string {
	seen := map[*group]bool{}
	var names []string
	next := lower(ldapdir.Texts(e, "memberOf"))
	add := func(one *group) {
		if one != nil && !seen[one] {
			seen[one] = true
			names = append(names, one.name)
			next = append(next, one.parents...)
		}
	}
	add(g.byRID[ldapdir.Text(e, "primaryGroupID")])
	for len(next) > 0 {
		dn := next[0]
		next = next[1:]
		one, known := g.byDN[dn]
		if !known { // of another domain, or not to be read
			first, _, _ := strings.Cut(dn, ",")
			_, name, _ := strings.Cut(first, "=")
			one = &group{name: network.Clean(name)}
			g.byDN[dn] = one
		}
		add(one)
	}
	slices.SortFunc(names, cmp.Compare)
	return names[:min(len(names), ldapdir.MaxListed)]
}
