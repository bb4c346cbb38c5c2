// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// pageRows is how many rows a page of a list has: what weighs some 60 kB.
const pageRows = 50

// withParameter returns a local address with a parameter set, or taken away
// when the value is "".
func withParameter(address, key, value string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	q := u.Query()
	q.Set(key, value)
	if value == "" {
		q.Del(key)
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// fromStart returns a local address at the first page of its list, and without
// the word of an action that led there: what links that change the list begin with.
func fromStart(address string) string {
	for _, key := range []string{"after", "before", "done"} {
		address = withParameter(address, key, "")
	}
	return address
}

// localPath returns the address that a form asks to be led back to when it is
// one of this server, and otherwise the default: nobody shall be led elsewhere
// by a link that begins here.
func localPath(r *http.Request, otherwise string) string {
	back := r.FormValue("back")
	u, err := url.Parse(back)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\r\n\t") {
		return otherwise
	}
	return u.String()
}

// here returns the address of the request without the word of an action that
// led to it.
func here(r *http.Request) string {
	local := url.URL{Path: r.URL.Path, RawQuery: r.URL.RawQuery}
	return withParameter(local.String(), "done", "")
}

// A chip is one part of a filter that is set, and the address without it.
type chip struct{ Label, Value, Remove string }

// A field is one part of a filter: its parameter, and what a person calls it.
type field struct{ Name, Label string }

// chipsOf returns the fields that a request sets.
func chipsOf(r *http.Request, fields []field) []chip {
	var chips []chip
	q := r.URL.Query()
	for _, f := range fields {
		value := q.Get(f.Name)
		if value == "" {
			continue
		}
		shown := clip(60, value)
		switch value {
		case "-":
			shown = "nobody"
		case "false":
			shown = "no"
		case "true":
			shown = ""
		}
		chips = append(chips, chip{Label: f.Label, Value: shown, Remove: withParameter(fromStart(here(r)), f.Name, "")})
	}
	return chips
}

// An offer is a link that people need often, with whether it is in force.
type offer struct {
	Label, URL string
	On         bool
}

// A pager leads through a list.
type pager struct {
	Total string // "312", "10,000+"
	First string // address of the first page; "" on it
	Next  string // address of the next page; "" on the last
}

// pagerOf returns the pager of a page that ends at a cursor.
func pagerOf(r *http.Request, parameter string, count int64, next string) pager {
	p := pager{Total: total(count)}
	if r.URL.Query().Get(parameter) != "" {
		p.First = fromStart(here(r))
	}
	if next != "" {
		p.Next = withParameter(here(r), parameter, next)
	}
	return p
}

// A column is the head of a table's column that the list can be sorted by.
type column struct {
	Label, URL string
	Sort       string // as aria-sort: "ascending", "descending" or ""
	Number     bool   // it holds numbers
}

// columnOf returns the head for an order. The first click sorts in the
// direction that is asked for more often, the second in the other.
func columnOf(r *http.Request, at store.PageRequest, label, sort string, descFirst bool) column {
	c := column{Label: label}
	desc := descFirst
	if at.Sort == sort {
		desc = !at.Desc
		c.Sort = "ascending"
		if at.Desc {
			c.Sort = "descending"
		}
	}
	u := withParameter(fromStart(here(r)), "sort", sort)
	c.URL = withParameter(u, "desc", map[bool]string{true: "true"}[desc])
	return c
}

// numbers says that a column holds numbers, which stand on the right.
func numbers(c column) column {
	c.Number = true
	return c
}

// pageRequest reads where in a list, and in what order.
func pageRequest(q url.Values) store.PageRequest {
	return store.PageRequest{Sort: q.Get("sort"), Desc: q.Get("desc") == "true", After: q.Get("after"), Limit: pageRows}
}

// credentialFields are the parameters of inventory.ParseCredentialFilter.
var credentialFields = []field{
	{"q", "Search"}, {"kind", "Kind"}, {"algorithm", "Key"}, {"owner", "Owner"}, {"environment", "Environment"}, {"tag", "Tag"},
	{"severity", "At least"}, {"rule", "Finding"}, {"issuer", "Issuer"}, {"key", "Key id"}, {"scheme", "At"}, {"network", "Network"}, {"role", "Role"},
	{"place", "Place"}, {"ends_after", "Ends from"}, {"ends_before", "Ends before"}, {"leaf", "End entities"}, {"sample", "Samples of packages"}, {"gone", "Gone"},
}

// numberOf reads the number in a path or parameter; "" is 0.
func numberOf(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%w: %q is not a number", tallystick.ErrInvalid, clip(40, text))
	}
	return n, nil
}
