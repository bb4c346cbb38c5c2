// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/parquet-go/parquet-go/bloom"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const parquetMagic = "PAR1"

// pageCRC is what the format wants of the bytes of a page: the CRC-32 of gzip.
func pageCRC(page []byte) int32 { return int32(crc32.ChecksumIEEE(page)) }

// takeRows is how many rows the columns take at a time: as many as are near at
// once.
const takeRows = 128

// parquet makes the file of the table: one row group, pages of the same rows in
// every column, the page index, and bloom filters for what is looked up by value.
func (s *sealer) parquet() ([]byte, error) {
	for i := range s.chunks {
		s.chunks[i].reset()
	}
	rows := make([]row, 0, takeRows)
	for page := range slices.Chunk(s.order, pageRows) {
		for some := range slices.Chunk(page, takeRows) {
			rows = s.copyRows(rows[:0], some)
			for i := range s.chunks {
				if c := &s.chunks[i]; c.column.needs == 0 || c.column.needs&s.has != 0 {
					c.take(s.t, rows)
				}
			}
		}
		for i := range s.chunks {
			if err := s.chunks[i].end(s, len(page)); err != nil {
				return nil, err
			}
		}
	}
	return s.file()
}

// copyRows copies rows that are anywhere in the table: a few are fetched at once.
func (s *sealer) copyRows(rows []row, which []timeKey) []row {
	for part := range slices.Chunk(which, groupSize) {
		touched := uint32(0)
		for _, k := range part {
			r := s.t.rows.at(int(k.row))
			touched += uint32(r.at) + r.extra
		}
		s.touched = touched
		for _, k := range part {
			rows = append(rows, *s.t.rows.at(int(k.row)))
		}
	}
	return rows
}

// file puts the chunks together.
func (s *sealer) file() ([]byte, error) {
	size := 0
	for i := range s.chunks {
		c := &s.chunks[i]
		size += len(c.pages) + len(c.dictionary) + len(c.hashes)*2 + 4096
	}
	out := append(make([]byte, 0, size), parquetMagic...)
	metadata := make([]format.ColumnChunk, len(s.chunks))
	total := int64(0)
	for i := range s.chunks {
		var err error
		if out, err = s.chunks[i].finish(s, out, &metadata[i]); err != nil {
			return nil, err
		}
		total += metadata[i].MetaData.TotalUncompressedSize
	}
	for i := range s.chunks {
		out = s.chunks[i].filter(out, &metadata[i])
	}
	out, err := pageIndex(out, s.chunks, metadata)
	if err != nil {
		return nil, err
	}
	orders := make([]format.ColumnOrder, len(s.chunks))
	for i := range orders {
		orders[i] = format.ColumnOrder{Value: new(format.TypeDefinedOrder)}
	}
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), &format.FileMetaData{
		Version: 2, Schema: schema(s.columns), NumRows: int64(len(s.order)), CreatedBy: "tallystick", ColumnOrders: orders,
		RowGroups: []format.RowGroup{{
			Columns: metadata, TotalByteSize: total, NumRows: int64(len(s.order)), FileOffset: int64(len(parquetMagic)),
			SortingColumns: []format.SortingColumn{{ColumnIdx: 0}, {ColumnIdx: 1}},
		}},
	})
	if err != nil {
		return nil, err
	}
	out = append(out, footer...)
	out = binary.LittleEndian.AppendUint32(out, uint32(len(footer)))
	return append(out, parquetMagic...), nil
}

// finish puts the pages of a chunk into the file.
func (c *chunk) finish(s *sealer, out []byte, m *format.ColumnChunk) ([]byte, error) {
	dictionary, plain, err := c.dictionaryPage(s)
	if err != nil {
		return nil, err
	}
	start := int64(len(out))
	element := c.column.element()
	m.MetaData = format.ColumnMetaData{
		Type: element.Type.V, Encoding: c.encodings(), PathInSchema: []string{c.column.name}, Codec: format.Zstd,
		NumValues: c.rows, TotalUncompressedSize: plain + c.plain, TotalCompressedSize: int64(len(dictionary) + len(c.pages)),
		DataPageOffset: start + int64(len(dictionary)),
		Statistics:     format.Statistics{NullCount: c.nulls},
	}
	if len(dictionary) > 0 {
		m.MetaData.DictionaryPageOffset = start
	}
	if len(c.least) > 0 {
		m.MetaData.Statistics.MinValue, m.MetaData.Statistics.MaxValue = c.bounds()
	}
	for i := range c.places {
		c.places[i].Offset += start + int64(len(dictionary))
	}
	return append(append(out, dictionary...), c.pages...), nil
}

