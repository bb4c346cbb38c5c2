// SPDX-License-Identifier: Apache-2.0

package network

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
)

var grammar = Grammar{Schemes: map[string]uint16{"https": 443, "smtp": 25, "tls": 0}, Ports: []uint16{443}}

// list returns the endpoints of targets, sorted.
func list(t *testing.T, texts ...string) []string {
	t.Helper()
	targets, err := grammar.Parse(t.Context(), texts, nil)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range targets.All(0) {
		text := e.HostPort()
		if e.Scheme != "" {
			text = e.Scheme + "://" + text
		}
		all = append(all, text)
	}
	if len(texts) == 1 {
		if n, err := grammar.Count(texts[0]); err != nil || n != targets.Size() {
			t.Errorf("%q: Count is %d, %v, Size is %d", texts[0], n, err, targets.Size())
		}
	}
	if int64(len(all)) != targets.Size() {
		t.Errorf("%q: Size is %d, All yields %d", texts, targets.Size(), len(all))
	}
	slices.Sort(all)
	return all
}

func TestTargets(t *testing.T) {
	for text, want := range map[string][]string{
		"mail.Example.com.":                 {"mail.example.com:443"},
		"bücher.example":                    {"xn--bcher-kva.example:443"},
		"192.0.2.7:8443":                    {"192.0.2.7:8443"},
		"192.0.2.7:1,3-4":                   {"192.0.2.7:1", "192.0.2.7:3", "192.0.2.7:4"},
		"::ffff:192.0.2.7":                  {"192.0.2.7:443"},
		"2001:DB8::7":                       {"[2001:db8::7]:443"},
		"[2001:db8::7]:99":                  {"[2001:db8::7]:99"},
		"[::1]":                             {"[::1]:443"},
		"192.0.2.77/31":                     {"192.0.2.76:443", "192.0.2.77:443"},
		"[2001:db8::/127]:5":                {"[2001:db8::1]:5", "[2001:db8::]:5"},
		"::ffff:192.0.2.0/127":              {"192.0.2.0:443", "192.0.2.1:443"},
		"192.0.2.255-192.0.3.1:80":          {"192.0.2.255:80", "192.0.3.0:80", "192.0.3.1:80"},
		"SMTP://mx-1.example.com":           {"smtp://mx-1.example.com:25"},
		"https://a.example:8443/":           {"https://a.example:8443"},
		"smtp://192.0.2.0/31":               {"smtp://192.0.2.0:25", "smtp://192.0.2.1:25"},
		"tls://[2001:db8::1-2001:db8::2]:9": {"tls://[2001:db8::1]:9", "tls://[2001:db8::2]:9"},
		"a_b.example":                       {"a_b.example:443"},
	} {
		slices.Sort(want)
		if diff := cmp.Diff(want, list(t, text)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", text, diff)
		}
	}
}

func TestWhatIsNoTarget(t *testing.T) {
	for text, hint := range map[string]string{
		"":                        "neither the name of a host",
		"a b":                     "neither the name of a host",
		"1.2.3":                   "neither the name of a host",
		"a..b":                    "neither the name of a host",
		"-x.example":              "neither the name of a host",
		"fe80::1%eth0":            "leave the zone out",
		"host:":                   "no port after the colon",
		"host:0":                  "443,8443,9000-9010",
		"host:65536":              "443,8443,9000-9010",
		"host:9-8":                "443,8443,9000-9010",
		"[::1":                    "not closed",
		"[::1]443":                "not a colon with a port",
		"[mail.example]:443":      "brackets are for IPv6",
		"10.0.0.0/33":             "not a block",
		"10.0.0.0/7":              "name smaller blocks",
		"2001:db8::/64":           "name smaller blocks",
		"10.0.0.9-10.0.0.1":       "from a lower to a higher",
		"10.0.0.1-::1":            "from a lower to a higher",
		"10.0.0.1-50":             "10.0.0.1-10.0.0.50",
		"::1-::2:0:0:0":           "name smaller ranges",
		"gopher://a.example":      "https, smtp, tls",
		"tls://a.example":         "HOST:PORT",
		"https://u:p@a.example":   "leave out what stands before the @",
		"https://a.example/x":     "not a block",
		"xn--a\u00df.example\x00": "international",
		"\xff\xfe":                "international",
		strings.Repeat("a", 254):  "neither the name of a host",
	} {
		_, err := grammar.Parse(t.Context(), []string{text}, nil)
		if !errors.Is(err, tallystick.ErrInvalid) || !strings.Contains(fmt.Sprint(err), hint) {
			t.Errorf("%q gives %v, want ErrInvalid with %q", text, err, hint)
		}
	}
}

