// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// networkPage answers: what is at which address of this network?
type networkPage struct {
	frame
	Tile  networkTile
	Cells []cell // the 256 addresses of a block; none for other networks
	Edges []edge
	Rows  []store.Endpoint
	More  bool // endpoints that are not listed
	// Partly is how many endpoints the drawing and the list were made of, when
	// there are more; 0 is all.
	Partly int64
}

// A cell is one address in the drawing of a block.
type cell struct {
	X, Y   int // pixels
	Label  string
	URL    string
	Worst  tallystick.Severity
	Class  string // "at", "missed" or "empty"
	places int
}

// An edge is the number at which a row of the drawing begins.
type edge struct {
	Y    int
	Text string
}

const (
	networkPlaces = 2000 // that are drawn
	networkList   = 50   // that are listed, the worst first
	missPage      = 1000 // that are asked for at once
	blockSize     = 256  // addresses
	cellSize      = 20   // pixels
	cellsLeft     = 36   // pixels; the width of the numbers
	cellsInRow    = 16
)

// Network is one network.
func (s *Site) Network(w http.ResponseWriter, r *http.Request) {
	network, endpoints, err := s.Inventory.Network(r.Context(), actorOf(r), r.URL.Query().Get("name"), networkPlaces)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	slices.SortFunc(endpoints, func(a, b store.Endpoint) int { return cmp.Or(int(b.Worst)-int(a.Worst), cmp.Compare(a.Place, b.Place)) })
	p := &networkPage{
		frame: frame{Title: clip(80, network.Name), Section: "networks"}, Tile: s.tileOf(network), Rows: head(networkList, endpoints),
		More: len(endpoints) > networkList,
	}
	if len(endpoints) == networkPlaces && network.Endpoints != networkPlaces {
		p.Partly = networkPlaces
	}
	if block, err := netip.ParsePrefix(network.Name); err == nil && block.Addr().Is4() {
		silent, err := s.silentAt(r.Context(), actorOf(r), network)
		if err != nil {
			s.Error(w, r, err)
			return
		}
		p.Cells, p.Edges = cellsOf(block, endpoints, silent)
	}
	s.render(w, r, http.StatusOK, "network", p)
}

// silentAt returns why the addresses of a network did not answer the last look.
func (s *Site) silentAt(ctx context.Context, actor gate.Actor, network store.Network) (map[netip.Addr]string, error) {
	silent, asked := map[netip.Addr]string{}, map[int64]bool{}
	for _, m := range network.Missed {
		if asked[m.Run] {
			continue
		}
		asked[m.Run] = true
		// An address may have many ports, so a block takes some pages; no more
		// are needed when each address is known.
		var after tallystick.Place
		for full := true; full && len(silent) < blockSize; {
			misses, err := s.Discovery.Misses(ctx, actor, m.Run, store.MissFilter{Network: network.Name}, after, missPage)
			if err != nil {
				return nil, err
			}
			for _, miss := range misses {
				if address, ok := miss.Place.Addr(); ok {
					silent[address] = miss.Error
				}
				after = miss.Place
			}
			full = len(misses) == missPage
		}
	}
	return silent, nil
}

// cellsOf draws a block of 256 addresses, sixteen to a row.
func cellsOf(block netip.Prefix, endpoints []store.Endpoint, silent map[netip.Addr]string) ([]cell, []edge) {
	var cells []cell
	var edges []edge
	at := map[netip.Addr]*cell{}
	cells = make([]cell, 0, blockSize)
	for a, i := block.Masked().Addr(), 0; i < blockSize; a, i = a.Next(), i+1 {
		c := cell{X: cellsLeft + i%cellsInRow*cellSize, Y: i / cellsInRow * cellSize, Class: "empty"}
		if word, ok := silent[a]; ok {
			c.Class, c.Label = "missed", a.String()+": "+clip(40, word)
		}
		cells = append(cells, c)
		at[a] = &cells[i]
		if i%cellsInRow == 0 {
			edges = append(edges, edge{c.Y, fmt.Sprintf(".%d", i)})
		}
	}
	for _, e := range endpoints {
		a, ok := e.Place.Addr()
		c := at[a]
		if !ok || c == nil {
			continue
		}
		c.places, c.Class, c.Worst = c.places+1, "at", max(c.Worst, e.Worst)
		c.URL = "/place?uri=" + url.QueryEscape(string(e.Place))
		if c.places > 1 {
			c.URL = "/places?prefix=" + url.QueryEscape(e.Place.Scheme()+"://"+a.String()+":")
		}
		worst := "no findings"
		if c.Worst > 0 {
			worst = c.Worst.String()
		}
		c.Label = fmt.Sprintf("%s: %s, at worst %s", a, plural(int64(c.places), "endpoint", "endpoints"), worst)
	}
	return cells, edges
}
