// SPDX-License-Identifier: Apache-2.0

package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/problem"
	"github.com/tallystick/tallystick/internal/sources"
)

// Deliveries of sources are larger than what people send and take longer, and
// their senders show the token of a source, which is nobody's. So they pass by the
// bounds and the identification that all else passes, and have bounds of their
// own: package sources reads so many bytes and no more, of so many at a time, and
// only of a sender that it knows.
const (
	intakeTime  = 10 * time.Minute // for a delivery as a whole
	intakePause = 30 * time.Second // between two pieces of one
)

// intake takes the requests that intakeRoutes lists, and leaves others to next.
func (s *Server) intake(next http.Handler) http.Handler {
	mux := s.intakeRoutes()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, pattern := mux.Handler(r)
		if pattern == "" {
			next.ServeHTTP(w, r)
			return
		}
		v, _ := r.Context().Value(visitKey{}).(*visit)
		v.route, v.actor.Via = pattern, "source token"
		mux.ServeHTTP(w, r)
	})
}

// delivery returns what a request delivers.
func (s *Server) delivery(w http.ResponseWriter, r *http.Request) sources.Delivery {
	token, _ := bearer(r)
	return sources.Delivery{
		Token: token, From: remoteAddress(r), Source: r.PathValue("name"), Encoding: r.Header.Get("Content-Encoding"),
		Body: &patient{Reader: r.Body, control: http.NewResponseController(w), until: time.Now().Add(intakeTime)},
	}
}

// patient gives each piece of a body some time, and all of it more.
type patient struct {
	io.Reader
	control *http.ResponseController
	until   time.Time
}

func (p *patient) Read(b []byte) (int, error) {
	deadline := time.Now().Add(intakePause)
	if deadline.After(p.until) {
		deadline = p.until
	}
	// A recorder of a test has no deadlines; a connection always has.
	_ = p.control.SetReadDeadline(deadline)
	_ = p.control.SetWriteDeadline(deadline.Add(answerTime))
	return p.Reader.Read(b)
}

// receiveUses takes use records, one a line.
func (s *Server) receiveUses(w http.ResponseWriter, r *http.Request) {
	received, err := s.Sources.Receive(r.Context(), s.delivery(w, r))
	if err != nil {
		status, err := s.turnedAway(w, r, err)
		s.writeProblemAs(w, r, err, status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(received) // the client has gone
}

// receiveLogs takes OpenTelemetry logs; it answers in the manner of OTLP/HTTP.
func (s *Server) receiveLogs(w http.ResponseWriter, r *http.Request) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	asJSON := kind == "application/json"
	if err != nil || !asJSON && kind != "application/x-protobuf" {
		http.Error(w, "Send logs as application/x-protobuf or application/json.", http.StatusUnsupportedMediaType)
		return
	}
	received, err := s.Sources.ReceiveLogs(r.Context(), s.delivery(w, r), asJSON)
	status, body := http.StatusOK, sources.LogsAnswer(received, asJSON)
	if err != nil {
		status, err = s.turnedAway(w, r, err)
		p := problem.Of(err).Public()
		message := p.Sentence
		if p.Detail != "" {
			message += " " + p.Detail
		}
		body = sources.LogsFailure(message, asJSON)
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone
}

// turnedAway returns the status for a delivery that was not taken in, and the
// error to show. Senders try again after 429 and 503, and after nothing else.
func (s *Server) turnedAway(w http.ResponseWriter, r *http.Request, err error) (int, error) {
	retry := func() { w.Header().Set("Retry-After", strconv.Itoa(int(sources.RetryAfter(err).Seconds()))) }
	switch {
	case errors.Is(err, sources.ErrTooMany):
		retry()
		return http.StatusTooManyRequests, problem.With(fmt.Errorf("%w: %w", tallystick.ErrInvalid, err), "Send one delivery of a source after the other.")
	case errors.Is(err, sources.ErrTooLarge):
		return http.StatusRequestEntityTooLarge, problem.With(fmt.Errorf("%w: %w", tallystick.ErrInvalid, err),
			fmt.Sprintf("Send at most %d MiB at a time.", sources.MaxBody>>20))
	case errors.Is(err, sources.ErrEncoding):
		return http.StatusUnsupportedMediaType, problem.With(fmt.Errorf("%w: %w", tallystick.ErrInvalid, err), "Use gzip, zstd or none.")
	case errors.Is(err, tallystick.ErrBusy):
		s.failed(r, err)
		retry()
		return http.StatusServiceUnavailable, tallystick.ErrBusy
	}
	p := problem.Of(err)
	if p.Status >= http.StatusInternalServerError {
		s.failed(r, err)
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="Tallystick"`) // RFC 9110 section 11.6.1
		err = problem.With(err, `Send the token that "tally source add" has shown, as a bearer token.`)
	}
	return p.Status, err
}

// writeProblemAs answers with an error under a status of its own.
func (s *Server) writeProblemAs(w http.ResponseWriter, r *http.Request, err error, status int) {
	d := detailsOf(problem.Of(err))
	d.Status = status
	w.Header().Set("Content-Type", problemType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(d) // the client has gone
}
