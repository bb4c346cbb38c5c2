// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/tallystick/tallystick"
)

// A tlsEndpoint is what an endpoint accepts, beside the certificate that it shows.
type tlsEndpoint struct {
	place tallystick.Place
	facts *tallystick.TLSFacts
}

// addEndpoint keeps what an endpoint accepts; what it sends behind its own
// certificate says nothing of that.
func (e *explained) addEndpoint(place tallystick.Place, facts *tallystick.TLSFacts) {
	if facts != nil && facts.Position == 0 && len(facts.Protocols) > 0 {
		e.endpoints = append(e.endpoints, tlsEndpoint{place, facts})
	}
}

// print writes everything that was asked of the endpoint.
func (v tlsEndpoint) print(s *sheet) {
	f := v.facts
	s.put("Endpoint", placeText(v.place))
	s.put("Address", f.Address)
	s.put("Begins with", f.StartTLS)
	s.put("Key shown", map[tallystick.Evidence]string{
		tallystick.EvidenceSeen:     "no: the certificate was seen, without a signature by its key",
		tallystick.EvidenceProven:   "yes, by a signature",
		tallystick.EvidenceVerified: "yes, by a signature; chain and name are good for this machine",
	}[f.Evidence])
	s.put("Asks clients", map[string]string{"requested": "for a certificate", "none": "for no certificate"}[f.ClientAuth])
	s.list("of the CA", some(f.ClientCAs))
	s.put("OCSP staple", f.Staple)
	v.put(s, "ALPN", f.ALPN)
	v.put(s, "Groups", f.Groups)
	v.put(s, "Protocols", f.Protocols)
	if len(f.Order) == 0 {
		v.put(s, "Suites", f.Suites)
	}
	for _, protocol := range f.Protocols {
		s.list("  "+protocol, f.Order[protocol])
	}
}

// put writes a list on as many lines as it takes.
func (tlsEndpoint) put(s *sheet, label string, list []string) {
	if len(list) > 0 {
		s.list(label, strings.Split(wrap(clean(strings.Join(list, ", ")), "", textWidth-labelWidth), "\n"))
	}
}
