// SPDX-License-Identifier: Apache-2.0

package entra

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/driver/network"
)

// An apiError is an answer of a service that says no ("Microsoft Graph error responses and
// resource types").
type apiError struct {
	Status     int
	Code       string // such as "Authorization_RequestDenied"
	Message    string
	RequestID  string        // under which Microsoft's support finds it
	RetryAfter time.Duration // 0: nothing was said
}

// Error says what was answered.
func (e *apiError) Error() string {
	text := fmt.Sprintf("Microsoft says %d %s", e.Status, cmp.Or(e.Code, http.StatusText(e.Status)))
	if e.Message != "" {
		text += ": " + e.Message
	}
	if e.RequestID != "" {
		text += " (request-id " + e.RequestID + ")"
	}
	return text
}

// Unwrap says what kind of no it is.
func (e *apiError) Unwrap() error {
	switch {
	case e.Status == http.StatusUnauthorized, e.Status == http.StatusForbidden:
		return tallystick.ErrDenied
	case e.Status == http.StatusNotFound, e.Status == http.StatusGone:
		return tallystick.ErrNotFound
	case e.Status == http.StatusConflict, e.Status == http.StatusPreconditionFailed:
		return tallystick.ErrConflict
	case e.Status == http.StatusRequestTimeout, e.Status == http.StatusTooManyRequests, e.Status >= 500:
		return tallystick.ErrUnavailable
	}
	return tallystick.ErrInvalid
}

// readError takes an error out of an answer, and closes it.
func (c *client) readError(response *http.Response) *apiError {
	defer response.Body.Close()
	e := &apiError{Status: response.StatusCode, RetryAfter: retryAfter(response.Header, c.now())}
	text, _ := io.ReadAll(io.LimitReader(response.Body, maxError)) // one that cannot be read has no words
	var said struct {
		Error struct {
			Code    string `json:"code"`
			Message string `json:"message"`
			Inner   struct {
				Request string `json:"request-id"`
			} `json:"innerError"`
		} `json:"error"`
	}
	_ = json.Unmarshal(text, &said) // likewise
	e.Code, e.Message = network.Clean(said.Error.Code), network.Clean(said.Error.Message)
	e.RequestID = network.Clean(cmp.Or(said.Error.Inner.Request, response.Header.Get("request-id")))
	if e.Status >= 300 && e.Status < 400 {
		e.Message = "it answers with a redirect, which is not followed"
	}
	return e
}

// retryAfter reads the header Retry-After (RFC 9110 section 10.2.3).
func retryAfter(header http.Header, now time.Time) time.Duration {
	text := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(text); err == nil {
		return max(date.Sub(now), 0)
	}
	return 0
}
