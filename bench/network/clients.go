// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick"
)

// The tasks that are compared.
const (
	taskCertificate = "certificate"
	taskVersions    = "versions"
	taskSuites      = "suites"
)

// need says what to install when a program is missing.
func need(programs ...string) error {
	packages := map[string]string{
		"nmap": "nmap", "sslscan": "sslscan", "testssl": "testssl.sh", "taskset": "util-linux", "openssl": "openssl",
		"gnutls-serv": "gnutls-bin", "java": "openjdk-17-jdk-headless", "javac": "openjdk-17-jdk-headless",
	}
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is missing: install the Debian package %s", program, packages[program])
		}
	}
	return nil
}

// buildTally builds the program that is measured.
func buildTally(dir string) (string, error) {
	path := filepath.Join(dir, "tally")
	cmd := exec.Command("go", "build", "-o", path, "./cmd/tally")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("couldn't build cmd/tally (run this at the root of the repository): %w", err)
	}
	return path, nil
}

// counts are how many endpoints the programs are asked about: as many as each
// answers in minutes.
type counts struct{ tally, nmap, sslscan, testssl int }

// contenders returns the programs, task by task, ours first.
func contenders(tally string, n counts) []contender {
	return []contender{
		scanner(tally, taskCertificate, n.tally, false),
		{taskCertificate, "nmap ssl-cert", nmapWith("+ssl-cert"), n.nmap, counting(`<script id="ssl-cert"`)},
		{taskCertificate, "sslscan, certificate only", sslscanWith("--no-ciphersuites", "--no-fallback", "--no-renegotiation", "--no-compression",
			"--no-heartbleed", "--no-groups", "--no-check-certificate", "--show-certificate"), n.sslscan, counting(`<certificate `)},
		{taskCertificate, "testssl -S", testsslWith("-S"), n.testssl, counting(`Common Name (CN)`)},
		scanner(tally, taskVersions, n.tally, false),
		{taskVersions, "testssl -p", testsslWith("-p"), n.testssl, counting("TLS 1.3 ")},
		scanner(tally, taskSuites, n.tally, false),
		{taskSuites, "nmap ssl-enum-ciphers", nmapWith("+ssl-enum-ciphers"), n.nmap, counting(`<script id="ssl-enum-ciphers"`)},
		{taskSuites, "sslscan", sslscanWith(), n.sslscan, counting(`<ssltest `)},
		{taskSuites, "testssl -E", testsslWith("-E"), n.testssl, counting("Testing ciphers per protocol")},
	}
}

// scanner is "tally scan" at a depth. An endpoint counts when the answer is whole.
func scanner(tally, task string, count int, only13 bool) contender {
	return contender{task, "tally scan --depth " + task, func(t targets) ([]string, string) {
		return []string{tally, "scan", "-", "--json", "--depth", task}, t.file
	}, count, func(output io.Reader) (int, error) {
		whole := map[tallystick.Place]bool{} // one that has two keys has two lines
		err := readScan(output, func(s scanned) {
			if s.whole(task, only13) {
				whole[s.Place] = true
			}
		})
		return len(whole), err
	}}
}

// A scanned is what is compared of a line of "tally scan --json".
type scanned struct {
	Place tallystick.Place     `json:"place"`
	Kind  string               `json:"kind"`
	Chain []string             `json:"chain"`
	TLS   *tallystick.TLSFacts `json:"tls"`
	Error string               `json:"error"` // of a miss
}

// readScan calls fn for every line of "tally scan --json".
func readScan(output io.Reader, fn func(scanned)) error {
	for decoder := json.NewDecoder(output); ; {
		var s scanned
		if err := decoder.Decode(&s); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("couldn't read what tally scan wrote: %w", err)
		}
		fn(s)
	}
}

// whole says whether the line holds what the farm has to show for the task: a
// chain of two; every protocol from the farm's lowest on; and of TLS 1.0 to 1.3
// the 2, 2, 5 and 3 suites that Go accepts with a key of one kind.
func (s scanned) whole(task string, only13 bool) bool {
	if s.Kind != "certificate" || len(s.Chain) != 2 || s.TLS == nil {
		return false
	}
	protocols, suites := 4, 2+2+5+3
	if only13 {
		protocols, suites = 1, 3
	}
	found := 0
	for _, order := range s.TLS.Order {
		found += len(order)
	}
	switch task {
	case taskVersions:
		return len(s.TLS.Protocols) == protocols
	case taskSuites:
		return len(s.TLS.Protocols) == protocols && found == suites
	}
	return true
}

func nmapWith(script string) func(targets) ([]string, string) {
	return func(t targets) ([]string, string) {
		return []string{"nmap", "-n", "-Pn", "-sT", "-p", strconv.Itoa(t.port), "--script", script, "-oX", "-", "-iL", t.hosts}, ""
	}
}

func sslscanWith(options ...string) func(targets) ([]string, string) {
	return func(t targets) ([]string, string) {
		return append([]string{"sslscan", "--xml=-", "--targets=" + t.file}, options...), ""
	}
}

// testsslWith asks the endpoints one after the other, as its mass testing does.
func testsslWith(option string) func(targets) ([]string, string) {
	return func(t targets) ([]string, string) {
		return []string{"testssl", "--quiet", "--color", "0", "--warnings", "batch", "--ip", "one", option, "--file", t.file}, ""
	}
}

// counting counts a text that stands once for each answered endpoint.
func counting(text string) func(io.Reader) (int, error) {
	return func(output io.Reader) (int, error) {
		count := 0
		lines := bufio.NewReader(output)
		for {
			line, err := lines.ReadString('\n')
			count += strings.Count(line, text)
			if errors.Is(err, io.EOF) {
				return count, nil
			} else if err != nil {
				return 0, err
			}
		}
	}
}
