// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"time"
)

// Settings are the options that all drivers which dial have under the same
// names.
type Settings struct {
	Timeout     time.Duration // more than 0
	Concurrency int           // 1 to Most
	Most        int           // of Concurrency; it is no option
	Rate        int           // connections to begin in a second in all, 0 to maxRate; 0 is no limit
	PerHost     int           // likewise to one address
	Exclude     []string      // as ParseExclusion reads them
}

// MostTogether is the Most of drivers that hold little for each endpoint: where
// the files that a process may open become scarce.
const MostTogether = 10_000

// maxRate is more than a network takes from one machine.
const maxRate = 1_000_000

// Dialers checks the settings and returns what makes a Dialer for each look,
// with limits of its own. An error is tallystick.ErrInvalid and names the
// option.
func (s Settings) Dialers() (func() *Dialer, error) {
	switch {
	case s.Timeout <= 0:
		return nil, invalid("option timeout: %v is not a positive duration", s.Timeout)
	case s.Concurrency < 1 || s.Concurrency > s.Most:
		return nil, invalid("option concurrency: %d is not between 1 and %d", s.Concurrency, s.Most)
	case s.Rate < 0 || s.Rate > maxRate:
		return nil, invalid("option rate: %d is not between 0 and %d", s.Rate, maxRate)
	case s.PerHost < 0 || s.PerHost > maxRate:
		return nil, invalid("option per-host: %d is not between 0 and %d", s.PerHost, maxRate)
	}
	exclusion, err := ParseExclusion(s.Exclude)
	if err != nil {
		return nil, fmt.Errorf("option exclude: %w", err)
	}
	return func() *Dialer {
		return &Dialer{Timeout: s.Timeout, Limits: NewLimits(s.Rate, s.PerHost), Exclude: exclusion}
	}, nil
}
