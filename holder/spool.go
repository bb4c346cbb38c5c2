// SPDX-License-Identifier: Apache-2.0

package holder

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tallystick/tallystick"
)

const (
	defaultSpool = 64 << 20
	segmentBytes = 1 << 20 // of one file of the spool, and so of one request, about
	firstWait    = time.Second
	longestWait  = time.Minute
	sendTime     = 30 * time.Second // for one request
)

// A spool keeps lines in numbered files, the segments, until a server has taken
// them. The newest segment that was taken stays, as *.sent: it says where the
// book stands when nothing waits. A segment whose answer was lost is sent again;
// the server knows its lines by their numbers.
type spool struct {
	config Config
	lock   *os.File
	send   chan struct{}

	mu       sync.Mutex
	segments []segment // guarded by mu; oldest first
	next     int       // guarded by mu; number of the next segment
	taken    string    // guarded by mu; name of the *.sent, or ""
	failed   error     // guarded by mu; why the last try to send failed, nil when it did not
	refused  int64     // guarded by mu; lines that the server has and could not use
	why      error     // guarded by mu; what it expected instead of the last of them
}

// A segment grows while it is the last one and nobody sends it.
type segment struct {
	name   string
	size   int64
	sealed bool
}

const (
	segmentSuffix = ".ndjson"
	sentSuffix    = ".sent"
)

func openSpool(c Config) (*spool, chain, error) {
	c.SpoolBytes = cmp.Or(c.SpoolBytes, defaultSpool)
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !isLoopback(u) {
		return nil, chain{}, fmt.Errorf("%w: the URL of a book is https://host/path, without a name and a password", tallystick.ErrInvalid)
	}
	if c.Client == nil {
		c.Client = http.DefaultClient
	}
	if err := os.MkdirAll(c.Spool, 0o700); err != nil {
		return nil, chain{}, fmt.Errorf("couldn't make the spool: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(c.Spool, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, chain{}, fmt.Errorf("couldn't open the spool: %w", err)
	}
	s := &spool{config: c, lock: lock, send: make(chan struct{}, 1)}
	last, err := s.load()
	if err != nil {
		return nil, chain{}, errors.Join(fmt.Errorf("couldn't open the spool %s: %w", c.Spool, err), lock.Close())
	}
	return s, last, nil
}

// isLoopback allows http to this machine alone.
func isLoopback(u *url.URL) bool {
	address, err := netip.ParseAddr(u.Hostname())
	return u.Scheme == "http" && err == nil && address.IsLoopback()
}

// load locks the spool, finds what was not sent, and returns where the book stands.
func (s *spool) load() (chain, error) {
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return chain{}, fmt.Errorf("another process has it open: %w", tallystick.ErrInUse)
	}
	entries, err := os.ReadDir(s.config.Spool)
	if err != nil {
		return chain{}, err
	}
	var last chain
	for _, entry := range entries { // sorted by name, and so by number
		name, suffix := entry.Name(), filepath.Ext(entry.Name())
		if suffix != segmentSuffix && suffix != sentSuffix {
			continue
		}
		number, err := strconv.Atoi(strings.TrimSuffix(name, suffix))
		if err != nil {
			return chain{}, fmt.Errorf("%w: %s is not a file of a spool", tallystick.ErrInvalid, name)
		}
		f, at, err := openFile(filepath.Join(s.config.Spool, name), s.config.Source)
		if err != nil {
			return chain{}, err
		}
		if err := f.f.Close(); err != nil {
			return chain{}, err
		}
		if f.size > 0 {
			last = at
		}
		s.next = number + 1
		if suffix == sentSuffix {
			s.taken = name
		} else {
			s.segments = append(s.segments, segment{name: name, size: f.size, sealed: true})
		}
	}
	return last, nil
}

