// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/store"
)

// credentialsPage answers: which ones, and where?
type credentialsPage struct {
	frame
	Filter  store.CredentialFilter
	Values  url.Values // of the filter, as they were given
	Chips   []chip
	Offers  []offer
	Kinds   []string
	Columns []column // name, expires, places, findings
	Rows    []store.CredentialRow
	Pager   pager
	Exports []offer
	Here    string // the address of this page, which its form comes back to
}

// Value returns what a parameter of the filter was given as.
func (p *credentialsPage) Value(name string) string { return p.Values.Get(name) }

// Credentials is the list, filtered and sorted by the address.
func (s *Site) Credentials(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	filter, err := inventory.ParseCredentialFilter(q, s.Findings.RuleNames())
	if err != nil {
		s.Error(w, r, err)
		return
	}
	at := pageRequest(q)
	if at.Sort == "" {
		at.Sort, at.Desc = "severity", true // what is wrong first
	}
	list, count, err := s.Inventory.Credentials(r.Context(), actorOf(r), filter, at)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "credentials", &credentialsPage{
		frame:  frame{Title: "Credentials", Section: "credentials", Search: filter.Text},
		Filter: filter, Values: q, Chips: chipsOf(r, credentialFields), Offers: s.credentialOffers(q),
		Kinds: inventory.Kinds(),
		Columns: []column{
			columnOf(r, at, "Name", "subject", false), columnOf(r, at, "Expires", "expires", false),
			numbers(columnOf(r, at, "Places", "places", true)), columnOf(r, at, "Findings", "severity", true),
		},
		Rows: list.Items, Pager: pagerOf(r, "after", count, list.Next), Exports: exports(q), Here: here(r),
	})
}

// filterQuery returns the parameters of a filter, without those that only say
// where in the list.
func filterQuery(q url.Values) string {
	kept := url.Values{}
	for _, f := range credentialFields {
		if v := q.Get(f.Name); v != "" {
			kept.Set(f.Name, v)
		}
	}
	return kept.Encode()
}

// exports are the ways to take the list away.
func exports(q url.Values) []offer {
	var list []offer
	for _, format := range []struct{ label, name string }{{"CSV", "csv"}, {"JSON", "json"}, {"CycloneDX", "cyclonedx"}} {
		address := "/export?format=" + format.name
		if filter := filterQuery(q); filter != "" {
			address += "&" + filter
		}
		list = append(list, offer{Label: format.label, URL: address})
	}
	return list
}

// credentialOffers are filters that are needed often.
func (s *Site) credentialOffers(q url.Values) []offer {
	today := s.Now().UTC().Truncate(day)
	offers := []offer{
		{Label: "All", URL: "/credentials"},
		{Label: "End within 30 days", URL: listURL("leaf", "true", "sample", "false", "sort", "expires", "ends_after", instant(today), "ends_before", instant(today.Add(31*day)))},
		{Label: "Critical or high", URL: listURL("severity", "high")},
		{Label: "Without an owner", URL: listURL("owner", "-")},
		{Label: "Private half here", URL: listURL("role", "holds")},
		{Label: "On TLS endpoints", URL: listURL("scheme", "tls")},
		{Label: "Let somebody in by SSH", URL: listURL("kind", "key", "role", "accepts")},
		{Label: "Known by uses alone", URL: listURL("kind", "named")},
		{Label: "Gone", URL: listURL("gone", "true")},
	}
	is := filterQuery(q)
	for i := range offers {
		u, err := url.Parse(offers[i].URL)
		offers[i].On = err == nil && filterQuery(u.Query()) == is
	}
	return offers
}

// AmendCredentials says who owns the credentials that were chosen in the list,
// and adds and takes away tags.
func (s *Site) AmendCredentials(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		s.Error(w, r, fmt.Errorf("%w: the form cannot be read", tallystick.ErrInvalid))
		return
	}
	var chosen []tallystick.Fingerprint
	for _, id := range r.PostForm["id"] {
		chosen = append(chosen, tallystick.Fingerprint(id))
	}
	change := inventory.Change{AddTags: tagsOf(r.PostFormValue("add_tags")), RemoveTags: tagsOf(r.PostFormValue("remove_tags"))}
	if owner := strings.TrimSpace(r.PostFormValue("set_owner")); owner == "-" {
		change.Owner = new(string)
	} else if owner != "" {
		change.Owner = &owner
	}
	switch {
	case len(chosen) == 0:
		s.Error(w, r, fmt.Errorf("%w: choose at least one credential", tallystick.ErrInvalid))
		return
	case len(chosen) > pageRows:
		s.Error(w, r, fmt.Errorf("%w: at most %d credentials at a time", tallystick.ErrInvalid, pageRows))
		return
	}
	if _, err := s.Inventory.Amend(r.Context(), actorOf(r), chosen, change); err != nil {
		s.Error(w, r, err)
		return
	}
	done(w, r, here(r), "amended")
}

// tagsOf reads tags that stand between spaces or commas.
func tagsOf(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
}
