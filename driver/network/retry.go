// SPDX-License-Identifier: Apache-2.0

package network

import (
	"net/http"
	"strconv"
	"time"
)

// RetryAfter reads a Retry-After header, seconds or a date (RFC 9110 section 10.2.3): how long
// after now one may come back, which is negative for a date that is over, and whether it says so.
func RetryAfter(value string, now time.Time) (time.Duration, bool) {
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second, true
	}
	date, err := http.ParseTime(value)
	if err != nil {
		return 0, false
	}
	return date.Sub(now), true
}
