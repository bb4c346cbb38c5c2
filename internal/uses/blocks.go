// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unsafe"
)

// A Block is a run of whole records of a log. Blocks are made so that several
// can be read at once.
type Block struct {
	text   string
	offset int64 // of text in the log, uncompressed
	line   int   // of the first byte, from 1
	spans  []span

	buffer []byte // of text, when it can be used again
	used   chan<- []byte
}

// Release says that nothing of the block is needed any more, neither it nor its
// records: its memory is written again. A block that is not released is kept by
// its records, as strings are.
func (b *Block) Release() {
	if b.buffer == nil {
		return
	}
	select {
	case b.used <- b.buffer:
	default:
	}
	b.text, b.buffer = "", nil
}

// A span is a record of a block whose records are not its lines.
type span struct {
	from, to int
	offset   int64
	line     int
}

// Each calls do with every record that is not blank, with its offset in the log
// and its line.
func (b *Block) Each(do func(record string, offset int64, line int)) {
	for _, s := range b.spans {
		do(b.text[s.from:s.to], s.offset, s.line)
	}
	if b.spans != nil {
		return
	}
	line := b.line
	for at := 0; at < len(b.text); line++ {
		end := strings.IndexByte(b.text[at:], '\n')
		if end < 0 {
			end = len(b.text) - at
		}
		record := b.text[at : at+end]
		if n := len(record); n > 0 && record[n-1] == '\r' {
			record = record[:n-1]
		}
		offset := b.offset + int64(at)
		at += end + 1
		if record != "" && (record[0] > ' ' || strings.TrimLeft(record, " \t") != "") {
			do(record, offset, line)
		}
	}
}

const (
	// blockSize leaves a block in the cache of the core that has read it.
	blockSize = 256 << 10
	// MaxRecord bounds one record, in bytes: what is longer is malformed.
	MaxRecord = 16 << 20
)

var errTooLong = fmt.Errorf("expected a record of at most %d MiB", MaxRecord>>20)

// Blocks calls emit with the blocks of the log in their order, and malformed for
// what is no record. An error that is not emit's says that the log could not be
// read to its end; what came before it was emitted.
func (l *Log) Blocks(emit func(*Block) error, malformed func(line int, err error)) error {
	r, err := l.start()
	if err != nil {
		return err
	}
	defer r.Close()
	switch {
	case l.Format.layout == byEvent:
		return l.ending(eventBlocks(r, emit, malformed))
	case l.Format.layout == byChunk:
		return l.ending(chunkBlocks(r, emit, malformed))
	case l.byLine:
		return l.ending(lineBlocks(r, emit, malformed))
	}
	return l.ending(newElements(r, emit, malformed).run())
}

// ending says of an error which log could not be read to its end.
func (l *Log) ending(err error) error {
	if err == nil || errors.Is(err, errStop) {
		return err
	}
	return fmt.Errorf("couldn't read %s to its end: %w", l.Name, err)
}

// errStop ends a reading early.
var errStop = errors.New("stopped")

// lineBlocks cuts at newlines.
func lineBlocks(r io.Reader, emit func(*Block) error, malformed func(int, error)) error {
	used := make(chan []byte, 8)
	var carry []byte // what was read of the next block's first record
	offset, line := int64(0), 1
	for {
		buffer := blockBuffer(used, len(carry))
		n := copy(buffer, carry)
		m, err := io.ReadFull(r, buffer[n:])
		block := buffer[:n+m]
		ended := err != nil
		cut := bytes.LastIndexByte(block, '\n') + 1
		if ended {
			cut = len(block)
		}
		if cut == 0 && len(block) == MaxRecord {
			malformed(line, errTooLong)
			skipped, rest, err := pastNewline(r)
			if err != nil {
				return plainEnd(err)
			}
			offset, line, carry = offset+int64(len(block))+skipped, line+1, rest
			continue
		}
		carry = append(carry[:0], block[cut:]...)
		if cut > 0 {
			text := unsafe.String(&block[0], cut)
			if line == 1 {
				text = withoutMark(text)
			}
			lines := bytes.Count(block[:cut], []byte{'\n'})
			if emitErr := emit(&Block{text: text, offset: offset, line: line, buffer: buffer, used: used}); emitErr != nil {
				return emitErr
			}
			line += lines
			offset += int64(cut)
		}
		if ended {
			return plainEnd(err)
		}
	}
}

