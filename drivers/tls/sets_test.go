// SPDX-License-Identifier: Apache-2.0

package tls

import (
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick/internal/lab"
)

// protocolNames are nmap's names of the versions.
var protocolNames = map[string]string{"SSLv3": "ssl3", "TLSv1.0": "tls1.0", "TLSv1.1": "tls1.1", "TLSv1.2": "tls1.2", "TLSv1.3": "tls1.3"}

var (
	nmapVersion = regexp.MustCompile(`^\|   (\S+): *$`)
	nmapSuite   = regexp.MustCompile(`^\|       ((?:TLS|SSL)_\S+)`)
)

// nmapSets asks nmap for the accepted suites, as "tls1.2 TLS_...".
func nmapSets(t *testing.T, address string) []string {
	t.Helper()
	host, port, _ := net.SplitHostPort(address)
	output, err := exec.Command("nmap", "-n", "-Pn", "-sT", "-p", port, "--script", "+ssl-enum-ciphers", host).CombinedOutput()
	if err != nil {
		t.Fatalf("install nmap (Debian: nmap): %v: %s", err, output)
	}
	var all []string
	version := ""
	for line := range strings.SplitSeq(string(output), "\n") {
		if m := nmapVersion.FindStringSubmatch(line); m != nil {
			version = protocolNames[m[1]]
		} else if m := nmapSuite.FindStringSubmatch(line); m != nil {
			// Its name for a suite of TLS 1.3 has a key exchange, which IANA leaves out.
			all = append(all, version+" "+strings.Replace(m[1], "TLS_AKE_WITH_", "TLS_", 1))
		}
	}
	slices.Sort(all)
	return all
}

func ourSets(t *testing.T, address string) []string {
	t.Helper()
	var all []string
	for version, suites := range see(t, map[string]string{"depth": "suites"}, address).TLS.Order {
		for _, suite := range suites {
			all = append(all, version+" "+suite)
		}
	}
	slices.Sort(all)
	return all
}

// sameAsNmap compares the suites, of which the server has to have so many.
func sameAsNmap(t *testing.T, address string, least int) {
	t.Helper()
	want := nmapSets(t, address)
	if len(want) < least {
		t.Fatalf("nmap found %d suites, want at least %d", len(want), least)
	}
	if d := cmp.Diff(want, ourSets(t, address)); d != "" {
		t.Errorf("(-nmap +ours):\n%s", d)
	}
}

func TestSameSuitesAtOpenSSL(t *testing.T) {
	t.Parallel()
	p := newPKI(t)
	sameAsNmap(t, opensslServer(t, "-cert", p.leaf, "-key", p.key, "-cipher", "ALL:COMPLEMENTOFALL:@SECLEVEL=0", "-min_protocol", "TLSv1"), 80)
}

// TestSameSuitesAtJSSE asks a server with SSL 3.0, export, NULL and anonymous suites.
func TestSameSuitesAtJSSE(t *testing.T) {
	t.Parallel()
	store := filepath.Join(t.TempDir(), "keys.p12")
	output, err := exec.Command("keytool", "-genkeypair", "-alias", "rsa", "-keyalg", "RSA", "-dname", "CN=everything.example",
		"-keystore", store, "-storepass", "everything", "-keypass", "everything").CombinedOutput()
	if err != nil {
		t.Fatalf("install a JDK (Debian: openjdk-17-jdk-headless): %v: %s", err, output)
	}
	program, err := filepath.Abs("../../bench/network/Everything.java")
	if err != nil {
		t.Fatal(err)
	}
	port := lab.FreePort(t)
	address := lab.Loopback(port)
	lab.Start(t, t.TempDir(), nil, []string{lab.Program(t, "java"), program, strconv.Itoa(port), store, "everything"}, address)
	sameAsNmap(t, address, 130)
}
