// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"fmt"
	"net/url"
	"strconv"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/query"
)

// ParseFilter reads a filter from the parameters of an address: credential,
// verdict, side, source, relying_party, address, incident, and from and to (see
// query.ParseSpan). A value that makes no sense is ErrInvalid.
func ParseFilter(q url.Values) (Filter, error) {
	f := Filter{
		Credential: q.Get("credential"), Verdict: tallystick.Verdict(q.Get("verdict")), Side: tallystick.Side(q.Get("side")),
		Source: q.Get("source"), Party: q.Get("relying_party"), Address: q.Get("address"),
	}
	for _, err := range []error{
		query.OneOf("verdict", string(f.Verdict), Verdicts()...),
		query.OneOf("side", string(f.Side), string(tallystick.SideHolder), string(tallystick.SideRelying)),
	} {
		if err != nil {
			return f, err
		}
	}
	var err error
	if text := q.Get("incident"); text != "" {
		if f.Incident, err = strconv.ParseInt(text, 10, 64); err != nil || f.Incident < 1 {
			return f, fmt.Errorf("%w: %.40q is not the number of an incident", tallystick.ErrInvalid, text)
		}
	}
	f.From, f.To, err = query.ParseSpan(q.Get("from"), q.Get("to"))
	return f, err
}

// ParseIncidentFilter reads a filter for incidents from the parameters of an
// address: credential, state (open or all), and from and to (see query.ParseSpan).
// A value that makes no sense is ErrInvalid.
func ParseIncidentFilter(q url.Values) (IncidentFilter, error) {
	f := IncidentFilter{Credential: q.Get("credential"), All: q.Get("state") == "all"}
	err := query.OneOf("state", q.Get("state"), "open", "all")
	if err != nil {
		return f, err
	}
	f.From, f.To, err = query.ParseSpan(q.Get("from"), q.Get("to"))
	return f, err
}
