// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
)

// A useMetrics reads the numbers of uses, which are those of the ledger and of
// what has become of it, when they are asked for.
type useMetrics struct {
	server *Server

	records, malformed, behind, silent, missing, open, pending, verdicts, incidents, segments, kept, bytes *prometheus.Desc
}

func newUseMetrics(s *Server, describe func(name, help string, labels ...string) *prometheus.Desc) *useMetrics {
	return &useMetrics{
		server:    s,
		records:   describe("source_records", "Records of a source that were kept, those that have expired since included.", "source", "side"),
		malformed: describe("source_malformed", "Records of a source that could not be read.", "source", "side"),
		behind:    describe("book_behind_seconds", "How far behind now a book is closed; absent while it has never been.", "source", "side"),
		silent:    describe("book_silent", "1 for a book whose source should have been heard again.", "source", "side"),
		missing:   describe("book_missing_records", "Records that are missing by their numbers.", "source", "side"),
		open:      describe("books_open", "Books that are not closed up to an hour ago."),
		pending:   describe("pending_uses", "Uses that wait for a book."),
		verdicts:  describe("verdict_records", "Records that are not matched, by verdict, counted up to 10,000.", "verdict"),
		incidents: describe("incidents", "Incidents of foreign uses, counted up to 10,000."),
		segments:  describe("ledger_segments", "Sealed files of the ledger."),
		kept:      describe("ledger_records", "Records that can be found in the ledger."),
		bytes:     describe("ledger_bytes", "What the ledger takes on the disk."),
	}
}

// openAfter is how far behind a book may be closed and not count as open.
const openAfter = time.Hour

// collect sends the numbers.
func (m *useMetrics) collect(ctx context.Context, scraper gate.Actor, gauge func(desc *prometheus.Desc, value float64, labels ...string)) error {
	u := m.server.Usage
	if u == nil {
		return nil
	}
	books, err := u.Books(ctx, scraper)
	if err != nil {
		return err
	}
	open := 0
	for _, b := range books {
		labels := []string{b.Source, string(b.Side)}
		gauge(m.records, float64(b.Records), labels...)
		gauge(m.missing, float64(b.MissingCount), labels...)
		gauge(m.silent, map[bool]float64{true: 1}[b.Silent], labels...)
		if b.Reading != nil {
			gauge(m.malformed, float64(b.Reading.Malformed), labels...)
		}
		if !b.Closed.IsZero() {
			gauge(m.behind, b.Behind.Seconds(), labels...)
		}
		if b.Closed.IsZero() || b.Behind > openAfter {
			open++
		}
	}
	gauge(m.open, float64(open))
	if u.Live != nil {
		var pending int64
		u.Live.Pending(0, func(_ time.Time, count int64) { pending += count })
		gauge(m.pending, float64(pending))
	}
	size := u.Ledger.Size()
	gauge(m.segments, float64(size.Segments))
	gauge(m.kept, float64(size.Records))
	gauge(m.bytes, float64(size.Bytes))
	return m.collectVerdicts(ctx, scraper, gauge)
}

func (m *useMetrics) collectVerdicts(ctx context.Context, scraper gate.Actor, gauge func(desc *prometheus.Desc, value float64, labels ...string)) error {
	totals, incidents, err := m.server.Usage.Totals(ctx, scraper)
	if err != nil {
		return err
	}
	for _, verdict := range []tallystick.Verdict{tallystick.VerdictForeign, tallystick.VerdictUnconfirmed, tallystick.VerdictAttempt} {
		gauge(m.verdicts, float64(totals[verdict]), string(verdict))
	}
	gauge(m.incidents, float64(incidents))
	return nil
}
