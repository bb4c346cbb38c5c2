// SPDX-License-Identifier: Apache-2.0

package slapd

import (
	"crypto/x509"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-ldap/ldap/v3"
)

// identities returns the DNs that the connections of a certificate may be signed in as:
// its subject, which slapd writes the other way round (RFC 4514 section 2.1), and what the
// rules of olcAuthzRegexp make of it. They are in a form that compares.
func (s *session) identities(c *x509.Certificate, rules []string) []string {
	subject := subjectDN(c)
	found := []string{comparable(subject)}
	for _, rule := range rules {
		to, ok := applyRule(rule, subject)
		if !ok {
			continue
		}
		// The first rule that fits is the only one (slapd-config(5)).
		if !strings.HasPrefix(to, "ldap://") {
			return append(found, comparable(to))
		}
		return append(found, s.searched(to)...)
	}
	return found
}

// subjectDN writes the subject as slapd does in its log: "cn=alice,o=lab".
func subjectDN(c *x509.Certificate) string {
	dn, err := ldap.ParseDN(c.Subject.String())
	if err != nil {
		return c.Subject.String()
	}
	var parts []string
	for _, rdn := range dn.RDNs {
		var values []string
		for _, a := range rdn.Attributes {
			values = append(values, strings.ToLower(a.Type)+"="+ldap.EscapeDN(strings.ToLower(a.Value)))
		}
		slices.Sort(values)
		parts = append(parts, strings.Join(values, "+"))
	}
	return strings.Join(parts, ",")
}

// comparable brings a DN into one form. What is none stays as it is.
func comparable(text string) string {
	dn, err := ldap.ParseDN(text)
	if err != nil {
		return strings.ToLower(text)
	}
	var parts []string
	for _, rdn := range dn.RDNs {
		var values []string
		for _, a := range rdn.Attributes {
			values = append(values, strings.ToLower(a.Type+"="+a.Value))
		}
		slices.Sort(values)
		parts = append(parts, strings.Join(values, "\x01"))
	}
	return strings.Join(parts, "\x00")
}

// ruleForm is a value of olcAuthzRegexp: {0}"^cn=([^,]+)$" "uid=$1,ou=people,dc=lab".
var ruleForm = regexp.MustCompile(`^(?:\{\d+\})?(?:"((?:[^"\\]|\\.)*)"|(\S+))\s+(?:"((?:[^"\\]|\\.)*)"|(\S+))\s*$`)

// applyRule returns what a rule makes of a DN, and whether it fits.
func applyRule(rule, dn string) (string, bool) {
	parts := ruleForm.FindStringSubmatch(rule)
	if parts == nil {
		return "", false
	}
	pattern, err := regexp.Compile("(?i)" + parts[1] + parts[2])
	if err != nil {
		return "", false
	}
	match := pattern.FindStringSubmatch(dn)
	if match == nil {
		return "", false
	}
	return groups.ReplaceAllStringFunc(parts[3]+parts[4], func(group string) string {
		n, err := strconv.Atoi(group[1:])
		if err != nil || n >= len(match) {
			return ""
		}
		return match[n]
	}), true
}

var groups = regexp.MustCompile(`\$[0-9]`)

// searched returns the entries that a rule finds by an LDAP URL (RFC 4516):
// ldap:///ou=people,dc=lab??one?(cn=alice). slapd takes the only one that there is.
func (s *session) searched(url string) []string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(url, "ldap://"), "/")
	parts := append(strings.Split(rest, "?"), "", "", "", "")
	scope := map[string]int{"": ldap.ScopeBaseObject, "base": ldap.ScopeBaseObject, "one": ldap.ScopeSingleLevel, "sub": ldap.ScopeWholeSubtree}[parts[2]]
	filter := parts[3]
	if filter == "" {
		filter = "(objectClass=*)"
	}
	entries, err := s.search(parts[0], scope, filter, "1.1")
	if err != nil {
		return nil
	}
	var found []string
	for _, e := range entries {
		found = append(found, comparable(e.DN))
	}
	return found
}
