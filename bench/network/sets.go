// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A set is what a program found at one server: "tls1.2 TLS_RSA_WITH_NULL_SHA",
// and "tls1.2" for the protocol itself.
type set map[string]bool

// An asker asks one server for all that it accepts.
type asker struct {
	name string
	ask  func(port int) (set, error)
}

var errLess = errors.New("tally found less than another program did")

// compareSets starts the servers one after the other, and prints what the
// programs find there and where they differ.
func compareSets(tally string) error {
	if err := need("nmap", "sslscan", "openssl", "gnutls-serv", "java", "javac"); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench-network")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if tally == "" {
		if tally, err = buildTally(dir); err != nil {
			return err
		}
	}
	if err := makeKeys(dir); err != nil {
		return err
	}
	names, err := suiteNames()
	if err != nil {
		return err
	}
	askers := []asker{
		{"tally", func(port int) (set, error) { return askTally(tally, port) }},
		{"nmap", askNmap},
		{"sslscan", func(port int) (set, error) { return askSslscan(port, names) }},
	}
	less := false
	for _, s := range servers() {
		same, err := compareAt(s, dir, askers)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		less = less || !same
	}
	if less {
		return errLess
	}
	return nil
}

// compareAt returns false when ours, the first of the askers, misses something.
func compareAt(s server, dir string, askers []asker) (bool, error) {
	port, err := freePort()
	if err != nil {
		return false, err
	}
	stop, err := s.start(dir, port)
	if err != nil {
		return false, err
	}
	defer stop()
	var found []set
	for _, a := range askers {
		got, err := a.ask(port)
		if err != nil {
			return false, fmt.Errorf("couldn't ask with %s: %w", a.name, err)
		}
		if len(got) == 0 && len(found) > 0 { // ours may miss all, which is told
			return false, fmt.Errorf("%s found nothing there", a.name)
		}
		found = append(found, got)
	}
	fmt.Println(s.name)
	printCounts(askers, found)
	return printDifferences(askers, found), nil
}

// printCounts prints how many suites each found, protocol by protocol.
func printCounts(askers []asker, found []set) {
	fmt.Printf("  %-8s", "")
	for _, a := range askers {
		fmt.Printf(" %8s", a.name)
	}
	fmt.Println()
	for _, protocol := range []string{"ssl2", "ssl3", "tls1.0", "tls1.1", "tls1.2", "tls1.3"} {
		row, any := fmt.Sprintf("  %-8s", protocol), false
		for _, s := range found {
			count := 0
			for word := range s {
				if strings.HasPrefix(word, protocol+" ") {
					count++
				}
			}
			any = any || s[protocol]
			row += fmt.Sprintf(" %8s", cell(s[protocol], count))
		}
		if any {
			fmt.Println(row)
		}
	}
}

// cell is "-" where the protocol was not found at all.
func cell(accepted bool, count int) string {
	if !accepted {
		return "-"
	}
	return strconv.Itoa(count)
}

// printDifferences prints what was not found by all, by those who found it:
// what ours missed by name, and what others missed as numbers.
func printDifferences(askers []asker, found []set) (nothingMissed bool) {
	all := set{}
	for _, s := range found {
		maps.Copy(all, s)
	}
	missed, by := []string{}, map[string]map[string]int{}
	for word := range all {
		var with, without []string
		for n, a := range askers {
			if found[n][word] {
				with = append(with, a.name)
			} else {
				without = append(without, a.name)
			}
		}
		who := "found by " + strings.Join(with, " and ") + ", not by " + strings.Join(without, " and ")
		switch protocol, _, isSuite := strings.Cut(word, " "); {
		case len(without) == 0:
		case !found[0][word]:
			missed = append(missed, word+": "+who)
		case isSuite:
			if by[who] == nil {
				by[who] = map[string]int{}
			}
			by[who][protocol]++
		}
	}
	if len(by)+len(missed) == 0 {
		fmt.Println("  all the same")
	}
	for _, who := range slices.Sorted(maps.Keys(by)) {
		fmt.Printf("  %s:", who)
		for _, protocol := range slices.Sorted(maps.Keys(by[who])) {
			fmt.Printf(" %s %d", protocol, by[who][protocol])
		}
		fmt.Println()
	}
	for _, line := range slices.Sorted(slices.Values(missed)) {
		fmt.Println("  missed:", line)
	}
	return len(missed) == 0
}

