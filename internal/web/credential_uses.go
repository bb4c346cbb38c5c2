// SPDX-License-Identifier: Apache-2.0

package web

import (
	"net/http"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/usage"
)

// credentialUses is how a credential was used, below all else that is known of it.
type credentialUses struct {
	Mirror      mirror
	Ranges      []offer
	ListURL     string // its records
	CSV         string
	Connections []connectionRow // those with foreign uses first
	Parties     int64
	MoreParties int64
	Incidents   []usage.Incident
	Made        bool // its holder has recorded uses
}

// A connectionRow is a relying party with the lists of what was used there.
type connectionRow struct {
	usage.Connection
	URL, ForeignURL string // "" when a link cannot ask for it
}

// connectionRows adds the lists to connections of a credential.
func connectionRows(credential string, list []usage.Connection) []connectionRow {
	rows := make([]connectionRow, 0, len(list))
	for _, c := range list {
		row := connectionRow{Connection: c}
		if c.Party != "" {
			from, to := c.First.UTC().Truncate(time.Hour).Format(time.RFC3339), c.Last.UTC().Truncate(time.Hour).Add(time.Hour).Format(time.RFC3339)
			row.URL = useURL("credential", credential, "relying_party", c.Party, "from", from, "to", to)
			row.ForeignURL = useURL("credential", credential, "relying_party", c.Party, "from", from, "to", to, "verdict", "foreign")
		}
		rows = append(rows, row)
	}
	return rows
}

// Any says whether anybody told of a use.
func (u credentialUses) Any() bool { return len(u.Connections) > 0 }

// mostConnections is how many relying parties the page lists; of the others the
// CSV tells.
const mostConnections = 30

// usesOf returns how a credential was used. In what time the address says.
func (s *Site) usesOf(r *http.Request, id tallystick.Fingerprint) (credentialUses, error) {
	ctx, actor := r.Context(), actorOf(r)
	u := credentialUses{CSV: "/credentials/" + string(id) + "/relying-parties.csv"}
	connections, count, err := s.Usage.Connections(ctx, actor, string(id), "", store.PageRequest{Sort: "foreign", Limit: mostConnections})
	if err != nil || len(connections.Items) == 0 {
		return u, err
	}
	u.Connections, u.Parties = connectionRows(string(id), connections.Items), count
	u.MoreParties = max(0, count-int64(len(u.Connections)))
	for _, c := range u.Connections {
		u.Made = u.Made || c.Holder > 0
	}
	q := r.URL.Query()
	if q.Get("range") == "" {
		q.Set("range", "month")
	}
	f := usage.Filter{Credential: string(id)}
	var word string
	if f.From, f.To, word, err = rangeOf(s.Now(), q); err != nil {
		return u, err
	}
	u.Ranges = rangeOffers(r, word)
	chart, err := s.Usage.Chart(ctx, actor, f)
	if err != nil {
		return u, err
	}
	u.ListURL = useURL("credential", string(id), "list", "true", "from", chart.From.Format(time.RFC3339), "to", chart.To.Format(time.RFC3339))
	u.Mirror = mirrorOf(s.Now(), chart, useURL("credential", string(id), "list", "true"))
	u.Made = u.Made || u.Mirror.Sums.Holder > 0
	incidents, _, err := s.Usage.Incidents(ctx, actor, usage.IncidentFilter{Credential: string(id)}, store.PageRequest{Limit: incidentRows})
	u.Incidents = incidents.Items
	return u, err
}
