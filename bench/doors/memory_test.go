// SPDX-License-Identifier: Apache-2.0

package doors_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// memory says how much this process and all that descend from it have, with a share of
// what they have in common (Pss of proc(5)), and how many they are.
func memory() string {
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is a good one
	parents := map[int]int{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		_, rest, _ := strings.Cut(string(text), ") ")
		if fields := strings.Fields(rest); len(fields) > 1 {
			parents[pid], _ = strconv.Atoi(fields[1])
		}
	}
	kilobytes, processes := 0, 0
	for pid := range parents {
		if !descends(parents, pid) {
			continue
		}
		processes++
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if value, is := strings.CutPrefix(line, "Pss:"); is {
				n, _ := strconv.Atoi(strings.Fields(value)[0])
				kilobytes += n
			}
		}
	}
	return fmt.Sprintf("%d processes with %.2f GiB", processes, float64(kilobytes)/(1<<20))
}

// descends says whether a process is this one or comes from it.
func descends(parents map[int]int, pid int) bool {
	for pid > 1 {
		if pid == os.Getpid() {
			return true
		}
		pid = parents[pid]
	}
	return false
}
