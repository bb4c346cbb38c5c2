// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"net/url"
	"time"

	"github.com/tallystick/tallystick/internal/store"
)

// networksPage answers: what is where in the networks, and what did not answer?
type networksPage struct {
	frame
	Tiles []networkTile
	Pager pager
}

// A networkTile is one network of the map.
type networkTile struct {
	store.Network
	URL, EndpointsURL, CredentialsURL, WorstURL string
	Word                                        string // of the worst finding; "none"
	Missed                                      []missSum
	Silent                                      int64 // places that did not answer
	Share                                       int   // of the places that answered, in percent
	Old                                         bool  // whether it must be said when this was counted
}

// A missSum is how many places did not answer for a reason.
type missSum struct {
	URL, Word string
	Count     int64
}

// networkRows is how many networks a page of the map has.
const networkRows = 24

// countAge is how old numbers may be without saying so.
const countAge = 5 * time.Second

// Networks is the map of networks.
func (s *Site) Networks(w http.ResponseWriter, r *http.Request) {
	list, err := s.Inventory.Networks(r.Context(), actorOf(r), r.URL.Query().Get("after"), networkRows+1)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	var next string
	if len(list) > networkRows {
		list = list[:networkRows]
		next = list[networkRows-1].Name
	}
	p := &networksPage{frame: frame{Title: "Networks", Section: "networks"}, Pager: pagerOf(r, "after", 0, next)}
	for _, n := range list {
		p.Tiles = append(p.Tiles, s.tileOf(n))
	}
	s.render(w, r, http.StatusOK, "networks", p)
}

func (s *Site) tileOf(n store.Network) networkTile {
	name := url.QueryEscape(n.Name)
	t := networkTile{
		Network: n, URL: "/network?name=" + name, EndpointsURL: "/places?network=" + name, CredentialsURL: listURL("network", n.Name), Word: "none",
		Old: s.Now().Sub(n.Counted) > countAge,
	}
	if n.Worst > 0 {
		t.Word = n.Worst.String()
		t.WorstURL = listURL("network", n.Name, "severity", t.Word)
	}
	for _, m := range n.Missed {
		t.Silent += m.Count
		t.Missed = append(t.Missed, missSum{missesURL(m.Run, m.Word, n.Name), clip(40, m.Word), m.Count})
	}
	if all := n.Endpoints + t.Silent; all > 0 {
		t.Share = int(n.Endpoints * 100 / all)
	}
	return t
}
