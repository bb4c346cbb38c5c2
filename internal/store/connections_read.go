// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/tallystick/tallystick"
)

// A ConnectionRow is where a credential is accepted, as its uses show.
type ConnectionRow struct {
	Used        int64
	Party       string
	First, Last time.Time // use
	Holder      int64     // uses that this side recorded
	Relying     int64
	Foreign     int64 // of Relying
}

// A ConnectionFilter narrows a list of connections; what is zero does not.
type ConnectionFilter struct {
	Used  []int64 // of these credentials; empty but not nil lets nothing through
	Party string
}

func (f ConnectionFilter) where() *conditions {
	w := &conditions{}
	switch {
	case f.Used == nil:
	case len(f.Used) == 0:
		w.add(`FALSE`)
	default:
		w.addAny(`n.used_id`, f.Used)
	}
	if f.Party != "" {
		w.add(`n.party = ?`, f.Party)
	}
	return w
}

const connectionColumns = `n.used_id, n.party, n.first_use, n.last_use, n.holder, n.relying`

func scanConnection(row scanner, more ...any) (ConnectionRow, error) {
	var c ConnectionRow
	var first, last int64
	err := row.Scan(append([]any{&c.Used, &c.Party, &first, &last, &c.Holder, &c.Relying}, more...)...)
	c.First, c.Last = timeOf(first), timeOf(last)
	return c, err
}

// Connections returns a page of connections: by their relying party, or, sorted by
// "foreign", those with the most foreign uses first and of equal ones the last used
// first; Desc turns only the former round.
func (db *DB) Connections(ctx context.Context, f ConnectionFilter, page PageRequest) (Page[ConnectionRow], error) {
	sort, err := page.column(map[string]string{"relying_party": `n.party`, "foreign": ``}, "relying_party")
	if err != nil {
		return Page[ConnectionRow]{}, err
	}
	if sort == "" {
		return db.loudestConnections(ctx, f, page)
	}
	list, err := listing[ConnectionRow]{
		columns: connectionColumns, from: `connections n`, where: f.where(), sort: sort, text: true, id: `n.used_id`, scan: scanConnection,
	}.page(ctx, db, page)
	if err != nil {
		return list, err
	}
	return list, db.countForeign(ctx, list.Items)
}

// A loudCursor is where a page of loudestConnections ended.
type loudCursor struct {
	Foreign int64  `json:"f"`
	Last    int64  `json:"l"`
	Party   string `json:"p"`
	Used    int64  `json:"u"`
}

// loudestConnections sorts by what countForeign fills in elsewhere, so that it
// counts before it reads a page: that costs what there is of foreign uses.
func (db *DB) loudestConnections(ctx context.Context, f ConnectionFilter, page PageRequest) (Page[ConnectionRow], error) {
	const from = `connections n LEFT JOIN (SELECT used_id, party, CAST(SUM(uses) AS BIGINT) AS uses FROM verdicts
		WHERE verdict = '` + string(tallystick.VerdictForeign) + `' GROUP BY used_id, party) v ON v.used_id = n.used_id AND v.party = n.party`
	const order = `-COALESCE(v.uses, 0), -n.last_use, n.party, n.used_id`
	list := Page[ConnectionRow]{Items: []ConnectionRow{}}
	w := f.where()
	if page.After != "" {
		var at loudCursor
		raw, err := base64.RawURLEncoding.DecodeString(page.After)
		if err != nil || json.Unmarshal(raw, &at) != nil || at.Used == 0 {
			return list, errNoPlace
		}
		w.add(`(`+order+`) > (?, ?, ?, ?)`, -at.Foreign, -at.Last, at.Party, at.Used)
	}
	query := `SELECT ` + connectionColumns + `, COALESCE(v.uses, 0) FROM ` + from + ` WHERE ` + w.String() + ` ORDER BY ` + order + ` LIMIT ` + itoa(int64(page.limit()+1))
	rows, err := db.read.QueryContext(ctx, query, w.args...)
	list.Items, err = collect(db, "couldn't read the list", rows, err, func(rows *sql.Rows) (ConnectionRow, error) {
		var foreign int64
		c, err := scanConnection(rows, &foreign)
		c.Foreign = foreign
		return c, err
	})
	if err == nil && len(list.Items) > page.limit() {
		list.Items = list.Items[:page.limit()]
		last := list.Items[len(list.Items)-1]
		text := jsonText(loudCursor{last.Foreign, micros(last.Last), last.Party, last.Used})
		list.Next = base64.RawURLEncoding.EncodeToString([]byte(text))
	}
	return list, err
}

// countForeign fills in how many uses of connections are foreign. It reads every
// foreign use of their credentials: those of one are an attack, not its life.
func (db *DB) countForeign(ctx context.Context, list []ConnectionRow) error {
	type connection struct {
		used  int64
		party string
	}
	at := map[connection]*ConnectionRow{}
	var used []int64
	for i := range list {
		at[connection{list[i].Used, list[i].Party}] = &list[i]
		used = append(used, list[i].Used)
	}
	const query = `SELECT used_id, party, uses FROM verdicts WHERE verdict = '` + string(tallystick.VerdictForeign) + `' AND used_id IN `
	err := in(ctx, db, query, distinctKeys(used), func(rows *sql.Rows) error {
		var c connection
		var uses int64
		err := rows.Scan(&c.used, &c.party, &uses)
		if row := at[c]; row != nil {
			row.Foreign += uses
		}
		return err
	})
	return db.wrap("couldn't count foreign uses", err)
}

// CountConnections counts what a filter lets through, up to CountCap.
func (db *DB) CountConnections(ctx context.Context, f ConnectionFilter) (int64, error) {
	return db.count(ctx, `connections n`, f.where())
}

// A PartyRow is a relying party with all credentials that it accepts.
type PartyRow struct {
	Name            string
	Credentials     int64
	Holder, Relying int64 // uses
	Foreign         int64 // of Relying
}

// Parties returns the relying parties with the most uses, at most limit of them,
// and how many more there are. It reads every connection.
func (db *DB) Parties(ctx context.Context, limit int) (list []PartyRow, more int64, err error) {
	const query = `SELECT party, COUNT(*), SUM(holder), SUM(relying) FROM connections GROUP BY party ORDER BY SUM(holder) + SUM(relying) DESC, party LIMIT $1`
	rows, err := db.read.QueryContext(ctx, query, limit)
	list, err = collect(db, "couldn't list relying parties", rows, err, func(rows *sql.Rows) (PartyRow, error) {
		var p PartyRow
		return p, rows.Scan(&p.Name, &p.Credentials, &p.Holder, &p.Relying)
	})
	if err != nil {
		return nil, 0, err
	}
	var all int64
	if err := db.read.QueryRowContext(ctx, `SELECT COUNT(DISTINCT party) FROM connections`).Scan(&all); err != nil {
		return nil, 0, db.wrap("couldn't count relying parties", err)
	}
	at := map[string]int{}
	for i := range list {
		at[list[i].Name] = i
	}
	const foreign = `SELECT party, SUM(uses) FROM verdicts WHERE verdict = '` + string(tallystick.VerdictForeign) + `' GROUP BY party`
	rows, err = db.read.QueryContext(ctx, foreign)
	err = each(rows, err, func(rows *sql.Rows) error {
		var name string
		var uses int64
		err := rows.Scan(&name, &uses)
		if i, ok := at[name]; ok {
			list[i].Foreign = uses
		}
		return err
	})
	return list, max(all-int64(len(list)), 0), db.wrap("couldn't count foreign uses", err)
}
