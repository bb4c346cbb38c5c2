// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/parquet-go/parquet-go/bloom"
	"github.com/parquet-go/parquet-go/compress/zstd"
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
	index  int // of the column
	pages  []byte
	places []format.PageLocation // offsets count from the start of pages
	plain  int64                 // bytes of the pages before compression
	nulls  int64
	rows   int64

	dictionary        []byte
	dictionaryEntries int
	numbers           []int32 // of the dictionary, by number of the table, and one more

	least, most [][]byte // of each page, for the page index
	hashes      []uint64 // for the bloom filter

	levels  []byte // scratch, as all below
	indexes []int32
	int64s  []int64
	bytes   []byte
	offsets []uint32
	encoded []byte
	packed  []byte
}

// A sealer is the state that chunks share.
type sealer struct {
	t    *table
	zstd *zstd.Codec
}

// addPage adds the rows of a page.
func (c *chunk) addPage(s *sealer, rows []row, extras bool) error {
	switch {
	case c.column.number != nil:
		return c.addNumbers(s, rows, extras)
	case c.column.text != nil:
		return c.addTexts(s, rows)
	case c.column.cell != nil:
		return c.addCells(s, rows, extras)
	}
	return c.addRaw(s, rows, extras)
}

func (c *chunk) addNumbers(s *sealer, rows []row, extras bool) (err error) {
	c.int64s = c.int64s[:0]
	if n := c.column.number; n.rare && !extras {
		first := n.get(s.t, &rows[0])
		for range rows {
			c.int64s = append(c.int64s, first)
		}
	} else {
		for i := range rows {
			c.int64s = append(c.int64s, n.get(s.t, &rows[i]))
		}
	}
	if c.column.name == "time" {
		least, most := c.int64s[0], c.int64s[0]
		for _, v := range c.int64s {
			least, most = min(least, v), max(most, v)
		}
		c.bound(binary.LittleEndian.AppendUint64(nil, uint64(least)), binary.LittleEndian.AppendUint64(nil, uint64(most)))
	}
	if c.encoded, err = new(delta.BinaryPackedEncoding).EncodeInt64(c.encoded[:0], c.int64s); err != nil {
		return err
	}
	return c.write(s, nil, c.encoded, format.DeltaBinaryPacked, len(rows), 0, false)
}

func (c *chunk) bound(least, most []byte) {
	c.least, c.most = append(c.least, least), append(c.most, most)
}

func (c *chunk) addTexts(s *sealer, rows []row) (err error) {
	text := c.column.text
	if c.numbers == nil {
		c.numberTexts(s.t)
	}
	c.indexes = c.indexes[:0]
	for i := range rows {
		n := c.numbers[text.get(&rows[i])]
		if n <= 0 {
			n = c.define(s.t, text.get(&rows[i]))
		}
		c.indexes = append(c.indexes, n-1)
	}
	if text.part == partNames { // sorted, so that the first and the last are the bounds
		c.bound([]byte(text.of(s.t, rows[0].names)), []byte(text.of(s.t, rows[len(rows)-1].names)))
	}
	if c.encoded, err = new(rle.DictionaryEncoding).EncodeInt32(c.encoded[:0], c.indexes); err != nil {
		return err
	}
	return c.write(s, nil, c.encoded, format.RLEDictionary, len(rows), 0, true)
}

