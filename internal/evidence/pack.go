// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"bufio"
	"compress/flate"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
)

// A packer packs members, one after the other, into a file without a name: sizes stand
// before the bytes in an archive, and nothing of a large recall is held in memory.
type packer struct {
	file  *os.File
	at    int64 // how much is in the file
	parts map[string]packedPart
}

// A packedPart is a member that is packed, at a place in the file.
type packedPart struct {
	part
	Member
	at int64
}

func newPacker() (*packer, error) {
	file, err := os.CreateTemp("", "tally-evidence-*")
	if err != nil {
		return nil, fmt.Errorf("couldn't make a file to pack the evidence in: %w", err)
	}
	if err := os.Remove(file.Name()); err != nil { // it goes with us, however we end
		return nil, errors.Join(fmt.Errorf("couldn't hide the file to pack the evidence in: %w", err), file.Close())
	}
	return &packer{file: file, parts: map[string]packedPart{}}, nil
}

func (p *packer) close() error { return p.file.Close() }

// A counter counts and hashes what is written through it.
type counter struct {
	to  io.Writer
	sum hash.Hash
	n   int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.to.Write(b)
	c.sum.Write(b[:n])
	c.n += int64(n)
	return n, err
}

func (c *counter) digest() string { return hex.EncodeToString(c.sum.Sum(nil)) }

// add packs the member that write writes.
func (p *packer) add(name string, method uint16, write func(io.Writer) error) error {
	packed := &counter{to: io.NewOffsetWriter(p.file, p.at), sum: sha256.New()}
	out := bufio.NewWriterSize(packed, 1<<16)
	squeeze, err := flate.NewWriter(out, flate.DefaultCompression)
	if err != nil {
		return err
	}
	crc := crc32.NewIEEE()
	content := &counter{to: io.MultiWriter(squeeze, crc), sum: sha256.New()}
	if method == stored {
		content.to = io.MultiWriter(out, crc)
	}
	buffered := bufio.NewWriterSize(content, 1<<16)
	if err := errors.Join(write(buffered), buffered.Flush()); err != nil {
		return fmt.Errorf("couldn't write %s: %w", name, err)
	}
	if method == deflated {
		err = squeeze.Close()
	}
	if err := errors.Join(err, out.Flush()); err != nil {
		return fmt.Errorf("couldn't pack %s: %w", name, err)
	}
	if content.n > maxSize || packed.n > maxSize {
		return fmt.Errorf("couldn't pack %s: it is larger than evidence can be", name)
	}
	p.parts[name] = packedPart{
		part:   part{name: name, method: method, crc: crc.Sum32(), packed: uint32(packed.n), size: uint32(content.n)},
		Member: Member{Name: name, Size: content.n, SHA256: content.digest(), Packed: packed.digest()},
		at:     p.at,
	}
	p.at += packed.n
	return nil
}

// lines packs a member of one JSON object a line.
func (p *packer) lines(name string, each func(add func(any) error) error) error {
	return p.add(name, deflated, func(w io.Writer) error {
		return each(func(line any) error { return writeLine(w, line) })
	})
}

// writeLine writes a value as the line of JSON that readLine takes.
func writeLine(w io.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	_, err = w.Write(append(text, '\n'))
	return err
}

// members returns those that the manifest lists.
func (p *packer) members() []Member {
	var list []Member
	for _, name := range memberNames()[:listed] {
		list = append(list, p.parts[name].Member)
	}
	return list
}

// writeTo writes the archive.
func (p *packer) writeTo(w io.Writer) error {
	var parts []part
	var offset int64
	for _, name := range memberNames() {
		one := p.parts[name].part
		one.offset = offset
		offset = one.end()
		parts = append(parts, one)
	}
	if offset > maxSize {
		return errors.New("couldn't write the evidence: it is larger than evidence can be")
	}
	return writeArchive(w, parts, func(one part) io.Reader {
		return io.NewSectionReader(p.file, p.parts[one.name].at, int64(one.packed))
	})
}
