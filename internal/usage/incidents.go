// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"cmp"
	"context"
	"strconv"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// mostTop is how many addresses and relying parties of an incident are named.
const mostTop = 10

// Incidents returns a page of incidents, the latest first, and how many there are,
// up to store.CountCap.
func (u *Usage) Incidents(ctx context.Context, actor gate.Actor, f IncidentFilter, page store.PageRequest) (store.Page[Incident], int64, error) {
	s, err := u.subject(ctx, actor, f.Credential)
	if err != nil {
		return store.Page[Incident]{}, 0, err
	}
	filter := store.IncidentFilter{Used: s.ids(), All: f.All, From: f.From, To: f.To}
	rows, err := u.DB.Incidents(ctx, filter, store.PageRequest{Desc: true, After: page.After, Limit: page.Limit})
	if err != nil {
		return store.Page[Incident]{}, 0, err
	}
	list := store.Page[Incident]{Next: rows.Next}
	if list.Items, err = withCredentials(ctx, u, rows.Items, func(row *store.IncidentRow) int64 { return row.Used }, incidentOf); err != nil {
		return list, 0, err
	}
	n, err := u.DB.CountIncidents(ctx, filter)
	return list, n, err
}

func incidentOf(row *store.IncidentRow, c Credential) Incident {
	return Incident{
		ID: row.ID, Credential: c, Opened: row.Opened, First: row.First, Last: row.Last, Uses: row.Uses, Parties: row.Parties, Addresses: row.Addresses,
	}
}

// Incident returns one incident with the addresses and relying parties that have
// the most of its uses. The uses are Records with Filter.Incident.
func (u *Usage) Incident(ctx context.Context, actor gate.Actor, id int64) (*Incident, error) {
	if err := u.Gate.Check(ctx, actor, gate.ReadUses, "incident "+strconv.FormatInt(id, 10)); err != nil {
		return nil, err
	}
	row, err := u.DB.Incident(ctx, id)
	if err != nil {
		return nil, err
	}
	credentials, err := u.credentials(ctx, []int64{row.Used})
	if err != nil {
		return nil, err
	}
	i := incidentOf(&row, credentials[row.Used])
	if err := u.Gate.Check(ctx, actor, gate.ReadCredential, cmp.Or(string(i.Credential.Fingerprint), "incident "+strconv.FormatInt(id, 10))); err != nil {
		return nil, err
	}
	addresses, parties, err := u.DB.TopOfIncident(ctx, id, mostTop)
	i.TopAddresses, i.TopParties = countsOf(addresses), countsOf(parties)
	return &i, err
}

// Totals counts the records of each verdict that is written down, and the
// incidents that are open, each up to store.CountCap.
func (u *Usage) Totals(ctx context.Context, actor gate.Actor) (verdicts map[tallystick.Verdict]int64, incidents int64, err error) {
	if err := u.Gate.Check(ctx, actor, gate.ReadUses, "totals"); err != nil {
		return nil, 0, err
	}
	if verdicts, err = u.DB.VerdictTotals(ctx); err != nil {
		return nil, 0, err
	}
	incidents, err = u.DB.CountIncidents(ctx, store.IncidentFilter{})
	return verdicts, incidents, err
}

func countsOf(rows []store.NameCount) []Count {
	list := make([]Count, 0, len(rows))
	for _, row := range rows {
		list = append(list, Count(row))
	}
	return list
}
