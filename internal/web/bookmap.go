// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/internal/usage"
)

// bookMapPage answers: who tells about whom, and about whom does nobody tell?
type bookMapPage struct {
	frame
	Offers []offer
	Groups []partyGroup // those that lack a side first
	Deaf   int64        // relying parties that lack a side
	Of     int64
	More   int64
	Unused []usage.Book // that tell about nobody yet
}

// A partyGroup is the relying parties that the same books tell about.
type partyGroup struct {
	Holders, Relyings          []toldBy
	HeldAt, OpensAt            []tick
	Parties                    []offer // the beginning
	Count, Uses, Foreign, More int64
}

// Whole says that both sides are told about.
func (g partyGroup) Whole() bool { return len(g.Holders) > 0 && len(g.Relyings) > 0 }

// A toldBy is a book that tells.
type toldBy struct {
	Source string
	Silent bool
}

// groupParties is how many relying parties of a group are named.
const groupParties = 6

// BookMap is which books tell about which relying parties.
func (s *Site) BookMap(w http.ResponseWriter, r *http.Request) {
	m, err := s.Usage.Map(r.Context(), actorOf(r))
	if err != nil {
		s.Error(w, r, err)
		return
	}
	p := &bookMapPage{frame: frame{Title: "Who tells about whom", Section: "books"}, Offers: bookOffers("/books/map"), More: m.More, Of: int64(len(m.Parties))}
	p.Groups, p.Unused = groupsOf(m)
	for _, g := range p.Groups {
		if !g.Whole() {
			p.Deaf += g.Count
		}
	}
	s.render(w, r, http.StatusOK, "bookmap", p)
}

// partyOffer leads to the uses at a relying party. Those that no record names
// cannot be asked for by name.
func partyOffer(name string) offer {
	if name == "" {
		return offer{Label: "not named"}
	}
	return offer{Label: clip(80, name), URL: useURL("range", "month", "relying_party", name)}
}

// groupsOf puts together what the same books tell about: a vendor's thousands of
// tenants are one line. Books that tell about nobody come back as well.
func groupsOf(m *usage.Map) (groups []partyGroup, unused []usage.Book) {
	silent, used := map[string]bool{}, map[string]bool{}
	for _, b := range m.Books {
		silent[b.Source] = b.Silent
	}
	told := func(sources []string) []toldBy {
		var list []toldBy
		for _, source := range sources {
			used[source] = true
			list = append(list, toldBy{source, silent[source]})
		}
		return list
	}
	at := map[string]int{}
	for _, party := range m.Parties {
		key := strings.Join(party.Holders, "\x00") + "\x01" + strings.Join(party.Relyings, "\x00")
		i, ok := at[key]
		if !ok {
			i = len(groups)
			at[key] = i
			groups = append(groups, partyGroup{
				Holders: told(party.Holders), Relyings: told(party.Relyings),
				HeldAt: notchesIf(len(party.Holders) > 0, 3), OpensAt: notchesIf(len(party.Relyings) > 0, 57),
			})
		}
		g := &groups[i]
		g.Count++
		g.Uses += party.Relying + party.Holder
		g.Foreign += party.Foreign
		if len(g.Parties) < groupParties {
			g.Parties = append(g.Parties, partyOffer(party.Name))
		} else {
			g.More++
		}
	}
	slices.SortStableFunc(groups, func(a, b partyGroup) int {
		if a.Whole() != b.Whole() {
			return map[bool]int{true: 1, false: -1}[a.Whole()]
		}
		return cmp.Or(cmp.Compare(b.Foreign, a.Foreign), cmp.Compare(b.Uses, a.Uses))
	})
	for _, b := range m.Books {
		if !used[b.Source] {
			unused = append(unused, b)
		}
	}
	return groups, unused
}
