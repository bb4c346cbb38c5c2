// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"os"
	"testing"
	"time"
)

// good is a case that came out well.
func good() Result {
	return Result{
		Connections: 20, EnteredTruth: []string{"a", "b"}, EnteredFound: []string{"a", "b"}, FalseNames: []string{},
		Recall: RecallResult{Connections: 20, Proven: 20}, LegitimateUses: 100, Verified: true, Mail: MailResult{Flows: true, Sent: 9},
		Entrusted: EntrustedResult{Truth: 15, Reachable: 15, Reset: 15, Proven: 15},
	}
}

// Each thing that may go wrong by itself makes it a case that did not come out well.
func TestWell(t *testing.T) {
	if !good().Well() {
		t.Error("a case without a fault is not well")
	}
	bare := good()
	if bare.Mail, bare.Entrusted = (MailResult{}), (EntrustedResult{}); !bare.Well() {
		t.Error("a case without a fault is not well where no server is installed")
	}
	for name, spoil := range map[string]func(*Result){
		"a tenant is missed":              func(r *Result) { r.EnteredFound = r.EnteredFound[:1] },
		"another one is named":            func(r *Result) { r.FalseNames = []string{"c"} },
		"a legitimate use fails":          func(r *Result) { r.LegitimateFailures = 1 },
		"a connection is not proven":      func(r *Result) { r.Recall.Proven-- },
		"a connection is not in the plan": func(r *Result) { r.Recall.Connections, r.Recall.Proven = 19, 19 },
		"the thief gets in":               func(r *Result) { r.ThiefAcceptedAfterBlock = 1 },
		"the evidence is not good":        func(r *Result) { r.Verified = false },
		"a password is not named":         func(r *Result) { r.Entrusted.Reachable-- },
		"one is named falsely":            func(r *Result) { r.Entrusted.Reachable++; r.Entrusted.FalseNames++ },
		"one is named for another":        func(r *Result) { r.Entrusted.FalseNames++ },
		"one is not replaced":             func(r *Result) { r.Entrusted.Reset-- },
		"one is not proven":               func(r *Result) { r.Entrusted.Proven-- },
		"a copy gets in":                  func(r *Result) { r.Entrusted.ThiefAccepted++ },
		"no message is taken":             func(r *Result) { r.Mail.Sent = 0 },
		"a message is lost":               func(r *Result) { r.Mail.Lost = 1 },
		"a message comes twice":           func(r *Result) { r.Mail.Doubled = 1 },
	} {
		r := good()
		if spoil(&r); r.Well() {
			t.Errorf("it is well although %s", name)
		}
	}
}

// What the system says of another process is what it says of this one.
func TestProcessorOf(t *testing.T) {
	for began := time.Now(); processor() < 0.2 && time.Since(began) < time.Minute; {
		_ = time.Now() // something to do
	}
	before := processor()
	told := processorOf(os.Getpid())
	if after := processor(); told < before-0.05 || told > after+0.05 {
		t.Errorf("it spent %.2f s, and between %.2f and %.2f s by another count", told, before, after)
	}
	if n := processorOf(1 << 30); n != 0 {
		t.Errorf("a process that is not there spent %.2f s", n)
	}
}
