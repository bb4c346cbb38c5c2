// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"encoding/binary"
	"hash/crc32"
	"slices"

	"github.com/parquet-go/parquet-go/bloom"
	"github.com/parquet-go/parquet-go/compress/zstd"
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

const parquetMagic = "PAR1"

// pageCRC is what the format wants of the bytes of a page: the CRC-32 of gzip.
func pageCRC(page []byte) int32 { return int32(crc32.ChecksumIEEE(page)) }

// parquet makes the file of a table: one row group, pages of the same rows in
// every column, the page index, and bloom filters for what is looked up by value.
func (t *table) parquet(order []uint32, codec *zstd.Codec) ([]byte, error) {
	s := &sealer{t: t, zstd: codec}
	list := columns()
	chunks := make([]*chunk, len(list))
	for i := range list {
		chunks[i] = &chunk{column: &list[i], index: i}
	}
	rows := make([]row, 0, pageRows)
	for start := 0; start < len(order); start += pageRows {
		rows = rows[:0]
		extras := false
		for part := range slices.Chunk(order[start:min(start+pageRows, len(order))], groupSize) {
			for _, n := range part { // fetched together, as in table.add
				r := t.rows.at(int(n))
				extras = extras || r.extra > 0
			}
			for _, n := range part {
				rows = append(rows, *t.rows.at(int(n)))
			}
		}
		for _, c := range chunks {
			if err := c.addPage(s, rows, extras); err != nil {
				return nil, err
			}
		}
	}
	return s.file(list, chunks, len(order))
}

// file puts the chunks together.
func (s *sealer) file(list []column, chunks []*chunk, rows int) ([]byte, error) {
	size := 0
	for _, c := range chunks {
		size += len(c.pages) + len(c.dictionary) + len(c.hashes)*2 + 4096
	}
	out := append(make([]byte, 0, size), parquetMagic...)
	metadata := make([]format.ColumnChunk, len(chunks))
	total := int64(0)
	for i, c := range chunks {
		var err error
		if out, err = c.finish(s, out, &metadata[i]); err != nil {
			return nil, err
		}
		total += metadata[i].MetaData.TotalUncompressedSize
	}
	for i, c := range chunks {
		out = c.filter(out, &metadata[i])
	}
	out, err := pageIndex(out, chunks, metadata)
	if err != nil {
		return nil, err
	}
	orders := make([]format.ColumnOrder, len(list))
	for i := range orders {
		orders[i] = format.ColumnOrder{Value: new(format.TypeDefinedOrder)}
	}
	footer, err := thrift.Marshal(new(thrift.CompactProtocol), &format.FileMetaData{
		Version: 2, Schema: schema(list), NumRows: int64(rows), CreatedBy: "tallystick", ColumnOrders: orders,
		RowGroups: []format.RowGroup{{
			Columns: metadata, TotalByteSize: total, NumRows: int64(rows), FileOffset: int64(len(parquetMagic)),
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
func pageIndex(out []byte, chunks []*chunk, metadata []format.ColumnChunk) ([]byte, error) {
	for i, c := range chunks {
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
	for i, c := range chunks {
		text, err := thrift.Marshal(new(thrift.CompactProtocol), &format.OffsetIndex{PageLocations: c.places})
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
