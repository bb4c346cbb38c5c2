// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"unsafe"

	"github.com/parquet-go/parquet-go/deprecated"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// A column of a segment. Exactly one of number, text, cell and raw is set, and
// says what a row has there and how one that is read is set.
type column struct {
	name string
	// needs are bits of row.has: where no row of a table has them, none has
	// anything in the column.
	needs  int
	number *numberColumn
	text   *textColumn
	cell   *cellColumn
	raw    *rawColumn
}

// A numberColumn is an INT64 that every row has.
type numberColumn struct {
	logical format.LogicalType
	get     func(t *table, r *row) int64
	set     func(t *table, r *row, v int64)
}

// number returns what a row has at a place.
func (r *row) number(at uintptr) uint32 { return *(*uint32)(unsafe.Add(unsafe.Pointer(r), at)) }

// A textColumn is a string that every row has, "" for none, from a dictionary.
type textColumn struct {
	at  uintptr                              // where in a row its number of the table is
	all func(t *table) int                   // how many numbers there are
	of  func(t *table, number uint32) string // what a number means
	// part is the number of the text in parts, which rows are put together from.
	part int
}

// The texts that a row is read from: those of its kind first, as kind has them.
const (
	partSource = iota
	partSide
	partLevel
	partHolder
	partRelyingParty
	partOutcome
	partAddress
	partAgent
	partOperation
	partResource
	partDetail
	partNames
	parts
)

// A cellColumn is one of the three columns of an identifier: the GUID that it
// means, how that is written, and the text of one that is no GUID.
type cellColumn struct {
	id   int // idRecord ...
	what cellPart
}

type cellPart int

const (
	cellGUID cellPart = iota
	cellForm
	cellText
)

// A rawColumn is bytes that few rows have.
type rawColumn struct {
	width int // of each; 0 is text
	get   func(t *table, x *extra) []byte
	set   func(t *table, x *extra, value []byte)
}

// cell returns an identifier of a row.
func (t *table) cellOf(r *row, id int) (*cell, form) {
	if id < len(r.ids) {
		return &r.ids[id], r.forms[id]
	}
	return t.extraCell(r, id-len(r.ids))
}

func (t *table) extraCell(r *row, id int) (*cell, form) {
	if r.extra == 0 {
		return nil, formNone
	}
	x := t.extras.at(int(r.extra - 1))
	return &x.ids[id], x.forms[id]
}

// setCell sets an identifier of a row that is read.
func (t *table) setCell(r *row, id int, c cell, f form) {
	if id < len(r.ids) {
		r.ids[id], r.forms[id] = c, f
		return
	}
	x := t.extraOf(r)
	x.ids[id-len(r.ids)], x.forms[id-len(r.ids)] = c, f
}

// extraOf returns the extra of a row that is read, and makes it.
func (t *table) extraOf(r *row) *extra {
	if r.extra == 0 {
		*t.extras.next() = extra{count: 1}
		r.extra = uint32(t.extras.n)
	}
	return t.extras.at(int(r.extra - 1))
}

func timestamp() format.LogicalType {
	return format.LogicalType{Value: &format.TimestampType{IsAdjustedToUTC: true, Unit: format.TimeUnit{Value: new(format.MicroSeconds)}}}
}

func unsigned() format.LogicalType {
	return format.LogicalType{Value: &format.IntType{BitWidth: 64, IsSigned: false}}
}

// columns returns the columns of a segment in their order. Names and meanings
// are those of the use record; additions go to the end.
func columns() []column {
	list := []column{
		{name: "credential", text: &textColumn{
			at: unsafe.Offsetof(row{}.names), all: func(t *table) int { return len(t.lists) },
			of: func(t *table, n uint32) string { return t.lists[n].json }, part: partNames,
		}},
		{name: "time", number: &numberColumn{
			logical: timestamp(), get: func(_ *table, r *row) int64 { return r.at }, set: func(_ *table, r *row, v int64) { r.at = v },
		}},
		{name: "time_nanos", needs: hasNanos, number: &numberColumn{
			get: func(_ *table, r *row) int64 { return int64(r.nanos) }, set: func(_ *table, r *row, v int64) { r.nanos = uint16(v) },
		}},
		ofKind("source", partSource, func(k *kind) string { return k.source }),
		ofKind("side", partSide, func(k *kind) string { return k.side }),
		ofKind("level", partLevel, func(k *kind) string { return k.level }),
		ofKind("holder", partHolder, func(k *kind) string { return k.holder }),
		ofKind("relying_party", partRelyingParty, func(k *kind) string { return k.relyingParty }),
		ofKind("outcome", partOutcome, func(k *kind) string { return k.outcome }),
		{name: "seq", needs: hasSeq, number: &numberColumn{
			logical: unsigned(), get: func(_ *table, r *row) int64 { return int64(r.seq) }, set: func(_ *table, r *row, v int64) { r.seq = uint64(v) },
		}},
		ofString("address", hasAddress, partAddress, unsafe.Offsetof(row{}.address)),
		{name: "port", needs: hasPort | hasExtra, number: &numberColumn{get: portOf, set: setPort}},
		ofString("agent", hasAgent, partAgent, unsafe.Offsetof(row{}.agent)),
		ofString("operation", hasOperation, partOperation, unsafe.Offsetof(row{}.operation)),
		ofString("resource", hasResource, partResource, unsafe.Offsetof(row{}.resource)),
		ofString("detail", hasDetail, partDetail, unsafe.Offsetof(row{}.detail)),
	}
	for id, name := range [...]string{"id", "uti", "correlation", "request", "session", "queue", "serial", "parent"} {
		needs := hasExtra
		if id < len(row{}.ids) {
			needs = hasID0 << id
		}
		list = append(list,
			column{name: name, needs: needs, cell: &cellColumn{id, cellGUID}},
			column{name: name + "_form", needs: needs, cell: &cellColumn{id, cellForm}},
			column{name: name + "_text", needs: needs, cell: &cellColumn{id, cellText}},
		)
	}
	for _, rare := range rareColumns() {
		rare.needs = hasExtra
		list = append(list, rare)
	}
	return list
}

