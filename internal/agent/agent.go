// SPDX-License-Identifier: Apache-2.0

// Package agent is both halves of what works at doors on machines that the server does
// not reach: the agent, which asks for work, and what the server answers it.
//
// An agent enrols once, with a token that somebody carried to it: the token says where
// the server is, and by which key the server is known, so that nobody in between is
// believed. From then on both show certificates of a small CA that is for this alone, and
// the agent renews its own. What its doors are, and what is run there, stands in the agent's
// own configuration: the server names a door and an act. Keys are made on the agent's
// machine and stay there (docs/design/0007-recall.md).
package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver"
	"github.com/tallystick/tallystick/internal/config"
	"github.com/tallystick/tallystick/internal/doors"
)

// Steps is where work comes from: the engine of recalls. Doors of agents are called
// AGENT/DOOR there; this package takes the name of the agent off and puts it before again.
type Steps interface {
	// Claim returns steps at doors of the agent that are ready, each taken up for it with a
	// lease and a fence; none is no error. It does not wait. Steps that come beside an error
	// are done.
	Claim(ctx context.Context, agent string, limit int) ([]Leased, error)
	// Extend makes a lease as long again as it was. It is ErrConflict when the fence is no
	// longer that of the step, or somebody has skipped it: then the agent stops.
	Extend(ctx context.Context, agent string, step, fence int64) error
	// Finish says what came of a step: result, or an error, whose kind is one of those that
	// KindOf returns. It is ErrConflict when the fence is not that of the step; to say the same
	// twice is no error.
	Finish(ctx context.Context, agent string, step, fence int64, result doors.Result, failure string, kind string) error
	// Over returns those of names, such as "recall/7", that are of recalls which are over: the
	// agent destroys what it keeps for them.
	Over(ctx context.Context, names []string) ([]string, error)
}

// A Leased is a step that an agent has taken up.
type Leased struct {
	Step  int64         `json:"step"`
	Fence int64         `json:"fence"`
	Lease time.Duration `json:"lease"` // for how long, from now
	Task  doors.Task    `json:"task"`
}

// Root is where agents are served.
const Root = "/agent/v1/"

// The messages of the protocol: each is the body of a POST to Root and a word.
type (
	enrolRequest struct { // "enrol"
		Secret string `json:"secret"`
		CSR    []byte `json:"csr"`
	}
	renewRequest struct { // "renew"
		CSR []byte `json:"csr"`
	}
	certificateAnswer struct {
		Name        string `json:"name"`
		Certificate []byte `json:"certificate"` // DER
	}
	helloRequest struct { // "hello": what the doors are
		Version string       `json:"version"`
		Doors   []doors.Door `json:"doors"`
		Connect []string     `json:"connect,omitempty"` // where it may try credentials beside them
	}
	viewRequest struct { // "view": how one stands
		Door  string       `json:"door"`
		View  *driver.View `json:"view,omitempty"`
		Error string       `json:"error,omitempty"` // in place of View
	}
	claimRequest struct { // "claim": waits until there is work
		Limit int `json:"limit"`
	}
	claimAnswer struct {
		Steps []Leased `json:"steps"`
		Look  bool     `json:"look,omitempty"` // somebody wants to know how the doors stand
	}
	extendRequest struct { // "extend"
		Step  int64 `json:"step"`
		Fence int64 `json:"fence"`
	}
	doneRequest struct { // "done"
		Step   int64        `json:"step"`
		Fence  int64        `json:"fence"`
		Result doors.Result `json:"result"`
		Error  string       `json:"error,omitempty"`
		Kind   string       `json:"kind,omitempty"`
	}
	overRequest struct { // "over": which of these are
		Names []string `json:"names"`
	}
	overAnswer struct {
		Names []string `json:"names"`
	}
	failure struct { // of any
		Kind   string `json:"kind"`
		Detail string `json:"detail,omitempty"`
		Hint   string `json:"hint,omitempty"`
	}
)

// Bounds of a message, in bytes, and of what is in it.
const (
	maxBody   = 4 << 20
	maxAnswer = 16 << 20
	maxDoors  = 1000
	maxViews  = 32 << 20 // of all doors of an agent together
	maxPlaces = config.MostConnect
	maxClaim  = 32
	maxNames  = 1000
	maxText   = 4 << 10 // of an error
)

// kinds are the errors that mean something to the engine, by the word that travels.
var kinds = []struct {
	word string
	err  error
}{
	{"damaged", tallystick.ErrDamaged}, {"not-found", tallystick.ErrNotFound}, {"invalid", tallystick.ErrInvalid}, {"denied", tallystick.ErrDenied},
	{"unavailable", tallystick.ErrUnavailable}, {"no-space", tallystick.ErrNoSpace}, {"conflict", tallystick.ErrConflict}, {"unsigned", tallystick.ErrUnsigned},
	{"busy", tallystick.ErrBusy}, {"timeout", context.DeadlineExceeded},
}

// KindOf returns the word for an error; "" of nil, and "other" of one that has none.
func KindOf(err error) string {
	if err == nil {
		return ""
	}
	for _, k := range kinds {
		if errors.Is(err, k.err) {
			return k.word
		}
	}
	return "other"
}

// ErrorOf undoes KindOf: an error with a text that errors.Is finds to be of a kind. Without
// text and kind it is nil.
func ErrorOf(text, kind string) error {
	if text == "" && kind == "" {
		return nil
	}
	for _, k := range kinds {
		if k.word == kind {
			return &told{text, k.err}
		}
	}
	return fmt.Errorf("%s", text)
}

// told is an error that came over the network: its text has the sentinel in it already.
type told struct {
	text string
	kind error
}

func (t *told) Error() string { return t.text }
func (t *told) Unwrap() error { return t.kind }

// doorName returns what the server calls a door of an agent.
func doorName(agent, door string) string { return agent + "/" + door }
