// SPDX-License-Identifier: Apache-2.0

package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/store"
)

// issuedPage answers: which certificates did we sign, and what became of them?
type issuedPage struct {
	frame
	Offers []offer
	Often  []offer
	Values url.Values // of the filter, as they were given
	Chips  []chip
	Rows   []issuedRow
	Pager  pager
	CAs    []string
	Ways   []string
	Ever   bool // whether anything was ever signed
}

// Value returns what a parameter of the filter was given as.
func (p *issuedPage) Value(name string) string { return p.Values.Get(name) }

// issuedFields are the parameters of the filter.
var issuedFields = []field{
	{"name", "Name"}, {"authority", "CA"}, {"state", "State"}, {"answered", "Replaced"}, {"within", "Ends within days"}, {"profile", "Profile"},
	{"via", "Asked by way of"}, {"requester", "Asked by"}, {"key", "Key id"}, {"replaces", "In place of"},
}

// An issuedRow is a certificate in a list.
type issuedRow struct {
	ca.Certificate
	Name  string // what people call it
	More  int64  // names besides
	State string // good, ended, replaced, recalled or revoked
}

// URL is its page.
func (c issuedRow) URL() string { return "/issued/" + string(c.Serial) }

// Way is how it was asked for, where the name of whoever asked does not say so.
func (c issuedRow) Way() string {
	if strings.HasPrefix(c.Requester, c.Via+"/") {
		return ""
	}
	return clip(20, c.Via)
}

// Badge is the class of its state.
func (c issuedRow) Badge() string {
	return map[string]string{"good": "i-good", "recalled": "i-recalled", "revoked": "i-revoked"}[c.State]
}

func issuedRows(list []ca.Certificate, now time.Time) []issuedRow {
	rows := make([]issuedRow, 0, len(list))
	for _, c := range list {
		rows = append(rows, issuedRowOf(c, now))
	}
	return rows
}

func issuedRowOf(c ca.Certificate, now time.Time) issuedRow {
	names := c.Names.All()
	row := issuedRow{Certificate: c, Name: nameOf(c.Subject, names, tallystick.KindCertificate, tallystick.Fingerprint(c.SHA256)), State: "good"}
	if len(names) > 1 {
		row.More = int64(len(names) - 1)
	}
	switch {
	case c.Revocation != nil:
		row.State = "revoked"
	case !now.Before(c.NotAfter):
		row.State = "ended"
	case !c.Replaced.IsZero():
		row.State = "replaced"
	case !c.Recalled.IsZero():
		row.State = "recalled"
	}
	return row
}

// ways are how certificates are asked for.
func ways() []string {
	return []string{ca.ViaAPI, ca.ViaLocal, ca.ViaACME, ca.ViaEST, ca.ViaSSH, ca.ViaSPIFFE, ca.ViaRenewal}
}

// issuedFilter reads the filter.
func issuedFilter(q url.Values) (ca.Filter, error) {
	f := ca.Filter{
		Authority: q.Get("authority"), Key: tallystick.KeyID(q.Get("key")), Name: q.Get("name"), Profile: q.Get("profile"), Via: q.Get("via"), Requester: q.Get("requester"),
		State: q.Get("state"), Answered: q.Get("answered"), Replaces: ca.Serial(q.Get("replaces")),
	}
	days, err := numberOf(q.Get("within"))
	if days > 36_500 {
		err = fmt.Errorf("%w: %d days are too many", tallystick.ErrInvalid, days)
	}
	f.Within = time.Duration(days) * day
	return f, err
}

// Issued is the list of certificates that were signed here.
func (s *Site) Issued(w http.ResponseWriter, r *http.Request) {
	if !s.issues(w, r) {
		return
	}
	q := r.URL.Query()
	filter, err := issuedFilter(q)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	rows, err := s.Issuing.CA.List(r.Context(), actorOf(r), filter, ca.Serial(q.Get("after")), pageRows)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	p := &issuedPage{
		frame: frame{Title: "Certificates", Section: "issuers"}, Offers: issuerOffers("/issued"), Often: issuedOffers(q), Values: q, Chips: chipsOf(r, issuedFields),
		Rows: issuedRows(rows, s.Now()), Ways: ways(),
	}
	next := ""
	if len(rows) == pageRows {
		next = string(rows[pageRows-1].Serial)
	}
	p.Pager = pagerOf(r, "after", 0, next)
	all, err := s.Issuing.CA.Overview(r.Context(), actorOf(r))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	for _, a := range all {
		p.CAs = append(p.CAs, a.Name)
		p.Ever = p.Ever || a.Counts.Total > 0
	}
	s.render(w, r, http.StatusOK, "issued", p)
}

// issuedOffers are filters that are needed often.
func issuedOffers(q url.Values) []offer {
	offers := []offer{
		{Label: "All", URL: "/issued"}, {Label: "Good", URL: issuedURL("state", "good")}, {Label: "End within a week", URL: issuedURL("state", "good", "within", "7")},
		{Label: "Recalled, not replaced", URL: issuedURL("state", "recalled", "answered", "no")}, {Label: "Revoked", URL: issuedURL("state", "revoked")},
		{Label: "Ended", URL: issuedURL("state", "expired")},
	}
	is := url.Values{}
	for _, f := range issuedFields {
		if v := q.Get(f.Name); v != "" {
			is.Set(f.Name, v)
		}
	}
	for i := range offers {
		u, err := url.Parse(offers[i].URL)
		offers[i].On = err == nil && u.RawQuery == is.Encode()
	}
	return offers
}

// countBars counts certificates of a CA by a word, the most first; each leads to its list.
func countBars(list []ca.Certificate, authority, parameter string, word func(ca.Certificate) string) []bar {
	sums := map[string]int64{}
	for _, c := range list {
		sums[word(c)]++
	}
	var counts []store.Count
	for name, n := range sums {
		counts = append(counts, store.Count{Name: name, Count: n})
	}
	slices.SortFunc(counts, func(a, b store.Count) int {
		if a.Count != b.Count {
			return int(b.Count - a.Count)
		}
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return barsOf(counts, 8, func(name string) string { return name }, func(name string) string { return issuedURL("authority", authority, parameter, name) })
}
