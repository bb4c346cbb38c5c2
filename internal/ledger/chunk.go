// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"unsafe"

	"github.com/parquet-go/parquet-go/bloom"
	"github.com/parquet-go/parquet-go/encoding/delta"
	"github.com/parquet-go/parquet-go/encoding/rle"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// pageRows is how many rows a page has, in every column alike: a query reads the
// pages of its rows and no others.
const pageRows = 8192

// A chunk is the pages of one column in the making. It puts together what
// package parquet has encoders for; that package's own writer takes values of 24
// bytes one by one, and costs four times as much.
type chunk struct {
	column *column
	pages  []byte
	places []format.PageLocation // offsets count from the start of pages
	last   pageSize              // of the last page
	plain  int64                 // bytes of the pages before compression
	nulls  int64
	rows   int64

	dictionary        []byte
	dictionaryEntries int
	numbers           []int32 // of the dictionary, by number of the table, and one more

	least, most [][]byte // of each page, for the page index
	hashes      []uint64 // for the bloom filter

	// What the rows of the present page have, as far as they have come.
	first, latest uint32 // numbers of the table of a text column, of the first row and the last
	indexes       []int32
	int64s        []int64
	levels        []byte
	bytes         []byte
	offsets       []uint32
	set           int // how many rows have a value

	encoded, packed, small []byte // scratch
}

type pageSize struct {
	plain int64
	nulls int64
	rows  int
}

// reset makes a chunk ready for another table. Its memory is used again.
func (c *chunk) reset() {
	*c = chunk{
		column: c.column, pages: c.pages[:0], places: c.places[:0], dictionary: c.dictionary[:0], numbers: c.numbers[:0], hashes: c.hashes[:0],
		indexes: c.indexes, int64s: c.int64s, levels: c.levels, bytes: c.bytes, offsets: c.offsets,
		encoded: c.encoded, packed: c.packed, small: c.small,
	}
	c.begin()
}

// begin begins a page.
func (c *chunk) begin() {
	c.indexes, c.int64s, c.levels, c.bytes, c.offsets, c.set = c.indexes[:0], c.int64s[:0], c.levels[:0], c.bytes[:0], append(c.offsets[:0], 0), 0
}

// take takes rows of the present page.
func (c *chunk) take(t *table, rows []row) {
	switch col := c.column; {
	case col.number != nil:
		for i := range rows {
			c.int64s = append(c.int64s, col.number.get(t, &rows[i]))
		}
	case col.text != nil:
		c.takeTexts(t, rows)
	case col.raw != nil:
		c.takeRaw(t, rows)
	case col.cell.what == cellForm:
		for i := range rows {
			_, f := t.cellOf(&rows[i], col.cell.id)
			c.indexes = append(c.indexes, int32(f))
		}
	case col.cell.what == cellGUID:
		c.takeGUIDs(t, rows)
	default:
		c.takeCellTexts(t, rows)
	}
}

// end ends a page of so many rows. Pages in which no row has anything are alike.
func (c *chunk) end(s *sealer, rows int) error {
	defer c.begin()
	if c.column.needs != 0 && c.column.needs&s.has == 0 {
		if c.last.rows == rows {
			c.again()
			return nil
		}
		for left := rows; left > 0; left -= min(left, len(s.nothing)) {
			c.take(s.t, s.nothing[:min(left, len(s.nothing))])
		}
	}
	switch col := c.column; {
	case col.number != nil:
		return c.endNumbers(s, rows)
	case col.text != nil, col.cell != nil && col.cell.what == cellForm:
		return c.endIndexes(s, rows)
	case c.set == 0:
		return c.write(s, false, nil, format.Plain, rows, false)
	case col.cell != nil && col.cell.what == cellGUID:
		if col.cell.id == idRecord || col.cell.id == idUTI {
			c.hashGUIDs()
		}
		return c.write(s, false, c.bytes, format.Plain, rows, false) // random bytes do not get smaller
	case col.raw != nil && col.raw.width > 0:
		return c.write(s, false, c.bytes, format.Plain, rows, false)
	}
	var err error
	if c.encoded, err = new(delta.LengthByteArrayEncoding).EncodeByteArray(c.encoded[:0], c.bytes, c.offsets); err != nil {
		return err
	}
	return c.write(s, false, c.encoded, format.DeltaLengthByteArray, rows, true)
}