// bounds returns the least and the most of a column that has them for each page.
func (c *chunk) bounds() (least, most []byte) {
	if c.column.text != nil {
		return c.least[0], c.most[len(c.most)-1]
	}
	number := func(b []byte) int64 { return int64(binary.LittleEndian.Uint64(b)) }
	least, most = c.least[0], c.most[0]
	for i := range c.least {
		if number(c.least[i]) < number(least) {
			least = c.least[i]
		}
		if number(c.most[i]) > number(most) {
			most = c.most[i]
		}
	}
	return least, most
}

func (c *chunk) encodings() []format.Encoding {
	switch {
	case c.column.number != nil:
		return []format.Encoding{format.DeltaBinaryPacked}
	case c.column.text != nil, c.column.cell != nil && c.column.cell.what == cellForm:
		return []format.Encoding{format.Plain, format.RLE, format.RLEDictionary}
	case c.column.raw != nil && c.column.raw.width == 0, c.column.cell != nil && c.column.cell.what == cellText:
		return []format.Encoding{format.Plain, format.RLE, format.DeltaLengthByteArray}
	}
	return []format.Encoding{format.Plain, format.RLE}
}

// filter puts the bloom filter of a chunk into the file, if it has one: about
// one in 100 values that are not there passes.
func (c *chunk) filter(out []byte, m *format.ColumnChunk) []byte {
	if len(c.hashes) == 0 {
		return out
	}
	filter := make(bloom.SplitBlockFilter, bloom.NumSplitBlocksOf(int64(len(c.hashes)), 10))
	filter.InsertBulk(c.hashes)
	header, err := thrift.Marshal(new(thrift.CompactProtocol), &format.BloomFilterHeader{
		NumBytes:    int32(len(filter.Bytes())),
		Algorithm:   format.BloomFilterAlgorithm{Value: new(format.SplitBlockAlgorithm)},
		Hash:        format.BloomFilterHash{Value: new(format.XxHash)},
		Compression: format.BloomFilterCompression{Value: new(format.BloomFilterUncompressed)},
	})
	if err != nil {
		return out // a file without a filter is a whole file
	}
	m.MetaData.BloomFilterOffset = int64(len(out))
	out = append(append(out, header...), filter.Bytes()...)
	m.MetaData.BloomFilterLength = int32(int64(len(out)) - m.MetaData.BloomFilterOffset)
	return out
}

// pageIndex puts the column and offset indexes into the file.
func pageIndex(out []byte, chunks []chunk, metadata []format.ColumnChunk) ([]byte, error) {
	for i := range chunks {
		c := &chunks[i]
		if len(c.least) == 0 {
			continue
		}
		text, err := thrift.Marshal(new(thrift.CompactProtocol), &format.ColumnIndex{
			NullPages: make([]bool, len(c.least)), MinValues: c.least, MaxValues: c.most,
			BoundaryOrder: boundaryOrder(c), NullCounts: make([]int64, len(c.least)),
		})
		if err != nil {
			return nil, err
		}
		metadata[i].ColumnIndexOffset, metadata[i].ColumnIndexLength = int64(len(out)), int32(len(text))
		out = append(out, text...)
	}
	for i := range chunks {
		text, err := thrift.Marshal(new(thrift.CompactProtocol), &format.OffsetIndex{PageLocations: chunks[i].places})
		if err != nil {
			return nil, err
		}
		metadata[i].OffsetIndexOffset, metadata[i].OffsetIndexLength = int64(len(out)), int32(len(text))
		out = append(out, text...)
	}
	return out, nil
}

func boundaryOrder(c *chunk) format.BoundaryOrder {
	if c.column.text != nil {
		return format.Ascending
	}
	return format.Unordered
}
