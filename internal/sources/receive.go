// SPDX-License-Identifier: Apache-2.0

package sources

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/ledger"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/store"
	"github.com/tallystick/tallystick/internal/uses"
)

// Bounds of a delivery.
const (
	MaxBody      = 64 << 20  // bytes as they are sent
	maxPlain     = 512 << 20 // bytes of use records, unpacked
	maxLogs      = 16 << 20  // bytes of OpenTelemetry logs, unpacked; they are held in memory
	maxReceiving = 4         // deliveries of one source at a time
	maxAll       = 16        // of all sources
	maxTold      = 100       // malformed records that an answer names
)

// The errors of Receive and ReceiveLogs that senders can do something about,
// beside those of the root package: tallystick.ErrBusy is that it may be sent
// again later.
var (
	ErrTooMany     = errors.New("too many deliveries at a time")               // try again soon
	ErrTooLarge    = errors.New("the delivery is too large")                   // send less at a time
	ErrEncoding    = errors.New("the content encoding is not known")           // gzip, zstd or none
	errPacked      = errors.New("the body is not what its encoding says")      // of the root's ErrInvalid
	errOtherSource = errors.New("the token is of another source than the URL") // of the root's ErrDenied
)

// A Delivery is what a sender sends at once.
type Delivery struct {
	Token    string
	From     string // where it comes from, for the record
	Source   string // that the sender named; "" leaves it to the token
	Encoding string // of the body: "", identity, gzip or zstd
	Body     io.Reader
}

// Received says what became of a delivery.
type Received struct {
	Accepted   int `json:"accepted"`
	Duplicates int `json:"duplicates"`        // were there already
	Expired    int `json:"expired,omitempty"` // older than what is kept
	// Malformed names the first records that could not be used, at most 100, and
	// MalformedCount counts all.
	Malformed      []Malformed `json:"malformed"`
	MalformedCount int         `json:"malformed_count"`
}

// A Malformed is a record that could not be used.
type Malformed struct {
	Line     int64  `json:"line"`
	Expected string `json:"expected"`
}

func (r *Received) add(a ledger.Appended) {
	r.Accepted += a.Added
	r.Duplicates += a.Duplicates
	r.Expired += a.Expired
}

func (r *Received) malformed(f *feed, line int64, err error) {
	f.malformed(f.source.Name, line, err)
	r.MalformedCount++
	if len(r.Malformed) < maxTold {
		r.Malformed = append(r.Malformed, Malformed{line, expected(err)})
	}
}

// Receive takes use records in, one a line, or lines of the source's format. When
// it returns nil all of them are durable but those that it calls malformed. After
// an error some may be: what is sent again changes nothing.
func (s *Sources) Receive(ctx context.Context, d Delivery) (Received, error) {
	received := Received{Malformed: []Malformed{}}
	f, release, err := s.admit(ctx, d, store.SourceHTTP)
	if err != nil {
		return received, err
	}
	defer release()
	body, err := unpack(d, maxPlain)
	if err != nil {
		return received, err
	}
	defer body.Close()
	stream, err := uses.NewStream(formatOf(f.source), f.settings(s.Now()))
	if err != nil {
		return received, err
	}
	l := newLines(body)
	for n := int64(1); ; n++ {
		one, end := l.next()
		switch record := one.record(n == 1); {
		case one.tooLong:
			received.malformed(f, n, uses.ErrTooLong())
		case end != nil && end != io.EOF: // what was cut off says nothing
		case record != "":
			if err := f.read(stream, record); err != nil {
				received.malformed(f, n, err)
			}
		}
		if end == io.EOF {
			return received, f.finish(ctx, &received)
		}
		if end != nil {
			return received, errors.Join(badBody(end), f.finish(ctx, &received))
		}
		if f.records >= batchRecords || f.size >= batchBytes {
			if err := f.deliver(ctx, &received); err != nil {
				return received, err
			}
		}
	}
}

// formatOf returns the format of what a sender sends.
func formatOf(one store.Source) string {
	if one.Format == "" {
		return "use"
	}
	return one.Format
}

// deliver hands a batch over once: who sent it is told when that fails, and sends
// it again.
func (f *feed) deliver(ctx context.Context, received *Received) error {
	result, err := f.hand(ctx)
	if err != nil {
		f.forget()
		// Whoever sent it may have hung up; why it failed is to show all the same.
		return fmt.Errorf("%w: %w", tallystick.ErrBusy, errors.Join(err, f.DB.FailSource(context.WithoutCancel(ctx), f.source.ID, clip(err.Error()))))
	}
	received.add(result)
	return nil
}