func TestEqualTargetsCountOnce(t *testing.T) {
	got := list(t, "192.0.2.1", "192.0.2.0/31", "192.0.2.1-192.0.2.2", "::ffff:192.0.2.2", "A.example", "a.example.")
	if diff := cmp.Diff([]string{"192.0.2.0:443", "192.0.2.1:443", "192.0.2.2:443", "a.example:443"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestTheOrderDependsOnTheSetOfTargets(t *testing.T) {
	order := func(texts ...string) (all []Endpoint) {
		targets, err := grammar.Parse(t.Context(), texts, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range targets.All(0) {
			all = append(all, e)
		}
		return all
	}
	one := order("b.example", "a.example:1,2", "192.0.2.0/29", "smtp://a.example")
	two := order("smtp://a.example", "192.0.2.0/29", "192.0.2.3", "a.example:2,1", "b.example")
	if diff := cmp.Diff(one, two); diff != "" {
		t.Errorf("the order follows that of the arguments:\n%s", diff)
	}
}

// No network and no host is asked in a burst: among any eight that follow each
// other in four networks, at most four are of one network and none of one host.
func TestTheOrderSpreads(t *testing.T) {
	targets, err := grammar.Parse(t.Context(), []string{"10.1.0.0/22:443,993,8443"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var last []Endpoint
	for position, e := range targets.All(0) {
		if last = append(last, e); len(last) < 8 {
			continue
		}
		networks, hosts := map[string]int{}, map[string]int{}
		for _, e := range last {
			networks[e.Host[:len("10.1.0.")]]++
			hosts[e.Host]++
			if networks[e.Host[:len("10.1.0.")]] > 4 || hosts[e.Host] > 1 {
				t.Fatalf("position %d ends a burst: %v", position, last)
			}
		}
		last = last[1:]
	}
}

func TestAnyPositionIsABeginning(t *testing.T) {
	targets, err := grammar.Parse(t.Context(), []string{"10.0.0.0/8:1-65535"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := int64(65535) << 24; targets.Size() != want {
		t.Errorf("Size is %d, want %d", targets.Size(), want)
	}
	seen := map[Endpoint]bool{}
	for position, e := range targets.All(targets.Size() - 1000) {
		if seen[e] || position < targets.Size()-1000 {
			t.Fatalf("%v comes twice", e)
		}
		seen[e] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d endpoints at the end, want 1000", len(seen))
	}
}

func TestGarbageInAListIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "targets")
	text := "\ufeff# first\n\n a.example \nnot a target\n192.0.2.0/30:1\r\n" + strings.Repeat("x", 100_000) + "\n\x00\xff\nb.example"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var bad []int
	targets, err := grammar.Parse(t.Context(), []string{"@" + file}, func(b BadLine) error {
		if b.File != file || b.Err == nil || len(b.Err.Error()) > 500 {
			t.Errorf("a bad line is %+v", b)
		}
		bad = append(bad, b.Line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{4, 6, 7}, bad); diff != "" {
		t.Errorf("bad lines (-want +got):\n%s", diff)
	}
	if targets.Size() != 6 {
		t.Errorf("%d endpoints are left, want 6", targets.Size())
	}
	enough := errors.New("enough")
	if _, err := grammar.Parse(t.Context(), []string{"@" + file}, func(BadLine) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("an error of bad gives %v", err)
	}
	if _, err := grammar.Parse(t.Context(), []string{"@" + file + "x"}, nil); !errors.Is(err, tallystick.ErrInvalid) {
		t.Errorf("a list that is not there gives %v, want ErrInvalid", err)
	}
}

func TestAMillionTargetsStaySmall(t *testing.T) {
	file := filepath.Join(t.TempDir(), "targets")
	var text strings.Builder
	for n := range 1_000_000 {
		if n%10 == 0 {
			text.WriteString("?? garbage\n")
		}
		fmt.Fprintf(&text, "host-%d.example.com\n", n)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := 0
	targets, err := grammar.Parse(t.Context(), []string{"@" + file}, func(BadLine) error { bad++; return nil })
	if err != nil {
		t.Fatal(err)
	}
	text.Reset()
	runtime.GC()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	if targets.Size() != 1_000_000 || bad != 100_000 {
		t.Errorf("%d targets and %d bad lines", targets.Size(), bad)
	}
	if memory.HeapAlloc > 120<<20 {
		t.Errorf("a million names take %d MB", memory.HeapAlloc>>20)
	}
	runtime.KeepAlive(targets)
}

func TestALongListCanBeStopped(t *testing.T) {
	file := filepath.Join(t.TempDir(), "targets")
	if err := os.WriteFile(file, []byte("a.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := grammar.Parse(ctx, []string{"@" + file}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled reading gives %v", err)
	}
}

func FuzzTarget(f *testing.F) {
	for _, text := range []string{"a.example", "192.0.2.0/24:443,8000-8001", "[2001:db8::/120]:5", "smtp://1.2.3.4-1.2.3.9", "tls://x:1/", "[::ffff:1.2.3.4]:1", "bücher.example", "::/104", "@x", "0.0.0.0/8"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if strings.HasPrefix(text, "@") {
			return
		}
		targets, err := grammar.Parse(t.Context(), []string{text}, nil)
		if err != nil {
			if !errors.Is(err, tallystick.ErrInvalid) {
				t.Fatalf("%q gives %v", text, err)
			}
			return
		}
		if targets.Size() < 1 {
			t.Fatalf("%q has %d endpoints", text, targets.Size())
		}
		read := 0
		for _, e := range targets.All(0) {
			// What was read is a target of its own and means the same.
			again, err := grammar.Parse(t.Context(), []string{e.HostPort()}, nil)
			if err != nil {
				t.Fatalf("%q gives %q, which is %v", text, e.HostPort(), err)
			}
			for _, second := range again.All(0) {
				if second.Host != e.Host || second.Port != e.Port {
					t.Fatalf("%q gives %q and then %q", text, e.HostPort(), second.HostPort())
				}
			}
			if read++; read > 20 {
				break
			}
		}
	})
}
