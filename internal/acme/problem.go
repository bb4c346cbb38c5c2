// SPDX-License-Identifier: Apache-2.0

package acme

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/ca"
	"github.com/tallystick/tallystick/internal/store"
)

// typePrefix begins the type of every problem (RFC 8555 section 6.7).
const typePrefix = "urn:ietf:params:acme:error:"

// A Problem is an error as an ACME client reads it (RFC 8555 section 6.7, RFC 9457).
// Its text is for strangers: it speaks of what they sent, and of nothing here.
type Problem struct {
	Type        string                `json:"type"`
	Detail      string                `json:"detail"`
	Status      int                   `json:"status,omitempty"`
	Identifier  *store.ACMEIdentifier `json:"identifier,omitempty"`
	Algorithms  []string              `json:"algorithms,omitempty"`
	Subproblems []*Problem            `json:"subproblems,omitempty"`

	retry    time.Duration // ask again after; 0 says nothing
	location string        // of what is in the way
}

func (p *Problem) Error() string { return p.Type[len(typePrefix):] + ": " + p.Detail }

// problem makes one of the types of section 6.7.
func problem(status int, kind, format string, args ...any) *Problem {
	return &Problem{Type: typePrefix + kind, Status: status, Detail: fmt.Sprintf(format, args...)}
}

func malformed(format string, args ...any) *Problem {
	return problem(http.StatusBadRequest, "malformed", format, args...)
}

func unauthorized(format string, args ...any) *Problem {
	return problem(http.StatusForbidden, "unauthorized", format, args...)
}

func notFound(what string) *Problem {
	return problem(http.StatusNotFound, "malformed", "there is no such %s", what)
}

// tooMany is a limit that was reached.
func tooMany(retry time.Duration, format string, args ...any) *Problem {
	p := problem(http.StatusTooManyRequests, "rateLimited", format, args...)
	p.retry = retry
	return p
}

// about says which name a problem is about.
func (p *Problem) about(id store.ACMEIdentifier) *Problem {
	p.Identifier = &id
	return p
}

// problemOf turns an error into what a client reads. The text of what is our
// mistake stays here.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, ca.ErrBadKey):
		return problem(http.StatusBadRequest, "badPublicKey", "%v", err)
	case errors.Is(err, ca.ErrBadName):
		return problem(http.StatusBadRequest, "rejectedIdentifier", "%v", err)
	case errors.Is(err, ca.ErrBadCSR):
		return problem(http.StatusBadRequest, "badCSR", "%v", err)
	case errors.Is(err, tallystick.ErrDenied), errors.Is(err, tallystick.ErrUnsigned):
		return unauthorized("%v", err)
	case errors.Is(err, tallystick.ErrNotFound):
		return notFound("thing")
	case errors.Is(err, tallystick.ErrConflict):
		return problem(http.StatusConflict, "malformed", "it was changed meanwhile; look at it again")
	case errors.Is(err, tallystick.ErrInvalid):
		return malformed("%v", err)
	case errors.Is(err, tallystick.ErrUnavailable), errors.Is(err, tallystick.ErrBusy), errors.Is(err, tallystick.ErrNoSpace):
		p := problem(http.StatusServiceUnavailable, "serverInternal", "something that is needed cannot be reached now; nothing was lost")
		p.retry = time.Minute
		return p
	}
	return problem(http.StatusInternalServerError, "serverInternal", "the server made a mistake; its log says more")
}

// write sends the problem.
func (p *Problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	if p.retry > 0 {
		h.Set("Retry-After", seconds(p.retry))
	}
	if p.location != "" {
		h.Set("Location", p.location)
	}
	body, err := json.Marshal(p)
	if err != nil {
		panic("acme: a problem does not encode: " + err.Error())
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(body) // a client that is gone reads nothing
}

// seconds writes a duration for Retry-After, at least a second.
func seconds(d time.Duration) string {
	return strconv.FormatInt(max(1, int64((d+time.Second-1)/time.Second)), 10)
}
