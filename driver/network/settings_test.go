// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick"
)

func TestSettings(t *testing.T) {
	good := Settings{Timeout: time.Second, Concurrency: 5, Most: 5, Rate: maxRate, PerHost: maxRate, Exclude: []string{"127.0.0.1"}}
	dialer, err := good.Dialers()
	if err != nil {
		t.Fatal(err)
	}
	one, another := dialer(), dialer()
	if one.Limits == another.Limits || one.Timeout != time.Second || !one.Exclude.Addr(addrs("127.0.0.1")[0]) {
		t.Errorf("two looks have %+v and %+v", one.Limits, another.Limits)
	}
	for option, spoil := range map[string]func(*Settings){
		"timeout":     func(s *Settings) { s.Timeout = 0 },
		"concurrency": func(s *Settings) { s.Concurrency = 6 },
		"rate":        func(s *Settings) { s.Rate = maxRate + 1 },
		"per-host":    func(s *Settings) { s.PerHost = -1 },
		"exclude":     func(s *Settings) { s.Exclude = []string{"no name"} },
	} {
		bad := good
		spoil(&bad)
		if _, err := bad.Dialers(); !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(err.Error(), "option "+option+":") {
			t.Errorf("a bad option %s gives %v", option, err)
		}
	}
}