// again adds the last page once more.
func (c *chunk) again() {
	place := c.places[len(c.places)-1]
	page := c.pages[place.Offset : place.Offset+int64(place.CompressedPageSize)]
	place.Offset, place.FirstRowIndex = int64(len(c.pages)), c.rows
	c.places = append(c.places, place)
	c.pages = append(c.pages, page...)
	c.plain, c.nulls, c.rows = c.plain+c.last.plain, c.nulls+c.last.nulls, c.rows+int64(c.last.rows)
}

func (c *chunk) endNumbers(s *sealer, rows int) (err error) {
	if c.column.name == "time" {
		least, most := slices.Min(c.int64s), slices.Max(c.int64s)
		c.bound(binary.LittleEndian.AppendUint64(nil, uint64(least)), binary.LittleEndian.AppendUint64(nil, uint64(most)))
	}
	if c.encoded, err = new(delta.BinaryPackedEncoding).EncodeInt64(c.encoded[:0], c.int64s); err != nil {
		return err
	}
	return c.write(s, true, c.encoded, format.DeltaBinaryPacked, rows, false)
}

func (c *chunk) endIndexes(s *sealer, rows int) (err error) {
	if text := c.column.text; text != nil && text.part == partNames { // sorted, so that the first and the last are the bounds
		c.bound([]byte(text.of(s.t, c.first)), []byte(text.of(s.t, c.latest)))
	}
	if c.column.text == nil && c.dictionaryEntries == 0 { // forms: the dictionary has every one
		for f := range int32(forms) {
			c.dictionary = binary.LittleEndian.AppendUint32(c.dictionary, uint32(f))
			c.dictionaryEntries++
		}
	}
	if c.encoded, err = new(rle.DictionaryEncoding).EncodeInt32(c.encoded[:0], c.indexes); err != nil {
		return err
	}
	return c.write(s, true, c.encoded, format.RLEDictionary, rows, true)
}

func (c *chunk) bound(least, most []byte) {
	c.least, c.most = append(c.least, least), append(c.most, most)
}

func (c *chunk) takeTexts(t *table, rows []row) {
	at := c.column.text.at
	if len(c.numbers) == 0 {
		c.numberTexts(t)
	}
	if len(c.indexes) == 0 {
		c.first = rows[0].number(at)
	}
	for i := range rows {
		number := rows[i].number(at)
		place := c.numbers[number]
		if place <= 0 {
			place = c.define(t, number)
		}
		c.indexes = append(c.indexes, place-1)
	}
	c.latest = rows[len(rows)-1].number(at)
}

// numberTexts gives numbers of the table that mean the same text one place: what
// is negative says which number that is, one less and negated.
func (c *chunk) numberTexts(t *table) {
	text := c.column.text
	c.numbers = append(c.numbers[:0], make([]int32, text.all(t))...)
	if text.part > partOutcome {
		return // each number has a text of its own
	}
	first := map[string]int32{}
	for n := range c.numbers {
		s := text.of(t, uint32(n))
		if other, ok := first[s]; ok {
			c.numbers[n] = -1 - other
		} else {
			first[s] = int32(n)
		}
	}
}

// define gives a text the next place of the dictionary, and returns it and one more.
func (c *chunk) define(t *table, n uint32) int32 {
	same := n
	if c.numbers[n] < 0 {
		same = uint32(-1 - c.numbers[n])
	}
	if c.numbers[same] == 0 {
		s := c.column.text.of(t, same)
		c.dictionary = append(binary.LittleEndian.AppendUint32(c.dictionary, uint32(len(s))), s...)
		c.dictionaryEntries++
		c.numbers[same] = int32(c.dictionaryEntries)
	}
	c.numbers[n] = c.numbers[same]
	return c.numbers[n]
}

func (c *chunk) takeGUIDs(t *table, rows []row) {
	for i := range rows {
		level := byte(0)
		if value, f := t.cellOf(&rows[i], c.column.cell.id); f > formText {
			level = 1
			c.bytes = append(c.bytes, value[:]...)
			c.set++
		}
		c.levels = append(c.levels, level)
	}
}

