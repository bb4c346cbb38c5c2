// SPDX-License-Identifier: Apache-2.0

package samba

import (
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/driver/ldapdir"
)

// The attributes of accounts ([MS-ADA1], [MS-ADA3]).
const (
	attrCert    = "userCertificate"
	attrMapping = "altSecurityIdentities"
	attrControl = "userAccountControl"
	attrName    = "sAMAccountName"
	attrUPN     = "userPrincipalName"
)

// disabled is ADS_UF_ACCOUNTDISABLE of userAccountControl ([MS-ADTS] section 2.2.16).
const disabled = 2

// An account is one entry of the directory.
type account struct {
	dn, name, upn string
	certificates  [][]byte // DER
	mappings      []string // with the marks
	control       int
}

func (a account) disabled() bool { return a.control&disabled != 0 }

// accounts finds entries. What is found is sorted by DN.
func (s *session) accounts(filter string) ([]account, error) {
	found, err := s.SearchWithPaging(ldap.NewSearchRequest(s.base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 0, 0, false, filter,
		[]string{attrCert, attrMapping, attrControl, attrName, attrUPN}, nil), pageSize)
	if err != nil {
		return nil, ldapdir.Answered("couldn't search the accounts", err)
	}
	var all []account
	for _, e := range found.Entries {
		control, _ := strconv.Atoi(e.GetAttributeValue(attrControl)) // contacts have none
		mappings := e.GetAttributeValues(attrMapping)
		slices.Sort(mappings)
		all = append(all, account{
			dn: e.DN, name: e.GetAttributeValue(attrName), upn: e.GetAttributeValue(attrUPN),
			certificates: e.GetRawAttributeValues(attrCert), mappings: mappings, control: control,
		})
	}
	slices.SortFunc(all, func(a, b account) int { return cmp.Compare(a.dn, b.dn) })
	return all, nil
}

// of finds the accounts that a certificate belongs to: those that hold it, those that are
// mapped to it, and those that it names itself.
func (s *session) of(c known, realm string) ([]account, error) {
	filter := fmt.Sprintf("(%s=%s)", attrCert, escaped(c.der)) + fmt.Sprintf("(%s=%s)", attrMapping, ldap.EscapeFilter(c.mapping))
	for _, id := range c.keyMappings {
		filter += fmt.Sprintf("(%s=%s)", attrMapping, ldap.EscapeFilter(id))
	}
	for _, name := range c.principals {
		filter += fmt.Sprintf("(%s=%s)", attrUPN, ldap.EscapeFilter(name))
		if user, at, ok := strings.Cut(name, "@"); ok && strings.EqualFold(at, realm) {
			filter += fmt.Sprintf("(%s=%s)", attrName, ldap.EscapeFilter(user))
		}
	}
	return s.accounts("(|" + filter + ")")
}

// escaped writes bytes for a filter (RFC 4515 section 3).
func escaped(value []byte) string {
	var text strings.Builder
	for _, b := range value {
		text.WriteString(`\` + hex.EncodeToString([]byte{b}))
	}
	return text.String()
}

// holds says whether the certificate itself stands in the account.
func (a account) holds(c known) bool {
	return slices.ContainsFunc(a.certificates, func(der []byte) bool { return string(der) == string(c.der) })
}

// mapped returns the values that map the certificate to the account, as they are written.
func (a account) mapped(c known) []string {
	var values []string
	for _, value := range a.mappings {
		if c.isMapping(value) {
			values = append(values, value)
		}
	}
	return values
}

// named says whether the certificate names the account.
func (a account) named(c known, realm string) bool {
	return slices.ContainsFunc(c.principals, func(name string) bool {
		return strings.EqualFold(name, a.upn) || strings.EqualFold(name, a.name+"@"+realm)
	})
}

// Marks stand among the mappings of an account, where nothing else of Active Directory
// takes notice of them: "tallystick:blocked:CERT-SHA256:WHAT" says that WHAT was taken
// away (a mapping, or userCertificate) or done (disabled), and "tallystick:trusted:..." that
// it was added. So a change and the memory of it are one.
const (
	markBlocked  = "tallystick:blocked:"
	markTrusted  = "tallystick:trusted:"
	markDisabled = "disabled"
)

func fingerprint(der []byte) string { return string(tallystick.FingerprintOf(der)) }

// marked returns what the marks of one kind say about a certificate.
func (a account) marked(kind string, c known) []string {
	var what []string
	for _, value := range a.mappings {
		if rest, ok := strings.CutPrefix(value, kind+fingerprint(c.der)+":"); ok {
			what = append(what, rest)
		}
	}
	return what
}

// blocked returns the names of the certificates that the account refuses.
func (a account) blocked() []string {
	var names []string
	for _, value := range a.mappings {
		rest, ok := strings.CutPrefix(value, markBlocked)
		print, what, _ := strings.Cut(rest, ":")
		if ok && (what != markDisabled || a.disabled()) {
			names = append(names, "cert-sha256:"+print)
		}
	}
	return names
}

// A change of an account is one modification: it happens as a whole.
type change struct {
	account
	add, remove map[string][]string // attribute and values
	control     int
}

func (a account) change() *change {
	return &change{account: a, add: map[string][]string{}, remove: map[string][]string{}, control: a.control}
}

// put adds or takes away what a mark names.
func (c *change) put(to map[string][]string, what string, der []byte) {
	if what == attrCert {
		to[attrCert] = append(to[attrCert], string(der))
		return
	}
	to[attrMapping] = append(to[attrMapping], what)
}

// do makes the change, and says whether there was anything to do.
func (c *change) do(s *session) (bool, error) {
	request := ldap.NewModifyRequest(c.dn, nil)
	for _, attribute := range []string{attrCert, attrMapping} {
		if len(c.remove[attribute]) > 0 {
			request.Delete(attribute, c.remove[attribute])
		}
		if len(c.add[attribute]) > 0 {
			request.Add(attribute, c.add[attribute])
		}
	}
	if c.control != c.account.control {
		// By its old value: who has changed it meanwhile is not overruled.
		request.Delete(attrControl, []string{strconv.Itoa(c.account.control)})
		request.Add(attrControl, []string{strconv.Itoa(c.control)})
	}
	if len(request.Changes) == 0 {
		return false, nil
	}
	if err := s.Modify(request); err != nil {
		return false, ldapdir.Answered("couldn't change "+c.dn, err)
	}
	return true, nil
}

// how names what is changed.
func (c *change) how() []string {
	var how []string
	for _, attribute := range []string{attrMapping, attrCert} {
		own := func(value string) bool {
			return strings.HasPrefix(value, markBlocked) || strings.HasPrefix(value, markTrusted)
		}
		if slices.ContainsFunc(slices.Concat(c.add[attribute], c.remove[attribute]), func(v string) bool { return !own(v) }) {
			how = append(how, attribute)
		}
	}
	if c.control != c.account.control {
		how = append(how, map[bool]string{true: "disable", false: "enable"}[c.control&disabled != 0])
	}
	return how
}

// changed sums up the changes of several accounts.
func changed(all []*change) driver.Changed {
	var sum driver.Changed
	var details []string
	for _, c := range all {
		sum.Changed = true
		sum.How = append(sum.How, c.how()...)
		details = append(details, strings.Join(c.how(), " and ")+" of "+c.dn)
	}
	slices.Sort(sum.How)
	sum.How = slices.Compact(sum.How)
	sum.Detail = strings.Join(details, "; ")
	return sum
}
