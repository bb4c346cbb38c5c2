// SPDX-License-Identifier: Apache-2.0

package asn_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/internal/asn"
)

// iptoasn is in the form of ip2asn-combined.tsv, with networks for documentation.
const iptoasn = "192.0.2.0\t192.0.2.127\t64496\tUS\tEXAMPLE-ONE\n" +
	"192.0.2.128\t192.0.2.255\t0\tNone\tNot routed\n" +
	"198.51.100.0\t198.51.101.255\t64497\tNL\tEXAMPLE-TWO - Two, \"of\" many\n" +
	"2001:db8::\t2001:db8:ffff:ffff:ffff:ffff:ffff:ffff\t64498\tDE\tEXAMPLE-SIX\n"

// geolite is the same in the form of GeoLite2-ASN-Blocks-IPv4.csv and -IPv6.csv.
const geolite = "network,autonomous_system_number,autonomous_system_organization\r\n" +
	"198.51.100.0/23,64497,\"EXAMPLE-TWO - Two, \"\"of\"\" many\"\r\n" +
	"192.0.2.0/25,64496,EXAMPLE-ONE\r\n" +
	"network,autonomous_system_number,autonomous_system_organization\r\n" +
	"2001:db8::/32,64498,EXAMPLE-SIX\r\n"