func (c *chunk) hashGUIDs() {
	from := len(c.hashes)
	c.hashes = append(c.hashes, make([]uint64, c.set)...)
	bloom.XXH64{}.MultiSum64Uint128(c.hashes[from:], unsafe.Slice((*[16]byte)(unsafe.Pointer(&c.bytes[0])), c.set))
}

func (c *chunk) takeCellTexts(t *table, rows []row) {
	for i := range rows {
		value, f := t.cellOf(&rows[i], c.column.cell.id)
		if f == formText {
			c.value(t.text.get(*value))
		} else {
			c.levels = append(c.levels, 0)
		}
	}
}

func (c *chunk) takeRaw(t *table, rows []row) {
	for i := range rows {
		if rows[i].extra > 0 {
			if value := c.column.raw.get(t, t.extras.at(int(rows[i].extra-1))); value != nil {
				c.value(value)
				continue
			}
		}
		c.levels = append(c.levels, 0)
	}
}

// value takes what a row has.
func (c *chunk) value(value []byte) {
	c.levels = append(c.levels, 1)
	c.bytes = append(c.bytes, value...)
	c.offsets = append(c.offsets, uint32(len(c.bytes)))
	c.set++
}

// write adds an encoded page. In a column that not every row has, levels say
// which rows do.
func (c *chunk) write(s *sealer, required bool, values []byte, encoding format.Encoding, rows int, compress bool) (err error) {
	c.packed = c.packed[:0]
	nulls := 0
	switch {
	case required:
	case c.set == 0 || c.set == rows: // one run
		nulls = rows - c.set
		c.packed = append(binary.AppendUvarint(c.packed, uint64(rows)<<1), byte(min(c.set, 1)))
	default:
		nulls = rows - c.set
		if c.packed, err = (&rle.Encoding{BitWidth: 1}).EncodeLevels(c.packed, c.levels); err != nil {
			return err
		}
	}
	definition, plain := len(c.packed), len(c.packed)+len(values)
	if compress {
		if c.small, err = s.zstd.Encode(c.small, values); err != nil {
			return err
		}
		if compress = len(c.small) < len(values); compress {
			values = c.small
		}
	}
	c.packed = append(c.packed, values...)
	header, err := pageHeader(&format.PageHeader{
		Type: format.DataPageV2, UncompressedPageSize: int32(plain), CompressedPageSize: int32(len(c.packed)), CRC: pageCRC(c.packed),
		DataPageHeaderV2: thrift.New(format.DataPageHeaderV2{
			NumValues: int32(rows), NumNulls: int32(nulls), NumRows: int32(rows), Encoding: encoding,
			DefinitionLevelsByteLength: int32(definition), IsCompressed: thrift.New(compress),
		}),
	})
	if err != nil {
		return err
	}
	c.places = append(c.places, format.PageLocation{
		Offset: int64(len(c.pages)), CompressedPageSize: int32(len(header) + len(c.packed)), FirstRowIndex: c.rows,
	})
	c.pages = append(append(c.pages, header...), c.packed...)
	c.last = pageSize{int64(plain + len(header)), int64(nulls), rows}
	c.plain += c.last.plain
	c.nulls += c.last.nulls
	c.rows += int64(rows)
	return nil
}

func pageHeader(h *format.PageHeader) ([]byte, error) {
	text, err := thrift.Marshal(new(thrift.CompactProtocol), h)
	if err != nil {
		return nil, fmt.Errorf("couldn't write the header of a page: %w", err)
	}
	return text, nil
}

// dictionaryPage returns the page of the dictionary, nil when there is none.
func (c *chunk) dictionaryPage(s *sealer) (page []byte, plain int64, err error) {
	if c.dictionaryEntries == 0 {
		return nil, 0, nil
	}
	small, err := s.zstd.Encode(nil, c.dictionary)
	if err != nil {
		return nil, 0, err
	}
	header, err := pageHeader(&format.PageHeader{
		Type: format.DictionaryPage, UncompressedPageSize: int32(len(c.dictionary)), CompressedPageSize: int32(len(small)), CRC: pageCRC(small),
		DictionaryPageHeader: thrift.New(format.DictionaryPageHeader{
			NumValues: int32(c.dictionaryEntries), Encoding: format.Plain, IsSorted: c.column.name == "credential",
		}),
	})
	return bytes.Join([][]byte{header, small}, nil), int64(len(header) + len(c.dictionary)), err
}
