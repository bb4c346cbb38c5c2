// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"context"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/store"
)

// Connections returns a page of connections: those of a credential or of a relying
// party, or of all where both are "", and how many there are, up to store.CountCap.
// They are sorted by "relying_party" or, the most first, by "foreign".
func (u *Usage) Connections(ctx context.Context, actor gate.Actor, credential, party string, page store.PageRequest) (store.Page[Connection], int64, error) {
	s, err := u.subject(ctx, actor, credential)
	if err != nil {
		return store.Page[Connection]{}, 0, err
	}
	filter := store.ConnectionFilter{Used: s.ids(), Party: party}
	rows, err := u.DB.Connections(ctx, filter, page)
	if err != nil {
		return store.Page[Connection]{}, 0, err
	}
	list := store.Page[Connection]{Next: rows.Next}
	if list.Items, err = withCredentials(ctx, u, rows.Items, func(row *store.ConnectionRow) int64 { return row.Used }, connectionOf); err != nil {
		return list, 0, err
	}
	n, err := u.DB.CountConnections(ctx, filter)
	return list, n, err
}

func connectionOf(row *store.ConnectionRow, c Credential) Connection {
	return Connection{Credential: c, Party: row.Party, First: row.First, Last: row.Last, Holder: row.Holder, Relying: row.Relying, Foreign: row.Foreign}
}