// blockBuffer returns memory for a block that begins with carried bytes. Only that
// of a block that was released was there before.
func blockBuffer(used <-chan []byte, carried int) []byte {
	size := min(max(blockSize, 2*carried), MaxRecord)
	select {
	case buffer := <-used:
		if len(buffer) == size {
			return buffer
		}
	default:
	}
	return make([]byte, size)
}

// withoutMark blanks a byte order mark, so that offsets stay what they are.
func withoutMark(text string) string {
	if rest, ok := strings.CutPrefix(text, byteOrderMark); ok {
		return "   " + rest
	}
	return text
}

// plainEnd makes nil of the end of a file. Compressed data that ends too early
// has an error of its own, see packed.
func plainEnd(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil
	}
	return err
}

var errPackedEnd = errors.New("its compressed data ends in the middle")

// packed tells the end of compressed data that comes too early from that of a
// file, for which io.ReadFull has the same error.
type packed struct{ io.ReadCloser }

func (p packed) Read(b []byte) (int, error) {
	n, err := p.ReadCloser.Read(b)
	if err == io.ErrUnexpectedEOF {
		err = errPackedEnd
	}
	return n, err
}

// pastNewline reads to behind the next newline; rest is what was read beyond it.
func pastNewline(r io.Reader) (skipped int64, rest []byte, err error) {
	buffer := make([]byte, blockSize)
	for {
		n, err := r.Read(buffer)
		if i := bytes.IndexByte(buffer[:n], '\n'); i >= 0 {
			return skipped + int64(i) + 1, bytes.Clone(buffer[i+1 : n]), nil
		}
		skipped += int64(n)
		if err != nil {
			return skipped, nil, err
		}
	}
}

// eventBlocks cuts behind "</Event>".
func eventBlocks(r io.Reader, emit func(*Block) error, malformed func(int, error)) error {
	var carry []byte
	offset, line := int64(0), 1
	for {
		block := make([]byte, max(blockSize, 2*len(carry)))
		n := copy(block, carry)
		m, err := io.ReadFull(r, block[n:])
		block = block[:n+m]
		cut := bytes.LastIndex(block, []byte("</Event>"))
		if cut >= 0 {
			cut += len("</Event>")
		} else if len(block) > MaxRecord {
			malformed(line, errTooLong)
			cut = len(block)
			block = bytes.ReplaceAll(block, []byte("<Event"), []byte("<event"))
		}
		if cut > 0 {
			text := string(block[:cut])
			b := &Block{text: text, spans: []span{}}
			eachEvent(text, func(record string, at int64, in int) {
				b.spans = append(b.spans, span{int(at), int(at) + len(record), offset + at, line + in - 1})
			})
			if emitErr := emit(b); emitErr != nil {
				return emitErr
			}
			line += bytes.Count(block[:cut], []byte{'\n'})
			offset += int64(cut)
		}
		if err != nil {
			return plainEnd(err)
		}
		carry = block[max(cut, 0):]
	}
}

// eachEvent calls do with every element Event of the text.
func eachEvent(text string, do func(record string, offset int64, line int)) {
	line, counted := 1, 0
	for at := 0; ; {
		begin := strings.Index(text[at:], "<Event")
		if begin < 0 {
			return
		}
		begin += at
		if next := begin + len("<Event"); next < len(text) && text[next] != ' ' && text[next] != '>' { // <Events>, <EventData>
			at = next
			continue
		}
		end := strings.Index(text[begin:], "</Event>")
		if end < 0 {
			return
		}
		end += begin + len("</Event>")
		line += strings.Count(text[counted:begin], "\n")
		counted, at = begin, end
		do(text[begin:end], int64(begin), line)
	}
}