func ofKind(name string, part int, of func(k *kind) string) column {
	return column{name: name, text: &textColumn{
		at: unsafe.Offsetof(row{}.kind), all: func(t *table) int { return len(t.kinds) },
		of: func(t *table, n uint32) string { return of(&t.kinds[n]) }, part: part,
	}}
}

func ofString(name string, needs, part int, at uintptr) column {
	return column{name: name, needs: needs, text: &textColumn{
		at: at, all: func(t *table) int { return len(t.strings) },
		of: func(t *table, n uint32) string { return t.strings[n] }, part: part,
	}}
}

// rareColumns are those of extras.
func rareColumns() []column {
	return []column{
		{name: "count", number: &numberColumn{
			get: func(t *table, r *row) int64 {
				if r.extra == 0 {
					return 1
				}
				return t.extras.at(int(r.extra - 1)).count
			},
			set: func(t *table, r *row, v int64) {
				if v != 1 {
					x := t.extraOf(r)
					x.hasCount, x.count = true, v
				}
			},
		}},
		// How long after its time it ends, in microseconds and what is left: 0 for most.
		{name: "until_after", number: &numberColumn{get: untilAfter, set: setUntil}},
		{name: "until_nanos_after", number: &numberColumn{get: untilNanosAfter, set: setUntilNanos}},
		{name: "ids_other", raw: &rawColumn{
			get: func(t *table, x *extra) []byte { return t.place(x.otherIDs, x.hasIDs) },
			set: func(t *table, x *extra, v []byte) { x.otherIDs, x.hasIDs = t.text.put(string(v)), true },
		}},
		{name: "other", raw: &rawColumn{
			get: func(t *table, x *extra) []byte { return t.place(x.other, x.hasOther) },
			set: func(t *table, x *extra, v []byte) { x.other, x.hasOther = t.text.put(string(v)), true },
		}},
		{name: "hash", raw: &rawColumn{width: 32,
			get: func(_ *table, x *extra) []byte {
				if !x.hasHash {
					return nil
				}
				return x.hash[:]
			},
			set: func(_ *table, x *extra, v []byte) { copy(x.hash[:], v); x.hasHash = true },
		}},
	}
}

func portOf(t *table, r *row) int64 {
	if r.extra > 0 {
		if x := t.extras.at(int(r.extra - 1)); x.hasPort {
			return x.port
		}
	}
	return int64(r.port)
}

func setPort(t *table, r *row, v int64) {
	if isPort(int(v)) {
		r.port = uint16(v)
		return
	}
	x := t.extraOf(r)
	x.hasPort, x.port = true, v
}

func untilAfter(t *table, r *row) int64 {
	if r.extra == 0 {
		return 0
	}
	if x := t.extras.at(int(r.extra - 1)); x.hasUntil {
		return x.until - r.at
	}
	return 0
}

func setUntil(t *table, r *row, v int64) {
	if v != 0 {
		x := t.extraOf(r)
		x.hasUntil, x.until, x.untilNanos = true, r.at+v, r.nanos
	}
}

func untilNanosAfter(t *table, r *row) int64 {
	if r.extra == 0 {
		return 0
	}
	if x := t.extras.at(int(r.extra - 1)); x.hasUntil {
		return int64(x.untilNanos) - int64(r.nanos)
	}
	return 0
}

func setUntilNanos(t *table, r *row, v int64) {
	if v == 0 {
		return
	}
	x := t.extraOf(r)
	if !x.hasUntil {
		x.hasUntil, x.until = true, r.at
	}
	x.untilNanos = uint16(int64(r.nanos) + v)
}

func (t *table) place(c cell, is bool) []byte {
	if !is {
		return nil
	}
	return t.text.get(c)
}

// schema returns the elements of the file's schema.
func schema(list []column) []format.SchemaElement {
	elements := []format.SchemaElement{{Name: "uses", NumChildren: thrift.New(int32(len(list)))}}
	for i := range list {
		elements = append(elements, list[i].element())
	}
	return elements
}

// element returns what the schema says of a column, also in the older way
// (ConvertedType), which is the only one that some readers know.
func (c *column) element() format.SchemaElement {
	e := format.SchemaElement{Name: c.name, RepetitionType: thrift.New(format.Required)}
	width := 0
	switch {
	case c.number != nil:
		e.Type, e.LogicalType = thrift.New(format.Int64), c.number.logical
		switch c.number.logical.Value.(type) {
		case *format.TimestampType:
			e.ConvertedType = thrift.New(deprecated.TimestampMicros)
		case *format.IntType:
			e.ConvertedType = thrift.New(deprecated.Uint64)
		}
		return e
	case c.cell != nil && c.cell.what == cellForm:
		e.Type = thrift.New(format.Int32)
		return e
	case c.cell != nil && c.cell.what == cellGUID:
		width = len(cell{})
		e.LogicalType = format.LogicalType{Value: new(format.UUIDType)}
	case c.raw != nil:
		width = c.raw.width
	}
	if c.text == nil {
		e.RepetitionType = thrift.New(format.Optional)
	}
	if width > 0 {
		e.Type, e.TypeLength = thrift.New(format.FixedLenByteArray), thrift.New(int32(width))
		return e
	}
	e.Type, e.LogicalType = thrift.New(format.ByteArray), format.LogicalType{Value: new(format.StringType)}
	e.ConvertedType = thrift.New(deprecated.UTF8)
	return e
}
