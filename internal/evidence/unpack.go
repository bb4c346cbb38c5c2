// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"bufio"
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Bounds on what is read of a file before anything shows that it was signed, and of
// one line of it.
const (
	maxManifest = 1 << 16
	maxLine     = 16 << 20
)

// An archive is the file that is verified.
type archive struct {
	r     io.ReaderAt
	parts map[string]part
}

func openArchive(r io.ReaderAt, size int64) (*archive, error) {
	parts, err := readArchive(r, size, memberNames())
	if err != nil {
		return nil, err
	}
	a := &archive{r: r, parts: map[string]part{}}
	for _, p := range parts {
		a.parts[p.name] = p
	}
	return a, nil
}

// bytes returns a reader of what is packed of a member.
func (a *archive) bytes(name string) *io.SectionReader {
	p := a.parts[name]
	return io.NewSectionReader(a.r, p.begin(), int64(p.packed))
}

// manifest reads the manifest, and its SHA-256.
func (a *archive) manifest() (Manifest, string, error) {
	var m Manifest
	p := a.parts[manifestName]
	if p.method != stored || p.size > maxManifest {
		return m, "", broken("its manifest is packed in another way, or too large")
	}
	text, err := io.ReadAll(a.bytes(manifestName))
	if err != nil {
		return m, "", fmt.Errorf("couldn't read the evidence: %w", err)
	}
	if crc32.ChecksumIEEE(text) != p.crc {
		return m, "", broken("the checksum of its manifest is wrong")
	}
	if err := readLine(bytes.TrimSuffix(text, []byte("\n")), &m); err != nil || !bytes.HasSuffix(text, []byte("\n")) {
		return m, "", broken("its manifest cannot be read")
	}
	if m.Format != Format {
		return m, "", broken("it says that it is %.60q, and not %q", m.Format, Format)
	}
	if len(m.Members) != listed {
		return m, "", broken("its manifest lists %d members", len(m.Members))
	}
	for i, name := range memberNames()[:listed] {
		if p := a.parts[name]; m.Members[i].Name != name || m.Members[i].Size != int64(p.size) || p.method != deflated {
			return m, "", broken("%s is not what the manifest lists", name)
		}
	}
	sum := sha256.Sum256(text)
	return m, hex.EncodeToString(sum[:]), nil
}

// content lets read read a member that the manifest lists, and checks that this is all of it and
// what the manifest says. What read returns goes before; it need not read to the end.
func (a *archive) content(m Member, read func(io.Reader) error) error {
	digest := sha256.New()
	if _, err := io.Copy(digest, a.bytes(m.Name)); err != nil {
		return fmt.Errorf("couldn't read the evidence: %w", err)
	}
	if hex.EncodeToString(digest.Sum(nil)) != m.Packed {
		return broken("%s was changed", m.Name)
	}
	packed := bufio.NewReader(a.bytes(m.Name)) // an io.ByteReader, so that no more is taken of it than is unpacked
	digest.Reset()
	crc := crc32.NewIEEE()
	content := io.TeeReader(io.LimitReader(flate.NewReader(packed), m.Size+1), io.MultiWriter(digest, crc))
	if err := read(content); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, content); err != nil {
		return broken("%s cannot be unpacked", m.Name)
	}
	if _, err := packed.ReadByte(); !errors.Is(err, io.EOF) || hex.EncodeToString(digest.Sum(nil)) != m.SHA256 || crc.Sum32() != a.parts[m.Name].crc {
		return broken("%s does not unpack to what the manifest lists", m.Name)
	}
	return nil
}

// readLine reads a line of JSON that writeLine wrote: there is no other text for the
// same value, so that nothing about a line can be changed.
func readLine(line []byte, value any) error {
	if err := json.Unmarshal(line, value); err != nil {
		return err
	}
	again, err := json.Marshal(value)
	if err == nil && !bytes.Equal(again, line) {
		err = errors.New("it is written in another way than Tallystick does")
	}
	return err
}

// A lineReader reads lines of bounded length.
type lineReader struct {
	*bufio.Scanner
	name string
	read func([]byte, any) error // json.Unmarshal where the hash of the bytes is known, readLine elsewhere
}

func newLineReader(name string, r io.Reader, read func([]byte, any) error) lineReader {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 1<<16), maxLine)
	s.Split(wholeLines)
	return lineReader{s, name, read}
}

// wholeLines splits at newlines; a last line without one is none.
func wholeLines(data []byte, atEOF bool) (int, []byte, error) {
	if i := bytes.IndexByte(data, '\n'); i >= 0 {
		return i + 1, data[:i], nil
	}
	if atEOF && len(data) > 0 {
		return 0, nil, errors.New("its last line does not end")
	}
	return 0, nil, nil
}

// next reads a line into value; ok is false at the end.
func (l lineReader) next(value any) (ok bool, err error) {
	if !l.Scan() {
		if err := l.Err(); err != nil {
			return false, broken("%s cannot be read: %v", l.name, err)
		}
		return false, nil
	}
	if err := l.read(l.Bytes(), value); err != nil {
		return false, broken("a line of %s cannot be read: %v", l.name, err)
	}
	return true, nil
}