func packed(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestFormats(t *testing.T) {
	two := `AS64497 EXAMPLE-TWO - Two, "of" many`
	want := map[string]string{
		"192.0.2.0": "AS64496 EXAMPLE-ONE", "192.0.2.127": "AS64496 EXAMPLE-ONE", "::ffff:192.0.2.9": "AS64496 EXAMPLE-ONE",
		"192.0.2.128": "192.0.2.0/24", "192.0.1.255": "192.0.1.0/24", "198.51.100.0": two, "198.51.101.255": two, "198.51.102.0": "198.51.102.0/24",
		"2001:db8::": "AS64498 EXAMPLE-SIX", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff": "AS64498 EXAMPLE-SIX",
		"2001:db9::1": "2001:db9::/48", "2001:db7:ffff::": "2001:db7:ffff::/48", "::": "::/48", "255.255.255.255": "255.255.255.0/24",
	}
	for name, text := range map[string][]byte{
		"iptoasn": []byte(iptoasn), "iptoasn packed": packed(t, iptoasn), "geolite": []byte(geolite), "geolite packed": packed(t, geolite),
		"both": []byte(iptoasn + geolite),
	} {
		path := filepath.Join(t.TempDir(), "table")
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		table, err := asn.Load(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := map[string]string{}
		for address := range want {
			got[address] = table.Network(netip.MustParseAddr(address))
		}
		if diff := cmp.Diff(want, got); diff != "" || table.Len() != 3 {
			t.Errorf("%s: %d ranges (-want +got):\n%s", name, table.Len(), diff)
		}
	}
}

func TestNoTable(t *testing.T) {
	var none *asn.Table
	if got := none.Network(netip.MustParseAddr("192.0.2.7")); got != "192.0.2.0/24" || none.Len() != 0 {
		t.Errorf("%q, %d ranges", got, none.Len())
	}
	if _, err := asn.Load(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestWhatIsNoTable(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "header": "network,autonomous_system_number,autonomous_system_organization\n", "words": "hello\n",
		"few fields": "192.0.2.0\t192.0.2.9\t1\tUS\n", "backwards": "192.0.2.9\t192.0.2.0\t1\tUS\tA\n", "two families": "192.0.2.9\t2001:db8::\t1\tUS\tA\n",
		"zone": "fe80::1%a\tfe80::2%a\t1\tUS\tA\n", "number": "192.0.2.0/24,4294967296,A\n", "prefix": "192.0.2.0/33,1,A\n",
		"overlap": "192.0.2.0/24,1,A\n192.0.2.128/25,2,B\n", "overlap of IPv6": "2001:db8::/32,1,A\n2001:db8:1::/48,2,B\n",
		"long line": "192.0.2.0/24,1," + strings.Repeat("a", 5000), "cut gzip": string(packed(t, iptoasn)[:60]), "gzip header": "\x1f\x8b\x08",
	} {
		if table, err := asn.Read(strings.NewReader(text)); !errors.Is(err, tallystick.ErrInvalid) {
			t.Errorf("%s: %v with %d ranges", name, err, table.Len())
		}
	}
	if _, err := asn.Read(strings.NewReader(iptoasn + "x\n")); err == nil || !strings.Contains(err.Error(), "line 5") {
		t.Errorf("%v does not name the line", err)
	}
}

func TestNamesAreMadePlain(t *testing.T) {
	table, err := asn.Read(strings.NewReader("192.0.2.0/24,1,\"a\x1b[31m\u202eb\xff" + strings.Repeat("é", 100) + "\""))
	if err != nil {
		t.Fatal(err)
	}
	got := table.Network(netip.MustParseAddr("192.0.2.1"))
	if strings.ContainsAny(got, "\x1b\u202e") || len(got) > 90 || !strings.HasPrefix(got, "AS1 a[31mb") {
		t.Errorf("%q", got)
	}
}

// TestLargeTableAgainstScan compares a table of odd ranges with looking at each.
func TestLargeTableAgainstScan(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	var text strings.Builder
	owner := make([]int, 1<<16)
	for at := 0; at < len(owner); {
		end := min(at+1+random.IntN(300), len(owner))
		number := random.IntN(50) // 0 is nobody's
		for i := at; i < end; i++ {
			owner[i] = number
		}
		fmt.Fprintf(&text, "10.0.%d.%d\t10.0.%d.%d\t%d\tXX\tN\n", at>>8, at&255, (end-1)>>8, (end-1)&255, number)
		at = end
	}
	table, err := asn.Read(strings.NewReader(text.String()))
	if err != nil {
		t.Fatal(err)
	}
	for i, number := range owner {
		got, ok := table.Lookup(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		if want := fmt.Sprintf("AS%d N", number); ok != (number > 0) || ok && got != want {
			t.Fatalf("%d: %q %v, want %q", i, got, ok, want)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(iptoasn))
	f.Add([]byte(geolite))
	f.Add(packed(f, iptoasn))
	f.Add([]byte("0.0.0.0/0,1,A\n::/0,2,B\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := asn.Read(bytes.NewReader(b))
		if err != nil {
			return
		}
		for _, address := range []string{"0.0.0.0", "192.0.2.1", "255.255.255.255", "::", "2001:db8::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
			if table.Network(netip.MustParseAddr(address)) == "" {
				t.Errorf("%s has no name", address)
			}
		}
	})
}

// BenchmarkNetwork has as many networks as the internet of 2026 announces of IPv4.
func BenchmarkNetwork(b *testing.B) {
	var text strings.Builder
	const networks, step = 500_000, 7440 // from 1.0.0.0 to 222.1.0.0, of random sizes
	first := func(i int) uint32 { return 1<<24 + uint32(i)*step }
	address := func(n uint32) netip.Addr {
		return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
	}
	for i := range networks {
		fmt.Fprintf(&text, "%v\t%v\t%d\tXX\tEXAMPLE-%d\n", address(first(i)), address(first(i)+256+rand.Uint32N(step-256)), 1+i%70000, i%70000)
	}
	table, err := asn.Read(strings.NewReader(text.String()))
	if err != nil {
		b.Fatal(err)
	}
	addresses := make([]netip.Addr, 1<<16)
	for i := range addresses {
		addresses[i] = address(first(rand.IntN(networks)) + rand.Uint32N(256))
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if _, ok := table.Lookup(addresses[i&(1<<16-1)]); !ok {
			b.Fatal("not found")
		}
		i++
	}
}
