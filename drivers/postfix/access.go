// SPDX-License-Identifier: Apache-2.0

package postfix

import (
	"fmt"
	"slices"
	"strings"
)

// Access is who decides about a client in one service.
type access struct {
	service string
	digest  string  // of fingerprints
	clients []table // relay_clientcerts
	denied  []table // of check_ccert_access, where they are asked before anything permits
	anybody bool    // permit_tls_all_clientcerts: every certificate of a CA that is trusted
	guided  bool    // log level at which smtpd says whose certificate it is
}

// restrictionLists are evaluated in this order (SMTPD_ACCESS_README). What one permits
// the next may refuse.
var restrictionLists = []string{
	"smtpd_client_restrictions", "smtpd_helo_restrictions", "smtpd_sender_restrictions", "smtpd_relay_restrictions", "smtpd_recipient_restrictions",
}

// accesses returns that of each service that asks clients for certificates, and notes
// on tables that cannot be edited.
func (c *configuration) accesses() (all []access, notes []string) {
	for _, s := range c.doors() {
		speaks, wrapped := c.secures(s)
		if !speaks || !yes(c.of(s, "smtpd_tls_ask_ccert")) && !yes(c.of(s, "smtpd_tls_req_ccert")) {
			continue
		}
		a := access{service: s.name, digest: c.of(s, "smtpd_tls_fingerprint_digest")}
		a.guided = strings.TrimLeft(c.of(s, "smtpd_tls_loglevel"), "01") != ""
		for _, text := range list(c.of(s, "relay_clientcerts")) {
			t, ok := parseTable(text)
			if !ok {
				notes = append(notes, fmt.Sprintf("relay_clientcerts of the service %s has a table that is not looked at: %s", s.name, text))
				continue
			}
			a.clients = append(a.clients, t)
		}
		for i, name := range restrictionLists {
			early := i < 2 && !yes(c.of(s, "smtpd_delay_reject")) && !wrapped // TLS has not begun yet
			a.restrictions(list(c.of(s, name)), early)
		}
		all = append(all, a)
	}
	return all, notes
}

// restrictions reads one list.
func (a *access) restrictions(words []string, early bool) {
	permitted := early
	for i, word := range words {
		switch {
		case word == "check_ccert_access" && !permitted:
			next := slices.IndexFunc(words[i+1:], func(w string) bool { return strings.Trim(w, "{}") != "" })
			if next < 0 {
				return
			}
			if t, ok := parseTable(words[i+1+next]); ok {
				a.denied = append(a.denied, t)
			}
		case word == "permit_tls_all_clientcerts":
			a.anybody, permitted = true, true
		case strings.HasPrefix(word, "permit"):
			permitted = true
		}
	}
}

// tables returns those of all services once each, with the digest of their fingerprints.
func tables(all []access, of func(access) []table) map[table]string {
	found := map[table]string{}
	for _, a := range all {
		for _, t := range of(a) {
			found[t] = a.digest
		}
	}
	return found
}

func (a access) clientTables() []table { return a.clients }

// deniedTables are those to write refusals into: the first of each service.
func (a access) deniedTables() []table { return a.denied[:min(1, len(a.denied))] }

// sorted returns the tables in the order of their names.
func sorted(found map[table]string) []table {
	var all []table
	for t := range found {
		all = append(all, t)
	}
	slices.SortFunc(all, func(a, b table) int { return strings.Compare(a.String(), b.String()) })
	return all
}