func askTally(tally string, port int) (set, error) {
	out, err := exec.Command(tally, "scan", endpointOf(port), "--json", "--depth", taskSuites).Output()
	if err != nil {
		return nil, err
	}
	found := set{}
	err = readScan(bytes.NewReader(out), func(s scanned) {
		if s.TLS == nil {
			return
		}
		for _, protocol := range s.TLS.Protocols {
			found[protocol] = true
		}
		for protocol, suites := range s.TLS.Order {
			for _, suite := range suites {
				found[protocol+" "+suite] = true
			}
		}
	})
	return found, err
}

func endpointOf(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// An nmapTable is a table of nmap's structured output.
type nmapTable struct {
	Key    string      `xml:"key,attr"`
	Tables []nmapTable `xml:"table"`
	Elems  []struct {
		Key  string `xml:"key,attr"`
		Text string `xml:",chardata"`
	} `xml:"elem"`
}

func askNmap(port int) (set, error) {
	out, err := exec.Command("nmap", "-n", "-Pn", "-sT", "-p", strconv.Itoa(port), "--script", "+ssl-enum-ciphers", "-oX", "-", "127.0.0.1").Output()
	if err != nil {
		return nil, err
	}
	var run struct {
		Protocols []nmapTable `xml:"host>ports>port>script>table"`
	}
	if err := xml.Unmarshal(out, &run); err != nil {
		return nil, fmt.Errorf("couldn't read its output: %w", err)
	}
	found := set{}
	for _, protocol := range run.Protocols {
		name := protocolOf(protocol.Key)
		found[name] = true
		for _, table := range protocol.Tables {
			if table.Key != "ciphers" {
				continue
			}
			for _, cipher := range table.Tables {
				for _, elem := range cipher.Elems {
					if elem.Key == "name" { // it calls the key exchange of TLS 1.3 "AKE"
						found[name+" "+strings.Replace(elem.Text, "TLS_AKE_WITH_", "TLS_", 1)] = true
					}
				}
			}
		}
	}
	return found, nil
}

func askSslscan(port int, names map[uint64]string) (set, error) {
	out, err := exec.Command("sslscan", "--xml=-", endpointOf(port)).Output()
	if err != nil {
		return nil, err
	}
	var run struct {
		Protocols []struct {
			Type    string `xml:"type,attr"`
			Version string `xml:"version,attr"`
			Enabled int    `xml:"enabled,attr"`
		} `xml:"ssltest>protocol"`
		Ciphers []struct {
			Version string `xml:"sslversion,attr"`
			ID      string `xml:"id,attr"`
		} `xml:"ssltest>cipher"`
	}
	if err := xml.Unmarshal(out, &run); err != nil {
		return nil, fmt.Errorf("couldn't read its output: %w", err)
	}
	found := set{}
	for _, p := range run.Protocols {
		if p.Enabled == 1 {
			found[p.Type+p.Version] = true
		}
	}
	for _, c := range run.Ciphers {
		id, err := strconv.ParseUint(c.ID, 0, 16)
		if err != nil {
			return nil, fmt.Errorf("couldn't read the number %q of a suite: %w", c.ID, err)
		}
		name := names[id]
		if name == "" {
			name = c.ID
		}
		found[protocolOf(c.Version)+" "+name] = true
	}
	return found, nil
}

// protocolOf makes "tls1.2" of "TLSv1.2".
func protocolOf(name string) string { return strings.ToLower(strings.Replace(name, "v", "", 1)) }

// nmapSuites is where nmap keeps the IANA names of suites with their numbers;
// sslscan writes OpenSSL's names, and the numbers.
const nmapSuites = "/usr/share/nmap/nselib/tls.lua"

var suiteLine = regexp.MustCompile(`(?m)^\W*(TLS_\w+)\W+0x([0-9A-Fa-f]{4})\b`)

func suiteNames() (map[uint64]string, error) {
	text, err := os.ReadFile(nmapSuites)
	if err != nil {
		return nil, fmt.Errorf("couldn't read the names of suites: %w", err)
	}
	names := map[uint64]string{}
	for _, match := range suiteLine.FindAllStringSubmatch(string(text), -1) {
		id, err := strconv.ParseUint(match[2], 16, 16)
		if err != nil {
			return nil, err
		}
		if names[id] == "" {
			names[id] = strings.Replace(match[1], "TLS_AKE_WITH_", "TLS_", 1)
		}
	}
	if len(names) < 200 {
		return nil, fmt.Errorf("%s names %d suites: its form has changed", nmapSuites, len(names))
	}
	return names, nil
}
