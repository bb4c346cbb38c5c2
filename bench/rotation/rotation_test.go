// SPDX-License-Identifier: Apache-2.0

// Package rotation measures what it costs to rotate the passwords of many accounts of a directory,
// with the proof that each old one is refused and each new one gets in. README.md has the figures.
package rotation

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/driver"
)

const (
	accounts = 1000
	atOnce   = 16
)

// A directory is a real server with accounts that all have one password.
type directory struct {
	rotator  driver.Rotator
	accounts []string
	first    driver.Secret
	cpu      func() time.Duration // that its server has used
}

// rotate rotates all accounts, and reports what it took.
func (d *directory) rotate(b *testing.B) {
	ours, theirs := ownCPU(b), d.cpu()
	var proven atomic.Int64
	next := make(chan string)
	var group sync.WaitGroup
	replacement := driver.NewSecret("Aa1-" + rand.Text())
	for range atOnce {
		group.Go(func() {
			for account := range next {
				if err := d.one(b.Context(), account, replacement); err != nil {
					b.Errorf("%s: %v", account, err)
					continue
				}
				proven.Add(1)
			}
		})
	}
	for _, account := range d.accounts {
		next <- account
	}
	close(next)
	group.Wait()
	d.first = replacement
	ours, theirs = ownCPU(b)-ours, d.cpu()-theirs
	b.ReportMetric(float64(proven.Load()), "proven")
	b.ReportMetric(ours.Seconds(), "our-CPU-s")
	b.ReportMetric(theirs.Seconds(), "server-CPU-s")
	b.ReportMetric((ours + theirs).Seconds(), "CPU-s")
}

// one rotates one account as a recall does, with the proof.
func (d *directory) one(ctx context.Context, account string, replacement driver.Secret) error {
	request := driver.SecretRequest{Account: account, Old: d.first, New: replacement, Order: "bench", Now: time.Now}
	if _, err := d.rotator.LookAccount(ctx, driver.AccountRequest{Account: account, Now: time.Now}); err != nil {
		return fmt.Errorf("look: %w", err)
	}
	if _, err := d.rotator.SetSecret(ctx, request); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	tested, err := d.rotator.TestSecret(ctx, request)
	if err != nil {
		return fmt.Errorf("test: %w", err)
	}
	if err := want(driver.OutcomeAccepted, tested.New); err != nil {
		return err
	}
	if _, err := d.rotator.DropSecret(ctx, request); err != nil {
		return fmt.Errorf("drop: %w", err)
	}
	request.TryOld = true
	if tested, err = d.rotator.TestSecret(ctx, request); err != nil {
		return fmt.Errorf("prove: %w", err)
	}
	if err := want(driver.OutcomeRefused, tested.Old); err != nil {
		return err
	}
	return want(driver.OutcomeAccepted, tested.New)
}

func want(outcome string, attempts []driver.Attempt) error {
	if len(attempts) == 0 {
		return fmt.Errorf("nothing was tried")
	}
	for _, a := range attempts {
		if a.Outcome != outcome {
			return fmt.Errorf("%s at %s, want %s: %s", a.Outcome, a.Address, outcome, a.Answer)
		}
	}
	return nil
}

func ownCPU(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// cpuOf is how long a process has computed (proc(5)).
func cpuOf(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	var user, system int64
	fmt.Sscan(fields[11], &user)
	fmt.Sscan(fields[12], &system)
	return time.Duration(user+system) * (time.Second / 100)
}