// numberTexts gives numbers of the table that mean the same text one place: what
// is negative says which number that is, one less and negated.
func (c *chunk) numberTexts(t *table) {
	text := c.column.text
	c.numbers = make([]int32, text.all(t))
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

func (c *chunk) addCells(s *sealer, rows []row, extras bool) error {
	def := c.column.cell
	if def.what == cellForm {
		return c.addForms(s, rows, extras)
	}
	if def.id >= len(row{}.ids) && !extras {
		return c.addNulls(s, len(rows))
	}
	c.levels, c.bytes = c.levels[:0], c.bytes[:0]
	c.offsets = append(c.offsets[:0], 0)
	set := 0
	for i := range rows {
		value, f := s.t.cellOf(&rows[i], def.id)
		level := byte(0)
		switch {
		case f == formNone:
		case def.what == cellText && f == formText:
			level = 1
			c.bytes = append(c.bytes, s.t.text.get(*value)...)
			c.offsets = append(c.offsets, uint32(len(c.bytes)))
		case def.what == cellGUID && f != formText:
			level = 1
			c.bytes = append(c.bytes, value[:]...)
			if def.id == idRecord || def.id == idUTI {
				c.hashes = append(c.hashes, bloom.XXH64{}.Sum64(value[:]))
			}
		}
		set += int(level)
		c.levels = append(c.levels, level)
	}
	switch {
	case set == 0:
		return c.addNulls(s, len(rows))
	case def.what == cellText:
		return c.writeTexts(s, len(rows), set)
	}
	// Random bytes do not get smaller.
	return c.write(s, c.levels, c.bytes, format.Plain, len(rows), len(rows)-set, false)
}

// addForms adds how the identifiers are written, 0 for none: as numbers of a
// dictionary that has every form.
func (c *chunk) addForms(s *sealer, rows []row, extras bool) (err error) {
	if c.dictionaryEntries == 0 {
		for f := range int32(forms) {
			c.dictionary = binary.LittleEndian.AppendUint32(c.dictionary, uint32(f))
			c.dictionaryEntries++
		}
	}
	c.indexes = c.indexes[:0]
	for i := range rows {
		f := formNone
		if c.column.cell.id < len(row{}.ids) || extras {
			_, f = s.t.cellOf(&rows[i], c.column.cell.id)
		}
		c.indexes = append(c.indexes, int32(f))
	}
	if c.encoded, err = new(rle.DictionaryEncoding).EncodeInt32(c.encoded[:0], c.indexes); err != nil {
		return err
	}
	return c.write(s, nil, c.encoded, format.RLEDictionary, len(rows), 0, true)
}

func (c *chunk) writeTexts(s *sealer, rows, set int) (err error) {
	if c.encoded, err = new(delta.LengthByteArrayEncoding).EncodeByteArray(c.encoded[:0], c.bytes, c.offsets); err != nil {
		return err
	}
	return c.write(s, c.levels, c.encoded, format.DeltaLengthByteArray, rows, rows-set, true)
}

func (c *chunk) addRaw(s *sealer, rows []row, extras bool) error {
	if !extras {
		return c.addNulls(s, len(rows))
	}
	raw := c.column.raw
	c.levels, c.bytes = c.levels[:0], c.bytes[:0]
	c.offsets = append(c.offsets[:0], 0)
	for i := range rows {
		level := byte(0)
		if rows[i].extra > 0 {
			if value := raw.get(s.t, s.t.extras.at(int(rows[i].extra-1))); value != nil {
				level = 1
				c.bytes = append(c.bytes, value...)
				c.offsets = append(c.offsets, uint32(len(c.bytes)))
			}
		}
		c.levels = append(c.levels, level)
	}
	set := len(c.offsets) - 1
	switch {
	case set == 0:
		return c.addNulls(s, len(rows))
	case raw.width == 0:
		return c.writeTexts(s, len(rows), set)
	}
	return c.write(s, c.levels, c.bytes, format.Plain, len(rows), len(rows)-set, false)
}

// addNulls adds a page in which no row has anything.
func (c *chunk) addNulls(s *sealer, rows int) error {
	c.levels = append(c.levels[:0], make([]byte, rows)...)
	return c.write(s, c.levels, nil, format.Plain, rows, rows, false)
}

// write adds an encoded page; levels are nil in a column that every row has.
func (c *chunk) write(s *sealer, levels, values []byte, encoding format.Encoding, rows, nulls int, compress bool) (err error) {
	c.packed = c.packed[:0]
	if levels != nil {
		if c.packed, err = (&rle.Encoding{BitWidth: 1}).EncodeLevels(c.packed, levels); err != nil {
			return err
		}
	}
	definition, plain := len(c.packed), len(c.packed)+len(values)
	if compress {
		var small []byte
		if small, err = s.zstd.Encode(nil, values); err != nil {
			return err
		}
		if compress = len(small) < len(values); compress {
			values = small
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
	c.plain += int64(plain + len(header))
	c.nulls += int64(nulls)
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
