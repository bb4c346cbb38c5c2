// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/revocation"
)

// An issuingMetrics reads the numbers of the CAs, their lists and the renewals when
// they are asked for.
type issuingMetrics struct {
	server *Server

	ends, valid, recalled, listEnds, listState, listEntries, renewals, late *prometheus.Desc
}

func newIssuingMetrics(s *Server, describe func(name, help string, labels ...string) *prometheus.Desc) *issuingMetrics {
	return &issuingMetrics{
		server:      s,
		ends:        describe("ca_end_timestamp_seconds", "When a CA ends.", "ca", "state"),
		valid:       describe("ca_valid_certificates", "Certificates of a CA that are valid and not revoked.", "ca"),
		recalled:    describe("ca_unanswered_certificates", "Certificates of a CA whose clients are told to renew now and have not.", "ca"),
		listEnds:    describe("crl_next_update_timestamp_seconds", "When a list of revoked certificates ends; many servers refuse every client then. Part -1 is the complete list.", "ca", "part"),
		listState:   describe("crl_wrong", "1 for a list that is late, expired or missing, or lacks what was revoked.", "ca", "part"),
		listEntries: describe("crl_entries", "Certificates on a list.", "ca", "part"),
		renewals:    describe("renewals", "Certificates that are renewed here, by state.", "state"),
		late:        describe("renewals_late_seconds", "How long the first of the renewals that are due has waited."),
	}
}

// collect sends the numbers.
func (m *issuingMetrics) collect(ctx context.Context, scraper gate.Actor, gauge func(desc *prometheus.Desc, value float64, labels ...string)) error {
	i := m.server.Issuing
	if i == nil {
		return nil
	}
	authorities, err := i.CA.Overview(ctx, scraper)
	if err != nil {
		return err
	}
	for _, a := range authorities {
		gauge(m.ends, float64(a.NotAfter.Unix()), a.Name, a.State)
		gauge(m.valid, float64(a.Counts.Good), a.Name)
		gauge(m.recalled, float64(a.Counts.Recalled-a.Counts.Answered), a.Name)
	}
	lists, err := i.Health(ctx, scraper)
	if err != nil {
		return err
	}
	for _, l := range lists {
		labels := []string{l.Authority, strconv.FormatInt(l.Shard, 10)}
		gauge(m.listEnds, float64(l.NextUpdate.Unix()), labels...)
		gauge(m.listEntries, float64(l.Entries), labels...)
		wrong := l.State != revocation.Fresh || l.Behind && l.Error != ""
		gauge(m.listState, map[bool]float64{true: 1}[wrong], labels...)
	}
	if i.Renewals == nil {
		return nil
	}
	stats, err := i.Renewals.Stats(ctx)
	if err != nil {
		return err
	}
	for state, n := range map[string]int64{"all": stats.All, "paused": stats.Paused, "refused": stats.Refused, "failing": stats.Failing, "overdue": stats.Overdue, "expired": stats.Expired} {
		gauge(m.renewals, float64(n), state)
	}
	gauge(m.late, stats.Late.Seconds())
	return nil
}
