// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"io"

	"github.com/tallystick/tallystick/internal/evtx"
)

// The event log of Windows as a file. Its events become the XML that Windows
// exports, and are read as that is.

func windowsEVTXFormat() Format {
	return Format{
		Name: "windows-evtx", layout: byChunk,
		is:     func(string) bool { return false }, // the file's first bytes say it
		reader: stateless(readWindowsXML),
	}
}

// chunkBlocks makes a block of each chunk of an event log. The line of a record is
// its number in the file, and its offset where it begins there.
func chunkBlocks(r io.Reader, emit func(*Block) error, malformed func(int, error)) error {
	log, err := evtx.NewReader(r)
	if err != nil {
		return err
	}
	for line := 1; ; {
		chunk, err := log.Next()
		if err != nil {
			return plainEnd(err)
		}
		for _, fault := range chunk.Faults {
			malformed(line+fault.Before, fault.Err)
		}
		b := &Block{text: chunk.Text, spans: []span{}}
		at := 0
		for _, record := range chunk.Records {
			b.spans = append(b.spans, span{at, at + len(record.XML), record.Offset, line})
			at += len(record.XML)
			line++
		}
		if err := emit(b); err != nil {
			return err
		}
	}
}
