// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/finding"
	"github.com/tallystick/tallystick/internal/inventory"
)

// ParseFilter reads a filter from the parameters of an address: credential,
// verdict, side, source, party, address, incident, and from and to (see
// inventory.ParseTime). A value that makes no sense is ErrInvalid.
func ParseFilter(q url.Values) (Filter, error) {
	f := Filter{
		Credential: q.Get("credential"), Verdict: tallystick.Verdict(q.Get("verdict")), Side: tallystick.Side(q.Get("side")),
		Source: q.Get("source"), Party: q.Get("party"), Address: q.Get("address"),
	}
	for _, err := range []error{
		finding.OneOf("verdict", string(f.Verdict), Verdicts()...),
		finding.OneOf("side", string(f.Side), string(tallystick.SideHolder), string(tallystick.SideRelying)),
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
	if f.From, err = parseTime(q.Get("from")); err != nil {
		return f, err
	}
	f.To, err = parseTime(q.Get("to"))
	return f, err
}

// parseTime reads what inventory.ParseTime reads; a time before 1970 is the
// beginning of all, which is what it means in a list.
func parseTime(text string) (time.Time, error) {
	t, err := inventory.ParseTime(text)
	if err == nil && !t.IsZero() && t.Before(time.Unix(0, 0)) {
		t = time.Unix(0, 0).UTC()
	}
	return t, err
}
