// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
)

// half is how many endpoints answer of those that benchDead asks, and how many
// do not.
const half = 10_000

// benchDead scans endpoints of which every other one does not answer.
func benchDead(o options, dir, self string) error {
	ports, stop, err := startFarm(self, half)
	if err != nil {
		return err
	}
	defer stop()
	var list strings.Builder
	for _, a := range addresses(half) {
		fmt.Fprintf(&list, "%s:%d\n%s:%d\n", a, ports.Plain, a, ports.Dead)
	}
	silent := 0
	file := filepath.Join(dir, "half-dead")
	if err := os.WriteFile(file, []byte(list.String()), 0o600); err != nil {
		return err
	}
	c := contender{task: taskCertificate, name: "tally scan", count: 2 * half, command: func(targets) ([]string, string) {
		return []string{o.tally, "scan", "-", "--json", "--depth", taskCertificate, "--timeout", o.timeout.String()}, file
	}, got: func(output io.Reader) (int, error) {
		whole := map[tallystick.Place]bool{}
		err := readScan(output, func(s scanned) {
			if s.whole(taskCertificate, false) {
				whole[s.Place] = true
			}
			if s.Error == "timeout" {
				silent++
			}
		})
		return len(whole), err
	}}
	m, err := c.run(targets{})
	if err != nil {
		return err
	}
	fmt.Printf("\n%d endpoints, of which %d do not answer, timeout %v:\n", 2*half, half, o.timeout)
	fmt.Printf("  %d certificates, %d timeouts; %.1f s, %.2f CPU s, peak %.0f MiB\n",
		m.got, silent, m.wall.Seconds(), m.cpu.Seconds(), float64(m.peak)/1024)
	one := time.Duration(half) * o.timeout
	fmt.Printf("  one after the other the silent ones alone take %v: at least %.0f were waited for at once\n",
		one, one.Seconds()/m.wall.Seconds())
	return nil
}