// finish hands over the rest, with a mark for books that do not close themselves:
// a sender's book is known up to what came last.
func (f *feed) finish(ctx context.Context, received *Received) error {
	if f.source.Settle > 0 && !f.newest.IsZero() {
		f.mark(f.newest.Add(-f.source.Settle))
	}
	if err := f.deliver(ctx, received); err != nil {
		return err
	}
	if err := f.store(ctx, ""); err != nil {
		return fmt.Errorf("%w: %w", tallystick.ErrBusy, err)
	}
	return nil
}

// admit finds the source of a delivery and takes a turn for it.
func (s *Sources) admit(ctx context.Context, d Delivery, kind string) (*feed, func(), error) {
	one, err := s.sender(ctx, d, kind)
	if err != nil {
		return nil, nil, err
	}
	if one.Paused || s.Appender == nil {
		return nil, nil, fmt.Errorf("%w: source %s is paused", tallystick.ErrBusy, one.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := 0
	for _, n := range s.receiving {
		all += n
	}
	if s.receiving[one.ID] >= maxReceiving || all >= maxAll {
		return nil, nil, ErrTooMany
	}
	s.receiving[one.ID]++
	return s.newFeed(one), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.receiving[one.ID]--; s.receiving[one.ID] == 0 {
			delete(s.receiving, one.ID)
		}
	}, nil
}

// sender returns the source that a token is of. One that is not good is on
// record, as that of a person would be.
func (s *Sources) sender(ctx context.Context, d Delivery, kind string) (store.Source, error) {
	refuse := func(name string, reason error) error {
		return s.Gate.Refuse(ctx, gate.Actor{Name: name, Via: "source token"}, gate.SignIn, "from "+d.From, reason)
	}
	if !strings.HasPrefix(d.Token, tokenPrefix) {
		return store.Source{}, refuse("", fmt.Errorf("%w: that is not the token of a source", tallystick.ErrUnsigned))
	}
	hash := hashOf(d.Token)
	one, err := s.DB.SourceOfToken(ctx, hash)
	if errors.Is(err, tallystick.ErrNotFound) || err == nil && subtle.ConstantTimeCompare([]byte(one.TokenHash), []byte(hash)) != 1 {
		return store.Source{}, refuse("", fmt.Errorf("%w: the token of a source is unknown", tallystick.ErrUnsigned))
	}
	if err != nil {
		return store.Source{}, fmt.Errorf("%w: %w", tallystick.ErrBusy, err)
	}
	if d.Source != "" && d.Source != one.Name {
		return store.Source{}, refuse(one.Name, fmt.Errorf("%w: %w", tallystick.ErrDenied, errOtherSource))
	}
	if one.Kind != kind {
		return store.Source{}, problem.With(fmt.Errorf("%w: source %s is of kind %s", tallystick.ErrInvalid, one.Name, one.Kind),
			"Sources of kind http are posted to /api/v1/sources/NAME/uses, those of kind otlp to /v1/logs.")
	}
	return one, nil
}

// unpack returns the plain body, which ends with ErrTooLarge where it is too large
// as it is sent, or holds more than limit.
func unpack(d Delivery, limit int64) (io.ReadCloser, error) {
	sent := &bounded{r: d.Body, left: MaxBody}
	var plain io.ReadCloser
	var err error
	switch strings.ToLower(strings.TrimSpace(d.Encoding)) {
	case "", "identity":
		plain = io.NopCloser(sent)
	case "gzip", "x-gzip":
		plain, err = gzip.NewReader(sent)
	case "zstd":
		// RFC 9659 section 3: a window of more than 8 MiB is not for HTTP.
		var r *zstd.Decoder
		r, err = zstd.NewReader(sent, zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
		if err == nil {
			plain = r.IOReadCloser()
		}
	default:
		return nil, ErrEncoding
	}
	if err != nil {
		return nil, badBody(err)
	}
	return struct {
		io.Reader
		io.Closer
	}{&bounded{r: plain, left: limit}, plain}, nil
}

// badBody says what is wrong with a body that could not be read to its end.
func badBody(err error) error {
	if errors.Is(err, ErrTooLarge) {
		return err
	}
	return fmt.Errorf("%w: %w", tallystick.ErrInvalid, errPacked)
}

// bounded reads so many bytes and no more.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		var one [1]byte
		n, err := b.r.Read(one[:])
		if n > 0 {
			return 0, ErrTooLarge
		}
		return 0, err
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// RetryAfter is when a sender may try again that was told so.
func RetryAfter(err error) time.Duration {
	if errors.Is(err, ErrTooMany) {
		return time.Second
	}
	return 10 * time.Second
}