// append adds lines to the last segment, or to a new one. A full spool is an
// error: the lines are tried again, when the server has taken some.
func (s *spool) append(lines []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	total := int64(len(lines))
	for _, g := range s.segments {
		total += g.size
	}
	if total > s.config.SpoolBytes {
		return fmt.Errorf("the spool has reached %d bytes", s.config.SpoolBytes)
	}
	if n := len(s.segments); n == 0 || s.segments[n-1].sealed || s.segments[n-1].size+int64(len(lines)) > segmentBytes {
		s.segments = append(s.segments, segment{name: fmt.Sprintf("%012d%s", s.next, segmentSuffix)})
		s.next++
	}
	g := &s.segments[len(s.segments)-1]
	f, err := os.OpenFile(filepath.Join(s.config.Spool, g.name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	out := file{f: f, size: g.size}
	if err := errors.Join(out.append(lines), f.Close()); err != nil {
		return err
	}
	if g.size == 0 {
		if err := syncDir(s.config.Spool); err != nil {
			return err
		}
	}
	g.size = out.size
	select {
	case s.send <- struct{}{}:
	default: // it will look anyhow
	}
	return nil
}

// run sends segment after segment, the oldest first, until ctx ends.
func (s *spool) run(ctx context.Context) {
	wait := firstWait
	for ctx.Err() == nil {
		sent, err := s.sendOldest(ctx)
		if ctx.Err() != nil {
			return // what it cut short is tried again by close
		}
		s.note(err)
		switch {
		case err != nil:
			wait = min(2*wait, longestWait)
			pause(ctx, wait) // a server that is away is not asked more often
		case sent:
			wait = firstWait
		default:
			select {
			case <-ctx.Done():
			case <-s.send:
			}
		}
	}
}

// note keeps what became of the last try to send.
func (s *spool) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failed = err
}

// sendError returns why the last try to send failed, or nil.
func (s *spool) sendError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// sendOldest sends the oldest segment, if there is one.
func (s *spool) sendOldest(ctx context.Context) (bool, error) {
	s.mu.Lock()
	if len(s.segments) == 0 || s.segments[0].size == 0 {
		s.mu.Unlock()
		return false, nil
	}
	s.segments[0].sealed = true
	g := s.segments[0]
	s.mu.Unlock()
	text, err := readStart(filepath.Join(s.config.Spool, g.name), g.size)
	if err != nil {
		return false, err
	}
	said, err := s.post(ctx, text)
	if err != nil {
		return false, err
	}
	if said.refusedWhole(text) {
		return false, fmt.Errorf("%w: the URL must be that of a source of the side holder with the name %q", said.err(), s.config.Source)
	}
	if err := s.forget(g.name); err != nil {
		return false, err
	}
	s.noteRefused(said)
	return true, nil
}

// noteRefused counts what the server could not use of a delivery that it took.
func (s *spool) noteRefused(said answer) {
	if said.Count <= 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused, s.why = s.refused+said.Count, said.err()
}

// malformed returns how many lines the server could not use, and why.
func (s *spool) malformed() (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused, s.why
}

// forget takes the oldest segment, which was sent, from those that wait.
func (s *spool) forget(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := strings.TrimSuffix(name, segmentSuffix) + sentSuffix
	if err := os.Rename(filepath.Join(s.config.Spool, name), filepath.Join(s.config.Spool, sent)); err != nil {
		return err
	}
	s.segments = slices.Delete(s.segments, 0, 1)
	before := s.taken
	s.taken = sent
	if before == "" {
		return nil
	}
	return os.Remove(filepath.Join(s.config.Spool, before))
}

// readStart reads the first size bytes of a file.
func readStart(path string, size int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text := make([]byte, size)
	_, err = io.ReadFull(f, text)
	return text, err
}

// post sends lines and returns what the server says of them; the error is that it
// does not have them.
func (s *spool) post(ctx context.Context, lines []byte) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.URL, bytes.NewReader(lines))
	if err != nil {
		return answer{}, err
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	if s.config.Token != "" {
		request.Header.Set("Authorization", "Bearer "+s.config.Token)
	}
	response, err := s.config.Client.Do(request)
	if urlErr, ok := errors.AsType[*url.Error](err); ok {
		return answer{}, urlErr.Err // without the URL, which may hold a key
	}
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxLine))
	if err != nil {
		return answer{}, err
	}
	if response.StatusCode/100 != 2 {
		return answer{}, fmt.Errorf("the server answers %s", response.Status)
	}
	return readAnswer(body), nil
}

// close sends what is left, until ctx ends; the rest stays in the spool for the
// next time, and the error says why. Run has ended.
func (s *spool) close(ctx context.Context) error {
	for {
		sent, err := s.sendOldest(ctx)
		s.note(err)
		if err != nil {
			err = fmt.Errorf("couldn't send uses, which are kept in %s: %w", s.config.Spool, err)
		}
		if !sent || err != nil {
			_, why := s.malformed()
			return errors.Join(err, why, s.lock.Close())
		}
	}
}
