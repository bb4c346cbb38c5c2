// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
)

// metrics are what /metrics shows. The numbers of the estate are read when they
// are asked for.
type metrics struct {
	server   *Server
	requests *prometheus.HistogramVec

	credentials, places, findings, expired, backlog, runTime, runState *prometheus.Desc
	uses                                                               *useMetrics
	issuing                                                            *issuingMetrics
}

func newMetrics(registry *prometheus.Registry, s *Server) *metrics {
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("tally_"+name, help, labels, nil)
	}
	m := &metrics{
		server: s,
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tally_http_request_seconds", Help: "How long requests took, by route and status.",
			Buckets: []float64{.005, .02, .1, .5, 2, 10},
		}, []string{"route", "status"}),
		credentials: describe("credentials", "Credentials that are somewhere now, by kind.", "kind"),
		places:      describe("places", "Places with a credential, by scheme.", "scheme"),
		findings:    describe("findings", "Open findings that are not accepted, by severity.", "severity"),
		expired:     describe("expired_certificates", "End-entity certificates that have expired and are still somewhere."),
		backlog:     describe("judge_backlog", "Credentials that the rules have still to see."),
		runTime:     describe("run_queued_timestamp_seconds", "When the last run of a job was queued.", "job"),
		runState:    describe("run_last", "The last run of a job: 1 for the state that it is in.", "job", "state"),
		uses:        newUseMetrics(s, describe),
		issuing:     newIssuingMetrics(s, describe),
	}
	registry.MustRegister(m, m.requests, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Describe sends no descriptions: what Collect sends depends on the estate.
func (m *metrics) Describe(chan<- *prometheus.Desc) {}

// collectTime is how long a scrape may read.
const collectTime = 10 * time.Second

// collectRuns is how many runs are looked at for the last one of each job.
const collectRuns = 100

// Collect reads the numbers of the estate.
func (m *metrics) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTime)
	defer cancel()
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	// Who reads, after serveMetrics has let it in.
	scraper := gate.Actor{Name: "metrics", Role: gate.Viewer, Via: "token"}
	summary, err := m.server.Inventory.Summary(ctx, scraper)
	if err != nil {
		out <- prometheus.NewInvalidMetric(m.credentials, err)
		return
	}
	for _, kind := range summary.Kinds {
		gauge(m.credentials, float64(kind.Count), kind.Name)
	}
	for _, scheme := range summary.Schemes {
		gauge(m.places, float64(scheme.Count), scheme.Name)
	}
	for s := tallystick.SeverityInfo; s <= tallystick.SeverityCritical; s++ {
		gauge(m.findings, float64(summary.Severities[s]), s.String())
	}
	gauge(m.expired, float64(summary.Expired))
	due, err := m.server.DB.CountDue(ctx, m.server.Now())
	if err != nil {
		out <- prometheus.NewInvalidMetric(m.backlog, err)
		return
	}
	gauge(m.backlog, float64(due))
	runs, err := m.server.Discovery.Runs(ctx, scraper, "", 0, collectRuns)
	if err != nil {
		out <- prometheus.NewInvalidMetric(m.runTime, err)
		return
	}
	seen := map[string]bool{}
	for _, run := range runs { // the newest first
		if !seen[run.Source] {
			seen[run.Source] = true
			gauge(m.runTime, float64(run.Queued.Unix()), run.Source)
			gauge(m.runState, 1, run.Source, run.State)
		}
	}
	if err := m.uses.collect(ctx, scraper, gauge); err != nil {
		out <- prometheus.NewInvalidMetric(m.uses.records, err)
	}
	if err := m.issuing.collect(ctx, scraper, gauge); err != nil {
		out <- prometheus.NewInvalidMetric(m.issuing.valid, err)
	}
}

// A metricsLog takes what promhttp has to complain about.
type metricsLog struct{ server *Server }

func (l metricsLog) Println(v ...any) {
	l.server.Log.Error("metrics could not be read", "error", fmt.Sprint(v...))
}
