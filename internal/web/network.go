// SPDX-License-Identifier: Apache-2.0

package web

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

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
	cellSize      = 20   // pixels
	cellsLeft     = 36   // pixels; the width of the numbers
	cellsInRow    = 16
)

// Network is one network.
func (s *Site) Network(w http.ResponseWriter, r *http.Request) {
	network, endpoints, err := s.Discovery.Network(r.Context(), actorOf(r), r.URL.Query().Get("name"), networkPlaces)
	if err != nil {
		s.Error(w, r, err)
		return
	}
	slices.SortStableFunc(endpoints, func(a, b store.Endpoint) int { return int(b.Worst) - int(a.Worst) })
	p := &networkPage{
		frame: frame{Title: clip(80, network.Name), Section: "networks"}, Tile: tileOf(network), Rows: head(networkList, endpoints),
		More: network.Endpoints > int64(min(len(endpoints), networkList)),
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
		misses, err := s.Discovery.Misses(ctx, actor, m.Run, store.MissFilter{Network: network.Name}, "", networkPlaces)
		if err != nil {
			return nil, err
		}
		for _, miss := range misses {
			if address, ok := addressOf(miss.Place); ok {
				silent[address] = miss.Error
			}
		}
	}
	return silent, nil
}

// addressOf returns the address of an endpoint that is named by one.
func addressOf(p tallystick.Place) (netip.Addr, bool) {
	_, rest, _ := strings.Cut(string(p), "://")
	hostport, _, _ := strings.Cut(rest, "/")
	host, _, err := net.SplitHostPort(hostport)
	if err != nil {
		host = hostport
	}
	address, err := netip.ParseAddr(host)
	return address.Unmap(), err == nil
}

// cellsOf draws a block of 256 addresses, sixteen to a row.
func cellsOf(block netip.Prefix, endpoints []store.Endpoint, silent map[netip.Addr]string) ([]cell, []edge) {
	var cells []cell
	var edges []edge
	at := map[netip.Addr]*cell{}
	cells = make([]cell, 0, 256)
	for a, i := block.Masked().Addr(), 0; i < 256; a, i = a.Next(), i+1 {
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
		a, ok := addressOf(e.Place)
		c := at[a]
		if !ok || c == nil {
			continue
		}
		c.places, c.Class, c.Worst = c.places+1, "at", max(c.Worst, e.Worst)
		c.URL = "/place?uri=" + url.QueryEscape(string(e.Place))
		if c.places > 1 {
			c.URL = "/places?prefix=" + url.QueryEscape(e.Place.Scheme()+"://"+a.String()+":")
		}
		c.Label = fmt.Sprintf("%s: %s, at worst %s", a, plural(int64(c.places), "endpoint", "endpoints"), cmp.Or(severityWord(c.Worst), "no findings"))
	}
	return cells, edges
}

// severityWord is the word for a severity; none is "".
func severityWord(s tallystick.Severity) string {
	if s == 0 {
		return ""
	}
	return s.String()
}
