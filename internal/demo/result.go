// SPDX-License-Identifier: Apache-2.0

package demo

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// A Result is what came of the case, for machines. Tenants are named by their id.
type Result struct {
	Seed        uint64 `json:"seed"`
	Customers   int    `json:"customers"`
	Connections int    `json:"connections"`
	Sharing     int    `json:"sharing"` // connections whose sign-in log could be read
	// EnteredTruth are the tenants that the thief entered, and EnteredFound those that
	// were named, both among those that share; FalseNames were named and not entered.
	EnteredTruth []string `json:"entered_truth"`
	EnteredFound []string `json:"entered_found"`
	FalseNames   []string `json:"false_names"`
	Unknowable   int      `json:"unknowable"` // connections without a log
	// FirstForeignUse is when the thief was let in first at a tenant that shares.
	FirstForeignUse time.Time `json:"first_foreign_use,omitzero"`
	// DetectedAfter is in milliseconds, from when the record of the first foreign use could
	// be read to when the finding was there; SlowestAfter is that of the slowest name.
	DetectedAfter int64        `json:"detected_after_ms"`
	SlowestAfter  int64        `json:"slowest_after_ms"`
	Recall        RecallResult `json:"recall"`
	// LegitimateUses counts sign-ins and mail that the products wanted; LegitimateFailures
	// those that came to nothing.
	LegitimateUses          int64           `json:"legitimate_uses"`
	LegitimateFailures      int64           `json:"legitimate_failures"`
	ThiefRefusedAfterBlock  int             `json:"thief_refused_after_block"`
	ThiefAcceptedAfterBlock int             `json:"thief_accepted_after_block"`
	ThiefSeenRefused        int             `json:"thief_seen_refused"` // of those, in logs that are shared
	Entrusted               EntrustedResult `json:"entrusted"`
	Mail                    MailResult      `json:"mail"`
	Evidence                string          `json:"evidence"` // the file
	// Verified says that the evidence files were read again, by another process, and are good.
	Verified bool `json:"verified"`
	// EmulatorCPU is of this process, in seconds: the emulated cloud with the vendor's
	// products and the thief. ProductCPU is of all processes of Tallystick.
	EmulatorCPU float64 `json:"emulator_cpu_s"`
	ProductCPU  float64 `json:"product_cpu_s"`
}

// A RecallResult is how the recall went.
type RecallResult struct {
	Connections       int     `json:"connections"`
	Proven            int     `json:"proven"`
	Late              int     `json:"late"` // whose customer had not done its part at the deadline
	BlockedAtDeadline int     `json:"blocked_at_deadline"`
	Seconds           float64 `json:"seconds"` // from the start to the end
	// ProductCPU is what Tallystick's server worked from the start to the proof, in seconds of
	// processor time, and EmulatorCPU what this process did meanwhile; 0 where the system does not tell.
	ProductCPU  float64 `json:"product_cpu_s"`
	EmulatorCPU float64 `json:"emulator_cpu_s"`
}

// An EntrustedResult is about accounts that customers entrusted to the vendor. It is zero
// where none of the servers is installed that would play those of the customers.
type EntrustedResult struct {
	Servers    []string `json:"servers"`     // that were installed and started
	Truth      int      `json:"truth"`       // accounts whose password was readable on the hosts that were entered
	Reachable  int      `json:"reachable"`   // those that were named
	FalseNames int      `json:"false_names"` // those that were named and not readable
	Reset      int      `json:"reset"`       // that have a new password
	Proven     int      `json:"proven"`      // whose old one is refused
	// ThiefAccepted counts the passwords that the thief had copied, and that still got in after that.
	ThiefAccepted int     `json:"thief_accepted"`
	Seconds       float64 `json:"seconds"`  // from the start of the recall to its end
	Evidence      string  `json:"evidence"` // the file
}

// well says whether exactly those were named that were readable, and all of them are replaced.
func (e EntrustedResult) well() bool {
	return e.Reachable == e.Truth && e.FalseNames == 0 && e.Reset == e.Truth && e.Proven == e.Truth && e.ThiefAccepted == 0
}

// A MailResult counts messages that were given to Postfix and fetched from Dovecot.
type MailResult struct {
	Flows   bool `json:"flows"` // they are installed, and were started
	Sent    int  `json:"sent"`
	Lost    int  `json:"lost"`
	Doubled int  `json:"doubled"`
}

// Well says whether Tallystick did what it is for: it named all who were entered
// and nobody else, kept the products going, proved every connection and kept the thief out
// after that, did the same for what was entrusted, and its evidence is good.
func (r Result) Well() bool {
	return slices.Equal(r.EnteredTruth, r.EnteredFound) && len(r.FalseNames) == 0 && r.LegitimateFailures == 0 && r.Verified &&
		r.Recall.Connections == r.Connections && r.Recall.Proven == r.Connections && r.ThiefAcceptedAfterBlock == 0 &&
		r.Entrusted.well() && r.Mail.Lost == 0 && r.Mail.Doubled == 0 && (r.Mail.Sent > 0 || !r.Mail.Flows)
}

// spent fills in the processor time.
func (r *Result) spent(p *program) {
	r.EmulatorCPU = processor()
	if p != nil {
		r.ProductCPU = p.spent.Seconds()
	}
}

// processorOf returns the processor time of another process that goes on, in seconds: fields 14
// and 15 of /proc/PID/stat (proc(5)), in ticks of a hundredth of a second. 0 where there is none.
func processorOf(pid int) float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is the name in brackets, which may have spaces.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	const user, system, perSecond = 11, 12, 100
	if len(fields) <= system {
		return 0
	}
	ticks := 0
	for _, field := range fields[user : system+1] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return float64(ticks) / perSecond
}

// processor returns the processor time of this process, in seconds.
func processor() float64 {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}

func number(n int) string { return message.NewPrinter(language.English).Sprint(n) }
