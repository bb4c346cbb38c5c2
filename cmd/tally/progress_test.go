// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"
	"time"
)

func TestTheLineOfProgress(t *testing.T) {
	b := &progress{what: "looking", missed: map[string]int{}}
	b.Phase("tls")
	b.Set(0, 1000)
	for range 30 {
		b.Missed("refused")
	}
	for _, word := range []string{"timeout", "timeout", "not-tls", "reset", "closed"} {
		b.Missed(word)
	}
	b.Saw()
	b.Set(200, 1000)
	b.Set(150, 1000) // overtaken by the one before
	const want = "tls: 200 of 1000, 50/s, 1 credential, 30 refused, 2 timeout, 1 closed, 2 otherwise not seen, 16s left"
	if got := b.line(b.pace.before.at.Add(4 * time.Second)); got != want {
		t.Errorf("the line is %q, want %q", got, want)
	}
	b.Phase("files")
	if got := b.line(time.Now()); got != "files: 0, 1 credential, 30 refused, 2 timeout, 1 closed, 2 otherwise not seen" {
		t.Errorf("a new phase begins with %q", got)
	}
}

// A look that goes on in the middle has no rate for what was done before.
func TestTheRateOfALookThatGoesOn(t *testing.T) {
	b := &progress{what: "tls", missed: map[string]int{}}
	b.Set(500, 1000)
	b.Set(510, 1000)
	if got, want := b.line(b.pace.before.at.Add(2*time.Second)), "tls: 510 of 1000, 5.0/s, 0 credentials, 1m38s left"; got != want {
		t.Errorf("the line is %q, want %q", got, want)
	}
}

func TestARateFollows(t *testing.T) {
	begin := time.Now()
	p := pace{counted{begin, 0}, counted{begin, 0}}
	for second := 1; second <= 20; second++ { // 100 a second, and nothing from the tenth on
		p.rate(int64(min(second, 10)*100), begin.Add(time.Duration(second)*time.Second))
	}
	if got := p.rate(1000, begin.Add(21*time.Second)); got != 0 {
		t.Errorf("the rate of a look that stands still is %v", got)
	}
}
