// SPDX-License-Identifier: Apache-2.0

package scan

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"

	"github.com/tallystick/tallystick"
)

// A journal is the file in which a scan keeps what it has seen and how far it
// has come, so that the same scan can go on after it was stopped or killed. It
// is a list of JSON objects, written in the order of events; a credential stands
// there once. Whatever was cut off at its end is done again.
type journal struct {
	file    *os.File
	out     *bufio.Writer
	written map[tallystick.Fingerprint]bool
	at      map[string]string // positions by driver
	done    map[string]bool   // drivers that have finished
}

// An entry is one object of a journal; one of its members is set.
type entry struct {
	Scan       string                 `json:"scan,omitempty"` // which scan the journal is of; comes first
	Credential *tallystick.Credential `json:"credential,omitempty"`
	Saw        *tallystick.Sighting   `json:"saw,omitempty"` // with the IDs of credentials alone
	Missed     *tallystick.Miss       `json:"missed,omitempty"`
	Driver     string                 `json:"driver,omitempty"`
	At         string                 `json:"at,omitempty"`   // of Driver
	Done       bool                   `json:"done,omitempty"` // likewise
}

// identity names a scan by where it looks and what it asks, whatever its speed.
func (s *Scan) identity(t Targets) string {
	settings := map[string]map[string]string{}
	for driver, values := range s.Settings {
		settings[driver] = map[string]string{}
		for name, value := range values {
			if !slices.Contains([]string{"timeout", "concurrency", "rate", "per-host"}, name) {
				settings[driver][name] = value
			}
		}
	}
	// Of maps, JSON is written in the order of their keys.
	text, err := json.Marshal([]any{1, t, settings})
	if err != nil {
		return err.Error() // strings and numbers alone: it cannot happen
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Resume keeps the scan of t in a file from now on, and takes up what is in it
// already. Call it before Look, with the same targets. The file must not be in
// use by another scan (tallystick.ErrInUse), nor belong to one of other targets
// or options (tallystick.ErrInvalid). Finish removes it.
func (s *Scan) Resume(path string, t Targets) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("couldn't open the resume file: %w", err)
	}
	j := &journal{
		file: file, out: bufio.NewWriterSize(file, 1<<16),
		written: map[tallystick.Fingerprint]bool{}, at: map[string]string{}, done: map[string]bool{},
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%w: another scan keeps itself in %s", tallystick.ErrInUse, path)
	}
	if err == nil {
		err = s.replay(j, s.identity(t))
	}
	if err != nil {
		file.Close() // err matters
		return err
	}
	s.journal = j
	return nil
}

// replay takes up what a journal holds, and cuts off what was not written whole.
func (s *Scan) replay(j *journal, identity string) error {
	whole := int64(0)
	decoder := json.NewDecoder(bufio.NewReaderSize(j.file, 1<<16))
	for {
		var e entry
		err := decoder.Decode(&e)
		if err == io.EOF {
			break
		}
		if err != nil && whole == 0 || err == nil && whole == 0 && e.Scan == "" {
			return fmt.Errorf("%w: %s is not a resume file", tallystick.ErrInvalid, j.file.Name())
		}
		if err != nil {
			break
		}
		if e.Scan != "" && e.Scan != identity {
			return fmt.Errorf("%w: %s belongs to a scan of other targets or options: name another file, or remove it", tallystick.ErrInvalid, j.file.Name())
		}
		s.resumed = true
		s.take(j, e)
		whole = decoder.InputOffset()
	}
	// The line's end after the last whole entry is not part of it.
	if err := errors.Join(j.file.Truncate(whole), seekEnd(j.file)); err != nil {
		return fmt.Errorf("couldn't go on with the resume file: %w", err)
	}
	if whole > 0 {
		return j.out.WriteByte('\n')
	}
	return j.write(entry{Scan: identity})
}

func seekEnd(file *os.File) error {
	_, err := file.Seek(0, io.SeekEnd)
	return err
}

// take takes up one entry.
func (s *Scan) take(j *journal, e entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case e.Credential != nil:
		s.hold(*e.Credential)
		j.written[e.Credential.ID] = true
	case e.Saw != nil:
		e.Saw.Credential = *s.hold(e.Saw.Credential)
		s.keep(*e.Saw)
	case e.Missed != nil:
		s.misses = append(s.misses, *e.Missed)
	case e.Done:
		j.done[e.Driver] = true
	case e.At != "":
		j.at[e.Driver] = e.At
	}
}

func (j *journal) write(e entry) error {
	text, err := json.Marshal(e)
	if err == nil {
		_, err = j.out.Write(append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("couldn't write to the resume file: %w", err)
	}
	return nil
}

// saw writes a sighting, and first the credentials that the journal lacks.
func (j *journal) saw(s tallystick.Sighting) error {
	if j == nil {
		return nil
	}
	var err error
	brief := func(c tallystick.Credential) tallystick.Credential {
		if !j.written[c.ID] {
			j.written[c.ID] = true
			err = cmp.Or(err, j.write(entry{Credential: &c}))
		}
		return tallystick.Credential{ID: c.ID}
	}
	chain := s.Chain
	s.Credential, s.Chain = brief(s.Credential), nil
	for _, c := range chain {
		s.Chain = append(s.Chain, brief(c))
	}
	return cmp.Or(err, j.write(entry{Saw: &s}))
}

func (j *journal) missed(m tallystick.Miss) error {
	if j == nil {
		return nil
	}
	return j.write(entry{Missed: &m})
}

// reached notes how far a driver has come, and hands everything to the system.
func (j *journal) reached(e entry) error {
	if j == nil {
		return nil
	}
	if err := j.write(e); err != nil {
		return err
	}
	if err := j.out.Flush(); err != nil {
		return fmt.Errorf("couldn't write to the resume file: %w", err)
	}
	return nil
}

// Finish ends the use of a resume file: it is removed when the scan is complete,
// and kept for another Resume otherwise. Without one it does nothing.
func (s *Scan) Finish(complete bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.journal == nil {
		return nil
	}
	j := s.journal
	s.journal = nil
	err := j.out.Flush()
	if complete {
		err = os.Remove(j.file.Name())
	}
	if err = errors.Join(err, j.file.Close()); err != nil {
		return fmt.Errorf("couldn't end the use of the resume file: %w", err)
	}
	return nil
}
