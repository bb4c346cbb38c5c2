// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
)

// CountCap is where counting stops: "10,000+" tells a person as much, and
// counting a million rows exactly would be the slowest part of a page.
const CountCap = 10_000

// maxPage bounds a page whatever is asked for.
const maxPage = 1000

// A PageRequest asks for a page of a list: at most Limit values (50 when it is
// 0), after the value where the page before ended.
type PageRequest struct {
	Sort  string
	Desc  bool
	After string // Page.Next of the page before; "" for the first
	Limit int
}

// A Page is a piece of a list. Next is "" at the end.
type Page[T any] struct {
	Items []T    `json:"items"`
	Next  string `json:"next,omitempty"`
}

// column returns the column of the sort order that is asked for.
func (p PageRequest) column(sorts map[string]string, otherwise string) (string, error) {
	name := p.Sort
	if name == "" {
		name = otherwise
	}
	if column, ok := sorts[name]; ok {
		return column, nil
	}
	return "", fmt.Errorf("%w: cannot sort by %q: it is one of %s", tallystick.ErrInvalid, name,
		strings.Join(slices.Sorted(maps.Keys(sorts)), ", "))
}

func (p PageRequest) limit() int {
	if p.Limit <= 0 {
		return 50
	}
	return min(p.Limit, maxPage)
}

// A cursor is where a page ended: the sort column's value and the row's id.
type cursor struct {
	Int  int64  `json:"i,omitempty"`
	Text string `json:"t,omitempty"`
	Is   string `json:"k"` // "i" or "t"
	ID   int64  `json:"id"`
}

func (c cursor) String() string { return base64.RawURLEncoding.EncodeToString([]byte(jsonText(c))) }

// errNoPlace is for what a list has not given out, or not in this order.
var errNoPlace = fmt.Errorf("%w: this is not a place in this list; begin again at its first page", tallystick.ErrInvalid)

func parseCursor(text string) (cursor, error) {
	var c cursor
	raw, err := base64.RawURLEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(raw, &c)
	}
	if err != nil || c.Is != "i" && c.Is != "t" {
		return c, errNoPlace
	}
	c.Text = cleanText(c.Text)
	return c, nil
}

func (c cursor) value() any {
	if c.Is == "i" {
		return c.Int
	}
	return c.Text
}

func cursorAt(value any, id int64) cursor {
	if n, ok := value.(int64); ok {
		return cursor{Is: "i", Int: n, ID: id}
	}
	switch text := value.(type) {
	case string:
		return cursor{Is: "t", Text: text, ID: id}
	case []byte:
		return cursor{Is: "t", Text: string(text), ID: id}
	}
	return cursor{Is: "t", ID: id}
}

// conditions collects parts of a WHERE with their arguments. Parts are
// constants of this package with a ? for each argument.
type conditions struct {
	parts []string
	args  []any
}

func (w *conditions) add(part string, args ...any) {
	for _, arg := range args {
		if text, ok := arg.(string); ok {
			arg = cleanText(text) // as it is stored, and as PostgreSQL takes it
		}
		w.args = append(w.args, arg)
		part = strings.Replace(part, "?", "$"+itoa(int64(len(w.args))), 1)
	}
	w.parts = append(w.parts, part)
}

func (w *conditions) String() string {
	if len(w.parts) == 0 {
		return "TRUE"
	}
	return strings.Join(w.parts, " AND ")
}

// A listing is a sorted query that is read page by page, each beginning behind
// the last row of the page before (keyset paging: the millionth page costs as
// much as the first, and rows that come and go neither repeat nor drop others).
type listing[T any] struct {
	columns, from string
	where         *conditions
	sort, id      string // columns
	text          bool   // whether sort holds text
	// scan reads columns, and what comes behind them into more.
	scan func(row scanner, more ...any) (T, error)
}

func (l listing[T]) page(ctx context.Context, db *DB, p PageRequest) (Page[T], error) {
	direction, beyond := "ASC", ">"
	if p.Desc {
		direction, beyond = "DESC", "<"
	}
	if p.After != "" {
		at, err := parseCursor(p.After)
		if err != nil {
			return Page[T]{}, err
		}
		if (at.Is == "t") != l.text {
			return Page[T]{}, errNoPlace
		}
		l.where.add(`(`+l.sort+`, `+l.id+`) `+beyond+` (?, ?)`, at.value(), at.ID)
	}
	query := `SELECT ` + l.columns + `, ` + l.sort + `, ` + l.id + ` FROM ` + l.from + ` WHERE ` + l.where.String() +
		` ORDER BY ` + l.sort + ` ` + direction + `, ` + l.id + ` ` + direction + ` LIMIT ` + itoa(int64(p.limit()+1))
	result := Page[T]{Items: []T{}}
	rows, err := db.read.QueryContext(ctx, query, l.where.args...)
	if err != nil {
		return result, db.wrap("couldn't read the list", err)
	}
	defer rows.Close()
	var last cursor
	for rows.Next() {
		if len(result.Items) == p.limit() {
			result.Next = last.String()
			break
		}
		var value any
		var id int64
		item, err := l.scan(rows, &value, &id)
		if err != nil {
			return result, db.wrap("couldn't read the list", err)
		}
		result.Items, last = append(result.Items, item), cursorAt(value, id)
	}
	return result, db.wrap("couldn't read the list", rows.Err())
}

// count counts rows up to CountCap; a result of CountCap means that many or more.
func (db *DB) count(ctx context.Context, from string, where *conditions) (int64, error) {
	return db.countTo(ctx, from, where, CountCap)
}

func (db *DB) countTo(ctx context.Context, from string, where *conditions, limit int64) (int64, error) {
	query := `SELECT COUNT(*) FROM (SELECT 1 FROM ` + from + ` WHERE ` + where.String() + ` LIMIT ` + itoa(limit) + `) AS counted`
	var n int64
	err := db.read.QueryRowContext(ctx, query, where.args...).Scan(&n)
	return n, db.wrap("couldn't count the list", err)
}

// A scanner is a *sql.Row or *sql.Rows.
type scanner interface{ Scan(...any) error }
