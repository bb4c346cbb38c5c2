// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"net/http"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
)

// placePage answers: what is here, and what was?
type placePage struct {
	frame
	Place       tallystick.Place
	Now, Past   []placeLine
	More        int // periods that are not shown
	Credentials string
}

// A placeLine is one period, with what people call the credential.
type placeLine struct {
	store.SightingRow
	Name string
}

// placeRows is how many of what is there a page shows.
const placeRows = 150

// Place is one place, with what is and was there.
func (s *Site) Place(w http.ResponseWriter, r *http.Request) {
	place := tallystick.Place(r.URL.Query().Get("uri"))
	rows, err := s.Inventory.PlaceDetail(r.Context(), actorOf(r), place)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	names, err := s.namesAt(r, place)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	p := &placePage{frame: frame{Title: clip(maxName, string(place)), Section: "places"}, Place: place, Credentials: listURL("place", string(place))}
	for _, row := range rows {
		line := placeLine{row, cmp.Or(names[row.Credential], "credential "+row.Credential.Short())}
		if row.GoneSince.IsZero() {
			p.Now = append(p.Now, line)
		} else {
			p.Past = append(p.Past, line)
		}
	}
	p.Now, p.Past = head(placeRows, p.Now), head(placeRows/3, p.Past)
	p.More = len(rows) - len(p.Now) - len(p.Past)
	s.render(w, r, http.StatusOK, "place", p)
}

// namesAt returns what people call the credentials that are at a place now.
func (s *Site) namesAt(r *http.Request, place tallystick.Place) (map[tallystick.Fingerprint]string, error) {
	list, _, err := s.Inventory.Credentials(r.Context(), actorOf(r), store.CredentialFilter{Place: place}, store.PageRequest{Limit: 2 * placeRows})
	names := map[tallystick.Fingerprint]string{}
	for _, row := range list.Items {
		names[row.ID] = nameOf(row.Subject, row.Names, row.Kind, row.ID)
	}
	return names, err
}
