// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/url"

	"github.com/tallystick/tallystick/internal/inventory"
	"github.com/tallystick/tallystick/internal/store"
)

// placesPage answers: where is something?
type placesPage struct {
	frame
	Filter  store.PlaceFilter
	Values  url.Values
	Chips   []chip
	Offers  []offer
	Columns []column // place, credentials
	Rows    []store.PlaceRow
	Pager   pager
}

// Value returns what a parameter of the filter was given as.
func (p *placesPage) Value(name string) string { return p.Values.Get(name) }

// placeFields are the parameters of inventory.ParsePlaceFilter.
var placeFields = []field{{"prefix", "Begins with"}, {"scheme", "Kind"}, {"network", "Network"}, {"empty", "Empty"}}

// Places is the list of places.
func (s *Site) Places(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	at := pageRequest(q)
	filter, err := inventory.ParsePlaceFilter(q)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	if at.Sort == "" {
		at.Sort = "place"
	}
	list, count, err := s.Inventory.Places(r.Context(), actorOf(r), filter, at)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	s.render(w, r, http.StatusOK, "places", &placesPage{
		frame:  frame{Title: "Places", Section: "places"},
		Filter: filter, Values: q, Chips: chipsOf(r, placeFields), Offers: placeOffers(filter),
		Columns: []column{columnOf(r, at, "Place", "place", false), numbers(columnOf(r, at, "Credentials", "credentials", true))},
		Rows:    list.Items, Pager: pagerOf(r, "after", count, list.Next),
	})
}

func placeOffers(f store.PlaceFilter) []offer {
	return []offer{
		{"All", "/places", f == store.PlaceFilter{}},
		{"Files", "/places?scheme=file", f == store.PlaceFilter{Scheme: "file"}},
		{"TLS endpoints", "/places?scheme=tls", f == store.PlaceFilter{Scheme: "tls"}},
		{"Trust stores", "/places?scheme=truststore", f == store.PlaceFilter{Scheme: "truststore"}},
		{"Nothing there any more", "/places?empty=true", f == store.PlaceFilter{Empty: true}},
	}
}
