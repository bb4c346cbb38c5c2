// SPDX-License-Identifier: Apache-2.0

package web

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/gate"
	"github.com/tallystick/tallystick/internal/recall"
)

// A Streamer sends the events of recalls as they happen, as server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html). Each is an event's JSON,
// under its number, so that a browser that comes again goes on behind the last one.
type Streamer struct {
	Recalls *recall.Engine
	// Stopping is closed when the server is about to stop; nil never is.
	Stopping <-chan struct{}

	open atomic.Int64
}

// Bounds of a stream: how often the store is asked, how long one lasts before whoever
// reads it has to come again, and how many there are at once.
const (
	streamStep  = 500 * time.Millisecond
	streamPing  = 15 * time.Second
	streamLife  = 10 * time.Minute
	streamsMost = 200
	streamRows  = 200
)

// Stream answers a request for the events of a recall behind the number that the
// header Last-Event-ID or the parameter after names. It returns an error before anything
// is sent, and nil afterwards.
func (s *Streamer) Stream(w http.ResponseWriter, r *http.Request, who gate.Actor, id int64) error {
	after, err := lastEvent(r)
	if err != nil {
		return err
	}
	if _, err := s.Recalls.Status(r.Context(), who, id); err != nil {
		return err
	}
	if s.open.Add(1) > streamsMost {
		s.open.Add(-1)
		return fmt.Errorf("too many read the events of recalls at the same time: %w", tallystick.ErrUnavailable)
	}
	defer s.open.Add(-1)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // a proxy before us must not hold events back
	ctx, stop := context.WithTimeout(r.Context(), streamLife)
	defer stop()
	out := stream{w: w, control: http.NewResponseController(w)}
	if out.send("retry: 2000\n\n") != nil {
		return nil // the client has gone
	}
	s.follow(ctx, &out, who, id, after)
	return nil
}

// lastEvent is behind which event a stream begins.
func lastEvent(r *http.Request) (int64, error) {
	text := r.Header.Get("Last-Event-ID")
	if text == "" {
		text = r.URL.Query().Get("after")
	}
	return numberOf(text)
}

// follow sends events until somebody has had enough.
func (s *Streamer) follow(ctx context.Context, out *stream, who gate.Actor, id, after int64) {
	tick := time.NewTicker(streamStep)
	defer tick.Stop()
	quiet := time.Now()
	for {
		list, err := s.Recalls.Events(ctx, who, id, after, streamRows)
		if err != nil {
			return // whoever reads comes again, and is told then
		}
		for _, event := range list {
			text, err := json.Marshal(event)
			if err != nil || out.send("id: "+strconv.FormatInt(event.N, 10)+"\ndata: "+string(text)+"\n\n") != nil {
				return
			}
			after, quiet = event.N, time.Now()
		}
		if time.Since(quiet) > streamPing {
			if out.send(":\n\n") != nil {
				return
			}
			quiet = time.Now()
		}
		select {
		case <-ctx.Done():
			return
		case <-s.Stopping:
			return
		case <-tick.C:
		}
	}
}

// A stream is the answer that events go to.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

// send sends at once, and gives up on who does not read.
func (s *stream) send(text string) error {
	// Writers that know no deadlines, as in tests, do without.
	_ = s.control.SetWriteDeadline(time.Now().Add(streamPing))
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	if err := s.control.Flush(); err != nil {
		return err
	}
	// Over HTTP/2 a deadline that passes ends the stream, also while nothing is written.
	_ = s.control.SetWriteDeadline(time.Time{})
	return nil
}

// RecallEvents are the events of a recall, for its page.
func (s *Site) RecallEvents(w http.ResponseWriter, r *http.Request) {
	one, err := s.recallOf(r)
	if err == nil {
		err = s.Streams.Stream(w, r, actorOf(r), one.ID)
	}
	if err != nil {
		s.Error(w, r, err)
	}
}
