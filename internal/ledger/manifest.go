// SPDX-License-Identifier: Apache-2.0

package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
)

// The manifest says what the ledger consists of. It is replaced as a whole, and
// that is the instant at which a segment is sealed or has expired: files that it
// does not name are left-overs of an instant before or after.
type manifest struct {
	Version int     `json:"version"`
	Key     hashKey `json:"key"`
	// Sealed is the number of the last log whose records are in segments; the
	// logs with higher numbers are read at the start.
	Sealed   uint32    `json:"sealed"`
	Segments []Segment `json:"segments"`
	// Horizon is up to where records have expired, in microseconds; older ones are
	// not taken in again.
	Horizon int64   `json:"horizon"`
	Books   []*book `json:"books"` // as they were at the end of the log Sealed
}

// A Segment is a sealed file of records.
type Segment struct {
	Number  uint32 `json:"number"`
	Records int    `json:"records"`
	// First and Last are the times of its earliest and its latest record, in
	// microseconds since 1970.
	First int64 `json:"first"`
	Last  int64 `json:"last"`
	Bytes int64 `json:"bytes"` // of the Parquet file and the index
	// Root is the Merkle root (RFC 6962 section 2.1) over the Parquet file in
	// pieces of 64 KiB, and Recorded says that it is in the audit log.
	Root     []byte `json:"root"`
	Recorded bool   `json:"recorded"`
}

// Name returns the name of the Parquet file.
func (s *Segment) Name() string { return fmt.Sprintf("%08d.parquet", s.Number) }

func (s *Segment) indexName() string { return fmt.Sprintf("%08d.index", s.Number) }

const (
	manifestName    = "manifest"
	manifestVersion = 1
)

// readManifest returns nil when there is none.
func readManifest(files files) (*manifest, error) {
	data, err := readFile(files, manifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("couldn't read the manifest: %w", err)
	}
	return decodeManifest(data)
}

func decodeManifest(data []byte) (*manifest, error) {
	text, sum, ok := bytes.Cut(data, []byte("\n"))
	if !ok || fmt.Sprintf("%08x\n", checksum(text)) != string(sum) {
		return nil, fmt.Errorf("manifest: it is not what was written: %w", tallystick.ErrDamaged)
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("manifest: %v: %w", err, tallystick.ErrDamaged)
	}
	if slices.Contains(m.Books, nil) {
		return nil, fmt.Errorf("manifest: a book is missing: %w", tallystick.ErrDamaged)
	}
	if m.Version > manifestVersion {
		return nil, fmt.Errorf("manifest: version %d, and this program knows %d: %w", m.Version, manifestVersion, tallystick.ErrNewerData)
	}
	return &m, nil
}

// sealedText puts the checksum behind a text of one line.
func sealedText(text []byte) []byte { return fmt.Appendf(text, "\n%08x\n", checksum(text)) }

func (m *manifest) write(files files) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("couldn't write the manifest: %w", err)
	}
	err = writeFile(files, manifestName, sealedText(text))
	if err == nil {
		err = noSpace(files.sync())
	}
	if err != nil {
		return fmt.Errorf("couldn't write the manifest: %w", err)
	}
	return nil
}

// clone returns a manifest that can be changed while readers hold m.
func (m *manifest) clone() *manifest {
	c := *m
	c.Segments = slices.Clone(m.Segments)
	return &c
}

// books returns the books of the manifest.
func (m *manifest) books() books {
	b := books{}
	for _, one := range m.Books {
		b[bookName{one.Source, one.Side}] = one
	}
	return b
}

// logs returns the numbers of the logs that the manifest does not cover, in
// order, and removes what is left over from a crash.
func (m *manifest) logs(files files) ([]uint32, error) {
	logs, left, err := m.look(files)
	if err != nil {
		return nil, err
	}
	for _, name := range left {
		if err := files.remove(name); err != nil {
			return nil, fmt.Errorf("couldn't remove %s, which is left over: %w", name, err)
		}
	}
	return logs, nil
}

// look returns the logs that the manifest does not cover, and what is left over.
func (m *manifest) look(files files) (logs []uint32, left []string, err error) {
	names, err := files.list()
	if err != nil {
		return nil, nil, fmt.Errorf("couldn't list the ledger: %w", err)
	}
	keep := map[string]bool{}
	for i := range m.Segments {
		keep[m.Segments[i].Name()], keep[m.Segments[i].indexName()] = true, true
	}
	for _, name := range names {
		var number uint32
		_, ext, _ := strings.Cut(name, ".")
		if _, err := fmt.Sscanf(name, "%08d.", &number); err != nil && name != manifestName+".new" {
			continue
		}
		switch {
		case ext == "wal" && number > m.Sealed:
			logs = append(logs, number)
			continue
		case keep[name], ext != "wal" && ext != "parquet" && ext != "index" && !strings.HasSuffix(name, ".new"):
			delete(keep, name)
			continue
		}
		left = append(left, name)
	}
	for name := range keep {
		return nil, nil, fmt.Errorf("%s is missing: %w", name, tallystick.ErrDamaged)
	}
	slices.Sort(logs)
	for i, number := range logs {
		if number != m.Sealed+1+uint32(i) {
			return nil, nil, fmt.Errorf("%s is missing: %w", walName(m.Sealed+1+uint32(i)), tallystick.ErrDamaged)
		}
	}
	return logs, left, nil
}
